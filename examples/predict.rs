//! Finds objects in pictures.
//!
//! ```sh
//! cargo run --release --example predict -- --weights runs/demo/best.safetensors street.jpg
//! cargo run --release --example predict -- --weights fcos.safetensors \
//!     --score-threshold 0.4 --output out --json results.json photos/
//! ```
//!
//! Prints a table of the objects and a line of times for each picture, and writes each picture
//! with its boxes into the output folder (default `predictions`): as PNG under its own name, with a
//! number where pictures share one. A picture that can't be read is reported, and the others go on.
//!
//! `--json` also writes a COCO results list (`bbox` is `[x, y, width, height]` in pixels of the
//! picture) whose rows carry `file_name` and `category_name` too. `category_id` is that of the data
//! set that the detector was trained on. `image_id` is the last number in the file's name without
//! extension (`COCO_val2014_000000001000.jpg`: 1000), and where there is none the picture's position
//! in the list, from 1; if two pictures would get the same id, it is the position for all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use fcos::write_atomically;
use fcos::{Detections, Detector, DeviceSpec, Label, ResultRow, Timings, draw_detections};
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

    let targets = target_files(&files, &args.output)?;

    let (rows, failed) = predict_all(&detector, &files, &targets, args.score_threshold);
    if let Some(json) = &args.json {
        write_atomically(json, &serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("can't write {}", json.display()))?;
    }
    println!(
        "{} objects in {} pictures; see {}",
        rows.len(),
        files.len() - failed,
        args.output.display()
    );
    ensure!(failed == 0, "{failed} of {} pictures failed", files.len());
    Ok(())
}

/// The objects in all pictures, and how many pictures failed.
fn predict_all(
    detector: &Detector,
    files: &[PathBuf],
    targets: &[PathBuf],
    min_score: f32,
) -> (Vec<ResultRow>, usize) {
    let bar = progress_bar(files.len() as u64, "pictures");
    let (mut rows, mut failed) = (Vec::new(), 0);
    let mut predict = |file: &Path, id, target: &Path| -> Result<()> {
        let predicted = detector.predict_file(file)?;
        let mut image = predicted.image;
        let found = predicted.detections.with_min_score(min_score);
        bar.suspend(|| print_table(file, &found, predicted.timings));
        rows.extend(found.to_coco(id, &file_name(file)));
        draw_detections(
            &mut image,
            found.iter().map(Label::from),
            &Default::default(),
        );
        let saved = image.save(target);
        saved.map_err(|e| anyhow!("cannot write {}: {e}", target.display()))
    };
    for ((file, id), target) in files.iter().zip(image_ids(files)).zip(targets) {
        if let Err(error) = predict(file, id, target) {
            bar.suspend(|| eprintln!("error: {error}"));
            failed += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    (rows, failed)
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

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// A PNG file in the folder for each picture, named after it; of equal names all but the first get a
/// number.
fn target_files(files: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let inputs: HashSet<PathBuf> = files.iter().flat_map(|f| f.canonicalize()).collect();
    let mut taken = HashSet::new();
    let target = |file: &PathBuf| {
        let stem = stem(file);
        let (mut name, mut number) = (stem.clone(), 1);
        // Some file systems take upper and lower case for the same.
        while !taken.insert(name.to_lowercase()) {
            number += 1;
            name = format!("{stem}-{number}");
        }
        let target = folder.join(name + ".png");
        let is_input = target.canonicalize().is_ok_and(|t| inputs.contains(&t));
        ensure!(
            !is_input,
            "{} is one of the pictures: choose another --output",
            target.display()
        );
        Ok(target)
    };
    files.iter().map(target).collect()
}

/// The last number in each file's stem, or its position from 1; positions for all unless that makes
/// ids that differ.
fn image_ids(files: &[PathBuf]) -> Vec<u64> {
    let positions = 1..=files.len() as u64;
    let named = files.iter().zip(positions.clone());
    let ids: Vec<u64> = named
        .map(|(file, position)| last_number(&stem(file)).unwrap_or(position))
        .collect();
    match ids.iter().collect::<HashSet<_>>().len() == ids.len() {
        true => ids,
        false => positions.collect(),
    }
}

/// `None` also where it is too large.
fn last_number(text: &str) -> Option<u64> {
    let mut runs = text.rsplit(|c: char| !c.is_ascii_digit());
    runs.find(|run| !run.is_empty())?.parse().ok()
}

fn print_table(file: &Path, detections: &Detections, times: Timings) {
    println!("{}: {} objects", file.display(), detections.len());
    for d in detections {
        let [x, y, w, h] = d.bbox.to_xywh();
        println!(
            "  {:<16} {:.3}  x {x:7.1}  y {y:7.1}  w {w:7.1}  h {h:7.1}",
            d.name, d.score
        );
    }
    println!(
        "  preprocess {}, forward {}, postprocess {}",
        milliseconds(times.preprocess),
        milliseconds(times.forward),
        milliseconds(times.postprocess)
    );
    if detections.non_finite() > 0 {
        let count = detections.non_finite();
        eprintln!("  warning: {count} outputs are not finite; are the weights broken?");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn ids_are_numbers_in_names_or_positions() {
        let cases: [(&[&str], &[u64]); 6] = [
            (&["a/COCO_val2014_000000001000.jpg", "7.png"], &[1000, 7]),
            (&["street.jpg", "img_12_left.jpg"], &[1, 12]),
            (&["99999999999999999999999.png"], &[1]),
            (&["2.jpg", "street.jpg"], &[1, 2]),
            (&["a/5.jpg", "b/5.jpg"], &[1, 2]),
            (&["5.jpg", "5.jpg"], &[1, 2]),
        ];
        for (names, ids) in cases {
            assert_eq!(image_ids(&paths(names)), ids, "{names:?}");
        }
    }

    #[test]
    fn no_two_pictures_have_one_target() {
        let files = paths(&["a/x.jpg", "b/X.png", "x-2.jpg", "x.v1.jpg", "y.jpg"]);
        let targets = target_files(&files, Path::new("out")).expect("none is an input");
        let names = ["x.png", "X-2.png", "x-2-2.png", "x.v1.png", "y.png"];
        assert_eq!(targets, names.map(|name| Path::new("out").join(name)));
    }

    #[test]
    fn inputs_are_never_targets() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("b.png"), "my only copy").expect("written");
        let elsewhere = dir.path().join("sub");
        std::fs::create_dir(&elsewhere).expect("made");
        let files = [dir.path().join("a.jpg"), elsewhere.join("../b.png")];
        let error = target_files(&files, dir.path()).expect_err("refused");
        assert!(error.to_string().contains("b.png is one of"), "{error}");
        assert!(target_files(&files, &elsewhere).is_ok());
    }
}
