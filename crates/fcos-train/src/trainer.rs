//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use fcos_core::ClassList;
use fcos_data::{Dataset, HealthReport, Loader};
use fcos_eval::{CocoMetrics, Validation};
use fcos_model::weights::{self, Checkpoint};
use fcos_model::{DetectorConfig, Fcos, Pipeline};

use crate::TrainError;
use crate::batch::{BatchMaker, HostBatch};
use crate::checkpoint::{CheckpointFolder, RunState};
use crate::config::TrainConfig;
use crate::files::{io_error, write_atomically};
use crate::learner::{Learner, StepLosses, optimizer};
use crate::log::{EvalRow, RowLog, StepRow, read_rows};

/// The settings of a run, in its folder.
pub const CONFIG_FILE: &str = "config.toml";
/// The weights with the best AP so far (without a val set: the last ones).
pub const BEST_WEIGHTS: &str = "best.safetensors";
/// The weights after the last step.
pub const LAST_WEIGHTS: &str = "last.safetensors";
/// Losses by step, `.csv` and `.jsonl`.
pub const METRICS: &str = "metrics";
/// COCO metrics by evaluation, `.csv` and `.jsonl`.
pub const EVALUATIONS: &str = "evaluations";

/// What a run tells while it goes on; every method may stay empty.
pub trait Observer {
    /// The data is read and the model built; steps follow.
    fn started(&mut self, _plan: &RunPlan) {}
    /// A step is done.
    fn stepped(&mut self, _row: &StepRow, _plan: &RunPlan) {}
    /// This many of the val images have been predicted.
    fn evaluating(&mut self, _done: usize, _images: usize) {}
    /// An evaluation is done.
    fn evaluated(&mut self, _iteration: u64, _metrics: &CocoMetrics) {}
}

/// An observer that says nothing.
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
    pub health: Vec<(PathBuf, HealthReport)>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunSummary {
    /// Metrics of the last evaluation.
    pub metrics: Option<CocoMetrics>,
    /// Best AP and the number of steps after which it was reached.
    pub best: Option<(f64, u64)>,
    /// Steps done by this process.
    pub steps: u64,
    /// Seconds that this process took.
    pub seconds: f64,
}

/// A run: `Trainer::new(…)?.run(&mut observer)?`.
///
/// The result is a function of the configuration and the data alone: a run that was killed and
/// resumed ends with the same weights as one that never stopped (bit for bit where the backend's
/// own arithmetic is reproducible, as flex's is).
pub struct Trainer {
    config: TrainConfig,
    folder: PathBuf,
    device: Device,
    train: Arc<Dataset>,
    validation: Option<Validation>,
    learner: Learner,
    state: RunState,
    plan: RunPlan,
}

