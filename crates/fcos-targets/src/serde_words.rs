//! Serialised forms of values that JSON or TOML has no number for: `"inf"` for an unlimited size
//! range, `"none"` for no centre sampling. (JSON knows no infinity, TOML no null.)

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or \"inf\"")]
enum Bound {
    Finite(f32),
    Infinite(Inf),
}

#[derive(Serialize, Deserialize)]
enum Inf {
    #[serde(rename = "inf")]
    Inf,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or \"none\"")]
enum Optional {
    Some(f32),
    None(Nothing),
    /// JSON's way to say it; never written.
    Null(()),
}

#[derive(Serialize, Deserialize)]
enum Nothing {
    /// `off` stands in older files.
    #[serde(rename = "none", alias = "off")]
    None,
}

impl From<f32> for Bound {
    fn from(value: f32) -> Self {
        if value == f32::INFINITY {
            Self::Infinite(Inf::Inf)
        } else {
            Self::Finite(value)
        }
    }
}

impl From<Bound> for f32 {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Finite(value) => value,
            Bound::Infinite(Inf::Inf) => Self::INFINITY,
        }
    }
}

/// For `Vec<[f32; 2]>` whose bounds may be infinite.
pub(crate) mod ranges {
    use super::*;

    pub fn serialize<S: Serializer>(ranges: &[[f32; 2]], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ranges.iter().map(|range| range.map(Bound::from)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<[f32; 2]>, D::Error> {
        let ranges = Vec::<[Bound; 2]>::deserialize(de)?;
        Ok(ranges.into_iter().map(|r| r.map(f32::from)).collect())
    }
}

/// For an `Option<f32>` that a word leaves out.
pub(crate) mod optional {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
        value
            .map_or(Optional::None(Nothing::None), Optional::Some)
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Option<f32>, D::Error> {
        Ok(match Optional::deserialize(de)? {
            Optional::Some(value) => Some(value),
            Optional::None(Nothing::None) | Optional::Null(()) => None,
        })
    }
}
