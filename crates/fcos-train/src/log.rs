//! A run's numbers on disk: the same rows as CSV and as JSON lines.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use fcos_eval::CocoStats;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::TrainError;
use crate::files::{io_error, temporary_name};

/// A term of the loss, as a number.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedLoss {
    /// What the loss calls it: `cls`, `bbox`, `centerness`.
    pub name: String,
    /// Divided by its normaliser and multiplied by its weight.
    pub value: f64,
}

/// One logged training step. In files its losses are columns named `loss_` and their name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Steps done, this one included.
    pub iteration: u64,
    /// Passes over the training images.
    pub epoch: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Sum of the losses.
    pub loss: f64,
    /// The losses. (The soft targets of centre-ness keep its loss well above 0 even when it is
    /// perfect.)
    #[serde(flatten, with = "loss_columns")]
    pub losses: Vec<NamedLoss>,
    /// Positive locations in the batch.
    pub positives: f64,
    /// L2 norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Images per second, loading included.
    pub images_per_second: f64,
}

impl StepRow {
    /// The loss of this name.
    pub fn loss_of(&self, name: &str) -> Option<f64> {
        let found = self.losses.iter().find(|loss| loss.name == name);
        found.map(|loss| loss.value)
    }
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
    /// The names of the CSV file's columns.
    header: Vec<String>,
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
        let mut kept = lines(&jsonl_path)?;
        kept.retain(|line| parse::<R>(line).is_some_and(|row| row.iteration() <= iteration));

        let header = kept.iter().fold(Vec::new(), |h, line| widened(h, line));
        let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
        let write = |file: &mut File| file.write_all(text.as_bytes());
        Ok(Self {
            jsonl: replace(&jsonl_path, write)?,
            csv: new_csv(&csv_path, &header, &kept)?,
            header,
            csv_path,
            jsonl_path,
        })
    }

    /// Appends a row and hands it to the operating system. Where it has columns that no row before it
    /// had, the CSV file is written anew, with cells left empty.
    pub fn push(&mut self, row: &impl Row) -> Result<(), TrainError> {
        let line = serde_json::to_string(row).map_err(|e| io_error(&self.jsonl_path, e.into()))?;
        writeln!(self.jsonl, "{line}").map_err(|e| io_error(&self.jsonl_path, e))?;
        let header = widened(self.header.clone(), &line);
        if header == self.header {
            let written = write_csv(&mut self.csv, &header, &line);
            written.map_err(|e| io_error(&self.csv_path, e))
        } else {
            self.csv = new_csv(&self.csv_path, &header, &lines(&self.jsonl_path)?)?;
            self.header = header;
            Ok(())
        }
    }
}

/// The columns of a row's JSON: it is flat, and its values are numbers.
fn columns(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = line.trim().trim_matches(['{', '}']).split(',');
    pairs.filter_map(|pair| {
        let (name, value) = pair.split_once(':')?;
        Some((name.trim().trim_matches('"'), value.trim()))
    })
}

/// The names of columns, and a row's where it has more.
fn widened(header: Vec<String>, line: &str) -> Vec<String> {
    let mut names: Vec<String> = columns(line).map(|(name, _)| name.into()).collect();
    if names.iter().all(|name| header.contains(name)) {
        return header;
    }
    let others = header.into_iter().filter(|name| !names.contains(name));
    let others: Vec<_> = others.collect();
    names.extend(others);
    names
}

fn new_csv(
    path: &Path,
    header: &[String],
    rows: &[String],
) -> Result<csv::Writer<File>, TrainError> {
    let file = replace(path, |_| Ok(()))?;
    let mut csv = csv::Writer::from_writer(file);
    let written = match header {
        [] => Ok(()),
        _ => csv.write_record(header).map_err(Into::into),
    };
    let written = written.and_then(|()| {
        rows.iter()
            .try_for_each(|line| write_csv(&mut csv, header, line))
    });
    written.map_err(|e| io_error(path, e))?;
    Ok(csv)
}

