use std::path::Path;

use burn::tensor::Device;
use fcos_core::{ClassList, LocationRule};
use fcos_data::PreprocessConfig;
use fcos_postprocess::PostprocessConfig;
use serde::{Deserialize, Serialize};

use crate::weights::{self, WeightsError};
use crate::{Fcos, FcosConfig};

/// Everything besides weights that a detector needs to predict; stored in its weights file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// The network; in the file it has an entry of its own.
    #[serde(skip)]
    pub model: FcosConfig,
    /// From a decoded image to the network's input.
    pub preprocess: PreprocessConfig,
    /// Where on the input a feature-map cell sits.
    pub location_rule: LocationRule,
    /// From the network's output to detections.
    pub postprocess: PostprocessConfig,
    /// Class names by label; as many as the network has classes.
    pub classes: ClassList,
    /// Where the weights come from, for people to read.
    pub provenance: String,
}

impl DetectorConfig {
    /// Default preprocessing and postprocessing around a network, whose number of classes becomes
    /// that of the names.
    pub fn new(model: FcosConfig, classes: ClassList) -> Self {
        Self {
            model: FcosConfig {
                num_classes: classes.len(),
                ..model
            },
            preprocess: PreprocessConfig::default(),
            location_rule: LocationRule::default(),
            postprocess: PostprocessConfig::default(),
            classes,
            provenance: String::new(),
        }
    }

    /// Writes a network and these settings into one file; see [`weights::save`].
    ///
    /// # Errors
    /// If the file can't be written, or the network is [folded](Fcos::fold_batch_norm).
    pub fn save(&self, path: &Path, model: &Fcos) -> Result<(), WeightsError> {
        weights::save(path, model, self)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, holds settings that make no sense, or another number
    /// of class names than the network has classes. Nothing is loaded in part.
    pub fn load(path: &Path, device: &Device) -> Result<(Fcos, Self), WeightsError> {
        let (model, mut config): (Fcos, Self) = weights::load(path, device)?;
        config.model = model.config().clone();
        let of = || path.to_path_buf();
        let invalid = |source| WeightsError::Preprocess { path: of(), source };
        config.preprocess.validate().map_err(invalid)?;
        let invalid = |source| WeightsError::Postprocess { path: of(), source };
        config.postprocess.validate().map_err(invalid)?;
        let (names, classes) = (config.classes.len(), config.model.num_classes);
        if names != classes {
            return Err(WeightsError::Classes {
                path: of(),
                names,
                classes,
            });
        }
        Ok((model, config))
    }
}
