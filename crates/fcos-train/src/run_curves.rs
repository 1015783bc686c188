//! A run's curves from its log files.

use std::path::Path;

use fcos_eval::CocoStats;
use fcos_eval::curves::{Chart, Series, write_curves};

use crate::TrainError;
use crate::log::{EvalRow, StepRow, read_rows};
use crate::trainer::{EVALUATIONS, METRICS};

/// Weight of the running mean that makes noisy losses readable.
const LOSS_SMOOTHING: f64 = 0.95;

/// Draws `losses.svg` and `ap.svg` of a run folder from its `.jsonl` files.
///
/// # Errors
/// If the files can't be read or the pictures can't be written.
pub fn write_run_curves(folder: &Path) -> Result<(), TrainError> {
    let steps: Vec<StepRow> = read_rows(&folder.join(format!("{METRICS}.jsonl")))?;
    let evals: Vec<EvalRow> = read_rows(&folder.join(format!("{EVALUATIONS}.jsonl")))?;
    write_curves(&loss_charts(&steps), folder.join("losses.svg"))?;
    Ok(write_curves(&[ap_chart(&evals)], folder.join("ap.svg"))?)
}

fn loss_charts(steps: &[StepRow]) -> [Chart; 2] {
    let series = |name: &str, value: fn(&StepRow) -> f64| Series {
        name: name.into(),
        points: steps
            .iter()
            .map(|row| (row.iteration as f64, value(row)))
            .collect(),
    };
    let chart = |title: &str, series, smoothing| Chart {
        title: title.into(),
        x_label: "iteration".into(),
        series,
        smoothing,
    };
    let losses = vec![
        series("total", |r| r.loss),
        series("classification", |r| r.loss_cls),
        series("box", |r| r.loss_bbox),
        series("centre-ness", |r| r.loss_centerness),
    ];
    [
        chart("Loss", losses, LOSS_SMOOTHING),
        chart(
            "Learning rate",
            vec![series("learning rate", |r| r.learning_rate)],
            0.0,
        ),
    ]
}

fn ap_chart(evals: &[EvalRow]) -> Chart {
    let series = |name: &str, value: fn(&CocoStats) -> f64| Series {
        name: name.into(),
        points: evals
            .iter()
            .map(|row| (row.iteration as f64, value(&row.stats)))
            .collect(),
    };
    Chart {
        title: "Average precision on the val set".into(),
        x_label: "iteration".into(),
        series: vec![
            series("AP", |r| r.ap),
            series("AP50", |r| r.ap50),
            series("AP75", |r| r.ap75),
        ],
        smoothing: 0.0,
    }
}
