//! Trains FCOS: configuration, schedule, the training loop, checkpoints that resume to the same
//! result, and COCO metrics.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use fcos_train::{TrainConfig, Trainer};
//!
//! # fn device() -> Device { unimplemented!() }
//! let device = device();
//! let mut config = TrainConfig::load("r18-320", &["recipe.epochs=8".into()])?;
//! config.data.train_annotations = "train.json".into();
//! config.data.train_images = "photos".into();
//! let summary = Trainer::new(config, "runs/mine".as_ref(), false, &device)?.run(&mut ())?;
//! println!("{} steps in {:.0} s", summary.steps, summary.seconds);
//! # Ok::<(), fcos_train::TrainError>(())
//! ```

mod batch;
mod checkpoint;
mod config;
mod error;
mod files;
mod learner;
mod log;
mod merge;
mod recipe;
mod run_curves;
mod sgd;
mod trainer;

pub use checkpoint::{CheckpointFolder, RunState};
pub use config::{DataPaths, TrainConfig, with_settings};
pub use error::TrainError;
pub use learner::StepLosses;
pub use log::{EvalRow, StepRow};
pub use recipe::{Recipe, Schedule, Warmup, WarmupKind};
pub use run_curves::write_run_curves;
pub use trainer::{
    BEST_WEIGHTS, CONFIG_FILE, EVALUATIONS, LAST_WEIGHTS, METRICS, Observer, RunPlan, RunSummary,
    Trainer,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
