//! What a run has to remember, as parts with names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::store::burn_pack::Reader;
use fcos_loss::NormalizerState;
use fcos_model::{Backbone, BackboneModel, Fcos};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TrainError;

/// The state of a run: everything that it needs to go on as if it had never stopped. The order of
/// images and their augmentation are functions of the recipe's seed and the step, so there is no
/// generator's state to keep.
///
/// A clone goes its own way: its steps leave the original's statistics as they are.
pub struct TrainState<B: BackboneModel = Backbone> {
    /// Missing only while the optimiser has it.
    model: Option<Fcos<B>>,
    /// The optimiser, with its momenta.
    pub optimizer: ModuleOptimizer,
    /// Moving averages of what divides the losses.
    pub normalizer: NormalizerState,
    /// Steps done.
    pub iteration: u64,
    /// The best evaluation so far. A checkpoint is written before the evaluation after its step,
    /// which is in the log alone.
    pub best: Option<Best>,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its AP.
    pub ap: f64,
    /// The steps after which it was reached.
    pub iteration: u64,
}

/// One part of a state: its name, and how it is read out and put back.
pub(crate) struct Part<B: BackboneModel> {
    pub name: &'static str,
    pub content: Content<B>,
}

/// What a part is made of, and so where a checkpoint keeps it.
pub(crate) enum Content<B: BackboneModel> {
    /// Tensors, in a file of their own.
    Tensors {
        read: fn(&TrainState<B>) -> Record,
        load: fn(&mut TrainState<B>, &Path) -> Result<(), String>,
    },
    /// A few numbers, which stand beside each other in one file.
    Value {
        read: fn(&TrainState<B>) -> Result<Value, String>,
        write: fn(&mut TrainState<B>, Value) -> Result<(), String>,
    },
}

/// Tensors on the host, as Burn writes them.
pub(crate) enum Record {
    Module(ModuleRecord),
    Optimizer(OptimizerRecord),
}

impl Record {
    pub fn save(self, file: &Path) -> Result<(), String> {
        text_error(match self {
            Self::Module(record) => record.save(file),
            Self::Optimizer(record) => record.save(file),
        })
    }

    /// Its content by the paths of the parameters. (Its own names begin with numbers that each
    /// model draws anew, and the order is left open.)
    fn by_path(self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let bytes = text_error(match self {
            Self::Module(record) => record.into_bytes(),
            Self::Optimizer(record) => record.into_bytes(),
        })?;
        let reader = text_error(Reader::from_bytes(bytes))?;
        let path = |name: &str| {
            let parts = name.split_once('.');
            let known = parts.and_then(|(id, rest)| Some((reader.metadata().get(id)?, rest)));
            known.map_or(name.to_string(), |(path, rest)| format!("{path}.{rest}"))
        };
        let mut content = BTreeMap::new();
        for name in reader.tensor_names() {
            content.insert(path(name), text_error(reader.tensor_data(name))?);
        }
        for (name, scalar) in reader.scalars() {
            content.insert(path(name), format!("{scalar:?}").into_bytes());
        }
        Ok(content)
    }
}

impl<B: BackboneModel> TrainState<B> {
    /// The parts. Whatever else a run is to remember becomes a field and an entry here.
    pub(crate) fn parts() -> Vec<Part<B>> {
        vec![
            Part::tensors("model", read_model, load_model),
            Part::tensors(
                "optimizer",
                |state| Record::Optimizer(state.optimizer.to_record()),
                load_optimizer,
            ),
            Part::value(
                "normalizer",
                |state| to_value(&state.normalizer),
                |state, value| from_value(value, &mut state.normalizer),
            ),
            Part::value(
                "iteration",
                |state| to_value(&state.iteration),
                |state, value| from_value(value, &mut state.iteration),
            ),
            Part::value(
                "best",
                |state| to_value(&state.best),
                |state, value| from_value(value, &mut state.best),
            ),
        ]
    }

    /// The state before the first step.
    pub fn new(model: Fcos<B>, optimizer: ModuleOptimizer, normalizer: NormalizerState) -> Self {
        Self {
            model: Some(model),
            optimizer,
            normalizer,
            iteration: 0,
            best: None,
        }
    }

    /// The weights being trained.
    pub fn model(&self) -> &Fcos<B> {
        let model = self.model.as_ref();
        model.expect("`update_model` alone takes the model, and puts it back")
    }

