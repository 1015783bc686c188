//! A run's curves from its log files.

use std::path::Path;

use fcos_eval::curves::{Chart, Series, write_curves};
use fcos_loss::term;

use crate::TrainError;
use crate::log::{EvalRow, Row, StepRow, read_rows};
use crate::run_folder::{EVALUATIONS, METRICS};

/// Weight of the running mean that makes noisy losses readable.
const LOSS_SMOOTHING: f64 = 0.95;

/// Draws `losses.svg` and `ap.svg` of a run folder from its `.jsonl` files.
///
/// # Errors
/// If the files can't be read or the pictures can't be written.
pub fn write_run_curves(folder: impl AsRef<Path>) -> Result<(), TrainError> {
    let folder = folder.as_ref();
    let steps: Vec<StepRow> = read_rows(&folder.join(format!("{METRICS}.jsonl")))?;
    let evals: Vec<EvalRow> = read_rows(&folder.join(format!("{EVALUATIONS}.jsonl")))?;
    write_curves(&loss_charts(&steps), folder.join("losses.svg"))?;
    Ok(write_curves(&[ap_chart(&evals)], folder.join("ap.svg"))?)
}

fn loss_charts(steps: &[StepRow]) -> [Chart; 2] {
    let mut losses = vec![series("total", steps, |row| Some(row.loss))];
    let names = steps.last().map_or(&[][..], |row| &row.losses);
    losses.extend(names.iter().map(|loss| {
        let name = &loss.name;
        series(label(name), steps, |row| row.loss_of(name))
    }));
    let rate = series("learning rate", steps, |row| Some(row.learning_rate));
    [
        chart("Loss", losses, LOSS_SMOOTHING),
        chart("Learning rate", vec![rate], 0.0),
    ]
}

/// What a loss is called in a chart.
fn label(loss: &str) -> &str {
    match loss {
        term::CLS => "classification",
        term::BBOX => "box",
        term::CENTERNESS => "centre-ness",
        other => other,
    }
}

fn ap_chart(evals: &[EvalRow]) -> Chart {
    let curves = vec![
        series("AP", evals, |row| Some(row.stats.ap)),
        series("AP50", evals, |row| Some(row.stats.ap50)),
        series("AP75", evals, |row| Some(row.stats.ap75)),
    ];
    chart("Average precision on the val set", curves, 0.0)
}

fn chart(title: &str, series: Vec<Series>, smoothing: f64) -> Chart {
    Chart {
        title: title.into(),
        x_label: "iteration".into(),
        series,
        smoothing,
    }
}

/// A value of the rows that have it, by their steps.
fn series<R: Row>(name: &str, rows: &[R], value: impl Fn(&R) -> Option<f64>) -> Series {
    let point = |row: &R| Some((row.iteration() as f64, value(row)?));
    Series {
        name: name.into(),
        points: rows.iter().filter_map(point).collect(),
    }
}
