//! The settings of postprocessing, and those of published implementations.

use fcos_core::{SettingError, serde_names};
use serde::{Deserialize, Serialize};

serde_names!(ScoreRule, FilterOn, TopKKey, Clip, TieRule);

/// The score a detection is ranked and reported by. `cls` and `ctr` are the sigmoids of the class
/// and centre-ness logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScoreRule {
    /// `√(cls · ctr)`: the official code, ATSS, AdelaiDet and torchvision.
    #[default]
    SqrtProduct,
    /// `cls · ctr`: the paper (§3.3, "centre-ness for FCOS") and mmdetection.
    Product,
}

/// The quantity that [`PreFilter`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FilterOn {
    /// `cls` alone: the paper, the official code, ATSS, AdelaiDet, mmdetection.
    #[default]
    Cls,
    /// The final score, by [`ScoreRule`]: torchvision.
    Score,
    /// `cls · ctr`: AdelaiDet with `THRESH_WITH_CTR`.
    Product,
}

/// Which (location, class) pairs become candidates: those strictly above the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct PreFilter {
    /// What is compared.
    pub on: FilterOn,
    /// With what, in `[0, 1]`.
    pub threshold: f32,
}

impl Default for PreFilter {
    /// `cls > 0.05`.
    fn default() -> Self {
        Self {
            on: FilterOn::Cls,
            threshold: 0.05,
        }
    }
}

/// What the best candidates of a level are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TopKKey {
    /// `cls · ctr`, which orders as `√(cls · ctr)` does: all but mmdetection.
    #[default]
    Product,
    /// `cls` alone: mmdetection.
    Cls,
}

/// When and where boxes are clipped. `W` and `H` are the resized image's sides, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Clip {
    /// To `[0, W] × [0, H]` before NMS: torchvision, mmdetection.
    #[default]
    BeforeNms,
    /// To `[0, W − 1] × [0, H − 1]` before NMS: the official code and ATSS, whose boxes include
    /// their last pixel.
    LegacyBeforeNms,
    /// To `[0, W] × [0, H]` after NMS and the limit per image: AdelaiDet.
    AfterNms,
}

/// What becomes of candidates that overlap a better one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NmsKind {
    /// Those with an IoU strictly above the threshold are removed.
    #[default]
    Hard,
    /// Soft-NMS (Bodla et al., ICCV 2017), linear: above the threshold, `score ← score·(1 − IoU)`.
    SoftLinear {
        /// Candidates below this score, in `[0, 1]`, are removed (0.001 in the authors' code).
        min_score: f32,
    },
    /// Soft-NMS, Gaussian: `score ← score·exp(−IoU² / sigma)`, whatever the threshold.
    SoftGaussian {
        /// Width of the Gaussian, above 0 (0.5 in the paper).
        sigma: f32,
        /// Candidates below this score, in `[0, 1]`, are removed (0.001 in the authors' code).
        min_score: f32,
    },
}

/// Non-maximum suppression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NmsConfig {
    /// IoU in `[0, 1]` above which, strictly and in `f32`, a candidate overlaps a better one.
    pub threshold: f32,
    /// What becomes of it.
    pub kind: NmsKind,
    /// Whether only candidates of the same label suppress each other.
    pub class_aware: bool,
    /// Whether boxes include their last pixel (`width = x2 − x1 + 1`): the official code and ATSS
    /// ([the added
    /// pixel](fcos_core#the-pixel-that-older-code-adds)).
    pub legacy_plus_one: bool,
}

impl Default for NmsConfig {
    /// Hard, per class, IoU > 0.6.
    fn default() -> Self {
        Self {
            threshold: 0.6,
            kind: NmsKind::Hard,
            class_aware: true,
            legacy_plus_one: false,
        }
    }
}

