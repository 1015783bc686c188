use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use fcos_core::{ClassList, LocationRule, SettingError};
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
    /// The data set's category ids by label, for writing results; a file without them has those that
    /// [the names tell](ClassList::category_ids).
    #[serde(default)]
    pub category_ids: Vec<u64>,
    /// Where the weights come from, for people to read.
    pub provenance: String,
}

impl DetectorConfig {
    /// Default preprocessing and postprocessing around a network, whose number of classes becomes
    /// that of the names, with the category ids that [they tell](ClassList::category_ids).
    pub fn new(model: FcosConfig, classes: ClassList) -> Self {
        Self {
            model: FcosConfig {
                num_classes: classes.len(),
                ..model
            },
            preprocess: PreprocessConfig::default(),
            location_rule: LocationRule::default(),
            postprocess: PostprocessConfig::default(),
            category_ids: classes.category_ids(),
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
    /// of class names or of distinct category ids than the network has classes. Nothing is loaded
    /// in part.
    pub fn load(path: &Path, device: &Device) -> Result<(Fcos, Self), WeightsError> {
        let (model, mut config): (Fcos, Self) = weights::load(path, device)?;
        config.model = model.config().clone();
        let of = || path.to_path_buf();
        let invalid = |error: SettingError| WeightsError::Preprocess {
            path: of(),
            source: error.within("preprocess"),
        };
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
        if config.category_ids.is_empty() {
            config.category_ids = config.classes.category_ids();
        }
        let (ids, distinct) = (
            &config.category_ids,
            BTreeSet::from_iter(&config.category_ids),
        );
        if ids.len() != classes || distinct.len() != classes {
            return Err(WeightsError::CategoryIds {
                path: path.into(),
                ids: ids.len(),
                distinct: distinct.len(),
                classes,
            });
        }
        Ok((model, config))
    }
}
