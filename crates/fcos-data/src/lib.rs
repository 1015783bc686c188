//! Data for object detection: annotations (COCO) with a health report, image decoding,
//! preprocessing, augmentation, batch order and a bounded, ordered loader.
//!
//! A training image goes through [`Dataset::load`], [`Augmentation::apply`],
//! [`PreprocessConfig::apply`] and [`PreprocessConfig::pad_batch`]; which image is in which batch
//! says [`BatchSampler::batch`]. All of that is a pure function of (seed, iteration), so
//! [`Loader`]'s threads may do it in any order, and a run that starts at iteration `i` sees what a
//! run that came there saw.
//!
//! ```
//! use fcos_data::{AugmentConfig, BatchSampler, Loader, PreprocessConfig};
//! use image::RgbImage;
//!
//! let preprocess = PreprocessConfig::imagenet_rgb(64, 96);
//! let sampler = BatchSampler::new(10, 4, 7)?;
//! let batches = Loader::start(100..103, 2, 4, move |iteration| {
//!     let prepare = |&index: &usize| {
//!         let mut image = RgbImage::new(60, 40 + index as u32); // or Dataset::load(index)
//!         let augmentation = AugmentConfig::default().draw(7, iteration, index);
//!         augmentation.apply(&mut image, &mut []);
//!         preprocess.apply(&image)
//!     };
//!     let images: Vec<_> = sampler.batch(iteration).iter().map(prepare).collect();
//!     preprocess.pad_batch(&images)
//! })?;
//! for batch in batches {
//!     assert_eq!(batch?.shape, [4, 3, 64, 96]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod annotations;
mod assemble;
mod augment;
mod boxes;
mod dataset;
mod decode;
mod error;
mod formats;
#[cfg(test)]
mod golden;
mod loader;
mod normalize;
mod preprocess;
mod report;
mod resize;
mod results;
mod sampler;
pub mod synthetic;

pub use annotations::{Annotations, Category, ImageEntry, Object};
pub use augment::{AugmentConfig, Augmentation, ColorFactors, ColorJitter, ShortSides};
pub use boxes::{AnnotatedImage, AnnotatedImages, LeftOut};
pub use dataset::{Dataset, ImageRecord};
pub use decode::{decode, decode_size};
pub use error::DataError;
pub use formats::{coco, read_annotations};
pub use loader::{Loader, LoaderError};
pub use preprocess::{ChannelOrder, PaddedBatch, Prepared, PreprocessConfig, ValueRange};
pub use report::{Finding, FindingKind, HealthReport};
pub use resize::{ResizeFilter, ResizeRule};
pub use results::ResultRow;
pub use sampler::{BatchSampler, SamplerError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
