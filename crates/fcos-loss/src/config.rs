//! The settings of the losses, and what they may be.

use fcos_core::{SettingError, serde_names};
use serde::{Deserialize, Serialize};

use crate::{FcosLoss, IouLoss, IouSmoothing, MovingScope, NormalizerRule, NormalizerState, term};

serde_names!(BoxWeighting, IouLoss, IouSmoothing, MovingScope);

/// Everything that distinguishes one FCOS loss from another.
///
/// The default is GIoU on `U + 1e-7`, weighted by centre-ness, with α 0.25 and γ 2.
/// The original "improved" FCOS and AdelaiDet have [`IouSmoothing::PlusOne`]; torchvision has
/// [`BoxWeighting::Uniform`]; mmdetection has [`IouSmoothing::ClampUnion`].
///
/// ```
/// # use fcos_loss::{BoxWeighting, LossConfig};
/// let torchvision = LossConfig { box_weighting: BoxWeighting::Uniform, ..LossConfig::default() };
/// assert!(torchvision.validate().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// Focal loss: weight of the assigned class, in `[0, 1]`; the others have `1 − alpha`.
    pub alpha: f64,
    /// Focal loss: how much sure predictions are discounted, at least 0.
    pub gamma: f64,
    /// The box loss.
    pub box_loss: IouLoss,
    /// How the box loss is kept finite.
    pub smoothing: IouSmoothing,
    /// What each location counts in the box loss.
    pub box_weighting: BoxWeighting,
    /// Factors of the three losses.
    pub weights: LossWeights,
    /// What divides the losses.
    pub normalizer: NormalizerRule,
}

/// What each positive location counts in the box loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BoxWeighting {
    /// Its centre-ness target; divided by their sum (original code, AdelaiDet, mmdetection, ATSS).
    #[default]
    Centerness,
    /// One; divided by the number of positives (the paper's Eq. 2, torchvision).
    Uniform,
}

/// Factors of the three losses, each at least 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// Of the classification loss.
    pub cls: f64,
    /// Of the box loss: 1 in FCOS, 2 in ATSS.
    pub bbox: f64,
    /// Of the centre-ness loss.
    pub centerness: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self {
            cls: 1.0,
            bbox: 1.0,
            centerness: 1.0,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            alpha: 0.25,
            gamma: 2.0,
            box_loss: IouLoss::default(),
            smoothing: IouSmoothing::default(),
            box_weighting: BoxWeighting::default(),
            weights: LossWeights::default(),
            normalizer: NormalizerRule::default(),
        }
    }
}

impl LossConfig {
    /// The loss of this configuration.
    pub fn init(&self) -> FcosLoss {
        FcosLoss::new(*self)
    }

    /// The source of its divisors, before the first step.
    pub fn init_normalizer(&self) -> NormalizerState {
        NormalizerState::new(self.normalizer)
    }

    /// Whether every number is within its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), SettingError> {
        let is_share = (0.0..=1.0).contains(&self.alpha);
        SettingError::check(is_share, "alpha", self.alpha, "in [0, 1]")?;
        check_factor("gamma", self.gamma)?;
        let weights = self.weights.validate();
        weights.map_err(|error| error.within("weights"))?;
        let normalizer = self.normalizer.validate();
        normalizer.map_err(|error| error.within("normalizer.moving_positives"))
    }
}

impl LossWeights {
    fn validate(&self) -> Result<(), SettingError> {
        check_factor(term::CLS, self.cls)?;
        check_factor(term::BBOX, self.bbox)?;
        check_factor(term::CENTERNESS, self.centerness)
    }
}

impl NormalizerRule {
    fn validate(&self) -> Result<(), SettingError> {
        let Self::MovingPositives {
            momentum, initial, ..
        } = *self
        else {
            return Ok(());
        };
        let moves = (0.0..1.0).contains(&momentum);
        SettingError::check(moves, "momentum", momentum, "in [0, 1)")?;
        let divides = initial > 0.0 && initial.is_finite();
        SettingError::check(divides, "initial", initial, "finite and above 0")
    }
}

fn check_factor(setting: &str, value: f64) -> Result<(), SettingError> {
    let ok = value >= 0.0 && value.is_finite();
    SettingError::check(ok, setting, value, "finite and at least 0")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::MovingScope;

    #[test]
    fn survives_json_and_defaults_what_is_missing() {
        let config = LossConfig {
            box_loss: IouLoss::LinearIou,
            smoothing: IouSmoothing::PlusOne,
            normalizer: NormalizerRule::MovingPositives {
                momentum: 0.9,
                initial: 100.0,
                scope: MovingScope::Classification,
            },
            ..LossConfig::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LossConfig>(&text).unwrap(), config);
        let short: LossConfig = serde_json::from_str(r#"{"weights": {"bbox": 2}}"#).unwrap();
        assert_eq!(
            (short.weights.bbox, short.weights.cls, short.alpha),
            (2.0, 1.0, 0.25)
        );
    }

    #[test]
    fn names_are_those_in_files() {
        assert_eq!("linear_iou".parse(), Ok(IouLoss::LinearIou));
        assert_eq!(IouSmoothing::PlusOne.to_string(), "plus_one");
        assert_eq!(BoxWeighting::Centerness.to_string(), "centerness");
        assert!("everything".parse::<MovingScope>().is_err());
    }

    #[test]
    fn refuses_unknown_fields() {
        for text in [
            r#"{"apha": 0.25}"#,
            r#"{"weights": {"box": 1}}"#,
            r#"{"normalizer": {"moving_positives": {"momentum": 0.9, "initial": 1, "scope": "all", "x": 1}}}"#,
        ] {
            assert!(serde_json::from_str::<LossConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_the_number_out_of_range() {
        let moving = |momentum, initial| NormalizerRule::MovingPositives {
            momentum,
            initial,
            scope: MovingScope::All,
        };
        let changed = |change: fn(&mut LossConfig)| {
            let mut config = LossConfig::default();
            change(&mut config);
            config
        };
        let normalized = |normalizer| LossConfig {
            normalizer,
            ..LossConfig::default()
        };
        assert!(LossConfig::default().validate().is_ok());
        assert!(normalized(moving(0.0, 1.0)).validate().is_ok());
        for (config, word) in [
            (changed(|c| c.alpha = 1.5), "alpha"),
            (changed(|c| c.alpha = f64::NAN), "alpha"),
            (changed(|c| c.gamma = -1.0), "gamma"),
            (changed(|c| c.weights.bbox = f64::INFINITY), "weights.bbox"),
            (
                normalized(moving(1.0, 1.0)),
                "normalizer.moving_positives.momentum",
            ),
            (
                normalized(moving(0.9, 0.0)),
                "normalizer.moving_positives.initial",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(word), "{error}");
        }
    }
}