    /// Makes another model of the present one.
    pub(crate) fn update_model(
        &mut self,
        update: impl FnOnce(Fcos<B>, &mut ModuleOptimizer) -> Fcos<B>,
    ) {
        if let Some(model) = self.model.take() {
            self.model = Some(update(model, &mut self.optimizer));
        }
    }

    /// Takes note of an evaluation after the steps done; whether it is the best so far.
    pub fn note_evaluation(&mut self, ap: f64, iteration: u64) -> bool {
        let better = self.best.is_none_or(|best| ap > best.ap);
        if better {
            self.best = Some(Best { ap, iteration });
        }
        better
    }

    /// The names of the parts in which two states differ, bit for bit.
    ///
    /// # Errors
    /// If a part's tensors can't be read from their device.
    pub fn differences(&self, other: &Self) -> Result<Vec<&'static str>, TrainError> {
        let mut different = Vec::new();
        for part in Self::parts() {
            let same = match part.content {
                Content::Tensors { read, .. } => {
                    let content = |state| read(state).by_path();
                    content(self).and_then(|ours| Ok(ours == content(other)?))
                }
                Content::Value { read, .. } => Ok(read(self) == read(other)),
            };
            if !same.map_err(|reason| part.error(reason))? {
                different.push(part.name);
            }
        }
        Ok(different)
    }
}

/// By hand: clones of a network of Burn's share their running statistics.
impl<B: BackboneModel> Clone for TrainState<B> {
    fn clone(&self) -> Self {
        let own = |model: &Fcos<B>| {
            // `valid` takes in what steps on other threads left; detaching leaves it behind.
            let _ = model.valid();
            model.clone().detach_statistics()
        };
        Self {
            model: self.model.as_ref().map(own),
            optimizer: self.optimizer.clone(),
            normalizer: self.normalizer,
            iteration: self.iteration,
            best: self.best,
        }
    }
}

impl<B: BackboneModel> std::fmt::Debug for TrainState<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainState")
            .field("normalizer", &self.normalizer)
            .field("iteration", &self.iteration)
            .field("best", &self.best)
            .finish_non_exhaustive()
    }
}

impl<B: BackboneModel> Part<B> {
    fn tensors(
        name: &'static str,
        read: fn(&TrainState<B>) -> Record,
        load: fn(&mut TrainState<B>, &Path) -> Result<(), String>,
    ) -> Self {
        let content = Content::Tensors { read, load };
        Self { name, content }
    }

    fn value(
        name: &'static str,
        read: fn(&TrainState<B>) -> Result<Value, String>,
        write: fn(&mut TrainState<B>, Value) -> Result<(), String>,
    ) -> Self {
        let content = Content::Value { read, write };
        Self { name, content }
    }

    pub fn error(&self, reason: String) -> TrainError {
        TrainError::State {
            part: self.name,
            reason,
        }
    }
}

fn read_model<B: BackboneModel>(state: &TrainState<B>) -> Record {
    // `valid` takes in the last step's batch statistics, which wait for their update.
    Record::Module(state.model().valid().into_record())
}

fn load_model<B: BackboneModel>(state: &mut TrainState<B>, file: &Path) -> Result<(), String> {
    let record = text_error(ModuleRecord::load(file))?;
    // Batch statistics that wait for their update would be put over what is loaded.
    let model = state.model().clone().detach_statistics();
    state.model = Some(text_error(model.try_load_record(record))?);
    Ok(())
}

/// Burn passes over what it can't use, such as another optimiser's state.
fn load_optimizer<B: BackboneModel>(state: &mut TrainState<B>, file: &Path) -> Result<(), String> {
    let record = text_error(OptimizerRecord::load(file))?;
    let expected = record.len();
    state.optimizer = state.optimizer.clone().load_record(record);
    let found = state.optimizer.to_record().len();
    if found == expected {
        Ok(())
    } else {
        Err(format!(
            "the state of another optimiser: {found} of {expected} tensors are of use"
        ))
    }
}

fn to_value(value: &impl Serialize) -> Result<Value, String> {
    text_error(serde_json::to_value(value))
}

fn from_value<T: DeserializeOwned>(value: Value, place: &mut T) -> Result<(), String> {
    *place = text_error(serde_json::from_value(value))?;
    Ok(())
}

fn text_error<T>(result: Result<T, impl ToString>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}
