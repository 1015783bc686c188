//! From decoded images to detections: preprocess, one forward pass, one read, postprocess.

use std::time::Duration;

use burn::module::Module;
use burn::tensor::{DataError, Device, ExecutionError, Tensor, TensorData, Transaction};
use fcos_core::{Locations, Outputs, Size};
use fcos_data::{PaddedBatch, Prepared, PreprocessConfig};
use fcos_postprocess::{
    Detection, PostprocessConfig, PostprocessError, Postprocessed, postprocess_counted,
    scale_to_original,
};
use image::RgbImage;
use web_time::Instant;

use crate::{Backbone, BackboneModel, DetectorConfig, Fcos};

/// A model ready to predict: on a plain (not autodiff) device, with batch norm folded into the
/// convolutions, and with its preprocessing and postprocessing.
#[derive(Debug, Clone)]
pub struct Pipeline<B: BackboneModel = Backbone> {
    model: Fcos<B>,
    config: DetectorConfig,
}

/// Why a batch can't be predicted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// The postprocessing settings are out of range.
    #[error(transparent)]
    Postprocess(#[from] PostprocessError),
    /// The device failed: out of memory, or lost.
    #[error("the device failed")]
    Device(#[from] ExecutionError),
    /// The outputs can't be had as `f32`.
    #[error("the network's outputs can't be read")]
    Outputs(#[from] DataError),
}

/// The detections of a batch, and where the time went.
#[derive(Debug, Clone, Default)]
pub struct BatchDetections {
    /// Per image, best score first; boxes in pixels of the original image.
    pub detections: Vec<Vec<Detection>>,
    /// Per image, how many (location, class) pairs were left out because a score or a box was not
    /// finite: not 0 if weights are broken.
    pub non_finite: Vec<usize>,
    /// Time per stage for the whole batch.
    pub timings: Timings,
}

/// Wall-clock time of a prediction's stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resize, normalise, pad, upload.
    pub preprocess: Duration,
    /// The network, until its outputs are back on the host.
    pub forward: Duration,
    /// Threshold, top-k, decode, NMS.
    pub postprocess: Duration,
}

impl<B: BackboneModel> Pipeline<B> {
    /// A pipeline on the device where `model` lives.
    pub fn new(model: Fcos<B>, config: DetectorConfig) -> Self {
        Self {
            model: model.valid().fold_batch_norm(),
            config,
        }
    }

    /// The settings it works by.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The settings from image to network, to change sizes between predictions.
    pub fn preprocess_mut(&mut self) -> &mut PreprocessConfig {
        &mut self.config.preprocess
    }

    /// The settings from network to detections, to change thresholds between predictions.
    pub fn postprocess_mut(&mut self) -> &mut PostprocessConfig {
        &mut self.config.postprocess
    }

    /// Detects objects in RGB images of any sizes; the images go through the network as one
    /// batch, padded to the largest. The device is read once.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range, or the device fails.
    pub fn predict(&self, images: &[&RgbImage]) -> Result<BatchDetections, PredictError> {
        match self.start(images) {
            Some((started, outputs)) => started.finish(outputs.try_execute()?),
            None => Ok(BatchDetections::default()),
        }
    }

    /// [`predict`](Self::predict) where nothing may block, as in a browser: the outputs are waited
    /// for without a thread.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async(
        &self,
        images: &[&RgbImage],
    ) -> Result<BatchDetections, PredictError> {
        match self.start(images) {
            Some((started, outputs)) => started.finish(outputs.execute_async().await?),
            None => Ok(BatchDetections::default()),
        }
    }

    /// Everything before the outputs are read; `None` without images.
    fn start<'a>(&'a self, images: &'a [&'a RgbImage]) -> Option<(Started<'a>, Transaction)> {
        if images.is_empty() {
            return None;
        }
        let start = Instant::now();
        let apply = |image: &&RgbImage| self.config.preprocess.apply(image);
        let prepared: Vec<Prepared> = images.iter().map(apply).collect();
        let PaddedBatch { pixels, shape } = self.config.preprocess.pad_batch(&prepared);
        let input = self.upload(pixels, shape);
        let started = Started {
            config: &self.config,
            images,
            prepared,
            shape,
            start,
            preprocess: start.elapsed(),
        };
        Some((started, read(self.model.forward(input))))
    }

    fn upload(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(pixels, shape), &self.device())
    }

    /// The device that the model lives on.
    pub fn device(&self) -> Device {
        self.model.device()
    }
}

/// All outputs in one read: class logits, distances, centre-ness.
fn read(outputs: Outputs<Tensor<3>>) -> Transaction {
    Transaction::default()
        .register(outputs.cls_logits)
        .register(outputs.ltrb)
        .register(outputs.centerness)
}

/// What was read, in the order of [`read`]: `B · N · C`, `B · N · 4` and `B · N` values.
fn on_host(read: Vec<TensorData>) -> Result<Outputs<Vec<f32>>, DataError> {
    let mut parts = read.into_iter().map(TensorData::try_into_vec_as::<f32>);
    let mut next = || parts.next().unwrap_or_else(|| Ok(Vec::new()));
    Ok(Outputs {
        cls_logits: next()?,
        ltrb: next()?,
        centerness: next()?,
    })
}

