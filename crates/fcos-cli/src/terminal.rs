//! What the commands show: lines of results, warnings, progress bars, times.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fcos::write_atomically;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Whether some of the output is lost.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line of results, as `println!` does, but does not panic where nobody reads them.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::terminal::print(format_args!("{}\n", format_args!($($words)*)))
    };
}
pub(crate) use say;

/// Prints to standard output. A reader that has seen enough is no error; of others
/// [`check_output`] tells.
pub fn print(text: fmt::Arguments) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_fmt(text).and_then(|()| output.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        OUTPUT_LOST.store(true, Ordering::Relaxed);
    }
}

/// That all output was written, as far as somebody read it.
pub fn check_output() -> Result<()> {
    let lost = OUTPUT_LOST.load(Ordering::Relaxed);
    ensure!(!lost, "can't write to standard output");
    Ok(())
}

/// Prints a line to standard error. Where even that can't be written, there is nobody to tell.
pub fn warn(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Shows the library's warnings on standard error; `RUST_LOG` chooses otherwise. A program that has
/// seen to that itself keeps its way.
pub fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init()
        .unwrap_or_default();
}

/// Writes pretty JSON with a newline at its end, whole or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    write_atomically(path, text.as_bytes())
        .with_context(|| format!("can't write {}", path.display()))
}

/// Makes the folder, and those above it.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("can't make folder {}", path.display()))
}

/// A bar with count, rate and time left; hidden where standard error is no terminal.
pub fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{elapsed}} < {{eta}}  {{msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// Seconds as `1 h 02 min`, `3 min 04 s` or `5.6 s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        3600.. => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        60.. => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{seconds:.1} s"),
    }
}

/// A stage's time in milliseconds, for timing lines.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        let cases = [
            (5.64, "5.6 s"),
            (184.0, "3 min 04 s"),
            (3720.0, "1 h 02 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
