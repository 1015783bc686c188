//! A detector, from its file to its detections.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use fcos_core::{ClassList, SettingError};
use fcos_data::{DataError, PreprocessConfig, decode};
use fcos_model::weights::WeightsError;
use fcos_model::{
    Backbone, BackboneModel, BatchDetections, DetectorConfig, Fcos, Pipeline, PredictError, Timings,
};
use fcos_postprocess::PostprocessConfig;
use image::{DynamicImage, RgbImage};

use crate::Detections;
use crate::detections::Class;

/// Finds objects in images: weights, settings and class names of one file, on one device.
///
/// # Examples
/// Train a file with `cargo run --release --example train_coco`, then:
/// ```no_run
/// use fcos::{Detector, DeviceSpec};
///
/// let device = "auto".parse::<DeviceSpec>()?.device()?;
/// let detector = Detector::load("runs/demo/best.safetensors", &device)?;
/// let detections = detector.predict(&image::open("street.jpg")?)?;
/// for d in &detections {
///     println!("{} {:.2} {:?}", d.name, d.score, d.bbox);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `B` is one of the library's backbones, or [one of your own](fcos_model::BackboneModel), which
/// predicts, is saved and is [loaded](Self::load_own) alike.
#[derive(Debug, Clone)]
pub struct Detector<B: BackboneModel = Backbone> {
    source: Source<B>,
    pipeline: Pipeline<B>,
    classes: Vec<Class>,
}

/// Where [`Detector::save`] takes the weights from: the pipeline's are folded.
#[derive(Debug, Clone)]
enum Source<B: BackboneModel> {
    /// The model as built.
    Model(Box<Fcos<B>>),
    /// The file it was loaded from, which spares a second copy in memory.
    File(PathBuf),
}

/// Why a detector can't be loaded, saved or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The weights file can't be read or written, or is not one of a detector.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The image can't be read.
    #[error(transparent)]
    Image(#[from] DataError),
    /// The image can't be predicted.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// Class names or category ids that don't fit the model.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// What [`Detector::predict_file`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FilePrediction {
    /// The image, upright.
    pub image: RgbImage,
    /// The objects in it.
    pub detections: Detections,
    /// The time that each stage took.
    pub timings: Timings,
}

/// What [`Detector::predict_rgb`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchPrediction {
    /// The objects in each image.
    pub detections: Vec<Detections>,
    /// The time that each stage took for the whole batch.
    pub timings: Timings,
}

impl Detector {
    /// Loads a weights file of this library: it holds the settings and class names too.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, or does not fit the model that it describes. Nothing
    /// is ever loaded in part.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        Self::load_own(path, device)
    }
}

impl<B: BackboneModel> Detector<B> {
    /// A detector from a model and its settings. Those of the network are the model's own, whatever
    /// stands in `config.model`.
    ///
    /// # Errors
    /// Unless there are a name and a category id of its own for each class of the model.
    pub fn new(model: Fcos<B>, mut config: DetectorConfig) -> Result<Self, DetectorError> {
        config.model = model.config().clone();
        config.check_classes()?;
        let source = Source::Model(Box::new(model.clone()));
        Ok(Self::with_source(source, model, config))
    }

    /// Of settings whose classes are known to fit.
    fn with_source(source: Source<B>, model: Fcos<B>, config: DetectorConfig) -> Self {
        let classes = config.classes.iter().zip(&config.category_ids);
        let class = |(name, &category_id): (&str, &u64)| Class {
            name: name.into(),
            category_id,
        };
        Self {
            source,
            classes: classes.map(class).collect(),
            pipeline: Pipeline::new(model, config),
        }
    }

    /// [`load`](Detector::load) for any backbone: `Detector::<Mine>::load_own(path, &device)`.
    ///
    /// # Errors
    /// As [`load`](Detector::load); also if the file's backbone is none that `B` can be.
    pub fn load_own(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let path = path.as_ref();
        let (model, config) = DetectorConfig::load(path, device)?;
        Ok(Self::with_source(Source::File(path.into()), model, config))
    }

