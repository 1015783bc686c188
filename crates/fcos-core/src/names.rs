//! `Display` and `FromStr` of enums, by the names that they have in files.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};

/// A word that names none of an enum's variants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownName(String);

/// The variant of this name, as [`serde_names!`](crate::serde_names) has it parsed.
///
/// # Errors
/// If there is none; the message lists those that there are.
pub fn from_name<T: DeserializeOwned>(name: &str) -> Result<T, UnknownName> {
    let found: Result<T, Error> = T::deserialize(name.into_deserializer());
    found.map_err(|error| UnknownName(error.to_string()))
}

/// Gives enums without data `Display` and `FromStr`, by the names under which serde writes and reads
/// them: so that a name stands in one place.
///
/// ```
/// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Side {
///     TopLeft,
///     Right,
/// }
/// fcos_core::serde_names!(Side);
///
/// assert_eq!(Side::TopLeft.to_string(), "top_left");
/// assert_eq!("right".parse(), Ok(Side::Right));
/// let error = "left".parse::<Side>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown variant `left`, expected `top_left` or `right`");
/// ```
#[macro_export]
macro_rules! serde_names {
    ($($kind:ty),+ $(,)?) => {$(
        impl ::std::fmt::Display for $kind {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::serde::Serialize::serialize(self, f)
            }
        }

        impl ::std::str::FromStr for $kind {
            type Err = $crate::UnknownName;

            fn from_str(name: &str) -> ::std::result::Result<Self, Self::Err> {
                $crate::from_name(name)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use crate::{DistanceUnit, LocationRule};

    #[test]
    fn names_are_those_in_files() {
        for rule in [
            LocationRule::HalfStride,
            LocationRule::Torchvision,
            LocationRule::Corner,
        ] {
            let in_files = serde_json::to_value(rule).expect("serialises");
            assert_eq!(in_files, rule.to_string());
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert_eq!(format!("{:>8}|", DistanceUnit::Stride), "  stride|");
    }

    #[test]
    fn unknown_names_are_told_what_there_is() {
        for wrong in ["centre", "", "Corner", "half stride"] {
            let error = wrong.parse::<LocationRule>().expect_err(wrong).to_string();
            assert!(
                error.contains("`half_stride`, `torchvision`, `corner`"),
                "{error}"
            );
        }
    }
}
