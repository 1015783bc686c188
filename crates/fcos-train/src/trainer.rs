//! A run from its settings to its last weights.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use fcos_eval::{CocoMetrics, Validation};
use fcos_loss::BatchCounts;
use fcos_model::{Backbone, BackboneModel, DetectorConfig, Pipeline};

use fcos_targets::Assigners;

use crate::TrainError;
use crate::batch::HostBatch;
use crate::batches::{BatchLoader, TrainBatches};
use crate::config::TrainConfig;
use crate::data::{TrainingData, load_validation};
use crate::learner::{AddTerms, Learner, Step};
use crate::log::{EvalRow, RowLog, StepRow, read_rows};
use crate::observer::{FileHealth, Observer, RunPlan, RunSummary};
use crate::run_folder::{BEST_WEIGHTS, EVALUATIONS, LAST_WEIGHTS, METRICS, RunFolder};

/// A run: `Trainer::start(…)?.run(&mut observer)?`.
///
/// The result is a function of the configuration and the data alone: a run that was stopped or
/// killed and resumed ends with the same weights as one that never stopped (bit for bit where the
/// backend's own arithmetic is reproducible, as flex's is).
pub struct Trainer<B: BackboneModel = Backbone> {
    config: TrainConfig,
    folder: RunFolder,
    data: TrainingData,
    validation: Option<Validation>,
    batches: TrainBatches,
    learner: Learner<B>,
    plan: RunPlan,
}

impl Trainer {
    /// Starts a run in a folder. A start that fails leaves no run behind.
    ///
    /// # Errors
    /// If the data can't be read or holds no box, settings contradict each other, the folder
    /// can't be written, or it holds a run.
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

    /// With a rule of assignment of the caller's own: see [`Assigners::with_rule`].
    #[must_use]
    pub fn with_assigners(mut self, assigners: Assigners) -> Self {
        self.batches = self.batches.with_assigners(assigners);
        self
    }

    /// With losses of the caller's own: see [`Learner::with_terms`].
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

    fn iteration(&self) -> u64 {
        self.learner.state().iteration
    }

    /// Whether something done every so many steps is to be done now, as it is at the end.
    fn is_due(&self, every: u64) -> bool {
        self.iteration().is_multiple_of(every) || self.is_last()
    }

    fn is_last(&self) -> bool {
        self.iteration() >= self.plan.total_iterations
    }

    fn save_weights(&self, name: &str) -> Result<(), TrainError> {
        let file = self.folder.file(name);
        Ok(self.detector_config().save(&file, self.learner.model())?)
    }

    fn detector_config(&self) -> DetectorConfig {
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

/// A trainer at work: its open files, its batches, and what it remembers from step to step.
struct Run<'a, B: BackboneModel> {
    trainer: Trainer<B>,
    observer: &'a mut dyn Observer,
    batches: BatchLoader,
    steps: RowLog,
    evaluations: RowLog,
    /// The steps after which the last evaluation was made, 0 for none.
    evaluated: u64,
    /// The steps of the last checkpoint.
    checkpointed: u64,
    metrics: Option<CocoMetrics>,
    started: Instant,
    /// When the last step ended, or what came after it.
    clock: Instant,
}

impl<'a, B: BackboneModel> Run<'a, B> {
    fn open(mut trainer: Trainer<B>, observer: &'a mut dyn Observer) -> Result<Self, TrainError> {
        let started = Instant::now();
        let first = trainer.iteration();
        let folder = trainer.folder.path();
        let steps = RowLog::open::<StepRow>(folder, METRICS, first)?;
        let evaluations = RowLog::open::<EvalRow>(folder, EVALUATIONS, first)?;
        // The last evaluation may be younger than the checkpoint, which knows nothing of it then.
        let rows: Vec<EvalRow> = read_rows(&trainer.folder.file(&format!("{EVALUATIONS}.jsonl")))?;
        for row in &rows {
            trainer
                .learner
                .state_mut()
                .note_evaluation(row.stats.ap, row.iteration);
        }
        Ok(Self {
            batches: trainer.batches.load(first..trainer.plan.total_iterations)?,
            trainer,
            observer,
            steps,
            evaluations,
            evaluated: rows.last().map_or(0, |row| row.iteration),
            checkpointed: first,
            metrics: None,
            started,
            clock: Instant::now(),
        })
    }

