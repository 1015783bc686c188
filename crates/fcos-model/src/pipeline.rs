//! From decoded images to detections: preprocess, one forward pass, one read, postprocess.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, Transaction};
use fcos_core::{Locations, Size};
use fcos_data::Prepared;
use fcos_postprocess::{Detection, HeadOutput, PostprocessError, postprocess, scale_to_original};
use image::RgbImage;

use crate::{DetectorConfig, Fcos, Predictions};

/// A model ready to predict: on a plain (not autodiff) device, with batch norm folded into the
/// convolutions, and with its preprocessing and postprocessing.
#[derive(Debug, Clone)]
pub struct Pipeline {
    model: Fcos,
    config: DetectorConfig,
}

/// The detections of a batch, and where the time went.
#[derive(Debug, Clone)]
pub struct BatchDetections {
    /// Per image, best score first; boxes in pixels of the original image.
    pub detections: Vec<Vec<Detection>>,
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

impl Pipeline {
    /// A pipeline on the device where `model` lives.
    pub fn new(model: Fcos, config: DetectorConfig) -> Self {
        Self {
            model: model.valid().fold_batch_norm(),
            config,
        }
    }

    /// The settings it works by.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The settings, to change thresholds between predictions.
    pub fn config_mut(&mut self) -> &mut DetectorConfig {
        &mut self.config
    }

    /// Detects objects in RGB images of any sizes; the images go through the network as one
    /// batch, padded to the largest.
    ///
    /// # Errors
    /// If the postprocessing settings are out of range.
    pub fn predict(&self, images: &[&RgbImage]) -> Result<BatchDetections, PostprocessError> {
        if images.is_empty() {
            return Ok(BatchDetections {
                detections: Vec::new(),
                timings: Timings::default(),
            });
        }
        let start = Instant::now();
        let prepared: Vec<Prepared> = images
            .iter()
            .map(|image| self.config.preprocess.apply(image))
            .collect();
        let (pixels, shape) = self.config.preprocess.pad_batch(&prepared);
        let input = self.upload(pixels, shape);
        let preprocess = start.elapsed();

        let outputs = HostOutputs::read(self.model.forward(input));
        let forward = start.elapsed() - preprocess;

        let [_, _, height, width] = shape;
        let strides = self.config.model.strides();
        let locations = Locations::new(Size { width, height }, &strides, self.config.location_rule);
        let detections = (0..images.len())
            .map(|i| self.finish(outputs.image(i), &locations, &prepared[i], images[i]))
            .collect::<Result<_, _>>()?;
        let postprocess = start.elapsed() - preprocess - forward;
        Ok(BatchDetections {
            detections,
            timings: Timings {
                preprocess,
                forward,
                postprocess,
            },
        })
    }

    fn upload(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(pixels, shape), &self.device())
    }

    /// The device that the model lives on.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    fn finish(
        &self,
        head: HeadOutput<'_>,
        locations: &Locations,
        prepared: &Prepared,
        image: &RgbImage,
    ) -> Result<Vec<Detection>, PostprocessError> {
        let unit = self.config.model.distance_unit();
        let config = &self.config.postprocess;
        let mut found = postprocess(head, locations, unit, prepared.size, config)?;
        let original = Size {
            width: image.width() as usize,
            height: image.height() as usize,
        };
        scale_to_original(&mut found, prepared.scale, original)?;
        Ok(found)
    }
}

/// The network's outputs on the host.
struct HostOutputs {
    cls_logits: Vec<f32>,
    ltrb: Vec<f32>,
    centerness: Vec<f32>,
    images: usize,
}

impl HostOutputs {
    fn read(predictions: Predictions) -> Self {
        let images = predictions.centerness.dims()[0];
        let data = Transaction::default()
            .register(predictions.cls_logits)
            .register(predictions.ltrb)
            .register(predictions.centerness)
            .execute();
        let mut parts = data
            .into_iter()
            .map(|d| d.try_into_vec_as::<f32>().unwrap_or_default());
        let mut next = || parts.next().unwrap_or_default();
        Self {
            cls_logits: next(),
            ltrb: next(),
            centerness: next(),
            images,
        }
    }

    fn image(&self, index: usize) -> HeadOutput<'_> {
        let part = |all: &'_ [f32]| -> std::ops::Range<usize> {
            let each = all.len() / self.images;
            index * each..(index + 1) * each
        };
        HeadOutput {
            cls_logits: &self.cls_logits[part(&self.cls_logits)],
            ltrb: &self.ltrb[part(&self.ltrb)],
            centerness: &self.centerness[part(&self.centerness)],
        }
    }
}
