//! A run's state on disk, from which it goes on as if it had never stopped.
//!
//! ```text
//! checkpoints/
//!   latest          the name of the newest complete checkpoint
//!   step-0000500/   model.bpk, optimizer.bpk, state.json
//! ```
//! A checkpoint is written under a temporary name, synced and renamed; then `latest` is replaced
//! the same way; then older ones are removed. A kill at any moment leaves a complete one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use fcos_loss::NormalizerState;
use fcos_model::Fcos;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::files::{io_error, temporary_name, write_atomically};

const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "state.json";
const LATEST: &str = "latest";

/// What a run needs to go on besides weights and momentum. Order of images and augmentation are
/// functions of the recipe's seed and the step, so there is no generator state to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps done.
    pub iteration: u64,
    /// Moving averages of the loss normalisers.
    pub normalizer: NormalizerState,
    /// Best AP so far, with the step that reached it. A checkpoint is written before the evaluation
    /// after its step, which is in the log alone.
    pub best: Option<(f64, u64)>,
}

impl RunState {
    /// Takes note of an evaluation: whether its AP is the best so far.
    pub(crate) fn take_note(&mut self, ap: f64, iteration: u64) -> bool {
        let better = self.best.is_none_or(|(best, _)| ap > best);
        if better {
            self.best = Some((ap, iteration));
        }
        better
    }
}

/// The `checkpoints` folder of a run.
#[derive(Debug, Clone)]
pub struct CheckpointFolder(PathBuf);

impl CheckpointFolder {
    /// The folder for a run's checkpoints; it is made at the first [`save`](Self::save).
    pub fn new(run: &Path) -> Self {
        Self(run.join("checkpoints"))
    }

    /// Writes a checkpoint and makes it the latest.
    ///
    /// # Errors
    /// If a file can't be written; the checkpoint before stays in force then.
    pub fn save(
        &self,
        model: &Fcos,
        optimizer: &ModuleOptimizer,
        state: &RunState,
    ) -> Result<(), TrainError> {
        let name = format!("step-{:07}", state.iteration);
        let target = self.0.join(&name);
        let temporary = temporary_name(&target);
        remove_folder(&temporary)?;
        fs::create_dir_all(&temporary).map_err(|e| io_error(&temporary, e))?;

        let model_file = temporary.join(MODEL);
        // `valid` takes in the last step's batch statistics, which wait for their update.
        let record = model.valid().into_record();
        record
            .save(&model_file)
            .map_err(|e| record_error(&model_file, &e))?;
        let optimizer_file = temporary.join(OPTIMIZER);
        optimizer
            .save(&optimizer_file)
            .map_err(|e| record_error(&optimizer_file, &e))?;
        for file in [&model_file, &optimizer_file] {
            File::open(file)
                .and_then(|f| f.sync_all())
                .map_err(|e| io_error(file, e))?;
        }
        let json =
            serde_json::to_string_pretty(state).map_err(|e| io_error(&temporary, e.into()))?;
        write_atomically(&temporary.join(STATE), &json)?;

        remove_folder(&target)?;
        fs::rename(&temporary, &target).map_err(|e| io_error(&target, e))?;
        fcos_core::sync_folder(&self.0).map_err(|e| io_error(&self.0, e))?;
        write_atomically(&self.0.join(LATEST), &name)?;
        self.remove_all_but(&name)
    }

    /// Loads the latest checkpoint into a model and an optimiser of the same configuration;
    /// `None` where the run has not written one yet.
    ///
    /// # Errors
    /// If the checkpoint is damaged or of another model.
    pub fn load(
        &self,
        model: Fcos,
        optimizer: ModuleOptimizer,
    ) -> Result<Option<(Fcos, ModuleOptimizer, RunState)>, TrainError> {
        let Some(folder) = self.latest()? else {
            return Ok(None);
        };
        let state_file = folder.join(STATE);
        let json = fs::read_to_string(&state_file).map_err(|e| io_error(&state_file, e))?;
        let state = serde_json::from_str(&json).map_err(|e| TrainError::Checkpoint {
            path: state_file,
            reason: e.to_string(),
        })?;
        let model_file = folder.join(MODEL);
        let record = ModuleRecord::load(&model_file).map_err(|e| record_error(&model_file, &e))?;
        let model = model
            .try_load_record(record)
            .map_err(|e| record_error(&model_file, &e))?;
        let optimizer_file = folder.join(OPTIMIZER);
        let record = OptimizerRecord::load(&optimizer_file)
            .map_err(|e| record_error(&optimizer_file, &e))?;
        Ok(Some((model, optimizer.load_record(record), state)))
    }

    fn latest(&self) -> Result<Option<PathBuf>, TrainError> {
        let pointer = self.0.join(LATEST);
        match fs::read_to_string(&pointer) {
            Ok(name) => Ok(Some(self.0.join(name.trim()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&pointer, e)),
        }
    }

    fn remove_all_but(&self, keep: &str) -> Result<(), TrainError> {
        for entry in fs::read_dir(&self.0).map_err(|e| io_error(&self.0, e))? {
            let entry = entry.map_err(|e| io_error(&self.0, e))?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("step-") && name != keep {
                remove_folder(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove_folder(folder: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error(folder, e)),
        _ => Ok(()),
    }
}

fn record_error(path: &Path, error: &burn::store::RecordError) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;
    use crate::learner::optimizer;
    use burn::tensor::{Device, Tensor};
    use fcos_loss::LossConfig;
    use fcos_model::FcosConfig;

    #[test]
    fn the_last_steps_batch_statistics_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = CheckpointFolder::new(dir.path());
        let device = Device::flex().autodiff();
        let model = FcosConfig::tiny().init(&device).expect("valid");
        let optimizer = optimizer(&Recipe::default()).expect("patterns compile");
        let state = RunState {
            iteration: 1,
            normalizer: LossConfig::default().init_normalizer(),
            best: None,
        };
        let before = model.tensors();
        model.forward(Tensor::ones([1, 3, 64, 64], &device));
        folder.save(&model, &optimizer, &state).expect("saves");
        let fresh = FcosConfig::tiny().init_seeded(1, &device).expect("valid");
        let loaded = folder.load(fresh, optimizer).expect("loads");
        let (loaded, _, loaded_state) = loaded.expect("a checkpoint");
        assert_eq!(loaded_state, state);
        assert!(loaded.tensors() == model.tensors());
        assert!(loaded.tensors() != before);
    }
}
