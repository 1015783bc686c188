//! The settings of the assignment, and what they may be.

use fcos_core::{BBox, DistanceUnit, SettingError, serde_names};
use serde::{Deserialize, Serialize};

use crate::serde_words;

/// The rules of the assignment. Fields left out of a configuration file take the default: FCOS with
/// the paper's ranges and centre sampling 1.5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssignConfig {
    /// Which rule assigns. ATSS reads `atss`, FCOS all that is said to be FCOS's.
    pub rule: AssignRule,
    /// FCOS. Per pyramid level, finest first: the range `[m_{i−1}, m_i]` in pixels into which
    /// `max(l, t, r, b)` of a location must fall (§3.2). The distances are those to the sides of
    /// the whole box, also under centre sampling. Infinity is written as `"inf"` in files.
    #[serde(with = "serde_words::ranges")]
    pub size_ranges: Vec<[f32; 2]>,
    /// FCOS: whether a distance equal to a bound of its range counts.
    pub range_bounds: RangeBounds,
    /// FCOS's centre sampling: only locations less than `radius · stride` from the box's centre, along x
    /// and along y, learn the box; `None` for every location inside. The stride is the level's
    /// nominal one. Written as a number or `"none"` in files.
    #[serde(with = "serde_words::optional")]
    pub center_sampling_radius: Option<f32>,
    /// Not a setting any more: the unit of distances is the network's. Files that name one are read,
    /// [checked](Self::check_unit), and written without it.
    #[doc(hidden)]
    #[serde(skip_serializing)]
    pub distance_unit: Option<DistanceUnit>,
    /// FCOS: how the smallest of several boxes is found. Equal boxes: the one with the lower index.
    pub area: AreaRule,
    /// The settings of ATSS.
    pub atss: AtssConfig,
}

/// The rule that decides which location learns from which box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssignRule {
    /// The locations in a box, on the level for its size ([`FcosRule`](crate::FcosRule)).
    #[default]
    Fcos,
    /// The nearest locations, as many as overlap well ([`AtssRule`](crate::AtssRule)).
    Atss,
}

serde_names!(AssignRule, RangeBounds, AreaRule);

/// The settings of ATSS (Zhang et al., CVPR 2020).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AtssConfig {
    /// Candidates per level and box; 9 in the paper, which finds 7 to 17 equally good.
    pub k: usize,
    /// Side of the square anchors in strides of their level; 8 in the paper, and the only one for
    /// networks whose boxes are offsets of such anchors.
    pub anchor_scale: f32,
}

impl Default for AtssConfig {
    fn default() -> Self {
        Self {
            k: 9,
            anchor_scale: 8.0,
        }
    }
}

impl AtssConfig {
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        SettingError::check(self.k > 0, "k", self.k, "at least 1")?;
        positive("anchor_scale", self.anchor_scale)
    }
}

/// Whether a distance equal to a bound of its size range counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeBounds {
    /// `lower ≤ d ≤ upper`: the paper, the official code, AdelaiDet, mmdetection. A location at
    /// exactly a bound can learn a box on both levels.
    #[default]
    Inclusive,
    /// `lower < d < upper`: torchvision, detectron2. A location at exactly a bound learns on
    /// neither level.
    Exclusive,
}

/// By which measure a location that fits several boxes chooses the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AreaRule {
    /// `w · h`: AdelaiDet, mmdetection, detectron2.
    #[default]
    Continuous,
    /// `(w + 1) · (h + 1)`: the official code
    /// ([the added
    /// pixel](fcos_core#the-pixel-that-older-code-adds)).
    LegacyPlusOne,
    /// torchvision's: the largest `10⁸ − w · h`, in `f32`. That has steps of up to 8, so boxes
    /// whose areas differ by a few square pixels tie, and the first wins; a box of 10⁸ px² or
    /// more is never learnt.
    Torchvision,
}

impl AreaRule {
    /// Boxes are preferred in ascending order of this.
    pub(crate) fn rank(self, bbox: BBox) -> f32 {
        match self {
            Self::Continuous => bbox.area(),
            Self::LegacyPlusOne => (bbox.width() + 1.0) * (bbox.height() + 1.0),
            Self::Torchvision => bbox.area() - 1e8,
        }
    }

    /// Only boxes of a rank below this are ever learnt.
    pub(crate) fn limit(self) -> f32 {
        match self {
            Self::Continuous | Self::LegacyPlusOne => f32::INFINITY,
            Self::Torchvision => 0.0,
        }
    }
}

