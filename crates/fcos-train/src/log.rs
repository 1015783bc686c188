//! A run's numbers on disk: the same rows as CSV and as JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use fcos_eval::CocoStats;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::TrainError;
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
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct EvalRow {
    /// The steps done.
    pub iteration: u64,
    /// The numbers.
    #[serde(flatten)]
    pub stats: CocoStats,
}

/// As one structure of numbers; what serde flattens is a map, of which `csv` knows no columns.
impl Serialize for EvalRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("EvalRow", 1 + CocoStats::NAMES.len())?;
        row.serialize_field("iteration", &self.iteration)?;
        for (name, value) in CocoStats::NAMES.into_iter().zip(self.stats.to_array()) {
            row.serialize_field(name, &value)?;
        }
        row.end()
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
    #[test]
    fn an_evaluation_is_one_row_under_pycocotools_names() {
        let dir = tempfile::tempdir().expect("temp dir");
        let json = CocoStats::NAMES.into_iter().zip((1..=12).map(f64::from));
        let json = serde_json::to_value(json.collect::<std::collections::BTreeMap<_, _>>());
        let stats = serde_json::from_value(json.expect("JSON")).expect("twelve numbers");
        let row = EvalRow {
            iteration: 7,
            stats,
        };
        let mut log = RowLog::open::<EvalRow>(dir.path(), "evaluations", 0).expect("opens");
        log.push(&row).expect("writes");
        let csv = std::fs::read_to_string(dir.path().join("evaluations.csv")).expect("reads");
        let expected = "iteration,AP,AP50,AP75,APs,APm,APl,AR1,AR10,AR100,ARs,ARm,ARl\n\
                        7,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,10.0,11.0,12.0\n";
        assert_eq!(csv, expected);
        let jsonl = dir.path().join("evaluations.jsonl");
        assert_eq!(read_rows::<EvalRow>(&jsonl).expect("reads"), [row]);
    }
}
