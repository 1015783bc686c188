//! A generated detection data set in COCO's format.
//!
//! Images of flat shapes – [eight classes](CLASS_NAMES), told apart by their outline, with their
//! colour as a hint ([`SyntheticConfig::hue_spread`]) – in any size, rotation and texture, partly
//! over one another, on textured backgrounds with clutter and under changing light. It stands in for
//! a real data set where none may be shipped: examples
//! and tests train on it and score with the COCO metrics.
//!
//! Boxes are tight around the part of an object inside the image, to a quarter of a pixel, and
//! include what other objects hide. Every object drawn is annotated: one that would hide more of
//! another than [`SyntheticConfig::min_visible`] allows is not drawn at all. `area` is the box's area,
//! `iscrowd` is 0 and segmentations are empty.
//!
//! ```
//! use fcos_data::synthetic::{SyntheticConfig, generate};
//!
//! let parent = tempfile::tempdir()?;
//! let config = SyntheticConfig { train_images: 4, val_images: 2, ..Default::default() };
//! let dataset = generate(parent.path().join("shapes"), &config)?;
//! assert!(dataset.train_annotations.is_file());
//! assert_eq!(dataset.val_summary.images, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod canvas;
mod coco;
mod config;
mod error;
mod raster;
mod scene;
mod shapes;
mod store;
mod texture;

pub use config::SyntheticConfig;
pub use error::SyntheticError;
pub use store::{SplitSummary, SyntheticDataset, generate};

use shapes::Shape;

/// The classes, by label; category ids in the annotation files are one higher.
pub const CLASS_NAMES: [&str; Shape::ALL.len()] = {
    let mut names = [""; Shape::ALL.len()];
    let mut label = 0;
    while label < names.len() {
        names[label] = Shape::ALL[label].name();
        label += 1;
    }
    names
};

#[cfg(test)]
mod tests;
