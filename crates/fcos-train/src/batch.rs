//! From image files to one step's tensors: decode, augment, resize, assign on the host (in the
//! loader's threads), then upload.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fcos_core::{DistanceUnit, Locations, Scale};
use fcos_data::{AugmentConfig, BatchSampler, Dataset, Prepared, PreprocessConfig};
use fcos_loss::{BatchCounts, LossTargets};
use fcos_targets::{Assigners, Targets};

use crate::TrainError;
use crate::config::TrainConfig;

/// Makes the batch of any step: a function of the recipe's seed and the step's number alone.
pub(crate) struct BatchMaker {
    dataset: Arc<Dataset>,
    sampler: BatchSampler,
    preprocess: PreprocessConfig,
    augment: AugmentConfig,
    assigners: Assigners,
    unit: DistanceUnit,
    location_rule: fcos_core::LocationRule,
    strides: Vec<usize>,
    seed: u64,
}

/// One step's images and targets on the host.
pub(crate) struct HostBatch {
    pub image_ids: Vec<u64>,
    pub counts: BatchCounts,
    pixels: Vec<f32>,
    shape: [usize; 4],
    targets: Vec<Targets>,
}

/// One step's images and targets on the device.
pub(crate) struct DeviceBatch {
    pub image_ids: Vec<u64>,
    pub counts: BatchCounts,
    pub images: Tensor<4>,
    pub targets: LossTargets,
}

/// An image's boxes in pixels of the augmented and resized image.
struct Annotated {
    image_id: u64,
    boxes: Vec<fcos_core::BBox>,
    labels: Vec<u32>,
}

impl BatchMaker {
    pub fn new(dataset: Arc<Dataset>, config: &TrainConfig) -> Result<Self, TrainError> {
        let recipe = &config.recipe;
        let groups = dataset.aspect_groups();
        let sampler = BatchSampler::with_groups(&groups, recipe.batch_size, recipe.seed)?;
        Ok(Self {
            dataset,
            sampler,
            preprocess: config.preprocess.clone(),
            augment: config.augment.clone(),
            assigners: Assigners::new(config.assign.clone()),
            unit: config.model.distance_unit(),
            location_rule: config.location_rule,
            strides: config.model.strides(),
            seed: recipe.seed,
        })
    }

    pub fn make(&self, iteration: u64) -> Result<HostBatch, TrainError> {
        let indices = self.sampler.batch(iteration);
        let samples = indices.iter().map(|&index| self.sample(index, iteration));
        let (prepared, annotated): (Vec<Prepared>, Vec<Annotated>) =
            samples.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let batch = self.preprocess.pad_batch(&prepared);
        let locations = Locations::new(batch.size(), &self.strides, self.location_rule);
        let targets = self.assign(&annotated, &locations)?;
        Ok(HostBatch {
            image_ids: annotated.iter().map(|a| a.image_id).collect(),
            counts: targets
                .iter()
                .map(|t| BatchCounts::from_targets(&t.labels, &t.centerness))
                .sum(),
            pixels: batch.pixels,
            shape: batch.shape,
            targets,
        })
    }

    fn sample(&self, index: usize, iteration: u64) -> Result<(Prepared, Annotated), TrainError> {
        let record = self.dataset.sample(index);
        let mut image = self.dataset.load(index)?;
        let mut boxes = record.boxes.clone();
        let change = self.augment.draw(self.seed, iteration, index);
        change.apply(&mut image, &mut boxes);
        let preprocess = match change.short_side {
            Some(side) => &self.preprocess.clone().with_short_side(side),
            None => &self.preprocess,
        };
        let prepared = preprocess.apply(&image);
        let Scale { x: sx, y: sy } = prepared.scale;
        let (width, height) = (prepared.size.width as f32, prepared.size.height as f32);
        let scaled = boxes.iter().map(|b| b.scale(sx, sy).clip(width, height));
        // A sliver may lose its extent to rounding; there is nothing left to learn from then.
        let kept = scaled
            .zip(record.labels.iter().copied())
            .filter(|(b, _)| b.is_valid());
        let (boxes, labels) = kept.unzip();
        Ok((
            prepared,
            Annotated {
                image_id: record.id,
                boxes,
                labels,
            },
        ))
    }

    fn assign(
        &self,
        images: &[Annotated],
        locations: &Locations,
    ) -> Result<Vec<Targets>, TrainError> {
        let error = |image_id| move |source| TrainError::Assign { image_id, source };
        let first_id = images.first().map_or(0, |a| a.image_id);
        let assigner = self.assigners.make(locations, self.unit);
        let assigner = assigner.map_err(error(first_id))?;
        let assign = |a: &Annotated| {
            assigner
                .assign(&a.boxes, &a.labels)
                .map_err(error(a.image_id))
        };
        images.iter().map(assign).collect()
    }
}

impl HostBatch {
    /// Moves the batch to a device.
    pub fn upload(self, device: &Device) -> DeviceBatch {
        let b = self.targets.len();
        let n = self.targets.first().map_or(0, |t| t.labels.len());
        let labels: Vec<i32> = self
            .targets
            .iter()
            .flat_map(|t| t.labels.iter().copied())
            .collect();
        let ltrb: Vec<f32> = self
            .targets
            .iter()
            .flat_map(|t| &t.ltrb)
            .flat_map(|d| d.to_array())
            .collect();
        let centerness: Vec<f32> = self
            .targets
            .iter()
            .flat_map(|t| t.centerness.iter().copied())
            .collect();
        let images = Tensor::from_data(TensorData::new(self.pixels, self.shape), device);
        let targets = LossTargets {
            labels: Tensor::<2, Int>::from_data(TensorData::new(labels, [b, n]), device),
            ltrb: Tensor::from_data(TensorData::new(ltrb, [b, n, 4]), device),
            centerness: Tensor::from_data(TensorData::new(centerness, [b, n]), device),
        };
        DeviceBatch {
            image_ids: self.image_ids,
            counts: self.counts,
            images,
            targets,
        }
    }
}
