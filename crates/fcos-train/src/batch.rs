//! One step's images and targets, on the host and on the device.
//!
//! Letters: B images, N locations of all levels, H and W rows and columns.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fcos_core::{BBox, Scale};
use fcos_data::{PaddedBatch, Prepared};
use fcos_loss::{BatchCounts, LossTargets};
use fcos_targets::Targets;

/// The boxes of one image in pixels of the network's input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputBoxes {
    /// Scaled as the image was, and clipped to it.
    pub boxes: Vec<BBox>,
    /// The class of each.
    pub labels: Vec<u32>,
}

impl InputBoxes {
    /// The boxes of a picture, in pixels of it, as they lie on what preprocessing made of it. Those
    /// of which nothing is left are dropped: a sliver may lose its extent to rounding, and there is
    /// nothing to learn from then.
    pub fn new(prepared: &Prepared, boxes: &[BBox], labels: &[u32]) -> Self {
        let Scale { x: sx, y: sy } = prepared.scale;
        let (width, height) = (prepared.size.width as f32, prepared.size.height as f32);
        let scaled = boxes.iter().map(|b| b.scale(sx, sy).clip(width, height));
        let kept = scaled
            .zip(labels.iter().copied())
            .filter(|(b, _)| b.is_valid());
        let (boxes, labels) = kept.unzip();
        Self { boxes, labels }
    }
}

/// One step's images and targets on the host, or a part of them.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// The ids of the B images in their data set.
    pub image_ids: Vec<u64>,
    /// Preprocessed and padded to the same size.
    pub images: PaddedBatch,
    /// What the N locations of each image learn.
    pub targets: Vec<Targets>,
    /// The positives of `targets`: what the losses are divided by.
    pub counts: BatchCounts,
}

impl HostBatch {
    /// Counts the positives of the targets.
    pub fn new(image_ids: Vec<u64>, images: PaddedBatch, targets: Vec<Targets>) -> Self {
        let counts = targets
            .iter()
            .map(|t| BatchCounts::from_targets(&t.labels, &t.centerness))
            .sum();
        Self {
            image_ids,
            images,
            targets,
            counts,
        }
    }

    /// Moves the batch to a device.
    ///
    /// # Panics
    /// If the pixels don't have the shape, or the targets differ in their number of locations.
    pub fn upload(self, device: &Device) -> DeviceBatch {
        let PaddedBatch { pixels, shape } = self.images;
        DeviceBatch {
            targets: loss_targets(&self.targets, device),
            image_ids: self.image_ids,
            counts: self.counts,
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
        }
    }
}

/// One step's images and targets on the device, or a part of them.
#[derive(Debug, Clone)]
pub struct DeviceBatch {
    /// The ids of the B images in their data set.
    pub image_ids: Vec<u64>,
    /// The positives of `targets`.
    pub counts: BatchCounts,
    /// `[B, 3, H, W]`.
    pub images: Tensor<4>,
    /// What the network should predict.
    pub targets: LossTargets,
}

/// What B images' locations learn, as the losses take it.
///
/// # Panics
/// If the images differ in their number of locations.
pub fn loss_targets(images: &[Targets], device: &Device) -> LossTargets {
    let b = images.len();
    let n = images.first().map_or(0, |t| t.labels.len());
    let labels: Vec<i32> = images.iter().flat_map(|t| t.labels.clone()).collect();
    let ltrb = images.iter().flat_map(|t| &t.ltrb);
    let ltrb: Vec<f32> = ltrb.flat_map(|d| d.to_array()).collect();
    let centerness: Vec<f32> = images.iter().flat_map(|t| t.centerness.clone()).collect();
    LossTargets {
        labels: Tensor::<2, Int>::from_data(TensorData::new(labels, [b, n]), device),
        ltrb: Tensor::from_data(TensorData::new(ltrb, [b, n, 4]), device),
        centerness: Tensor::from_data(TensorData::new(centerness, [b, n]), device),
    }
}
