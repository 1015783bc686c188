//! Generates a data set of shapes in COCO's format.
//!
//! ```sh
//! cargo run --release --example generate_dataset -- --output data/shapes
//! cargo run --release --example generate_dataset -- --output data/shapes --train 800 --val 200 --size 192x160 --seed 7
//! ```
//!
//! A second call with the same arguments finds the data set and writes nothing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use fcos::data::synthetic::{CLASS_NAMES, SplitSummary, SyntheticConfig, generate};

#[derive(Parser)]
#[command(about = "Generate a data set of shapes in COCO's format")]
struct Args {
    /// Folder to create; a data set generated there earlier is replaced if it differs.
    #[arg(long)]
    output: PathBuf,
    /// Training images.
    #[arg(long, default_value_t = SyntheticConfig::default().train_images)]
    train: u32,
    /// Validation images.
    #[arg(long, default_value_t = SyntheticConfig::default().val_images)]
    val: u32,
    /// Size of every image in pixels, as WIDTHxHEIGHT; otherwise sizes vary.
    #[arg(long, value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Seed of everything random.
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

fn main() -> Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let dataset = generate(&args.output, &args.config())?;
    let done = if dataset.reused {
        "found complete"
    } else {
        "generated"
    };
    println!(
        "{} ({done} in {:.1?})",
        args.output.display(),
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

fn print_split(name: &str, annotations: &Path, summary: &SplitSummary) {
    println!(
        "{name}: {} images ({} without objects), {} objects, {:.1} MB",
        summary.images,
        summary.empty_images,
        summary.objects(),
        summary.bytes as f64 / 1e6,
    );
    println!("  annotations  {}", annotations.display());
    for (class, count) in CLASS_NAMES.iter().zip(&summary.objects_per_class) {
        println!("  {class:<12} {count}");
    }
}