impl Trainer {
    /// Starts a run in `folder`, or goes on with the one that is there.
    ///
    /// With `resume` the settings are those saved in the folder; `config` counts only where there
    /// is no run yet. A start that fails leaves no run behind.
    ///
    /// # Errors
    /// If the data can't be read or holds no box, settings contradict each other, the folder
    /// can't be written, or it holds a run and `resume` is false.
    pub fn new(
        config: TrainConfig,
        folder: &Path,
        resume: bool,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let config = settled(config, folder, resume)?;
        let (train, health) = load_train(&config)?;
        let mut plan_health = vec![(config.data.train_annotations.clone(), health)];
        let validation = load_validation(&config, train.classes())?;
        plan_health.extend(
            validation
                .as_ref()
                .map(|v| (v.annotations().to_path_buf(), v.health().clone())),
        );

        let device = device.clone().autodiff();
        let model = config.detector(&train).model;
        let model = model.init_seeded(config.recipe.seed, &device)?;
        let total = config.recipe.total_iterations(train.len());
        let normalizer = config.loss.init_normalizer();
        let fresh = RunState {
            iteration: 0,
            normalizer,
            best: None,
        };
        let checkpoints = CheckpointFolder::new(folder);
        let optimizer = optimizer(&config.recipe)?;
        let (model, optimizer, state) = match checkpoints.load(model.clone(), optimizer.clone())? {
            Some(loaded) => loaded,
            None => (started(model, &config)?, optimizer, fresh),
        };
        let plan = RunPlan {
            total_iterations: total,
            first_iteration: state.iteration,
            train_images: train.len(),
            val_images: validation.as_ref().map_or(0, Validation::len),
            parameters: model.num_params(),
            health: plan_health,
        };
        let loss = (config.loss.init(), state.normalizer);
        let schedule = config.recipe.schedule(total);
        let learner = Learner::new(
            model,
            optimizer,
            loss,
            &config.recipe,
            schedule,
            state.iteration,
        )?;
        save_settings(&config, folder)?;
        Ok(Self {
            config,
            folder: folder.to_path_buf(),
            device,
            train: Arc::new(train),
            validation,
            learner,
            state,
            plan,
        })
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// If a loss or gradient is not finite, an image can't be read, or a file can't be written.
    /// The last checkpoint remains.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<RunSummary, TrainError> {
        observer.started(&self.plan);
        let start = Instant::now();
        let mut steps = RowLog::open::<StepRow>(&self.folder, METRICS, self.state.iteration)?;
        let mut evals = RowLog::open::<EvalRow>(&self.folder, EVALUATIONS, self.state.iteration)?;
        let mut evaluated = self.logged_evaluations()?;
        let mut metrics = None;
        let mut loader = self.loader()?;
        let mut clock = Instant::now();
        loop {
            // After the step's checkpoint, so that a failure costs no step; before the first step, so
            // that an evaluation which a kill cut short is made up.
            if self.evaluation_is_due() && evaluated < self.state.iteration {
                metrics = self.evaluate(&mut evals, observer)?;
                evaluated = self.state.iteration;
                clock = Instant::now();
            }
            if self.is_last() {
                return self.finish(metrics, start);
            }
            let iteration = self.state.iteration;
            let batch = next_batch(&mut loader, iteration)?;
            let (positives, images) = (batch.counts.positives, batch.image_ids.len());
            let losses = self.learner.step(batch.upload(&self.device), iteration)?;
            self.state.iteration += 1;
            let seconds = clock.elapsed().as_secs_f64();
            clock = Instant::now();
            let row = self.row(&losses, positives, images as f64 / seconds);
            if self.is_due(self.config.recipe.log_every) {
                steps.push(&row)?;
            }
            observer.stepped(&row, &self.plan);
            if self.is_due(self.config.recipe.checkpoint_every) {
                self.checkpoint()?;
            }
        }
    }

    /// Takes note of the evaluations before this process, of which the last may be younger than the
    /// checkpoint; the step after which it was made, 0 for none.
    fn logged_evaluations(&mut self) -> Result<u64, TrainError> {
        let rows: Vec<EvalRow> = read_rows(&self.folder.join(format!("{EVALUATIONS}.jsonl")))?;
        for row in &rows {
            self.state.take_note(row.stats.ap, row.iteration);
        }
        Ok(rows.last().map_or(0, |row| row.iteration))
    }

