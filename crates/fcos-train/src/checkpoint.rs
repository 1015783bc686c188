//! A run's state on disk, from which it goes on as if it had never stopped.
//!
//! ```text
//! checkpoints/
//!   latest          the name of the newest complete checkpoint
//!   step-0000500/   state.json, model.bpk, optimizer.bpk
//! ```
//! A checkpoint is written under a temporary name, synced and renamed; then `latest` is replaced
//! the same way; then older ones are removed. A kill at any moment leaves a complete one.
//!
//! `state.json` says which version of the format the checkpoint has, which parts, and where:
//!
//! ```text
//! {"version": 2,
//!  "tensors": {"model": "model.bpk", "optimizer": "optimizer.bpk"},
//!  "values": {"best": null, "iteration": 500, "normalizer": { … }}}
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fcos_model::BackboneModel;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::TrainError;
use crate::files::{io_error, temporary_name, write_atomically};
use crate::state::{Content, TrainState};

const MANIFEST: &str = "state.json";
const LATEST: &str = "latest";

/// The version of the format that checkpoints are written in; earlier ones are read, too.
///
/// 2 has the parts by their names. 1 had no version in `state.json`, but `iteration`, `normalizer`
/// and `best`, the last as a pair of AP and step.
pub const CHECKPOINT_VERSION: u64 = 2;

/// The first version that has the parts by their names.
const OLDEST_NAMED: u64 = 2;

/// The checkpoints of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What `state.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u64,
    /// The files of the parts that are tensors.
    tensors: BTreeMap<String, String>,
    /// The other parts.
    values: BTreeMap<String, Value>,
}

impl Checkpoints {
    /// Those of the run in this folder; theirs is made at the first [`save`](Self::save).
    pub fn new(run: impl AsRef<Path>) -> Self {
        Self {
            folder: run.as_ref().join("checkpoints"),
        }
    }

    /// Writes a checkpoint and makes it the latest.
    ///
    /// # Errors
    /// If a part can't be read from its device, or a file can't be written; the checkpoint before
    /// stays in force then.
    pub fn save<B: BackboneModel>(&self, state: &TrainState<B>) -> Result<(), TrainError> {
        let name = format!("step-{:07}", state.iteration);
        let target = self.folder.join(&name);
        let temporary = temporary_name(&target);
        remove_folder(&temporary)?;
        fs::create_dir_all(&temporary).map_err(|e| io_error(&temporary, e))?;
        write_parts(state, &temporary)?;

        // Complete and on the disk: from here on it counts.
        remove_folder(&target)?;
        fs::rename(&temporary, &target).map_err(|e| io_error(&target, e))?;
        fcos_core::sync_folder(&self.folder).map_err(|e| io_error(&self.folder, e))?;
        write_atomically(&self.folder.join(LATEST), &name)?;
        self.remove_all_but(&name)
    }

