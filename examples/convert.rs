//! Turns a checkpoint of torchvision's into a weights file, and predicts with it.
//!
//! ```sh
//! cargo run --release --example convert -- fcos_resnet50_fpn_coco.pth fcos.safetensors
//! cargo run --release --example convert    # a small checkpoint with random weights
//! ```

use std::path::{Path, PathBuf};

use fcos::image::DynamicImage;
use fcos::model::weights::Checkpoint;
use fcos::train::with_detector_settings;
use fcos::{Detector, DeviceSpec};

/// In torchvision's layout, with few channels.
const SMALL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testdata/checkpoints/narrow.pth"
);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let input = arguments.next().unwrap_or(SMALL.into());
    let output = arguments.next().map_or_else(
        || std::env::temp_dir().join("converted.safetensors"),
        PathBuf::from,
    );

    let checkpoint = Checkpoint::read(Path::new(&input))?;
    println!("{input}: {}", checkpoint.format());
    // What the keys can't tell, a preset's name does: `checkpoint.config(Some("official-imprv"))`.
    let config = checkpoint.config(None)?;
    let config = with_detector_settings(config, &["preprocess.short_side=256".into()])?;
    let device = DeviceSpec::Auto.device()?;
    let model = checkpoint.into_model(&config, &device)?;
    config.save(&output, &model)?;

    let detector = Detector::load(&output, &device)?;
    let found = detector.predict(&DynamicImage::new_rgb8(320, 240))?;
    let (file, classes) = (output.display(), detector.classes().len());
    println!(
        "{file}: {classes} classes; {} objects in a black picture",
        found.len()
    );
    Ok(())
}