    fn finish(
        self,
        metrics: Option<CocoMetrics>,
        start: Instant,
    ) -> Result<RunSummary, TrainError> {
        self.save_weights(LAST_WEIGHTS)?;
        if self.state.best.is_none() {
            self.save_weights(BEST_WEIGHTS)?;
        }
        Ok(RunSummary {
            metrics,
            best: self.state.best,
            steps: self.state.iteration - self.plan.first_iteration,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn loader(&self) -> Result<Loader<Result<HostBatch, TrainError>>, TrainError> {
        let recipe = &self.config.recipe;
        let maker = BatchMaker::new(self.train.clone(), &self.config)?;
        let range = self.state.iteration..self.plan.total_iterations;
        let (threads, queue) = (recipe.loader_threads, recipe.loader_queue);
        Loader::start(range, threads, queue, move |i| maker.make(i)).map_err(|e| {
            TrainError::Loader {
                iteration: self.state.iteration,
                reason: e.to_string(),
            }
        })
    }

    /// Whether something done every so many steps is to be done now, as it is at the end.
    fn is_due(&self, every: u64) -> bool {
        self.state.iteration.is_multiple_of(every) || self.is_last()
    }

    fn evaluation_is_due(&self) -> bool {
        let every = self.config.recipe.eval_every;
        every.map_or(self.is_last(), |every| self.is_due(every))
    }

    fn is_last(&self) -> bool {
        self.state.iteration >= self.plan.total_iterations
    }

    fn row(&self, losses: &StepLosses, positives: f32, images_per_second: f64) -> StepRow {
        let seen = self.state.iteration as f64 * self.config.recipe.batch_size as f64;
        let [cls, bbox, centerness] = [losses.cls, losses.bbox, losses.centerness].map(f64::from);
        StepRow {
            iteration: self.state.iteration,
            epoch: seen / self.plan.train_images as f64,
            learning_rate: losses.learning_rate,
            loss: cls + bbox + centerness,
            loss_cls: cls,
            loss_bbox: bbox,
            loss_centerness: centerness,
            positives: f64::from(positives),
            grad_norm: f64::from(losses.grad_norm),
            images_per_second,
        }
    }

    fn evaluate(
        &mut self,
        evals: &mut RowLog,
        observer: &mut dyn Observer,
    ) -> Result<Option<CocoMetrics>, TrainError> {
        let Some(validation) = &self.validation else {
            return Ok(None);
        };
        let pipeline = Pipeline::new(self.learner.model()?.clone(), self.detector_config());
        let mut progress = |done| observer.evaluating(done, validation.len());
        let metrics = validation.evaluate(&pipeline, &mut progress)?;
        let iteration = self.state.iteration;
        // The row comes last: it says that there is nothing left to do.
        if self.state.take_note(metrics.stats.ap, iteration) {
            self.save_weights(BEST_WEIGHTS)?;
        }
        let stats = metrics.stats;
        evals.push(&EvalRow { iteration, stats })?;
        observer.evaluated(iteration, &metrics);
        Ok(Some(metrics))
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.state.normalizer = self.learner.normalizer;
        let folder = CheckpointFolder::new(&self.folder);
        folder.save(self.learner.model()?, &self.learner.optimizer, &self.state)
    }

    fn save_weights(&self, name: &str) -> Result<(), TrainError> {
        let model: &Fcos = self.learner.model()?;
        Ok(self
            .detector_config()
            .save(&self.folder.join(name), model)?)
    }

    fn detector_config(&self) -> DetectorConfig {
        self.config.detector(&self.train)
    }
}

fn next_batch(
    loader: &mut Loader<Result<HostBatch, TrainError>>,
    iteration: u64,
) -> Result<HostBatch, TrainError> {
    match loader.next() {
        Some(Ok(batch)) => batch,
        Some(Err(e)) => Err(TrainError::Loader {
            iteration,
            reason: e.to_string(),
        }),
        None => Err(TrainError::Loader {
            iteration,
            reason: "it ended early".into(),
        }),
    }
}

/// The model with the weights that the settings name, if they name some.
fn started(model: Fcos, config: &TrainConfig) -> Result<Fcos, TrainError> {
    if let Some(path) = &config.start_weights {
        return Ok(weights::load_into(path, model)?);
    }
    match &config.backbone_weights {
        Some(path) => Ok(Checkpoint::read(path)?.into_backbone(model, &config.preprocess)?),
        None => Ok(model),
    }
}

fn load_train(config: &TrainConfig) -> Result<(Dataset, HealthReport), TrainError> {
    let data = &config.data;
    let (mut dataset, mut health) = Dataset::read(&data.train_annotations, &data.train_images)?;
    dataset.check_images(&mut health);
    let dataset = dataset.filter_empty();
    if dataset.is_empty() {
        return Err(TrainError::NothingToLearn { health });
    }
    Ok((dataset, health))
}

/// The val set that the settings name, if they name one; its classes must be `classes`.
fn load_validation(
    config: &TrainConfig,
    classes: &ClassList,
) -> Result<Option<Validation>, TrainError> {
    let data = &config.data;
    let images = data.val_images.as_ref().unwrap_or(&data.train_images);
    let open = |annotations| Validation::open(annotations, images, classes);
    Ok(data.val_annotations.as_ref().map(open).transpose()?)
}

/// The settings that count: those saved with the run where it is resumed, else the given ones.
fn settled(config: TrainConfig, folder: &Path, resume: bool) -> Result<TrainConfig, TrainError> {
    let file = folder.join(CONFIG_FILE);
    match (file.exists(), resume) {
        (true, true) => TrainConfig::load(&file.to_string_lossy(), &[]),
        (true, false) => Err(TrainError::RunExists {
            path: folder.to_path_buf(),
        }),
        (false, _) => config.validate().map(|()| config),
    }
}

/// Makes the folder a run's, unless it is one.
fn save_settings(config: &TrainConfig, folder: &Path) -> Result<(), TrainError> {
    let file = folder.join(CONFIG_FILE);
    if file.exists() {
        return Ok(());
    }
    let text = config.to_toml()?;
    std::fs::create_dir_all(folder).map_err(|e| io_error(folder, e))?;
    write_atomically(&file, &text)
}
