//! Trains a detector on a COCO-format data set; without arguments, on one that it generates.
//!
//! ```sh
//! # A few minutes on two CPU cores: generates pictures, trains a small FCOS, evaluates it.
//! cargo run --release --example train_coco
//!
//! # Your own data. Class names, sizes and ids come from the annotations.
//! cargo run --release --example train_coco -- --config r18-320 \
//!     --train-annotations train.json --train-images photos/ \
//!     --val-annotations val.json --val-images photos/ --output runs/mine
//!
//! # Go on after a break, a crash or a kill: the result is the same as without it.
//! cargo run --release --example train_coco -- --output runs/mine --resume
//!
//! # Change any setting of a preset; `--show-config` prints them all.
//! cargo run --release --example train_coco -- --config r18-320 --show-config
//! cargo run --release --example train_coco -- --set recipe.learning_rate=0.002 --set recipe.epochs=20
//! ```
//!
//! The run folder then holds `best.safetensors` and `last.safetensors` (for `predict` and
//! `evaluate`), `config.toml`, `metrics.csv` and `evaluations.csv` (and the same as `.jsonl`),
//! `losses.svg`, `ap.svg`, and `pictures/` with predictions beside the ground truth.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fcos::eval::Validation;
use fcos::train::{
    BEST_WEIGHTS, CONFIG_FILE, DataPaths, RunSummary, TrainConfig, Trainer, write_run_curves,
};
use fcos::{Detector, DeviceSpec, side_by_side};
use fcos_examples::{TerminalObserver, duration, generated_dataset, init_logging};

/// Pictures of val images in the run folder.
const PICTURES: usize = 12;
/// Predictions below this score are not drawn.
const DRAWN_SCORE: f32 = 0.3;

/// Train a detector on a COCO-format data set.
#[derive(Parser)]
#[command(after_help = "Examples:
  train_coco
  train_coco --config r18-320 --train-annotations train.json --train-images photos/ \\
             --val-annotations val.json --val-images photos/ --output runs/mine
  train_coco --output runs/mine --resume
  train_coco --config r18-320 --set recipe.batch_size=8 --show-config")]
struct Args {
    /// Preset (demo, r18-320, r50-1x, atss, retinanet-a1-atss) or TOML file [default: demo]
    #[arg(long)]
    config: Option<String>,
    /// Override a setting, e.g. recipe.epochs=20; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// COCO instances JSON to train on; none uses the generated data set
    #[arg(long, requires = "train_images")]
    train_annotations: Option<PathBuf>,
    /// Folder of the training images
    #[arg(long, requires = "train_annotations")]
    train_images: Option<PathBuf>,
    /// COCO instances JSON to evaluate on
    #[arg(long, requires = "train_annotations")]
    val_annotations: Option<PathBuf>,
    /// Folder of the val images; none takes the training images' folder
    #[arg(long, requires = "val_annotations")]
    val_images: Option<PathBuf>,
    /// Checkpoint whose backbone to start from: torchvision's ImageNet weights, or a detector's
    #[arg(long, value_name = "FILE")]
    backbone_weights: Option<PathBuf>,
    /// Where to compute: auto, flex, wgpu, cuda:1, …; the example `devices` lists them
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Run folder; by default runs/CONFIG, or runs/CONFIG-2 and so on where that is taken
    #[arg(long)]
    output: Option<PathBuf>,
    /// Seed of the generated data set, the initial weights and the order of images
    #[arg(long)]
    seed: Option<u64>,
    /// Go on with the run in the output folder, with its saved settings; starts one if there is none
    #[arg(long)]
    resume: bool,
    /// Print the settings as TOML and stop
    #[arg(long)]
    show_config: bool,
}

impl Args {
    fn config(&self) -> &str {
        self.config.as_deref().unwrap_or("demo")
    }

    /// Lays over the settings what has an argument of its own.
    fn lay_over(&self, config: &mut TrainConfig) {
        config.recipe.seed = self.seed.unwrap_or(config.recipe.seed);
        if self.backbone_weights.is_some() {
            config.backbone_weights = self.backbone_weights.clone();
        }
        if let (Some(annotations), Some(images)) = (&self.train_annotations, &self.train_images) {
            config.data = DataPaths {
                train_annotations: annotations.clone(),
                train_images: images.clone(),
                val_annotations: self.val_annotations.clone(),
                val_images: self.val_images.clone(),
            };
        }
    }
}

fn main() -> Result<()> {
    init_logging();
    let args = Args::parse();
    let mut config = TrainConfig::load(args.config(), &args.sets)?;
    args.lay_over(&mut config);
    if args.show_config {
        print!("{}", config.to_toml()?);
        return Ok(());
    }
    let device = args.device.device()?;
    let folder = run_folder(&args);
    if args.resume && folder.join(CONFIG_FILE).exists() {
        check_unchanged(&args, &folder)?;
    } else {
        if args.resume {
            println!("no run in {}: starting one", folder.display());
        }
        generate_missing_data(&mut config)?;
    }
    let trainer = if args.resume && folder.join(CONFIG_FILE).exists() {
        Trainer::resume(&folder, &device)?
    } else {
        Trainer::start(config, &folder, &device)?
    };
    println!("run folder: {}", folder.display());
    let summary = trainer.run(&mut TerminalObserver::default())?;
    write_run_curves(&folder)?;
    draw_pictures(&folder, &args)?;
    print_summary(&summary, &folder);
    Ok(())
}