    /// Writes weights, settings and class names into one safetensors file. A detector that was
    /// [loaded](Self::load_own) reads its weights from that file again.
    ///
    /// # Errors
    /// If the file can't be written; one that was there before stays as it was then. Or if the
    /// file that the detector was loaded from is gone.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        let path = path.as_ref();
        match &self.source {
            Source::Model(model) => self.config().save(path, model)?,
            Source::File(file) => {
                let (model, _): (Fcos<B>, _) = DetectorConfig::load(file, &self.pipeline.device())?;
                self.config().save(path, &model)?;
            }
        }
        Ok(())
    }

    /// The settings: model, preprocessing, postprocessing, classes.
    pub fn config(&self) -> &DetectorConfig {
        self.pipeline.config()
    }

    /// The settings from image to network, to change sizes between predictions.
    pub fn preprocess_mut(&mut self) -> &mut PreprocessConfig {
        self.pipeline.preprocess_mut()
    }

    /// The settings from network to detections, to change thresholds between predictions.
    pub fn postprocess_mut(&mut self) -> &mut PostprocessConfig {
        self.pipeline.postprocess_mut()
    }

    /// The class names by label.
    pub fn classes(&self) -> &ClassList {
        &self.config().classes
    }

    /// Model, preprocessing and postprocessing by themselves.
    pub fn pipeline(&self) -> &Pipeline<B> {
        &self.pipeline
    }

    /// Finds the objects in one image; boxes are in its pixels, best score first.
    ///
    /// An EXIF orientation is the caller's to apply, as with every [`DynamicImage`];
    /// [`predict_file`](Self::predict_file) does.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range, or the device fails.
    pub fn predict(&self, image: &DynamicImage) -> Result<Detections, DetectorError> {
        let mut batch = self.predict_rgb(&[&image.to_rgb8()])?;
        Ok(batch.detections.remove(0))
    }

    /// [`predict`](Self::predict) where nothing may block, as in a browser: the same work, but the
    /// device is waited for without a thread.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async(&self, image: &DynamicImage) -> Result<Detections, DetectorError> {
        let image = image.to_rgb8();
        let batch = self.pipeline.predict_async(&[&image]).await?;
        Ok(self.named(&batch).remove(0))
    }

    /// Finds the objects in several images at once: they go through the network as one batch,
    /// padded to the largest.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range, or the device fails.
    pub fn predict_batch(&self, images: &[DynamicImage]) -> Result<Vec<Detections>, DetectorError> {
        let rgb: Vec<RgbImage> = images.iter().map(DynamicImage::to_rgb8).collect();
        let batch = self.predict_rgb(&rgb.iter().collect::<Vec<_>>())?;
        Ok(batch.detections)
    }

    /// Decodes a JPEG or PNG file, upright by its EXIF orientation, and finds the objects in it.
    ///
    /// # Errors
    /// If the file can't be decoded or the postprocessing settings are out of range.
    pub fn predict_file(&self, path: impl AsRef<Path>) -> Result<FilePrediction, DetectorError> {
        let image = decode(path.as_ref())?;
        let mut batch = self.predict_rgb(&[&image])?;
        Ok(FilePrediction {
            image,
            detections: batch.detections.remove(0),
            timings: batch.timings,
        })
    }

    /// Finds the objects in a batch of RGB images.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range, or the device fails.
    pub fn predict_rgb(&self, images: &[&RgbImage]) -> Result<BatchPrediction, DetectorError> {
        let batch = self.pipeline.predict(images)?;
        Ok(BatchPrediction {
            detections: self.named(&batch),
            timings: batch.timings,
        })
    }

    fn named(&self, batch: &BatchDetections) -> Vec<Detections> {
        let found = batch.detections.iter().zip(&batch.non_finite);
        found
            .map(|(found, &non_finite)| Detections::new(found, non_finite, &self.classes))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos_model::FcosConfig;

    /// What is said of a detector of three classes with these names and ids.
    fn refused(names: &[&str], ids: &[u64]) -> String {
        let three = FcosConfig {
            num_classes: 3,
            ..FcosConfig::tiny()
        };
        let model = three.init(&Device::default()).expect("valid");
        let names = ClassList::new(names.iter().copied()).expect("names");
        let mut config = DetectorConfig::new(FcosConfig::tiny(), names);
        config.category_ids = ids.to_vec();
        let detector = Detector::new(model, config);
        detector.map(drop).expect_err("refused").to_string()
    }

    #[test]
    fn classes_must_be_those_of_the_network() {
        let error = refused(&["a", "b"], &[1, 2]);
        assert!(
            error.starts_with("classes is 2 names, but must be 3"),
            "{error}"
        );
        for ids in [&[1, 2][..], &[1, 2, 2], &[1, 2, 3, 4]] {
            let error = refused(&["a", "b", "c"], ids);
            assert!(
                error.starts_with(&format!("category_ids is {ids:?}")),
                "{error}"
            );
        }
    }
}