impl Default for AssignConfig {
    fn default() -> Self {
        Self {
            rule: AssignRule::Fcos,
            size_ranges: vec![
                [0.0, 64.0],
                [64.0, 128.0],
                [128.0, 256.0],
                [256.0, 512.0],
                [512.0, f32::INFINITY],
            ],
            range_bounds: RangeBounds::Inclusive,
            center_sampling_radius: Some(1.5),
            distance_unit: None,
            area: AreaRule::Continuous,
            atss: AtssConfig::default(),
        }
    }
}

impl AssignConfig {
    /// torchvision's rules for a pyramid with these strides: exclusive ranges `(4s, 8s)`, open
    /// below on the first level and above on the last, and its rounding of areas. With
    /// [`LocationRule::Torchvision`](fcos_core::LocationRule::Torchvision) the assignment is the
    /// one torchvision trains on.
    pub fn torchvision(strides: &[usize]) -> Self {
        let last = strides.len().saturating_sub(1);
        let range = |(level, &stride): (usize, &usize)| {
            let lower = if level == 0 { 0 } else { 4 * stride };
            let upper = if level == last {
                f32::INFINITY
            } else {
                (8 * stride) as f32
            };
            [lower as f32, upper]
        };
        Self {
            size_ranges: strides.iter().enumerate().map(range).collect(),
            range_bounds: RangeBounds::Exclusive,
            area: AreaRule::Torchvision,
            ..Self::default()
        }
    }

    /// Whether the settings that the chosen rule reads make sense for a pyramid of this many levels.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self, levels: usize) -> Result<(), SettingError> {
        match self.rule {
            AssignRule::Fcos => self.check_fcos(levels),
            AssignRule::Atss => self.atss.check().map_err(|error| error.within("atss")),
        }
    }

    /// Whether an older file's `distance_unit`, if there is one, is the network's.
    ///
    /// # Errors
    /// If it is the other: the run was never trained in the unit that its settings name.
    pub fn check_unit(&self, unit: DistanceUnit) -> Result<(), SettingError> {
        let named = self.distance_unit.unwrap_or(unit);
        let expected = format!("{unit}, the network's, or left out");
        SettingError::check(named == unit, "distance_unit", named, expected)
    }

    pub(crate) fn check_fcos(&self, levels: usize) -> Result<(), SettingError> {
        let ranges = self.size_ranges.len();
        let found = format!("a list of {ranges}");
        let expected = format!("a list of {levels}, one range for each level");
        SettingError::check(ranges == levels, "size_ranges", found, expected)?;
        for (level, &[lower, upper]) in self.size_ranges.iter().enumerate() {
            let setting = format!("size_ranges[{level}]");
            let found = format!("[{lower}, {upper}]");
            let expected = "a range whose lower bound is below the upper one";
            SettingError::check(lower < upper, setting, found, expected)?;
        }
        match self.center_sampling_radius {
            Some(radius) => positive("center_sampling_radius", radius),
            None => Ok(()),
        }
    }
}

