//! From image files to one step's batch: decode, augment, resize, assign, in the loader's threads.

use std::ops::Range;
use std::sync::Arc;

use fcos_core::{DistanceUnit, LocationRule, Locations};
use fcos_data::{AugmentConfig, BatchSampler, Dataset, Loader, Prepared, PreprocessConfig};
use fcos_targets::{Assigners, Targets};

use crate::TrainError;
use crate::batch::{HostBatch, InputBoxes};
use crate::config::TrainConfig;

/// The batches of a run. What a step's batch holds is a function of the settings, the data set and
/// the step's number alone, so that a run can go on from any step.
///
/// ```no_run
/// # fn dataset() -> std::sync::Arc<fcos_data::Dataset> { unimplemented!() }
/// use fcos_train::{TrainBatches, TrainConfig};
///
/// let config = TrainConfig::load("demo", &[])?;
/// let batches = TrainBatches::new(dataset(), &config)?;
/// let third = batches.batch(2)?;
/// let same = batches.load(2..100)?.next().expect("98 batches")?;
/// assert_eq!(third, same);
/// # Ok::<(), fcos_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrainBatches(Arc<Source>);

#[derive(Debug, Clone)]
struct Source {
    dataset: Arc<Dataset>,
    sampler: Arc<BatchSampler>,
    preprocess: PreprocessConfig,
    augment: AugmentConfig,
    assigners: Assigners,
    unit: DistanceUnit,
    location_rule: LocationRule,
    strides: Vec<usize>,
    seed: u64,
    threads: usize,
    queue: usize,
}

/// One image of a batch, and its boxes in pixels of the network's input.
struct Sample {
    image_id: u64,
    image: Prepared,
    boxes: InputBoxes,
}

impl TrainBatches {
    /// Batches of this data set by these settings.
    ///
    /// # Errors
    /// If the data set is empty or the batch size is 0.
    pub fn new(dataset: Arc<Dataset>, config: &TrainConfig) -> Result<Self, TrainError> {
        let recipe = &config.recipe;
        let groups = dataset.aspect_groups();
        let sampler = BatchSampler::with_groups(&groups, recipe.batch_size, recipe.seed)?;
        Ok(Self(Arc::new(Source {
            dataset,
            sampler: Arc::new(sampler),
            preprocess: config.preprocess.clone(),
            augment: config.augment.clone(),
            assigners: Assigners::new(config.assign.clone()),
            unit: config.model.distance_unit(),
            location_rule: config.location_rule,
            strides: config.model.strides(),
            seed: recipe.seed,
            threads: recipe.loader_threads,
            queue: recipe.loader_queue,
        })))
    }

    /// The same images and boxes, assigned by a rule of the caller's own: see
    /// [`Assigners::with_rule`].
    #[must_use]
    pub fn with_assigners(mut self, assigners: Assigners) -> Self {
        Arc::make_mut(&mut self.0).assigners = assigners;
        self
    }

    /// The batch of a step, counted from 0.
    ///
    /// # Errors
    /// If an image can't be read, or its boxes can't be assigned.
    pub fn batch(&self, iteration: u64) -> Result<HostBatch, TrainError> {
        self.0.batch(iteration)
    }

    /// The batches of these steps in their order, made ahead by the recipe's `loader_threads`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn load(&self, iterations: Range<u64>) -> Result<BatchLoader, TrainError> {
        let next = iterations.start;
        let source = self.0.clone();
        let (threads, queue) = (source.threads, source.queue);
        let loader = Loader::start(iterations, threads, queue, move |i| source.batch(i));
        let loader = loader.map_err(|e| loader_error(next, e))?;
        Ok(BatchLoader { loader, next })
    }
}

/// Batches that are made ahead, in the order of their steps: see [`TrainBatches::load`].
#[derive(Debug)]
pub struct BatchLoader {
    loader: Loader<Result<HostBatch, TrainError>>,
    /// The step whose batch comes next.
    next: u64,
}

impl Iterator for BatchLoader {
    type Item = Result<HostBatch, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.loader.next()?;
        let iteration = self.next;
        self.next += 1;
        Some(batch.unwrap_or_else(|e| Err(loader_error(iteration, e))))
    }
}

fn loader_error(iteration: u64, error: fcos_data::LoaderError) -> TrainError {
    TrainError::Loader {
        iteration,
        reason: error.to_string(),
    }
}

impl Source {
    fn batch(&self, iteration: u64) -> Result<HostBatch, TrainError> {
        let indices = self.sampler.batch(iteration);
        let samples = indices.iter().map(|&index| self.sample(index, iteration));
        let samples = samples.collect::<Result<Vec<_>, _>>()?;
        let image_ids: Vec<u64> = samples.iter().map(|s| s.image_id).collect();
        let (images, boxes): (Vec<_>, Vec<_>) =
            samples.into_iter().map(|s| (s.image, s.boxes)).unzip();
        let images = self.preprocess.pad_batch(&images);
        let locations = Locations::new(images.size(), &self.strides, self.location_rule);
        let targets = self.assign(&image_ids, &boxes, &locations)?;
        Ok(HostBatch::new(image_ids, images, targets))
    }

    fn sample(&self, index: usize, iteration: u64) -> Result<Sample, TrainError> {
        let record = self.dataset.sample(index);
        let mut image = self.dataset.load(index)?;
        let mut boxes = record.boxes.clone();
        let change = self.augment.draw(self.seed, iteration, index);
        change.apply(&mut image, &mut boxes);
        let preprocess = match change.short_side {
            Some(side) => &self.preprocess.clone().with_short_side(side),
            None => &self.preprocess,
        };
        let image = preprocess.apply(&image);
        Ok(Sample {
            image_id: record.id,
            boxes: InputBoxes::new(&image, &boxes, &record.labels),
            image,
        })
    }

    /// What the locations of a padded batch learn, image by image.
    fn assign(
        &self,
        image_ids: &[u64],
        images: &[InputBoxes],
        locations: &Locations,
    ) -> Result<Vec<Targets>, TrainError> {
        let error = |image_id| move |source| TrainError::Assign { image_id, source };
        let first_id = image_ids.first().copied().unwrap_or_default();
        let assigner = self.assigners.make(locations, self.unit);
        let assigner = assigner.map_err(error(first_id))?;
        let assign = |(&id, image): (&u64, &InputBoxes)| {
            let targets = assigner.assign(&image.boxes, &image.labels);
            targets.map_err(error(id))
        };
        image_ids.iter().zip(images).map(assign).collect()
    }
}
