//! A run from its settings to its last weights.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use fcos_eval::Validation;
use fcos_model::{Backbone, BackboneModel, DetectorConfig};
use fcos_targets::Assigners;

use crate::TrainError;
use crate::batches::TrainBatches;
use crate::config::TrainConfig;
use crate::data::{TrainingData, load_validation};
use crate::learner::{AddTerms, Learner};
use crate::observer::{FileHealth, Observer, RunPlan, RunSummary};
use crate::run::Run;
use crate::run_folder::RunFolder;

/// A run: `Trainer::start(…)?.run(&mut observer)?`.
///
/// The result is a function of the configuration and the data alone: a run that was stopped or
/// killed and resumed ends with the same weights as one that never stopped (bit for bit where the
/// backend's own arithmetic is reproducible, as flex's is).
pub struct Trainer<B: BackboneModel = Backbone> {
    pub(crate) config: TrainConfig,
    pub(crate) folder: RunFolder,
    pub(crate) data: TrainingData,
    pub(crate) validation: Option<Validation>,
    pub(crate) batches: TrainBatches,
    pub(crate) learner: Learner<B>,
    pub(crate) plan: RunPlan,
}

impl Trainer {
    /// Starts a run in a folder. A start that fails leaves no run behind.
    ///
    /// # Errors
    /// If the data can't be read or holds no box, settings contradict each other, the folder
    /// can't be written, or it holds a run or a run's checkpoints.
    pub fn start(
        config: TrainConfig,
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        Self::start_with_backbone(config, folder, device)
    }

    /// Goes on with the run in a folder, with the settings that are saved there: from its latest
    /// checkpoint, or from the start if it has not written one yet.
    ///
    /// # Errors
    /// If there is no run, or its settings, data or checkpoint can't be read.
    pub fn resume(folder: impl AsRef<Path>, device: &Device) -> Result<Self, TrainError> {
        Self::resume_with_backbone(folder, device)
    }
}

impl<B: BackboneModel> Trainer<B> {
    /// As [`Trainer::start`], of a network on a backbone of the caller's own:
    /// `Trainer::<MyBackbone>::start_with_backbone(…)`.
    ///
    /// # Errors
    /// As [`Trainer::start`].
    pub fn start_with_backbone(
        config: TrainConfig,
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let folder = RunFolder::new(folder);
        folder.check_free()?;
        config.validate()?;
        let trainer = Self::prepare(config, folder, device)?;
        trainer.folder.create(&trainer.config)?;
        Ok(trainer)
    }

    /// As [`Trainer::resume`], of a network on a backbone of the caller's own.
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_with_backbone(
        folder: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let folder = RunFolder::new(folder);
        let config = folder.config()?;
        Self::prepare(config, folder, device)
    }

    /// The stages between the settings and the first step: data, model, state, plan.
    fn prepare(
        config: TrainConfig,
        folder: RunFolder,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let data = TrainingData::load(&config.data)?;
        let validation = load_validation(&config.data, data.dataset.classes())?;
        let batches = TrainBatches::new(data.dataset.clone(), &config)?;
        let learner = initial_learner(&config, &data, &folder, device)?;
        let plan = RunPlan {
            total_iterations: config.recipe.total_iterations(data.dataset.len()),
            first_iteration: learner.state().iteration,
            train_images: data.dataset.len(),
            val_images: validation.as_ref().map_or(0, Validation::len),
            parameters: learner.model().num_params(),
            health: health(&config, &data, validation.as_ref()),
        };
        Ok(Self {
            config,
            folder,
            data,
            validation,
            batches,
            learner,
            plan,
        })
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// With a rule of assignment of the caller's own: see [`Assigners::with_rule`]. It is not among the
    /// settings, so that a resumed run has to be given it again.
    #[must_use]
    pub fn with_assigners(mut self, assigners: Assigners) -> Self {
        self.batches = self.batches.with_assigners(assigners);
        self
    }

    /// With losses of the caller's own: see [`Learner::with_terms`]. A resumed run has to be given them
    /// again.
    #[must_use]
    pub fn with_terms(mut self, add: Arc<AddTerms>) -> Self {
        self.learner = self.learner.with_terms(add);
        self
    }

    /// Trains to the end, or until the observer stops it.
    ///
    /// # Errors
    /// If a loss or gradient is not finite, an image can't be read, or a file can't be written.
    /// The last checkpoint remains.
    pub fn run(self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        observer.started(&self.plan);
        let mut run = Run::open(self, observer)?;
        loop {
            // After the step's checkpoint, so that a failure costs no step; before the first step, so
            // that an evaluation which a kill cut short is made up.
            if run.evaluation_is_due() && run.evaluate()?.is_break() {
                return run.stop();
            }
            if run.trainer.is_last() {
                return run.finish();
            }
            if run.step()?.is_break() {
                return run.stop();
            }
        }
    }

    pub(crate) fn iteration(&self) -> u64 {
        self.learner.state().iteration
    }

    /// Whether something done every so many steps is to be done now, as it is at the end.
    pub(crate) fn is_due(&self, every: u64) -> bool {
        self.iteration().is_multiple_of(every) || self.is_last()
    }

    pub(crate) fn is_last(&self) -> bool {
        self.iteration() >= self.plan.total_iterations
    }

    pub(crate) fn save_weights(&self, name: &str) -> Result<(), TrainError> {
        let file = self.folder.file(name);
        let model = self.learner.published();
        Ok(self.detector_config().save(&file, model)?)
    }

    pub(crate) fn detector_config(&self) -> DetectorConfig {
        self.config.detector(&self.data.dataset)
    }
}

impl<B: BackboneModel> std::fmt::Debug for Trainer<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("folder", &self.folder)
            .field("plan", &self.plan)
            .field("learner", &self.learner)
            .finish_non_exhaustive()
    }
}

/// The learner with the run's latest checkpoint, or with the weights that the settings name.
fn initial_learner<B: BackboneModel>(
    config: &TrainConfig,
    data: &TrainingData,
    folder: &RunFolder,
    device: &Device,
) -> Result<Learner<B>, TrainError> {
    let total = config.recipe.total_iterations(data.dataset.len());
    let checkpoints = folder.checkpoints();
    if checkpoints.latest()?.is_none() {
        let model = config.init_model(&data.dataset, device)?;
        return Ok(Learner::new(model, config, total));
    }
    let model = config.seeded_model(&data.dataset, device)?;
    let mut learner = Learner::new(model, config, total);
    checkpoints.load_latest(learner.state_mut())?;
    Ok(learner)
}

fn health(
    config: &TrainConfig,
    data: &TrainingData,
    validation: Option<&Validation>,
) -> Vec<FileHealth> {
    let train = FileHealth {
        annotations: config.data.train_annotations.clone(),
        report: data.health.clone(),
    };
    let val = validation.map(|v| FileHealth {
        annotations: v.annotations().to_path_buf(),
        report: v.health().clone(),
    });
    [train].into_iter().chain(val).collect()
}