/// The part of a batch's outputs that is one of its images'.
fn of_image(outputs: &Outputs<Vec<f32>>, index: usize, images: usize) -> Outputs<&[f32]> {
    outputs.as_ref().map(|part| {
        let each = part.len() / images;
        &part[index * each..(index + 1) * each]
    })
}

/// A batch whose outputs are on their way.
struct Started<'a> {
    config: &'a DetectorConfig,
    images: &'a [&'a RgbImage],
    prepared: Vec<Prepared>,
    /// `[B, 3, H, W]` with padding.
    shape: [usize; 4],
    start: Instant,
    preprocess: Duration,
}

impl Started<'_> {
    /// Everything after the outputs are read.
    fn finish(self, outputs: Vec<TensorData>) -> Result<BatchDetections, PredictError> {
        let outputs = on_host(outputs)?;
        let forward = self.start.elapsed() - self.preprocess;
        let config = self.config;
        let [_, _, height, width] = self.shape;
        let strides = config.model.strides();
        let locations = Locations::new(Size { width, height }, &strides, config.location_rule);
        let images = self.images.len();
        let found = (0..images)
            .map(|i| self.detections(i, of_image(&outputs, i, images), &locations))
            .collect::<Result<Vec<_>, _>>()?;
        let (detections, non_finite) = found
            .into_iter()
            .map(|found| (found.detections, found.non_finite))
            .unzip();
        Ok(BatchDetections {
            detections,
            non_finite,
            timings: Timings {
                preprocess: self.preprocess,
                forward,
                postprocess: self.start.elapsed() - self.preprocess - forward,
            },
        })
    }

    fn detections(
        &self,
        index: usize,
        outputs: Outputs<&[f32]>,
        locations: &Locations,
    ) -> Result<Postprocessed, PostprocessError> {
        let config = self.config;
        let (image, prepared) = (self.images[index], &self.prepared[index]);
        let unit = config.model.distance_unit();
        let settings = &config.postprocess;
        let mut found = postprocess_counted(outputs, locations, unit, prepared.size, settings)?;
        let original = Size {
            width: image.width() as usize,
            height: image.height() as usize,
        };
        scale_to_original(&mut found.detections, prepared.scale, original)?;
        if settings.nms.legacy_plus_one {
            found.detections.iter_mut().for_each(include_last_pixel);
        }
        Ok(found)
    }
}

/// From the old convention, where a box names its last pixel, to ours, where it ends behind it: what
/// the official code does when it writes its results (`BoxList.convert("xywh")`).
fn include_last_pixel(detection: &mut Detection) {
    detection.bbox.x2 += 1.0;
    detection.bbox.y2 += 1.0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FcosConfig;
    use fcos_core::{ClassList, pyramid_grids};

    /// What a prediction reads: `4 · B · N · (C + 5)` bytes, once.
    #[test]
    fn reads_every_output_once() {
        let device = Device::flex();
        let classes = ClassList::new(["cat", "dog", "bird"]).expect("three names");
        let config = DetectorConfig::new(FcosConfig::tiny(), classes);
        let model = config.model.init(&device).expect("valid");
        let pipeline = Pipeline::new(model, config);
        let image = RgbImage::new(40, 30);
        let images = [&image, &image];
        let (started, outputs) = pipeline.start(&images).expect("two images");
        let [b, _, height, width] = started.shape;
        let data = outputs.try_execute().expect("reads");
        let grids = pyramid_grids(Size { width, height }, &[8, 16, 32, 64, 128]);
        let n: usize = grids.iter().map(|g| g.width * g.height).sum();
        let bytes: usize = data.iter().map(|d| 4 * d.num_elements()).sum();
        assert_eq!(bytes, 4 * b * n * (3 + 5));
        let found = started.finish(data).expect("finishes");
        assert_eq!((found.detections.len(), found.non_finite), (2, vec![0, 0]));
        assert!(
            pipeline
                .predict(&[])
                .expect("nothing")
                .detections
                .is_empty()
        );
    }

    #[test]
    fn outputs_that_are_no_numbers_are_counted() {
        let classes = ClassList::new(["cat", "dog", "bird"]).expect("three names");
        let config = DetectorConfig::new(FcosConfig::tiny(), classes);
        let model = config.model.init(&Device::flex()).expect("valid");
        let mut tensors = model.tensors();
        let bias = TensorData::new(vec![0.0, f32::NAN, 0.0], [3]);
        tensors.insert("head.cls_logits.bias".into(), bias);
        let model = model.with_tensors(tensors).expect("fit");
        let pipeline = Pipeline::new(model, config);
        let found = pipeline.predict(&[&RgbImage::new(40, 30)]).expect("finds");
        assert!(found.non_finite[0] > 0, "{:?}", found.non_finite);
    }
}