impl NmsConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// The first that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        check_share("threshold", self.threshold)?;
        match self.kind {
            NmsKind::Hard => Ok(()),
            NmsKind::SoftLinear { min_score } => {
                check_share("kind.soft_linear.min_score", min_score)
            }
            NmsKind::SoftGaussian { sigma, min_score } => {
                check_share("kind.soft_gaussian.min_score", min_score)?;
                let ok = sigma.is_finite() && sigma > 0.0;
                let setting = "kind.soft_gaussian.sigma";
                SettingError::check(ok, setting, sigma, "finite and above 0")
            }
        }
    }
}

/// Which detections the limit per image keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TieRule {
    /// Never more than the limit; of equal scores the earlier candidate (torchvision, mmdetection).
    #[default]
    Exact,
    /// All whose score is at least that of the last one within the limit, so that ties can exceed
    /// it (the official code, ATSS, AdelaiDet).
    KeepTies,
}

/// Everything between the head outputs and the detections of an image.
///
/// [`Default`] is what this library recommends: as AdelaiDet, but clipped before NMS and with at
/// most 100 detections. The other constructors reproduce published implementations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostprocessConfig {
    /// The final score.
    pub score_rule: ScoreRule,
    /// Which (location, class) pairs are considered at all.
    pub pre_filter: PreFilter,
    /// What the best of a level are chosen by.
    pub top_k_key: TopKKey,
    /// How many candidates a level may contribute, at least 1.
    pub pre_nms_top_k: usize,
    /// When and where boxes are clipped.
    pub clip: Clip,
    /// Whether boxes without area are removed right after clipping.
    pub remove_empty: bool,
    /// Non-maximum suppression.
    pub nms: NmsConfig,
    /// How many detections an image may have, at least 1.
    pub max_detections: usize,
    /// How ties at that limit are settled.
    pub tie_rule: TieRule,
}

impl Default for PostprocessConfig {
    fn default() -> Self {
        Self {
            score_rule: ScoreRule::default(),
            pre_filter: PreFilter::default(),
            top_k_key: TopKKey::default(),
            pre_nms_top_k: 1000,
            clip: Clip::default(),
            remove_empty: true,
            nms: NmsConfig::default(),
            max_detections: 100,
            tie_rule: TieRule::default(),
        }
    }
}

impl PostprocessConfig {
    /// tianzhi0549/FCOS, original and improved configurations alike.
    pub fn official() -> Self {
        let mut config = Self {
            clip: Clip::LegacyBeforeNms,
            remove_empty: false,
            tie_rule: TieRule::KeepTies,
            ..Self::default()
        };
        config.nms.legacy_plus_one = true;
        config
    }

    /// sfzhang15/ATSS, a fork of the [official](Self::official) code that changed nothing here.
    pub fn atss() -> Self {
        Self::official()
    }

    /// aim-uofa/AdelaiDet with detectron2's final clipping.
    pub fn adelaidet() -> Self {
        Self {
            clip: Clip::AfterNms,
            tie_rule: TieRule::KeepTies,
            ..Self::default()
        }
    }

    /// torchvision: `√(cls · ctr) > 0.2` chooses the candidates.
    pub fn torchvision() -> Self {
        Self {
            pre_filter: PreFilter {
                on: FilterOn::Score,
                threshold: 0.2,
            },
            remove_empty: false,
            ..Self::default()
        }
    }

    /// mmdetection's configurations without tricks: NMS at 0.5.
    pub fn mmdet_plain() -> Self {
        let mut config = Self::mmdet_tricks();
        config.nms.threshold = 0.5;
        config
    }

