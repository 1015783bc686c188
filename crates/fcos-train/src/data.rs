//! The images and boxes that a run learns from, and the network that it starts with.

use std::sync::Arc;

use burn::tensor::Device;
use fcos_core::ClassList;
use fcos_data::{Dataset, HealthReport};
use fcos_eval::Validation;
use fcos_model::weights::{self, Checkpoint};
use fcos_model::{BackboneModel, Fcos};

use crate::TrainError;
use crate::config::{DataPaths, TrainConfig};

/// A training set that has been looked through.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// The images with boxes.
    pub dataset: Arc<Dataset>,
    /// What was odd about the annotations and the images' files.
    pub health: HealthReport,
}

impl TrainingData {
    /// Reads the annotations and the headers of all images, and drops images without boxes.
    ///
    /// # Errors
    /// If the annotations can't be read, or no image with a box is left.
    pub fn load(paths: &DataPaths) -> Result<Self, TrainError> {
        let (mut dataset, mut health) =
            Dataset::read(&paths.train_annotations, &paths.train_images)?;
        dataset.check_images(&mut health);
        let dataset = dataset.filter_empty();
        if dataset.is_empty() {
            return Err(TrainError::NothingToLearn { health });
        }
        Ok(Self {
            dataset: Arc::new(dataset),
            health,
        })
    }
}

/// The val set that the settings name, if they name one; its classes must be `classes`.
pub(crate) fn load_validation(
    paths: &DataPaths,
    classes: &ClassList,
) -> Result<Option<Validation>, TrainError> {
    let images = paths.val_images.as_ref().unwrap_or(&paths.train_images);
    let open = |annotations| Validation::open(annotations, images, classes);
    Ok(paths.val_annotations.as_ref().map(open).transpose()?)
}

impl TrainConfig {
    /// The network that a run on this data starts with: initial parameters by the recipe's seed, and
    /// the start or backbone weights where the settings name some.
    ///
    /// # Errors
    /// If the network's settings contradict each other, or the weights can't be read.
    pub fn init_model<B: BackboneModel>(
        &self,
        data: &Dataset,
        device: &Device,
    ) -> Result<Fcos<B>, TrainError> {
        let model = self.seeded_model(data, device)?;
        if let Some(path) = &self.start_weights {
            return Ok(weights::load_into(path, model)?);
        }
        match &self.backbone_weights {
            Some(path) => Ok(Checkpoint::read(path)?.into_backbone(model, &self.preprocess)?),
            None => Ok(model),
        }
    }

    /// The network before any weights are read, ready for a checkpoint's.
    pub(crate) fn seeded_model<B: BackboneModel>(
        &self,
        data: &Dataset,
        device: &Device,
    ) -> Result<Fcos<B>, TrainError> {
        let device = device.clone().autodiff();
        let network = self.detector(data).model;
        Ok(Fcos::new(&network, self.recipe.seed, &device)?)
    }
}
