//! Finds objects in pictures.
//!
//! ```sh
//! cargo run --release --example predict -- --weights runs/demo/best.safetensors street.jpg
//! cargo run --release --example predict -- --weights fcos.safetensors \
//!     --score-threshold 0.4 --output out --json results.json photos/
//! ```
//!
//! Prints a table of the objects and a line of times for each picture, and writes each picture
//! with its boxes into the output folder (default `predictions`). `--json` also writes a COCO
//! results list (`bbox` is `[x, y, width, height]` in pixels of the picture) whose rows carry
//! `file_name` and `category_name` too; `image_id` is the number at the end of the file's name, or
//! the picture's position in the list, from 1.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use fcos::{CocoResult, Detections, Detector, DeviceSpec, Label, draw_detections, label_ids};
use fcos_examples::{init_logging, milliseconds, progress_bar};

/// Find objects in pictures.
#[derive(Parser)]
#[command(after_help = "Examples:
  predict --weights runs/demo/best.safetensors street.jpg
  predict --weights fcos.safetensors --score-threshold 0.4 --json results.json photos/")]
struct Args {
    /// Weights file, as written by train_coco or convert_weights
    #[arg(long)]
    weights: PathBuf,
    /// Show only objects with at least this score
    #[arg(long, default_value_t = 0.3)]
    score_threshold: f32,
    /// Where to compute: auto, flex, wgpu, cuda:1, …; the example `devices` lists them
    #[arg(long, default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Folder for the annotated pictures
    #[arg(long, default_value = "predictions")]
    output: PathBuf,
    /// Also write a COCO results list
    #[arg(long)]
    json: Option<PathBuf>,
    /// JPEG or PNG files, or folders of them
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

fn main() -> Result<()> {
    init_logging();
    let args = Args::parse();
    ensure!(
        (0.0..=1.0).contains(&args.score_threshold),
        "--score-threshold must be in 0..=1"
    );
    let files = image_files(&args.images)?;
    let detector = Detector::load(&args.weights, &args.device.device()?)?;
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("can't make folder {}", args.output.display()))?;

    let ids = label_ids(detector.classes());
    let bar = progress_bar(files.len() as u64, "pictures");
    let mut rows: Vec<CocoResult> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let (mut image, detections, times) = detector.predict_file(file)?;
        let detections = detections.with_min_score(args.score_threshold);
        bar.suspend(|| print_table(file, &detections));
        bar.suspend(|| {
            println!(
                "  preprocess {}, forward {}, postprocess {}",
                milliseconds(times.preprocess),
                milliseconds(times.forward),
                milliseconds(times.postprocess)
            );
        });
        rows.extend(detections.to_coco(image_id(file, index), &file_name(file), &ids));
        draw_detections(
            &mut image,
            detections.iter().map(Label::from),
            &Default::default(),
        );
        save_picture(&image, &args.output, file)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(json) = &args.json {
        std::fs::write(json, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("can't write {}", json.display()))?;
    }
    println!(
        "{} objects in {} pictures; see {}",
        rows.len(),
        files.len(),
        args.output.display()
    );
    Ok(())
}

/// The files themselves, and the pictures in the folders, by name.
fn image_files(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for argument in arguments {
        if argument.is_dir() {
            let entries = std::fs::read_dir(argument)
                .with_context(|| format!("can't read folder {}", argument.display()))?;
            let mut found: Vec<PathBuf> = entries
                .map(|e| Ok(e?.path()))
                .collect::<std::io::Result<_>>()?;
            found.retain(|file| is_picture(file));
            found.sort();
            files.append(&mut found);
        } else {
            files.push(argument.clone());
        }
    }
    if files.is_empty() {
        bail!("no JPEG or PNG file among the arguments");
    }
    Ok(files)
}

fn is_picture(file: &Path) -> bool {
    let extension = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    ["jpg", "jpeg", "png"].contains(&extension.as_str())
}

fn file_name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The number at the end of the file's stem (`COCO_val2014_000000001000.jpg` → 1000), or its
/// position from 1.
fn image_id(file: &Path, index: usize) -> u64 {
    let stem = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let start = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[start..].parse().unwrap_or(index as u64 + 1)
}

fn print_table(file: &Path, detections: &Detections) {
    println!("{}: {} objects", file.display(), detections.len());
    for d in detections {
        let [x, y, w, h] = d.bbox.to_xywh();
        println!(
            "  {:<16} {:.3}  x {x:7.1}  y {y:7.1}  w {w:7.1}  h {h:7.1}",
            d.name, d.score
        );
    }
}

fn save_picture(image: &image::RgbImage, folder: &Path, file: &Path) -> Result<()> {
    let target = folder.join(file_name(file)).with_extension("png");
    image
        .save(&target)
        .with_context(|| format!("can't write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_ids() {
        let cases = [
            ("a/COCO_val2014_000000001000.jpg", 1000),
            ("street.jpg", 4),
            ("7.png", 7),
        ];
        for (file, id) in cases {
            assert_eq!(image_id(Path::new(file), 3), id, "{file}");
        }
        assert_eq!(image_id(Path::new("99999999999999999999999.png"), 0), 1);
    }
}
