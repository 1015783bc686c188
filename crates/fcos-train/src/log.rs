//! A run's numbers on disk: the same rows as CSV and as JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::evaluate::CocoStats;
use crate::files::{io_error, temporary_name};

/// One logged training step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Steps done, this one included.
    pub iteration: u64,
    /// Passes over the training images.
    pub epoch: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Sum of the three losses.
    pub loss: f64,
    /// Focal loss.
    pub loss_cls: f64,
    /// Box regression loss.
    pub loss_bbox: f64,
    /// Centre-ness loss. (Its soft targets keep it well above 0 even when it is perfect.)
    pub loss_centerness: f64,
    /// Positive locations in the batch.
    pub positives: f64,
    /// L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Images per second, loading included.
    pub images_per_second: f64,
}

/// One evaluation's row: the step and COCO's twelve numbers, in files under pycocotools' names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `CocoStats`")]
pub struct EvalRow {
    pub iteration: u64,
    #[serde(rename = "AP")]
    pub ap: f64,
    #[serde(rename = "AP50")]
    pub ap50: f64,
    #[serde(rename = "AP75")]
    pub ap75: f64,
    #[serde(rename = "APs")]
    pub ap_small: f64,
    #[serde(rename = "APm")]
    pub ap_medium: f64,
    #[serde(rename = "APl")]
    pub ap_large: f64,
    #[serde(rename = "AR1")]
    pub ar1: f64,
    #[serde(rename = "AR10")]
    pub ar10: f64,
    #[serde(rename = "AR100")]
    pub ar100: f64,
    #[serde(rename = "ARs")]
    pub ar_small: f64,
    #[serde(rename = "ARm")]
    pub ar_medium: f64,
    #[serde(rename = "ARl")]
    pub ar_large: f64,
}

impl EvalRow {
    pub(crate) fn new(iteration: u64, stats: &CocoStats) -> Self {
        Self {
            iteration,
            ap: stats.ap,
            ap50: stats.ap50,
            ap75: stats.ap75,
            ap_small: stats.ap_small,
            ap_medium: stats.ap_medium,
            ap_large: stats.ap_large,
            ar1: stats.ar1,
            ar10: stats.ar10,
            ar100: stats.ar100,
            ar_small: stats.ar_small,
            ar_medium: stats.ar_medium,
            ar_large: stats.ar_large,
        }
    }
}

/// A row of a [`RowLog`]: a flat structure of numbers.
pub(crate) trait Row: Serialize + DeserializeOwned {
    /// The step after which the row was written.
    fn iteration(&self) -> u64;
}

impl Row for StepRow {
    fn iteration(&self) -> u64 {
        self.iteration
    }
}

impl Row for EvalRow {
    fn iteration(&self) -> u64 {
        self.iteration
    }
}

/// A pair of append-only files, `NAME.csv` and `NAME.jsonl`, with the same rows.
#[derive(Debug)]
pub(crate) struct RowLog {
    csv: csv::Writer<File>,
    jsonl: File,
    csv_path: PathBuf,
    jsonl_path: PathBuf,
}

impl RowLog {
    /// Opens both files and keeps only the rows up to `iteration`: those after it were logged by
    /// a run that was killed before its next checkpoint, and will be logged again.
    pub fn open<R: Row>(dir: &Path, name: &str, iteration: u64) -> Result<Self, TrainError> {
        let csv_path = dir.join(format!("{name}.csv"));
        let jsonl_path = dir.join(format!("{name}.jsonl"));
        let mut kept: Vec<R> = read_rows(&jsonl_path)?;
        kept.retain(|row| row.iteration() <= iteration);

        let create = |path: &Path| File::create(path).map_err(|e| io_error(path, e));
        let mut log = Self {
            csv: csv::Writer::from_writer(create(&temporary_name(&csv_path))?),
            jsonl: create(&temporary_name(&jsonl_path))?,
            csv_path,
            jsonl_path,
        };
        kept.iter().try_for_each(|row| log.push(row))?;
        for path in [&log.csv_path, &log.jsonl_path] {
            std::fs::rename(temporary_name(path), path).map_err(|e| io_error(path, e))?;
        }
        Ok(log)
    }

    /// Appends a row and hands it to the operating system.
    pub fn push(&mut self, row: &impl Row) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(row).map_err(|e| io_error(&self.jsonl_path, e.into()))?;
        line.push(b'\n');
        self.jsonl
            .write_all(&line)
            .map_err(|e| io_error(&self.jsonl_path, e))?;
        self.csv
            .serialize(row)
            .map_err(|e| io_error(&self.csv_path, e.into()))?;
        self.csv.flush().map_err(|e| io_error(&self.csv_path, e))
    }
}

/// Reads the rows of a `.jsonl` file. A missing file has none; a line that a killed process left
/// unfinished is passed over.
pub(crate) fn read_rows<R: Row>(path: &Path) -> Result<Vec<R>, TrainError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error(path, e)),
    };
    let mut rows = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        rows.extend(serde_json::from_slice(&line.map_err(|e| io_error(path, e))?).ok());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(iteration: u64, loss: f64) -> StepRow {
        StepRow {
            iteration,
            epoch: 0.5,
            learning_rate: 0.01,
            loss,
            loss_cls: 0.25,
            loss_bbox: 0.5,
            loss_centerness: 0.75,
            positives: 12.0,
            grad_norm: 1.5,
            images_per_second: 2.0,
        }
    }

    #[test]
    fn reopening_drops_later_and_unfinished_rows() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = RowLog::open::<StepRow>(dir.path(), "metrics", 0).expect("opens");
        for iteration in 1..=3 {
            log.push(&row(iteration, 1.5)).expect("writes");
        }
        drop(log);
        let jsonl = dir.path().join("metrics.jsonl");
        let text = std::fs::read_to_string(&jsonl).expect("reads") + r#"{"iteration": 4, "lo"#;
        std::fs::write(&jsonl, text).expect("writes");

        let mut log = RowLog::open::<StepRow>(dir.path(), "metrics", 2).expect("opens");
        log.push(&row(3, 0.25)).expect("writes");
        let csv = std::fs::read_to_string(dir.path().join("metrics.csv")).expect("reads");
        let lines: Vec<_> = csv.lines().collect();
        assert!(lines[0].starts_with("iteration,epoch,learning_rate,loss,loss_cls"));
        assert_eq!(lines[1], "1,0.5,0.01,1.5,0.25,0.5,0.75,12.0,1.5,2.0");
        assert_eq!(lines.len(), 4);
        assert!(lines[3].starts_with("3,0.5,0.01,0.25,"));
        let rows: Vec<StepRow> = read_rows(&jsonl).expect("reads");
        assert_eq!(rows, [row(1, 1.5), row(2, 1.5), row(3, 0.25)]);
    }
}
