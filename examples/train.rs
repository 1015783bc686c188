//! Trains a small detector for a few steps, and loads what it has learnt.
//!
//! ```sh
//! cargo run --release --example train
//! ```
//!
//! The data are generated; your own are four paths in `config.data`, with annotations in COCO's format.

use std::ops::ControlFlow;

use fcos::data::synthetic::{SyntheticConfig, generate};
use fcos::train::{BEST_WEIGHTS, DataPaths, Observer, RunFolder, RunPlan, StepRow};
use fcos::train::{TrainConfig, Trainer};
use fcos::{Detector, DeviceSpec};

fn main() -> anyhow::Result<()> {
    let here = std::env::temp_dir().join("fcos-examples");
    let shapes = SyntheticConfig {
        train_images: 40,
        val_images: 8,
        width: [144, 192],
        height: [112, 128],
        ..SyntheticConfig::default()
    };
    let data = generate(here.join("shapes"), &shapes)?;

    // Every setting of the presets can be changed by its name, or in `config` itself.
    let mut config = TrainConfig::load("demo", &["recipe.iterations=10".into()])?;
    config.data = DataPaths {
        train_annotations: data.train_annotations,
        train_images: data.train_images,
        val_annotations: Some(data.val_annotations),
        val_images: Some(data.val_images),
    };

    let device = DeviceSpec::Auto.device()?;
    let folder = RunFolder::next_free(here.join("runs"), "train");
    let summary = Trainer::start(config, folder.path(), &device)?.run(&mut Printer)?;
    println!("{} steps in {:.0} s", summary.steps, summary.seconds);

    let detector = Detector::load(folder.file(BEST_WEIGHTS), &device)?;
    println!("{}", detector.config().provenance);
    Ok(())
}

struct Printer;

impl Observer for Printer {
    fn stepped(&mut self, row: &StepRow, plan: &RunPlan) -> ControlFlow<()> {
        let total = plan.total_iterations;
        println!("step {} of {total}: loss {:.3}", row.iteration, row.loss);
        ControlFlow::Continue(()) // or Break, to stop after a checkpoint
    }
}
