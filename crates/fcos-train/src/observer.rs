//! What a run tells while it goes on, and how it can be stopped.

use std::ops::ControlFlow;
use std::path::PathBuf;

use fcos_data::HealthReport;
use fcos_eval::CocoMetrics;

use crate::log::StepRow;
use crate::state::Best;

/// Hears what a run does; every method may stay as it is. Those that answer can stop the run with
/// [`ControlFlow::Break`]: it writes a checkpoint, from which it can be resumed, and ends.
pub trait Observer {
    /// The data is read and the model built; steps follow.
    fn started(&mut self, _plan: &RunPlan) {}
    /// A step is done.
    fn stepped(&mut self, _row: &StepRow, _plan: &RunPlan) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// A checkpoint is written, after this many steps.
    fn checkpointed(&mut self, _iteration: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// This many of the val images have been predicted.
    fn evaluating(&mut self, _done: usize, _images: usize) {}
    /// An evaluation is done, after this many steps.
    fn evaluated(&mut self, _iteration: u64, _metrics: &CocoMetrics) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// An observer that says nothing and stops nothing.
impl Observer for () {}

/// What a run is about to do.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// Steps of the whole run.
    pub total_iterations: u64,
    /// Steps done by an earlier process.
    pub first_iteration: u64,
    /// Images with boxes to train on.
    pub train_images: usize,
    /// Images to evaluate on.
    pub val_images: usize,
    /// Trainable and frozen parameters.
    pub parameters: usize,
    /// What was found in the training and the val annotations.
    pub health: Vec<FileHealth>,
}

/// What was found in a file with annotations.
#[derive(Debug, Clone)]
pub struct FileHealth {
    /// The file.
    pub annotations: PathBuf,
    /// What was odd in it.
    pub report: HealthReport,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Metrics of this process's last evaluation.
    pub metrics: Option<CocoMetrics>,
    /// The best evaluation of the whole run.
    pub best: Option<Best>,
    /// Steps done by this process.
    pub steps: u64,
    /// Seconds that this process took.
    pub seconds: f64,
    /// Whether the observer stopped it: there is a checkpoint to go on from, and no last weights.
    pub stopped: bool,
}
