//! Errors in one line.

use std::error::Error;
use std::iter::successors;

/// An error's message and those of what caused it, from the outermost on, separated by colons: for
/// logs and reports. (Messages of this workspace's errors don't repeat their sources.)
///
/// ```
/// let error = fcos_core::ClassList::new(["cat", "cat"]).unwrap_err();
/// assert_eq!(fcos_core::error_chain(&error), error.to_string()); // nothing caused it
/// ```
pub fn error_chain(error: &dyn Error) -> String {
    let causes = successors(Some(error), |&error| error.source());
    let messages: Vec<String> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read a.png")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn causes_follow() {
        let source = "".parse::<i32>().expect_err("no number");
        let expected = format!("cannot read a.png: {source}");
        assert_eq!(error_chain(&Outer(source)), expected);
    }
}