    /// mmdetection's `center-normbbox-centeronreg-giou` configurations: NMS at 0.6.
    pub fn mmdet_tricks() -> Self {
        Self {
            score_rule: ScoreRule::Product,
            top_k_key: TopKKey::Cls,
            ..Self::default()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// The first that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        check_share("pre_filter.threshold", self.pre_filter.threshold)?;
        check_count("pre_nms_top_k", self.pre_nms_top_k)?;
        check_count("max_detections", self.max_detections)?;
        self.nms.validate().map_err(|error| error.within("nms"))
    }
}

fn check_share(setting: &str, value: f32) -> Result<(), SettingError> {
    SettingError::check((0.0..=1.0).contains(&value), setting, value, "in [0, 1]")
}

fn check_count(setting: &str, count: usize) -> Result<(), SettingError> {
    SettingError::check(count > 0, setting, count, "at least 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_defaults_and_unknown_fields() {
        let json = r#"{"score_rule":"product","pre_filter":{"on":"score","threshold":0.2},
            "nms":{"kind":{"soft_gaussian":{"sigma":0.5,"min_score":0.001}}}}"#;
        let parsed: PostprocessConfig = serde_json::from_str(json).expect("parses");
        let kind = NmsKind::SoftGaussian {
            sigma: 0.5,
            min_score: 0.001,
        };
        assert_eq!((parsed.nms.kind, parsed.nms.threshold), (kind, 0.6));
        assert_eq!(parsed.score_rule, ScoreRule::Product);
        assert_eq!(parsed.max_detections, 100);
        for unknown in [
            r#"{"topk":3}"#,
            r#"{"nms":{"iou":0.5}}"#,
            r#"{"pre_filter":{"at":1}}"#,
            r#"{"clip":"never"}"#,
            r#"{"nms":{"kind":{"soft_linear":{"min_score":0,"sigma":1}}}}"#,
        ] {
            assert!(
                serde_json::from_str::<PostprocessConfig>(unknown).is_err(),
                "{unknown}"
            );
        }
    }

    #[test]
    fn presets_are_valid_and_survive_json() {
        for preset in [
            PostprocessConfig::default(),
            PostprocessConfig::official(),
            PostprocessConfig::adelaidet(),
            PostprocessConfig::torchvision(),
            PostprocessConfig::mmdet_plain(),
            PostprocessConfig::mmdet_tricks(),
        ] {
            assert_eq!(preset.validate(), Ok(()));
            let json = serde_json::to_string(&preset).expect("serialises");
            assert_eq!(
                serde_json::from_str::<PostprocessConfig>(&json).expect("parses"),
                preset
            );
        }
    }

    #[test]
    fn names_are_those_in_files() {
        assert_eq!("sqrt_product".parse(), Ok(ScoreRule::SqrtProduct));
        assert_eq!(Clip::LegacyBeforeNms.to_string(), "legacy_before_nms");
        assert_eq!(TopKKey::Cls.to_string(), "cls");
        let error = "never".parse::<TieRule>().expect_err("no rule").to_string();
        assert!(error.contains("`exact` or `keep_ties`"), "{error}");
    }

    #[test]
    fn invalid_values_are_named() {
        let check = |change: fn(&mut PostprocessConfig)| {
            let mut config = PostprocessConfig::default();
            change(&mut config);
            config.validate().map_err(|e| e.to_string())
        };
        let says = |result: Result<(), String>, what: &str| {
            assert!(
                result.as_ref().is_err_and(|e| e.contains(what)),
                "{result:?}"
            );
        };
        says(
            check(|c| c.pre_filter.threshold = 1.5),
            "pre_filter.threshold is 1.5",
        );
        says(
            check(|c| c.pre_filter.threshold = f32::NAN),
            "pre_filter.threshold is NaN",
        );
        says(check(|c| c.nms.threshold = -0.1), "nms.threshold is -0.1");
        says(check(|c| c.pre_nms_top_k = 0), "pre_nms_top_k is 0");
        says(check(|c| c.max_detections = 0), "max_detections is 0");
        let gaussian = |sigma, min_score| NmsKind::SoftGaussian { sigma, min_score };
        for (kind, what) in [
            (gaussian(0.0, 0.1), "sigma"),
            (gaussian(f32::INFINITY, 0.1), "sigma"),
            (gaussian(0.5, 2.0), "min_score"),
            (NmsKind::SoftLinear { min_score: -1.0 }, "min_score"),
        ] {
            let config = NmsConfig {
                kind,
                ..NmsConfig::default()
            };
            says(config.validate().map_err(|e| e.to_string()), what);
        }
    }
}
