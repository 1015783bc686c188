//! COCO's metrics of a detector, or of a file of detections.
//!
//! ```sh
//! cargo run --release --example evaluate -- --weights runs/demo/best.safetensors \
//!     --annotations val.json --images photos/
//! cargo run --release --example evaluate -- --detections results.json --annotations val.json
//! cargo run --release --example evaluate -- --detections results.json --annotations val.json \
//!     --json metrics.json
//! ```
//!
//! Prints AP and AP50 of each class and the twelve numbers that pycocotools prints. `--json` writes
//! `{"stats": {…}, "per_class": {…}}` with pycocotools' names: `AP`, `AP50`, … `ARl`. The classes
//! of a detector are matched with the annotations' by name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use fcos::eval::{ClassMetrics, CocoMetrics, Validation, evaluate_files};
use fcos::write_atomically;
use fcos::{Detector, DeviceSpec};
use fcos_examples::progress_bar;

/// COCO's bounding-box metrics of a detector, or of a file of detections.
#[derive(Parser)]
#[command(after_help = "Examples:
  evaluate --weights runs/demo/best.safetensors --annotations val.json --images photos/
  evaluate --detections results.json --annotations val.json --json metrics.json")]
struct Args {
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
    /// Where to compute: auto, flex, wgpu, cuda:1, …; the example `devices` lists them
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Where to write the metrics as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    fcos_examples::init_logging();
    let args = Args::parse();
    let metrics = match (&args.detections, &args.weights, &args.images) {
        (Some(detections), ..) => evaluate_files(&args.annotations, detections)?,
        (None, Some(weights), Some(images)) => predict_and_evaluate(&args, weights, images)?,
        _ => anyhow::bail!("either --detections, or --weights and --images"),
    };
    print!("{}", class_table(&metrics.per_class));
    println!("{metrics}");
    args.json.map_or(Ok(()), |path| write_json(&metrics, &path))
}

fn predict_and_evaluate(args: &Args, weights: &Path, images: &Path) -> Result<CocoMetrics> {
    let detector = Detector::load(weights, &args.device.device()?)?;
    let validation = Validation::open(&args.annotations, images, detector.classes())?;
    println!("{}", validation.health());
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

fn write_json(metrics: &CocoMetrics, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(metrics)?;
    write_atomically(path, (text + "\n").as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
