//! What keeps a run from starting or going on.

use std::path::PathBuf;

use fcos_core::SettingError;
use fcos_data::{DataError, HealthReport, SamplerError};
use fcos_eval::EvalError;
use fcos_eval::curves::CurvesError;
use fcos_model::ConfigError;
use fcos_model::weights::WeightsError;
use fcos_targets::AssignError;

use crate::checkpoint::CHECKPOINT_VERSION;

/// Why a run can't start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file or folder can't be read or written.
    #[error("can't read or write {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Settings can't be read: broken TOML, an unknown key, a value of the wrong kind.
    #[error("{origin}: {reason}")]
    Config {
        /// The file, preset or `--set` argument.
        origin: String,
        /// What is wrong, with the place where known.
        reason: String,
    },
    /// A run that goes on keeps its settings, and other ones were given.
    #[error("a run that goes on keeps its settings, and these differ: {}", changed.join(", "))]
    SettingsChanged {
        /// The settings given that differ, as lines of TOML with dotted keys: `recipe.seed = 7`.
        changed: Vec<String>,
    },
    /// There is no preset of this name.
    #[error("no preset `{name}`; there are: {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A checkpoint is damaged or belongs to another model.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint lacks a part of the run's state.
    #[error("{} has no `{part}`: it is of version {version} of the format", path.display())]
    CheckpointPart {
        /// The file that lists the parts.
        path: PathBuf,
        /// The part.
        part: &'static str,
        /// The version of the checkpoint's format.
        version: u64,
    },
    /// A checkpoint is of a version of the format that this program does not know.
    #[error(
        "{} is of version {found} of the format; this program reads 1 to {CHECKPOINT_VERSION}",
        path.display()
    )]
    CheckpointVersion {
        /// The file that says so.
        path: PathBuf,
        /// The version.
        found: u64,
    },
    /// A part of the run's state can't be read from its device.
    #[error("can't read the run's `{part}`: {reason}")]
    State {
        /// The part.
        part: &'static str,
        /// What the device says.
        reason: String,
    },
    /// There is no run in a folder.
    #[error("{} holds no run", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The run folder already holds a run, and the caller did not ask to resume it; or the
    /// checkpoints of one whose settings are gone.
    #[error(
        "{} already holds a run or the checkpoints of one; resume it, or choose another folder",
        path.display()
    )]
    RunExists {
        /// The run folder.
        path: PathBuf,
    },
    /// A loss or the gradients stopped being finite. The usual causes are a learning rate that is
    /// too high for the batch size, a missing warm-up, or broken boxes in the images named.
    #[error(
        "{component} is {value} at iteration {iteration}, on images {image_ids:?}: \
         try a lower learning rate, a longer warm-up or `clip_grad_norm`"
    )]
    NonFinite {
        /// Which loss, or the gradient norm.
        component: String,
        /// NaN or an infinity.
        value: f32,
        /// The step, counted from 0.
        iteration: u64,
        /// Ids of the batch's images.
        image_ids: Vec<u64>,
    },
    /// There is no image with boxes to learn from.
    #[error("no training image has a usable box: {health}")]
    NothingToLearn {
        /// What was found instead.
        health: HealthReport,
    },
    /// The loader's threads ended before the run did.
    #[error("loading batch {iteration} failed: {reason}")]
    Loader {
        /// The step whose batch is missing.
        iteration: u64,
        /// What the loader says.
        reason: String,
    },
    /// Something is wrong with the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No batches can be made of the training images.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// Curves can't be drawn.
    #[error(transparent)]
    Curves(#[from] CurvesError),
    /// Boxes and labels don't make targets.
    #[error("the boxes of image {image_id} can't be assigned")]
    Assign {
        /// The image.
        image_id: u64,
        /// What the assigner says.
        source: AssignError,
    },
    /// The network's settings contradict each other.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// A weights file can't be written or read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The val set can't be read, predicted or judged.
    #[error(transparent)]
    Eval(#[from] EvalError),
}
