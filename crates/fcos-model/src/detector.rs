//! What belongs to a detector beside its network.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use fcos_core::{ClassList, LocationRule, SettingError};
use fcos_data::PreprocessConfig;
use fcos_postprocess::PostprocessConfig;
use serde::{Deserialize, Serialize};

use crate::weights::{self, WeightsError, WeightsErrorKind as Kind};
use crate::{BackboneModel, Fcos, FcosConfig};

/// Everything besides weights that a detector needs to predict; stored in its weights file.
///
/// A setting that is added later has a default, what it was before it was one, so that files
/// written without it are read: `testdata/compat/` has such files.
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
    pub fn save<B: BackboneModel>(
        &self,
        path: impl AsRef<Path>,
        model: &Fcos<B>,
    ) -> Result<(), WeightsError> {
        weights::save(path, model, self)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, holds settings that make no sense, or another number
    /// of class names or of distinct category ids than the network has classes. Nothing is loaded
    /// in part.
    pub fn load<B: BackboneModel>(
        path: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(Fcos<B>, Self), WeightsError> {
        let path = path.as_ref();
        let (model, config): (_, Self) = weights::load(path, device)?;
        let config = config.completed(path, model.config())?;
        Ok((model, config))
    }

    /// With the network's settings beside those of the file, which have to fit it.
    fn completed(mut self, path: &Path, model: &FcosConfig) -> Result<Self, WeightsError> {
        self.model = model.clone();
        if self.category_ids.is_empty() {
            self.category_ids = self.classes.category_ids();
        }
        let preprocess = self.preprocess.validate();
        preprocess.map_err(|e| Kind::Preprocess(e.within("preprocess")).at(path))?;
        let postprocess = self.postprocess.validate();
        postprocess.map_err(|e| Kind::Postprocess(e.within("postprocess")).at(path))?;
        self.check_classes()
            .map_err(|e| Kind::Classes(e).at(path))?;
        Ok(self)
    }

    /// That there are a name, and a category id of its own, for each of the network's classes.
    ///
    /// # Errors
    /// Otherwise.
    pub fn check_classes(&self) -> Result<(), SettingError> {
        let (classes, ids) = (self.model.num_classes, &self.category_ids);
        let one_each = "one for each class of the network";
        let names = self.classes.len();
        SettingError::check(
            names == classes,
            "classes",
            format!("{names} names"),
            format!("{classes}, {one_each}"),
        )?;
        SettingError::check(
            ids.len() == classes && BTreeSet::from_iter(ids).len() == classes,
            "category_ids",
            format!("{ids:?}"),
            format!("{classes} that differ, {one_each}"),
        )
    }
}