/// `--output`, else the first free of `runs/CONFIG`, `runs/CONFIG-2`, …; with `--resume` the last
/// that is taken.
fn run_folder(args: &Args) -> PathBuf {
    if let Some(folder) = &args.output {
        return folder.clone();
    }
    let stem = Path::new(args.config())
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let candidate = |n: u32| match n {
        1 => Path::new("runs").join(&stem),
        _ => Path::new("runs").join(format!("{stem}-{n}")),
    };
    let taken = (1..)
        .take_while(|&n| candidate(n).join(CONFIG_FILE).exists())
        .last();
    match taken {
        Some(n) if args.resume => candidate(n),
        Some(n) => candidate(n + 1),
        None => candidate(1),
    }
}

/// A run that goes on keeps its settings: arguments may repeat them, but not change them.
fn check_unchanged(args: &Args, folder: &Path) -> Result<()> {
    let file = folder.join(CONFIG_FILE);
    let file = file.to_string_lossy();
    let saved = TrainConfig::load(&file, &[])?;
    let mut given = match (&args.config, &args.output) {
        (Some(config), Some(_)) => TrainConfig::load(config, &args.sets)?,
        _ => TrainConfig::load(&file, &args.sets)?, // `--config` alone names the run's folder
    };
    given.recipe.seed = saved.recipe.seed;
    given.data = saved.data.clone();
    given.backbone_weights = saved.backbone_weights.clone();
    args.lay_over(&mut given);
    let (saved, given) = (saved.to_toml()?, given.to_toml()?);
    let changed = given
        .lines()
        .filter(|line| !saved.lines().any(|l| l == *line));
    let changed: Vec<_> = changed.collect();
    ensure!(
        saved == given,
        "--resume keeps the run's settings, and these differ: {}",
        changed.join(", ")
    );
    Ok(())
}

/// The generated data set, unless the settings name another.
fn generate_missing_data(config: &mut TrainConfig) -> Result<()> {
    if config.data.train_annotations.as_os_str().is_empty() {
        let generated = generated_dataset(config.recipe.seed)?;
        config.data = DataPaths {
            train_annotations: generated.train_annotations,
            train_images: generated.train_images,
            val_annotations: Some(generated.val_annotations),
            val_images: Some(generated.val_images),
        };
    }
    Ok(())
}

/// Val images with predictions beside the ground truth, from the best weights.
fn draw_pictures(folder: &Path, args: &Args) -> Result<()> {
    let saved = TrainConfig::load(&folder.join(CONFIG_FILE).to_string_lossy(), &[])?;
    let Some(annotations) = &saved.data.val_annotations else {
        return Ok(());
    };
    let images = saved
        .data
        .val_images
        .as_ref()
        .unwrap_or(&saved.data.train_images);
    let detector = Detector::load(folder.join(BEST_WEIGHTS), &args.device.device()?)?;
    let validation = Validation::open(annotations, images, detector.classes())?;
    let dataset = validation.dataset();
    let pictures = folder.join("pictures");
    std::fs::create_dir_all(&pictures)
        .with_context(|| format!("can't make folder {}", pictures.display()))?;
    for index in 0..dataset.len().min(PICTURES) {
        let record = dataset.sample(index);
        let Ok(image) = dataset.load(index) else {
            continue; // evaluating has warned of it
        };
        let mut predicted = detector.predict_rgb(&[&image])?;
        let found = predicted.detections.remove(0);
        let found = found.with_min_score(DRAWN_SCORE);
        let truth = record
            .boxes
            .iter()
            .copied()
            .zip(record.labels.iter().copied());
        let picture = side_by_side(&image, &found, truth, dataset.classes());
        let target = pictures.join(format!("{}.png", record.id));
        picture
            .save(&target)
            .with_context(|| format!("can't write {}", target.display()))?;
    }
    Ok(())
}

fn print_summary(summary: &RunSummary, folder: &Path) {
    if let Some(metrics) = &summary.metrics {
        println!("\n{metrics}");
    }
    if let Some(best) = summary.best {
        println!("best AP {:.3}, after step {}", best.ap, best.iteration);
    }
    println!("{} steps in {}", summary.steps, duration(summary.seconds));
    println!("weights, curves and pictures: {}", folder.display());
    println!(
        "next: cargo run --release --example predict -- --weights {} IMAGE",
        folder.join(BEST_WEIGHTS).display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of `--resume` with these arguments, of a run with the preset `r18-320`.
    fn resumed(arguments: &str) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        let parse = |words: &str| {
            let words = ["train_coco"].into_iter().chain(words.split_whitespace());
            Args::try_parse_from(words).expect("arguments")
        };
        let args = parse("--train-annotations a.json --train-images a --seed 3");
        let mut config = TrainConfig::load("r18-320", &[]).expect("a preset");
        args.lay_over(&mut config);
        let text = config.to_toml().expect("TOML");
        std::fs::write(dir.path().join(CONFIG_FILE), text).expect("written");
        let result = check_unchanged(&parse(arguments), dir.path());
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn settings_may_be_repeated_but_not_changed() {
        for same in [
            "--output r",
            "--config r18-320",
            "--config demo", // found by its folder's name
            "--output r --config r18-320 --seed 3 --train-annotations a.json --train-images a",
            "--set recipe.batch_size=4",
        ] {
            assert_eq!(resumed(same), "", "{same}");
        }
        for (other, named) in [
            ("--output r --config demo", "width = 32"),
            (
                "--output r --config r18-320 --set recipe.batch_size=5",
                "batch_size = 5",
            ),
            ("--set recipe.batch_size=5", "batch_size = 5"),
            ("--seed 4", "seed = 4"),
            ("--train-annotations b.json --train-images a", "b.json"),
            ("--backbone-weights w.pth", "w.pth"),
        ] {
            let error = resumed(other);
            assert!(
                error.contains("these differ") && error.contains(named),
                "{other}: {error}"
            );
        }
    }
}
