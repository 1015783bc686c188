use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use fcos_core::ClassList;
use fcos_data::{DataError, decode};
use fcos_model::weights::WeightsError;
use fcos_model::{BatchDetections, DetectorConfig, Fcos, Pipeline, PredictError, Timings};
use image::{DynamicImage, RgbImage};

use crate::Detections;

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
#[derive(Debug, Clone)]
pub struct Detector {
    source: Source,
    pipeline: Pipeline,
    names: Vec<Arc<str>>,
}

/// Where [`Detector::save`] takes the weights from: the pipeline's are folded.
#[derive(Debug, Clone)]
enum Source {
    /// The model as built.
    Model(Box<Fcos>),
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
}

impl Detector {
    /// A detector from a model and its settings.
    pub fn new(model: Fcos, config: DetectorConfig) -> Self {
        Self::with_source(Source::Model(Box::new(model.clone())), model, config)
    }

    fn with_source(source: Source, model: Fcos, config: DetectorConfig) -> Self {
        Self {
            source,
            names: config.classes.iter().map(Arc::from).collect(),
            pipeline: Pipeline::new(model, config),
        }
    }

    /// Loads a weights file of this library: it holds the settings and class names too.
    ///
    /// # Errors
    /// If the file can't be read, is damaged, or does not fit the model that it describes. Nothing
    /// is ever loaded in part.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, DetectorError> {
        let path = path.as_ref();
        let (model, config) = DetectorConfig::load(path, device)?;
        Ok(Self::with_source(Source::File(path.into()), model, config))
    }

    /// Writes weights, settings and class names into one safetensors file. A detector that was
    /// [loaded](Self::load) reads its weights from that file again.
    ///
    /// # Errors
    /// If the file can't be written; one that was there before stays as it was then. Or if the
    /// file that the detector was loaded from is gone.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), DetectorError> {
        let path = path.as_ref();
        match &self.source {
            Source::Model(model) => self.config().save(path, model)?,
            Source::File(file) => {
                let (model, _) = DetectorConfig::load(file, &self.pipeline.device())?;
                self.config().save(path, &model)?;
            }
        }
        Ok(())
    }

    /// The settings: model, preprocessing, postprocessing, classes.
    pub fn config(&self) -> &DetectorConfig {
        self.pipeline.config()
    }

    /// The settings, to change thresholds and sizes between predictions.
    pub fn config_mut(&mut self) -> &mut DetectorConfig {
        self.pipeline.config_mut()
    }

    /// The class names by label.
    pub fn classes(&self) -> &ClassList {
        &self.config().classes
    }

    /// Model, preprocessing and postprocessing by themselves.
    pub fn pipeline(&self) -> &Pipeline {
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
        Ok(self.predict_rgb(&[&image.to_rgb8()])?.0.remove(0))
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
        Ok(self.predict_rgb(&rgb.iter().collect::<Vec<_>>())?.0)
    }

    /// Decodes a JPEG or PNG file, upright by its EXIF orientation, and finds the objects in it.
    /// Returns the image too, and the time that each stage took.
    ///
    /// # Errors
    /// If the file can't be decoded or the postprocessing settings are out of range.
    pub fn predict_file(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<(RgbImage, Detections, Timings), DetectorError> {
        let image = decode(path.as_ref())?;
        let (mut detections, timings) = self.predict_rgb(&[&image])?;
        Ok((image, detections.remove(0), timings))
    }

    /// Finds the objects in a batch of RGB images; also tells the time that each stage took.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range, or the device fails.
    pub fn predict_rgb(
        &self,
        images: &[&RgbImage],
    ) -> Result<(Vec<Detections>, Timings), DetectorError> {
        let batch = self.pipeline.predict(images)?;
        Ok((self.named(&batch), batch.timings))
    }

    fn named(&self, batch: &BatchDetections) -> Vec<Detections> {
        let found = batch.detections.iter().zip(&batch.dropped);
        found
            .map(|(found, &dropped)| Detections::new(found, dropped, &self.names))
            .collect()
    }
}