fn positive(setting: &str, value: f32) -> Result<(), SettingError> {
    let ok = value > 0.0 && value.is_finite();
    SettingError::check(ok, setting, value, "finite and above 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_toml_round_trip() {
        let anywhere = AssignConfig {
            center_sampling_radius: None,
            ..AssignConfig::torchvision(&[8, 16])
        };
        let atss = AssignConfig {
            rule: AssignRule::Atss,
            atss: AtssConfig {
                k: 5,
                ..AtssConfig::default()
            },
            ..AssignConfig::default()
        };
        for config in [AssignConfig::default(), anywhere, atss] {
            let json = serde_json::to_string(&config).expect("serialises");
            assert_eq!(
                serde_json::from_str::<AssignConfig>(&json).expect("parses"),
                config
            );
            let toml = toml::to_string(&config).expect("serialises");
            assert_eq!(
                toml::from_str::<AssignConfig>(&toml).expect("parses"),
                config
            );
        }
    }

    #[test]
    fn files_may_be_partial_but_not_misspelt() {
        let text = "size_ranges = [[0, 64], [64, inf]]\ncenter_sampling_radius = \"none\"";
        let expected = AssignConfig {
            size_ranges: vec![[0.0, 64.0], [64.0, f32::INFINITY]],
            center_sampling_radius: None,
            ..AssignConfig::default()
        };
        assert_eq!(
            toml::from_str::<AssignConfig>(text).expect("parses"),
            expected
        );
        let misspelt = [
            "rule = \"nearest\"",
            "atss = { top_k = 9 }",
            "center_sampling_radios = 1.5",
            "range_bounds = \"open\"",
            "size_ranges = [[0, \"infinite\"]]",
            "center_sampling_radius = \"nothing\"",
        ];
        for text in misspelt {
            assert!(toml::from_str::<AssignConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_without_a_rule_mean_fcos() {
        let config: AssignConfig = toml::from_str("area = \"legacy_plus_one\"").expect("parses");
        assert_eq!(config.rule, AssignRule::Fcos);
        let text = "rule = \"atss\"\natss.k = 7";
        let config: AssignConfig = toml::from_str(text).expect("parses");
        assert_eq!(
            (config.rule, config.atss.k, config.atss.anchor_scale),
            (AssignRule::Atss, 7, 8.0)
        );
    }

    /// What an older version wrote: the word `off`, and a unit.
    #[test]
    fn older_files_are_read_and_written_anew() {
        let text = "center_sampling_radius = \"off\"\ndistance_unit = \"pixels\"";
        let config: AssignConfig = toml::from_str(text).expect("parses");
        assert_eq!(config.center_sampling_radius, None);
        assert_eq!(config.check_unit(DistanceUnit::Pixels), Ok(()));
        let error = config
            .check_unit(DistanceUnit::Stride)
            .map_err(|e| e.to_string());
        let expected = "distance_unit is pixels, but must be stride, the network's, or left out";
        assert_eq!(error, Err(expected.into()));
        let text = toml::to_string(&config).expect("serialises");
        assert!(!text.contains("unit") && !text.contains("off"), "{text}");
        assert!(text.contains("center_sampling_radius = \"none\""), "{text}");
        let without = AssignConfig::default();
        for unit in [DistanceUnit::Pixels, DistanceUnit::Stride] {
            assert_eq!(without.check_unit(unit), Ok(()));
        }
    }

    fn says<T: std::fmt::Debug>(result: Result<T, SettingError>, what: &str) {
        let error = result.expect_err(what).to_string();
        assert!(error.starts_with(what), "{error}");
    }

    #[test]
    fn checks_of_atss() {
        let config = AtssConfig::default();
        assert_eq!(config.check(), Ok(()));
        says(AtssConfig { k: 0, ..config }.check(), "k is 0");
        for scale in [0.0, -8.0, f32::NAN, f32::INFINITY] {
            let config = AtssConfig {
                anchor_scale: scale,
                ..config
            };
            says(config.check(), "anchor_scale is");
        }
    }

    /// torchvision's ranges are the paper's on the paper's strides.
    #[test]
    fn torchvision_ranges() {
        let config = AssignConfig::torchvision(&[8, 16, 32, 64, 128]);
        assert_eq!(config.size_ranges, AssignConfig::default().size_ranges);
        let single = AssignConfig::torchvision(&[16]).size_ranges;
        assert_eq!(single, [[0.0, f32::INFINITY]]);
        assert!(AssignConfig::torchvision(&[]).size_ranges.is_empty());
    }

    /// Settings of the rule that is not chosen are not looked at.
    #[test]
    fn only_the_chosen_rule_is_checked() {
        let mut config = AssignConfig {
            atss: AtssConfig {
                k: 0,
                ..AtssConfig::default()
            },
            ..AssignConfig::default()
        };
        assert_eq!(config.validate(5), Ok(()));
        assert!(config.validate(4).is_err());
        config.rule = AssignRule::Atss;
        says(config.validate(4), "atss.k is 0");
    }

    #[test]
    fn checks() {
        let ranged = |range| AssignConfig {
            size_ranges: vec![[0.0, 64.0], range],
            ..AssignConfig::default()
        };
        assert_eq!(ranged([64.0, f32::INFINITY]).check_fcos(2), Ok(()));
        let few = "size_ranges is a list of 2, but must be a list of 3";
        says(ranged([64.0, 128.0]).check_fcos(3), few);
        for range in [[64.0, 64.0], [64.0, 0.0], [64.0, f32::NAN]] {
            says(ranged(range).check_fcos(2), "size_ranges[1] is [64, ");
        }
        for radius in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let config = AssignConfig {
                center_sampling_radius: Some(radius),
                ..AssignConfig::default()
            };
            says(config.check_fcos(5), "center_sampling_radius is");
        }
    }
}
