//! `fcos train`: trains a detector on a COCO-format data set; without arguments, on one that it
//! generates.
//!
//! The run folder then holds `best.safetensors` and `last.safetensors` (for `fcos predict` and
//! `fcos evaluate`), `config.toml`, `metrics.csv` and `evaluations.csv` (and the same as `.jsonl`),
//! `losses.svg`, `ap.svg`, and `pictures/` with predictions beside the ground truth.

mod observer;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use fcos::eval::Validation;
use fcos::train::{
    BEST_WEIGHTS, DataPaths, RunFolder, RunSummary, TrainConfig, Trainer, with_settings,
    write_run_curves,
};
use fcos::{Detector, DeviceSpec, side_by_side};

use crate::generated::generated_dataset;
use crate::terminal::{duration, init_logging, make_folder, print, say};
use observer::TerminalObserver;

/// The preset of a run that names none.
const DEFAULT_CONFIG: &str = "demo";
/// Where runs are that have no `--output`.
const RUNS: &str = "runs";

/// Pictures of val images in the run folder.
const PICTURES: usize = 12;
/// Predictions below this score are not drawn.
const DRAWN_SCORE: f32 = 0.3;

/// Train a detector on a COCO-format data set; without arguments, on one that is generated
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  A few minutes on two CPU cores: generates pictures, trains a small FCOS, evaluates it.
    fcos train
  Your own data. Class names, sizes and ids come from the annotations.
    fcos train --config r18-320 --train-annotations train.json --train-images photos/ \\
        --val-annotations val.json --val-images photos/ --output runs/mine
  Go on after a break, a crash or a kill: the result is the same as without it.
    fcos train --output runs/mine --resume
  Any setting of a preset can be changed, and --show-config prints them all.
    fcos train --config r18-320 --set recipe.batch_size=8 --show-config")]
pub struct Args {
    #[arg(long, value_name = "PRESET-OR-FILE", help = config_help())]
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
    /// Where to compute: auto, flex, wgpu, cuda:1, …; `fcos devices` lists them
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

/// With the presets that the library has.
fn config_help() -> String {
    let presets = TrainConfig::preset_names().collect::<Vec<_>>().join(", ");
    format!("Preset ({presets}) or TOML file [default: {DEFAULT_CONFIG}]")
}

impl Args {
    /// Trains, or goes on with a run.
    ///
    /// # Errors
    /// If the settings, the data, the device or the run folder can't be used.
    pub fn run(self) -> Result<()> {
        init_logging();
        let mut config = TrainConfig::load(self.config(), &self.sets)?;
        self.lay_over(&mut config);
        if self.show_config {
            print(format_args!("{}", config.to_toml()?));
            return Ok(());
        }
        let device = self.device.device()?;
        let folder = self.folder();
        let trainer = if self.resume && folder.holds_run() {
            folder.check_unchanged(&self.laid_over(&folder.config()?)?)?;
            Trainer::resume(folder.path(), &device)?
        } else {
            if self.resume {
                say!("no run in {}: starting one", folder.path().display());
            }
            generate_missing_data(&mut config)?;
            Trainer::start(config, folder.path(), &device)?
        };
        say!("run folder: {}", folder.path().display());
        let summary = trainer.run(&mut TerminalObserver::default())?;
        write_run_curves(folder.path())?;
        draw_pictures(&folder, self.device)?;
        print_summary(&summary, folder.path());
        Ok(())
    }

    fn config(&self) -> &str {
        self.config.as_deref().unwrap_or(DEFAULT_CONFIG)
    }

    /// `--output`, else the first free of `runs/CONFIG`, `runs/CONFIG-2`, …; with `--resume` the
    /// last that is taken.
    fn folder(&self) -> RunFolder {
        if let Some(folder) = &self.output {
            return RunFolder::new(folder);
        }
        let stem = Path::new(self.config()).file_stem().unwrap_or_default();
        let name = stem.to_string_lossy();
        let latest = || RunFolder::last_taken(RUNS, &name).filter(|_| self.resume);
        latest().unwrap_or_else(|| RunFolder::next_free(RUNS, &name))
    }

    /// What the arguments make of a run's saved settings, of which they may name all or some.
    fn laid_over(&self, saved: &TrainConfig) -> Result<TrainConfig> {
        let mut given = match (&self.config, &self.output) {
            (Some(config), Some(_)) => TrainConfig::load(config, &self.sets)?,
            _ => with_settings(saved, &self.sets)?, // `--config` alone names the run's folder
        };
        given.recipe.seed = saved.recipe.seed;
        given.data = saved.data.clone();
        given.backbone_weights = saved.backbone_weights.clone();
        self.lay_over(&mut given);
        Ok(given)
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
fn draw_pictures(folder: &RunFolder, device: DeviceSpec) -> Result<()> {
    let data = folder.config()?.data;
    let Some(annotations) = &data.val_annotations else {
        return Ok(());
    };
    let images = data.val_images.as_ref().unwrap_or(&data.train_images);
    let detector = Detector::load(folder.file(BEST_WEIGHTS), &device.device()?)?;
    let validation = Validation::open(annotations, images, detector.classes())?;
    let dataset = validation.dataset();
    let pictures = folder.file("pictures");
    make_folder(&pictures)?;
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
        say!("\n{metrics}");
    }
    if let Some(best) = summary.best {
        say!("best AP {:.3}, after step {}", best.ap, best.iteration);
    }
    say!("{} steps in {}", summary.steps, duration(summary.seconds));
    say!("weights, curves and pictures: {}", folder.display());
    say!(
        "next: fcos predict --weights {} IMAGE",
        folder.join(BEST_WEIGHTS).display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos::train::CONFIG_FILE;

    fn parse(words: &str) -> Args {
        let words = ["train"].into_iter().chain(words.split_whitespace());
        Args::try_parse_from(words).expect("arguments")
    }

    /// The error of `--resume` with these arguments, of a run with the preset `r18-320`.
    fn resumed(arguments: &str) -> String {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = TrainConfig::load("r18-320", &[]).expect("a preset");
        parse("--train-annotations a.json --train-images a --seed 3").lay_over(&mut config);
        let text = config.to_toml().expect("TOML");
        std::fs::write(dir.path().join(CONFIG_FILE), text).expect("written");
        let folder = RunFolder::new(dir.path());
        let given = parse(arguments).laid_over(&config).expect("settings");
        let result = folder.check_unchanged(&given);
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
            ("--output r --config demo", "model.backbone.width = 32"),
            (
                "--output r --config r18-320 --set recipe.batch_size=5",
                "batch_size = 5",
            ),
            ("--set recipe.batch_size=5", "batch_size = 5"),
            ("--seed 4", "recipe.seed = 4"),
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
