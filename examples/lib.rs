//! Data for the examples that show something else.

use std::path::PathBuf;

use fcos::data::synthetic::{SyntheticConfig, generate};
use fcos::train::{DataPaths, TrainConfig};

/// Where the examples write: among the temporary files.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join("fcos-examples")
}

/// Settings of a run of a few seconds: a small network and generated pictures.
///
/// # Errors
/// If the pictures can't be written.
pub fn small_run(iterations: u64) -> anyhow::Result<TrainConfig> {
    let shapes = SyntheticConfig {
        train_images: 40,
        val_images: 8,
        width: [144, 192],
        height: [112, 128],
        ..SyntheticConfig::default()
    };
    let data = generate(folder().join("shapes"), &shapes)?;
    let mut config = TrainConfig::load("demo", &[])?;
    config.recipe.iterations = Some(iterations);
    config.data = DataPaths {
        train_annotations: data.train_annotations,
        train_images: data.train_images,
        val_annotations: Some(data.val_annotations),
        val_images: Some(data.val_images),
    };
    Ok(config)
}