fn write_csv(csv: &mut csv::Writer<File>, header: &[String], line: &str) -> std::io::Result<()> {
    let cell = |name: &String| {
        let mut columns = columns(line);
        columns
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    };
    csv.write_record(header.iter().map(cell))?;
    csv.flush()
}

/// A new file in the place of another, with what `write` puts into it.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<File, TrainError> {
    let temporary = temporary_name(path);
    let mut file = File::create(&temporary).map_err(|e| io_error(&temporary, e))?;
    write(&mut file).map_err(|e| io_error(&temporary, e))?;
    std::fs::rename(&temporary, path).map_err(|e| io_error(path, e))?;
    Ok(file)
}

/// Reads the rows of a `.jsonl` file. A missing file has none; a line that a killed process left
/// unfinished is passed over.
pub(crate) fn read_rows<R: Row>(path: &Path) -> Result<Vec<R>, TrainError> {
    Ok(lines(path)?.iter().filter_map(|l| parse(l)).collect())
}

fn parse<R: Row>(line: &str) -> Option<R> {
    serde_json::from_str(line).ok()
}

fn lines(path: &Path) -> Result<Vec<String>, TrainError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.lines().map(String::from).collect())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io_error(path, e)),
    }
}

/// Losses as columns of their row, in their order.
mod loss_columns {
    use std::fmt;

    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde::ser::Serializer;

    use super::NamedLoss;

    const PREFIX: &str = "loss_";

    pub fn serialize<S: Serializer>(
        losses: &[NamedLoss],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let column = |loss: &NamedLoss| (format!("{PREFIX}{}", loss.name), loss.value);
        serializer.collect_map(losses.iter().map(column))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Vec<NamedLoss>, D::Error> {
        de.deserialize_map(Columns)
    }

    struct Columns;

    impl<'de> Visitor<'de> for Columns {
        type Value = Vec<NamedLoss>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a row of numbers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut losses = Vec::new();
            while let Some((column, value)) = map.next_entry::<String, f64>()? {
                losses.extend(column.strip_prefix(PREFIX).map(|name| NamedLoss {
                    name: name.into(),
                    value,
                }));
            }
            Ok(losses)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(terms: &[(&str, f64)]) -> Vec<NamedLoss> {
        let named = |&(name, value): &(&str, f64)| NamedLoss {
            name: name.into(),
            value,
        };
        terms.iter().map(named).collect()
    }

    fn row(iteration: u64, loss: f64) -> StepRow {
        StepRow {
            iteration,
            epoch: 0.5,
            learning_rate: 0.01,
            loss,
            losses: losses(&[("cls", 0.25), ("bbox", 0.5), ("centerness", 0.75)]),
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

    /// A term that joins in mid-run is a further column, and rows without it leave it empty.
    #[test]
    fn a_further_loss_is_a_further_column() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = RowLog::open::<StepRow>(dir.path(), "metrics", 0).expect("opens");
        log.push(&row(1, 1.5)).expect("writes");
        let mut log = RowLog::open::<StepRow>(dir.path(), "metrics", 1).expect("opens");
        let mut more = row(2, 1.75);
        more.losses.push(NamedLoss {
            name: "mask".into(),
            value: 0.125,
        });
        log.push(&more).expect("writes");
        log.push(&row(3, 1.5)).expect("writes");
        let csv = std::fs::read_to_string(dir.path().join("metrics.csv")).expect("reads");
        let lines: Vec<_> = csv.lines().collect();
        let expected = [
            "iteration,epoch,learning_rate,loss,loss_cls,loss_bbox,loss_centerness,loss_mask,\
             positives,grad_norm,images_per_second",
            "1,0.5,0.01,1.5,0.25,0.5,0.75,,12.0,1.5,2.0",
            "2,0.5,0.01,1.75,0.25,0.5,0.75,0.125,12.0,1.5,2.0",
            "3,0.5,0.01,1.5,0.25,0.5,0.75,,12.0,1.5,2.0",
        ];
        assert_eq!(lines, expected);
        let rows: Vec<StepRow> = read_rows(&dir.path().join("metrics.jsonl")).expect("reads");
        assert_eq!(rows, [row(1, 1.5), more, row(3, 1.5)]);
    }
}
