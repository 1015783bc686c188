//! `key=value` overrides of a detector's settings.

use fcos_core::{LocationRule, SettingError};
use fcos_data::PreprocessConfig;
use fcos_model::{DetectorConfig, FcosConfig};
use fcos_postprocess::PostprocessConfig;
use serde::{Deserialize, Serialize};

use crate::{TrainError, with_settings};

/// What can be overridden; classes and their ids belong to the weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    model: FcosConfig,
    preprocess: PreprocessConfig,
    location_rule: LocationRule,
    postprocess: PostprocessConfig,
}

/// A detector's settings with `key=value` overrides of `model`, `preprocess`, `location_rule` and
/// `postprocess`, as [`with_settings`] takes them.
///
/// ```
/// let config = fcos_model::DetectorConfig::preset("torchvision")?;
/// let sets = ["preprocess.short_side=600", "postprocess.nms.threshold=0.5"];
/// let config = fcos_train::with_detector_settings(config, &sets.map(String::from))?;
/// assert_eq!(config.preprocess.short_side, 600);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If a key or value is not one of the settings', or a value is out of its range.
pub fn with_detector_settings(
    config: DetectorConfig,
    sets: &[String],
) -> Result<DetectorConfig, TrainError> {
    let settings = Settings {
        model: config.model.clone(),
        preprocess: config.preprocess.clone(),
        location_rule: config.location_rule,
        postprocess: config.postprocess,
    };
    let settings = with_settings(&settings, sets)?;
    settings.model.validate().map_err(|e| e.within("model"))?;
    let within = |table| move |error: SettingError| error.within(table);
    let Settings {
        preprocess,
        postprocess,
        ..
    } = &settings;
    preprocess.validate().map_err(within("preprocess"))?;
    postprocess.validate().map_err(within("postprocess"))?;
    Ok(DetectorConfig {
        model: settings.model,
        preprocess: settings.preprocess,
        location_rule: settings.location_rule,
        postprocess: settings.postprocess,
        ..config
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_every_part_can_be_changed() {
        let config = DetectorConfig::preset("official-orig").expect("a preset");
        let sets = [
            "preprocess.short_side=600",
            "postprocess.nms.threshold=0.5",
            "model.head.box_activation=relu_stride",
            "location_rule=torchvision",
        ];
        let sets = sets.map(String::from);
        let changed = with_detector_settings(config.clone(), &sets).expect("settings");
        assert_eq!(changed.preprocess.short_side, 600);
        assert_eq!(changed.location_rule, LocationRule::Torchvision);
        assert_eq!(changed.classes, config.classes);
        assert_eq!(changed.category_ids, config.category_ids);
        for (wrong, named) in [
            ("postprocess.nsm=1", "nsm"),
            ("provenance=me", "provenance"),
            ("model.fpn.channels=0", "model.fpn.channels is 0"),
            ("preprocess.short_side=0", "preprocess.short_side is 0"),
            (
                "postprocess.nms.threshold=2",
                "postprocess.nms.threshold is 2",
            ),
        ] {
            let error = with_detector_settings(config.clone(), &[wrong.into()]).expect_err(wrong);
            let chain = fcos_core::error_chain(&error);
            assert!(chain.contains(named), "{chain}");
        }
    }
}
