//! Trains FCOS: settings, batches, steps, checkpoints that resume to the same result, logs.
//!
//! [`Trainer`] does all of it:
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
//! let summary = Trainer::start(config, "runs/mine", &device)?.run(&mut ())?;
//! println!("{} steps in {:.0} s", summary.steps, summary.seconds);
//! # Ok::<(), fcos_train::TrainError>(())
//! ```
//!
//! It is made of parts that are there for a loop of one's own. This one has the trainer's losses, and
//! goes on where it was stopped:
//!
//! ```no_run
//! use fcos_model::Fcos;
//! use fcos_train::{Checkpoints, Learner, TrainBatches, TrainConfig, TrainingData};
//!
//! # fn device() -> burn::tensor::Device { unimplemented!() }
//! let config = TrainConfig::load("settings.toml", &[])?;
//! let data = TrainingData::load(&config.data)?.dataset;
//! let total = config.recipe.total_iterations(data.len());
//! let model: Fcos = config.init_model(&data, &device())?;
//! let mut learner = Learner::new(model, &config, total);
//! let checkpoints = Checkpoints::new("runs/own");
//! checkpoints.load_latest(learner.state_mut())?;
//!
//! let batches = TrainBatches::new(data.clone(), &config)?;
//! for batch in batches.load(learner.state().iteration..total)? {
//!     let step = learner.step(vec![batch?])?;
//!     println!("{:?} at a rate of {}", step.losses, step.learning_rate);
//!     if learner.state().iteration.is_multiple_of(100) {
//!         checkpoints.save(learner.state())?;
//!     }
//! }
//! config.detector(&data).save("own.safetensors", learner.published())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod batches;
mod checkpoint;
mod config;
mod data;
mod detector_settings;
mod error;
mod files;
mod gradients;
mod learner;
mod log;
mod observer;
mod optimizer;
mod recipe;
mod run;
mod run_curves;
mod run_folder;
mod setting_layers;
mod state;
#[cfg(test)]
mod testing;
mod trainer;

pub use batch::{DeviceBatch, HostBatch, InputBoxes, loss_targets};
pub use batches::{BatchLoader, TrainBatches};
pub use checkpoint::{CHECKPOINT_VERSION, Checkpoints};
pub use config::{DataPaths, TrainConfig, with_settings};
pub use data::TrainingData;
pub use detector_settings::with_detector_settings;
pub use error::TrainError;
pub use gradients::Gradients;
pub use learner::{AddTerms, Learner, Step};
pub use log::{EvalRow, NamedLoss, StepRow};
pub use observer::{FileHealth, Observer, RunPlan, RunSummary};
pub use optimizer::{ParamKind, ParamRule};
pub use recipe::{AdamWSettings, NormShift, OptimizerKind, Recipe, Schedule, Warmup, WarmupKind};
pub use run_curves::write_run_curves;
pub use run_folder::{BEST_WEIGHTS, CONFIG_FILE, EVALUATIONS, LAST_WEIGHTS, METRICS, RunFolder};
pub use state::{Best, TrainState};
pub use trainer::Trainer;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
