//! `fcos data generate`: a data set of shapes in COCO's format.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use fcos::data::synthetic::{CLASS_NAMES, SplitSummary, SyntheticConfig, generate};

use crate::terminal::say;

/// Generate a data set of shapes in COCO's format
///
/// A second call with the same arguments finds the data set and writes nothing.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos data generate --output data/shapes
  fcos data generate --output data/shapes --train 800 --val 200 --size 192x160 --seed 7")]
pub struct Args {
    /// Folder to create; a data set generated there earlier is replaced if it differs
    #[arg(long)]
    output: PathBuf,
    /// Training images
    #[arg(long, default_value_t = SyntheticConfig::default().train_images)]
    train: u32,
    /// Validation images
    #[arg(long, default_value_t = SyntheticConfig::default().val_images)]
    val: u32,
    /// Size of every image in pixels, as WIDTHxHEIGHT; otherwise sizes vary
    #[arg(long, value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn parse_size(text: &str) -> Result<(u32, u32)> {
    let (width, height) = text
        .split_once('x')
        .context("expected WIDTHxHEIGHT, as in 192x160")?;
    Ok((width.parse()?, height.parse()?))
}

impl Args {
    /// Generates the data set, unless it is there, and prints what it holds.
    ///
    /// # Errors
    /// If it can't be written, or the folder holds something else.
    pub fn run(self) -> Result<()> {
        let start = Instant::now();
        let dataset = generate(&self.output, &self.config())?;
        let done = if dataset.reused {
            "found complete"
        } else {
            "generated"
        };
        say!(
            "{} ({done} in {:.1?})",
            self.output.display(),
            start.elapsed()
        );
        print_split(
            "training",
            &dataset.train_annotations,
            &dataset.train_summary,
        );
        print_split("validation", &dataset.val_annotations, &dataset.val_summary);
        Ok(())
    }

    fn config(&self) -> SyntheticConfig {
        let default = SyntheticConfig::default();
        SyntheticConfig {
            train_images: self.train,
            val_images: self.val,
            width: self.size.map_or(default.width, |(width, _)| [width; 2]),
            height: self.size.map_or(default.height, |(_, height)| [height; 2]),
            seed: self.seed,
            ..default
        }
    }
}

fn print_split(name: &str, annotations: &Path, summary: &SplitSummary) {
    say!(
        "{name}: {} images ({} without objects), {} objects, {:.1} MB",
        summary.images,
        summary.empty_images,
        summary.objects(),
        summary.bytes as f64 / 1e6,
    );
    say!("  annotations  {}", annotations.display());
    for (class, count) in CLASS_NAMES.iter().zip(&summary.objects_per_class) {
        say!("  {class:<12} {count}");
    }
}
