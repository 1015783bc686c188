//! `fcos evaluate`: COCO's metrics of a detector, or of a file of detections.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use fcos::eval::{ClassMetrics, CocoMetrics, Validation, evaluate_files};
use fcos::{Detector, DeviceSpec};

use crate::terminal::{init_logging, print, progress_bar, say, write_json};

/// COCO's bounding-box metrics of a detector, or of a file of detections
///
/// Prints AP and AP50 of each class and the twelve numbers that pycocotools prints. --json writes
/// {"stats": {…}, "per_class": {…}} with pycocotools' names: AP, AP50, … ARl. The classes of a
/// detector are matched with the annotations' by name.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos evaluate --weights runs/demo/best.safetensors --annotations val.json --images photos/
  fcos evaluate --detections results.json --annotations val.json --json metrics.json")]
pub struct Args {
    /// Annotations in COCO's format
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Detections in COCO's format of results
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "weights",
        required_unless_present = "weights"
    )]
    detections: Option<PathBuf>,
    /// Weights of a detector, which then predicts the images
    #[arg(long, value_name = "FILE", requires = "images")]
    weights: Option<PathBuf>,
    /// Folder of the annotated images
    #[arg(long, value_name = "DIR", requires = "weights")]
    images: Option<PathBuf>,
    /// Where to compute: auto, flex, wgpu, cuda:1, …; `fcos devices` lists them
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Where to write the metrics as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Args {
    /// Evaluates, and prints the metrics.
    ///
    /// # Errors
    /// If a file or the device can't be used, or the detector's classes are not the annotations'.
    pub fn run(self) -> Result<()> {
        init_logging();
        let metrics = match (&self.detections, &self.weights, &self.images) {
            (Some(detections), ..) => evaluate_files(&self.annotations, detections)?,
            (None, Some(weights), Some(images)) => predict_and_evaluate(&self, weights, images)?,
            _ => anyhow::bail!("either --detections, or --weights and --images"),
        };
        print(format_args!("{}", class_table(&metrics.per_class)));
        say!("{metrics}");
        match &self.json {
            Some(path) => write_json(path, &metrics),
            None => Ok(()),
        }
    }
}

fn predict_and_evaluate(args: &Args, weights: &Path, images: &Path) -> Result<CocoMetrics> {
    let detector = Detector::load(weights, &args.device.device()?)?;
    let validation = Validation::open(&args.annotations, images, detector.classes())?;
    say!("{}", validation.health());
    let bar = progress_bar(validation.len() as u64, "images");
    let metrics = validation.evaluate(detector.pipeline(), &mut |done| {
        bar.set_position(done as u64)
    })?;
    bar.finish_and_clear();
    Ok(metrics)
}

/// AP and AP50 of every class, in per cent; a dash where the class has no annotations.
fn class_table(classes: &[ClassMetrics]) -> String {
    let width = classes
        .iter()
        .map(|class| class.name.chars().count())
        .max()
        .unwrap_or(0);
    let row = |class: &ClassMetrics| {
        let [ap, ap50] = [class.stats.ap, class.stats.ap50].map(percent);
        format!("{:<width$}  AP {ap:>5}  AP50 {ap50:>5}\n", class.name)
    };
    classes.iter().map(row).collect()
}

fn percent(value: f64) -> String {
    if value < 0.0 {
        "–".to_owned()
    } else {
        format!("{:.1}", 100.0 * value)
    }
}
