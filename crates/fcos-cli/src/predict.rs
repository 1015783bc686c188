//! `fcos predict`: finds objects in pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fcos::files::{image_files, image_ids, output_files};
use fcos::{Detections, Detector, DeviceSpec, Label, ResultRow, Timings, draw_detections};

use crate::terminal::{
    init_logging, make_folder, milliseconds, progress_bar, say, warn, write_json,
};

/// Find objects in pictures
///
/// Prints a table of the objects and a line of times for each picture, and writes each picture with
/// its boxes into the output folder: as PNG under its own name, with a number where pictures share
/// one. A picture that can't be read is reported, and the others go on.
///
/// --json also writes a COCO results list (bbox is [x, y, width, height] in pixels of the picture)
/// whose rows carry file_name and category_name too. category_id is that of the data set that the
/// detector was trained on. image_id is the last number in the file's name without extension
/// (COCO_val2014_000000001000.jpg: 1000), and where there is none the picture's position in the list,
/// from 1; if two pictures would get the same id, it is the position for all.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos predict --weights runs/demo/best.safetensors street.jpg
  fcos predict --weights fcos.safetensors --score-threshold 0.4 --output out \\
      --json results.json photos/")]
pub struct Args {
    /// Weights file, as written by `fcos train` or `fcos convert`
    #[arg(long)]
    weights: PathBuf,
    /// Show only objects with at least this score
    #[arg(long, default_value_t = 0.3)]
    score_threshold: f32,
    /// Where to compute: auto, flex, wgpu, cuda:1, …; `fcos devices` lists them
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

impl Args {
    /// Predicts all pictures.
    ///
    /// # Errors
    /// If the weights, the device or the output folder can't be used, and if a picture failed.
    pub fn run(self) -> Result<()> {
        init_logging();
        ensure!(
            (0.0..=1.0).contains(&self.score_threshold),
            "--score-threshold must be in 0..=1"
        );
        let files = image_files(&self.images)?;
        let detector = Detector::load(&self.weights, &self.device.device()?)?;
        make_folder(&self.output)?;
        let outputs = output_files(&files, &self.output).context("--output")?;
        let (rows, failed) = predict_all(&detector, &files, &outputs, self.score_threshold);
        if let Some(json) = &self.json {
            write_json(json, &rows)?;
        }
        say!(
            "{} objects in {} pictures; see {}",
            rows.len(),
            files.len() - failed,
            self.output.display()
        );
        ensure!(failed == 0, "{failed} of {} pictures failed", files.len());
        Ok(())
    }
}

/// The objects in all pictures, and how many pictures failed.
fn predict_all(
    detector: &Detector,
    files: &[PathBuf],
    outputs: &[PathBuf],
    min_score: f32,
) -> (Vec<ResultRow>, usize) {
    let bar = progress_bar(files.len() as u64, "pictures");
    let (mut rows, mut failed) = (Vec::new(), 0);
    let mut predict = |file: &Path, id, output: &Path| -> Result<()> {
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
        let saved = image.save(output);
        saved.with_context(|| format!("can't write {}", output.display()))
    };
    for ((file, id), output) in files.iter().zip(image_ids(files)).zip(outputs) {
        if let Err(error) = predict(file, id, output) {
            bar.suspend(|| warn(&format!("error: {error:#}")));
            failed += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    (rows, failed)
}

fn file_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn print_table(file: &Path, detections: &Detections, times: Timings) {
    say!("{}: {} objects", file.display(), detections.len());
    for d in detections {
        let [x, y, w, h] = d.bbox.to_xywh();
        say!(
            "  {:<16} {:.3}  x {x:7.1}  y {y:7.1}  w {w:7.1}  h {h:7.1}",
            d.name,
            d.score
        );
    }
    say!(
        "  preprocess {}, forward {}, postprocess {}",
        milliseconds(times.preprocess),
        milliseconds(times.forward),
        milliseconds(times.postprocess)
    );
    let count = detections.non_finite();
    if count > 0 {
        warn(&format!(
            "  warning: {count} outputs are not finite; are the weights broken?"
        ));
    }
}
