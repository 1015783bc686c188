//! The training loop.

use std::ops::ControlFlow;
use std::time::Instant;

use fcos_eval::CocoMetrics;
use fcos_loss::BatchCounts;
use fcos_model::{BackboneModel, Pipeline};

use crate::TrainError;
use crate::batch::HostBatch;
use crate::batches::BatchLoader;
use crate::learner::Step;
use crate::log::{EvalRow, RowLog, StepRow, read_rows};
use crate::observer::{Observer, RunSummary};
use crate::run_folder::{BEST_WEIGHTS, EVALUATIONS, LAST_WEIGHTS, METRICS};
use crate::trainer::Trainer;

/// A trainer at work: its open files, its batches, and what it remembers from step to step.
pub(crate) struct Run<'a, B: BackboneModel> {
    pub trainer: Trainer<B>,
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
    pub fn open(
        mut trainer: Trainer<B>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
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

    pub fn step(&mut self) -> Result<ControlFlow<()>, TrainError> {
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

    pub fn evaluation_is_due(&self) -> bool {
        let trainer = &self.trainer;
        let every = trainer.config.recipe.eval_every;
        let due = every.map_or(trainer.is_last(), |every| trainer.is_due(every));
        due && self.evaluated < trainer.iteration()
    }

    pub fn evaluate(&mut self) -> Result<ControlFlow<()>, TrainError> {
        let trainer = &mut self.trainer;
        let iteration = trainer.iteration();
        self.evaluated = iteration;
        let Some(validation) = &trainer.validation else {
            return Ok(ControlFlow::Continue(()));
        };
        let model = trainer.learner.published().clone();
        let pipeline = Pipeline::new(model, trainer.detector_config());
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
    pub fn stop(mut self) -> Result<RunSummary, TrainError> {
        if self.checkpointed < self.trainer.iteration() {
            // It is the end, whatever the answer.
            let _ = self.checkpoint()?;
        }
        Ok(self.summary(true))
    }

    pub fn finish(self) -> Result<RunSummary, TrainError> {
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