    /// The folder of the latest checkpoint; `None` where the run has not written one yet.
    ///
    /// # Errors
    /// If the pointer to it can't be read.
    pub fn latest(&self) -> Result<Option<PathBuf>, TrainError> {
        let pointer = self.folder.join(LATEST);
        match fs::read_to_string(&pointer) {
            Ok(name) => Ok(Some(self.folder.join(name.trim()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&pointer, e)),
        }
    }

    /// Puts the latest checkpoint into a state of the same settings, and says which it was; without
    /// one, leaves the state as it is.
    ///
    /// # Errors
    /// If the checkpoint is damaged, lacks a part or has one more, is of another model or optimiser,
    /// or of a later version of the format. The state is of no use then.
    pub fn load_latest<B: BackboneModel>(
        &self,
        state: &mut TrainState<B>,
    ) -> Result<Option<PathBuf>, TrainError> {
        let latest = self.latest()?;
        if let Some(folder) = &latest {
            read_parts(state, folder)?;
        }
        Ok(latest)
    }

    fn remove_all_but(&self, keep: &str) -> Result<(), TrainError> {
        for entry in fs::read_dir(&self.folder).map_err(|e| io_error(&self.folder, e))? {
            let entry = entry.map_err(|e| io_error(&self.folder, e))?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("step-") && name != keep {
                remove_folder(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn write_parts<B: BackboneModel>(state: &TrainState<B>, folder: &Path) -> Result<(), TrainError> {
    let mut manifest = Manifest {
        version: CHECKPOINT_VERSION,
        tensors: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    for part in TrainState::<B>::parts() {
        match part.content {
            Content::Tensors { read, .. } => {
                let file = format!("{}.bpk", part.name);
                let path = folder.join(&file);
                read(state).save(&path).map_err(|e| damaged(&path, e))?;
                let sync = File::open(&path).and_then(|f| f.sync_all());
                sync.map_err(|e| io_error(&path, e))?;
                manifest.tensors.insert(part.name.into(), file);
            }
            Content::Value { read, .. } => {
                let value = read(state).map_err(|reason| part.error(reason))?;
                manifest.values.insert(part.name.into(), value);
            }
        }
    }
    let json = serde_json::to_string_pretty(&manifest).map_err(|e| io_error(folder, e.into()))?;
    write_atomically(&folder.join(MANIFEST), &json)
}

fn read_parts<B: BackboneModel>(
    state: &mut TrainState<B>,
    folder: &Path,
) -> Result<(), TrainError> {
    let manifest_file = folder.join(MANIFEST);
    let mut manifest = Manifest::read(&manifest_file)?;
    let version = manifest.version;
    // A default for a part that an older version lacks is put into the manifest here.
    for part in TrainState::<B>::parts() {
        let missing = || TrainError::CheckpointPart {
            path: manifest_file.clone(),
            part: part.name,
            version,
        };
        match part.content {
            Content::Tensors { load, .. } => {
                let file = manifest.tensors.remove(part.name).ok_or_else(missing)?;
                let file = folder.join(file);
                load(state, &file).map_err(|reason| damaged(&file, reason))?;
            }
            Content::Value { write, .. } => {
                let value = manifest.values.remove(part.name).ok_or_else(missing)?;
                let written = write(state, value);
                let name = part.name;
                written.map_err(|e| damaged(&manifest_file, format!("`{name}`: {e}")))?;
            }
        }
    }
    manifest.check_empty(&manifest_file)
}

impl Manifest {
    fn read(file: &Path) -> Result<Self, TrainError> {
        let json = fs::read_to_string(file).map_err(|e| io_error(file, e))?;
        let value: Value = serde_json::from_str(&json).map_err(|e| damaged(file, e))?;
        let version = match value.get("version") {
            None => 1,
            Some(version) => version.as_u64().unwrap_or_default(),
        };
        match version {
            1 => Ok(Self::from_version_1(value)),
            OLDEST_NAMED..=CHECKPOINT_VERSION => {
                serde_json::from_value(value).map_err(|e| damaged(file, e))
            }
            found => Err(TrainError::CheckpointVersion {
                path: file.into(),
                found,
            }),
        }
    }

    /// That all parts have been taken out: what is left means something that would be lost.
    fn check_empty(&self, file: &Path) -> Result<(), TrainError> {
        let left = self.tensors.keys().chain(self.values.keys());
        let left: Vec<_> = left.map(|name| format!("`{name}`")).collect();
        if left.is_empty() {
            return Ok(());
        }
        let left = left.join(", ");
        Err(damaged(file, format!("this program does not know {left}")))
    }

    /// Of the first version `state.json` was the values alone.
    fn from_version_1(value: Value) -> Self {
        let mut values: BTreeMap<_, _> = match value {
            Value::Object(values) => values.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        values.remove("version");
        if let Some(best) = values.get_mut("best")
            && let [ap, iteration] = best.as_array().map_or(&[][..], Vec::as_slice)
        {
            *best = json!({"ap": ap, "iteration": iteration});
        }
        let tensors = ["model", "optimizer"].map(|name| (name.into(), format!("{name}.bpk")));
        Self {
            version: 1,
            tensors: tensors.into(),
            values,
        }
    }
}

fn remove_folder(folder: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io_error(folder, e)),
        _ => Ok(()),
    }
}

fn damaged(path: &Path, reason: impl ToString) -> TrainError {
    TrainError::Checkpoint {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, config, learner};
    use crate::{Learner, OptimizerKind, TrainConfig};
    use burn::tensor::Tensor;
    use fcos_loss::{MovingScope, NormalizerRule};
    use fcos_model::BackboneNorm;

    /// Settings with which every part of the state has something to remember.
    fn eventful(optimizer: OptimizerKind) -> TrainConfig {
        let mut config = config();
        config.recipe.optimizer = optimizer;
        config.recipe.learning_rate = 1e-3;
        config.loss.normalizer = NormalizerRule::MovingPositives {
            momentum: 0.9,
            initial: 100.0,
            scope: MovingScope::All,
        };
        config
    }

    fn step(learner: &mut Learner, batches: std::ops::Range<u64>) {
        for first_id in batches {
            learner.step(vec![batch(first_id, 7)]).expect("steps");
        }
    }

    fn folder() -> (tempfile::TempDir, Checkpoints) {
        let run = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(run.path());
        (run, checkpoints)
    }

    fn edit(checkpoints: &Checkpoints, change: impl FnOnce(&mut Value)) {
        let latest = checkpoints.latest().expect("reads").expect("a checkpoint");
        let file = latest.join(MANIFEST);
        let text = fs::read_to_string(&file).expect("reads");
        let mut json = serde_json::from_str(&text).expect("JSON");
        change(&mut json);
        fs::write(file, json.to_string()).expect("writes");
    }

    fn load_error(checkpoints: &Checkpoints) -> TrainError {
        let mut learner = learner(&config(), 0);
        let loaded = checkpoints.load_latest(learner.state_mut());
        loaded.expect_err("refused")
    }

    #[test]
    fn what_is_loaded_goes_on_as_if_it_had_never_stopped() {
        for optimizer in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
            let config = eventful(optimizer);
            let (_run, checkpoints) = folder();
            let mut whole = learner(&config, 0);
            step(&mut whole, 0..3);
            whole.state_mut().note_evaluation(0.25, 3);
            checkpoints.save(whole.state()).expect("saves");

            let mut resumed = learner(&config, 1);
            let names = whole.state().differences(resumed.state()).expect("reads");
            assert_eq!(
                names,
                ["model", "optimizer", "normalizer", "iteration", "best"]
            );
            let loaded = checkpoints.load_latest(resumed.state_mut()).expect("loads");
            assert_eq!(loaded, checkpoints.latest().expect("reads"));
            for steps in [0..0, 3..6] {
                step(&mut whole, steps.clone());
                step(&mut resumed, steps);
                let names = whole.state().differences(resumed.state()).expect("reads");
                assert!(names.is_empty(), "{names:?}");
            }
        }
    }

    #[test]
    fn the_last_steps_batch_statistics_are_kept() {
        let (_run, checkpoints) = folder();
        let mut saved = learner(&config(), 0);
        saved.state_mut().iteration = 1;
        let before = saved.model().tensors();
        let images = Tensor::ones([1, 3, 64, 64], saved.device());
        saved.model().forward(images);
        checkpoints.save(saved.state()).expect("saves");
        let mut loaded = learner(&config(), 1);
        checkpoints.load_latest(loaded.state_mut()).expect("loads");
        assert!(loaded.model().tensors() == saved.model().tensors());
        assert!(loaded.model().tensors() != before);
    }

    /// The state may have stepped on: what its steps left to be added later is not.
    #[test]
    fn batch_statistics_are_those_of_the_checkpoint() {
        let mut config = config();
        let resnet = config.model.backbone.as_resnet_mut().expect("a ResNet");
        resnet.norm = BackboneNorm::Trained;
        let (_run, checkpoints) = folder();
        let mut learner = learner(&config, 0);
        step(&mut learner, 0..3);
        checkpoints.save(learner.state()).expect("saves");
        let saved = learner.model().tensors();
        step(&mut learner, 3..5);
        checkpoints.load_latest(learner.state_mut()).expect("loads");
        assert!(learner.model().tensors() == saved);
    }

    /// As before parts had names: pairs for the best AP, and no version.
    #[test]
    fn the_first_version_is_read() {
        let (_run, checkpoints) = folder();
        let mut saved = learner(&config(), 0);
        step(&mut saved, 0..2);
        saved.state_mut().note_evaluation(0.5, 1);
        checkpoints.save(saved.state()).expect("saves");
        edit(&checkpoints, |json| {
            let values = json["values"].take();
            *json = json!({
                "iteration": values["iteration"],
                "normalizer": values["normalizer"],
                "best": [values["best"]["ap"], values["best"]["iteration"]],
            });
        });
        let mut loaded = learner(&config(), 1);
        checkpoints.load_latest(loaded.state_mut()).expect("loads");
        let names = loaded.state().differences(saved.state()).expect("reads");
        assert!(names.is_empty(), "{names:?}");

        edit(&checkpoints, |json| {
            json["best"] = Value::Null;
            json["version"] = 1.into();
        });
        checkpoints.load_latest(loaded.state_mut()).expect("loads");
        assert_eq!(loaded.state().best, None);
    }

    #[test]
    fn a_missing_part_and_another_version_are_named() {
        for (list, name) in [("tensors", "optimizer"), ("values", "normalizer")] {
            let (_run, checkpoints) = folder();
            checkpoints
                .save(learner(&config(), 0).state())
                .expect("saves");
            edit(&checkpoints, |json| {
                json[list].as_object_mut().expect("a list").remove(name);
            });
            match load_error(&checkpoints) {
                TrainError::CheckpointPart { part, version, .. } => {
                    assert_eq!((part, version), (name, CHECKPOINT_VERSION));
                }
                other => panic!("{other}"),
            }
        }
        let (_run, checkpoints) = folder();
        checkpoints
            .save(learner(&config(), 0).state())
            .expect("saves");
        let next = CHECKPOINT_VERSION + 1;
        for version in [0, next] {
            edit(&checkpoints, |json| json["version"] = version.into());
            let error = load_error(&checkpoints).to_string();
            let found = format!("of version {version} ");
            let known = format!("reads 1 to {CHECKPOINT_VERSION}");
            assert!(error.contains(&found) && error.contains(&known), "{error}");
        }
    }

    #[test]
    fn a_part_that_is_not_known_is_named() {
        for list in ["tensors", "values"] {
            let (_run, checkpoints) = folder();
            checkpoints
                .save(learner(&config(), 0).state())
                .expect("saves");
            edit(&checkpoints, |json| json[list]["ema"] = "ema.bpk".into());
            let error = load_error(&checkpoints).to_string();
            assert!(error.contains("`ema`"), "{error}");
        }
    }

    #[test]
    fn another_optimisers_state_is_refused() {
        let (_run, checkpoints) = folder();
        let mut saved = learner(&eventful(OptimizerKind::AdamW), 0);
        step(&mut saved, 0..1);
        checkpoints.save(saved.state()).expect("saves");
        let error = load_error(&checkpoints).to_string();
        assert!(error.contains("another optimiser"), "{error}");
    }
}