    fn step(&mut self) -> Result<ControlFlow<()>, TrainError> {
        let batch = self.next_batch()?;
        let (counts, images) = (batch.counts, batch.image_ids.len());
        let step = self.trainer.learner.step(vec![batch])?;
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        let row = self.row(step, counts, images as f64 / seconds);
        let recipe = &self.trainer.config.recipe;
        if self.trainer.is_due(recipe.log_every) {
            self.steps.push(&row)?;
        }
        let flow = self.observer.stepped(&row, &self.trainer.plan);
        if flow.is_break() || !self.trainer.is_due(recipe.checkpoint_every) {
            return Ok(flow);
        }
        self.checkpoint()
    }

    fn checkpoint(&mut self) -> Result<ControlFlow<()>, TrainError> {
        let checkpoints = self.trainer.folder.checkpoints();
        checkpoints.save(self.trainer.learner.state())?;
        self.checkpointed = self.trainer.iteration();
        Ok(self.observer.checkpointed(self.checkpointed))
    }

    fn next_batch(&mut self) -> Result<HostBatch, TrainError> {
        let ended = || TrainError::Loader {
            iteration: self.trainer.iteration(),
            reason: "it ended early".into(),
        };
        self.batches.next().ok_or_else(ended)?
    }

    fn row(&self, step: Step, counts: BatchCounts, images_per_second: f64) -> StepRow {
        let Trainer { config, plan, .. } = &self.trainer;
        let iteration = self.trainer.iteration();
        let seen = iteration as f64 * config.recipe.batch_size as f64;
        StepRow {
            iteration,
            epoch: seen / plan.train_images as f64,
            learning_rate: step.learning_rate,
            loss: step.losses.iter().map(|loss| loss.value).sum(),
            losses: step.losses,
            positives: f64::from(counts.positives),
            grad_norm: f64::from(step.grad_norm),
            images_per_second,
        }
    }

    fn evaluation_is_due(&self) -> bool {
        let trainer = &self.trainer;
        let every = trainer.config.recipe.eval_every;
        let due = every.map_or(trainer.is_last(), |every| trainer.is_due(every));
        due && self.evaluated < trainer.iteration()
    }

    fn evaluate(&mut self) -> Result<ControlFlow<()>, TrainError> {
        let trainer = &mut self.trainer;
        let iteration = trainer.iteration();
        self.evaluated = iteration;
        let Some(validation) = &trainer.validation else {
            return Ok(ControlFlow::Continue(()));
        };
        let pipeline = Pipeline::new(trainer.learner.model().clone(), trainer.detector_config());
        let mut progress = |done| self.observer.evaluating(done, validation.len());
        let metrics = validation.evaluate(&pipeline, &mut progress)?;
        // The row comes last: it says that there is nothing left to do.
        let state = trainer.learner.state_mut();
        if state.note_evaluation(metrics.stats.ap, iteration) {
            trainer.save_weights(BEST_WEIGHTS)?;
        }
        self.evaluations.push(&EvalRow {
            iteration,
            stats: metrics.stats,
        })?;
        let flow = self.observer.evaluated(iteration, &metrics);
        self.metrics = Some(metrics);
        self.clock = Instant::now();
        Ok(flow)
    }

    /// Ends with a checkpoint of the last step, which may have one already.
    fn stop(mut self) -> Result<RunSummary, TrainError> {
        if self.checkpointed < self.trainer.iteration() {
            // It is the end, whatever the answer.
            let _ = self.checkpoint()?;
        }
        Ok(self.summary(true))
    }

    fn finish(self) -> Result<RunSummary, TrainError> {
        self.trainer.save_weights(LAST_WEIGHTS)?;
        if self.trainer.learner.state().best.is_none() {
            self.trainer.save_weights(BEST_WEIGHTS)?;
        }
        Ok(self.summary(false))
    }

    fn summary(self, stopped: bool) -> RunSummary {
        RunSummary {
            best: self.trainer.learner.state().best,
            steps: self.trainer.iteration() - self.trainer.plan.first_iteration,
            seconds: self.started.elapsed().as_secs_f64(),
            metrics: self.metrics,
            stopped,
        }
    }
}
