//! What the workspace's tests share: a tiny generated data set and a tiny run on it.

use std::path::Path;

use fcos::data::synthetic::{SyntheticConfig, generate};
use fcos::train::TrainConfig;

/// A few small images of shapes, generated into `folder`, and settings of a tiny model on them:
/// seconds per run, on the `flex` device.
///
/// # Panics
/// If the data can't be written or the settings are out of date.
pub fn tiny_run(folder: &Path, iterations: u64) -> TrainConfig {
    let synthetic = SyntheticConfig {
        train_images: 12,
        val_images: 4,
        width: [64, 96],
        height: [48, 64],
        objects: [1, 3],
        ..SyntheticConfig::default()
    };
    let data = generate(folder.join("shapes"), &synthetic).expect("the data set is generated");
    let sets = [
        "model.backbone.width=8".to_string(),
        "model.fpn.channels=32".to_string(),
        "model.head.num_convs=1".to_string(),
        "preprocess.short_side=64".to_string(),
        "preprocess.long_side=96".to_string(),
        "recipe.batch_size=2".to_string(),
        "recipe.checkpoint_every=3".to_string(),
        "recipe.eval_every=none".to_string(),
        format!("recipe.iterations={iterations}"),
    ];
    let mut config = TrainConfig::load("demo", &sets).expect("the settings exist");
    config.data.train_annotations = data.train_annotations;
    config.data.train_images = data.train_images;
    config.data.val_annotations = Some(data.val_annotations);
    config.data.val_images = Some(data.val_images);
    config
}

/// The largest of some errors, and NaN, which passes no test, where there is one.
///
/// # Panics
/// If there is none to compare.
pub fn worst(errors: impl IntoIterator<Item = f32>) -> f32 {
    // The sign of a NaN is left open, and `total_cmp` sorts a negative one below all numbers.
    let errors = errors.into_iter().map(f32::abs);
    errors.max_by(f32::total_cmp).expect("values to compare")
}
