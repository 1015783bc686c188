//! Predicting a val set and scoring it.

use std::path::{Path, PathBuf};

use fcos_core::{ClassList, error_chain};
use fcos_data::{Annotations, DataError, Dataset, HealthReport, read_annotations};
use fcos_model::{BackboneModel, Pipeline};
use fcos_postprocess::Detection;

use crate::{CocoEvaluator, CocoMetrics, EvalError, ResultRow};

/// A val set, ready to be predicted and scored.
#[derive(Debug)]
pub struct Validation {
    dataset: Dataset,
    health: HealthReport,
    annotations: PathBuf,
    evaluator: CocoEvaluator,
}

impl Validation {
    /// [`new`](Self::new) with annotations of [any known format](read_annotations).
    ///
    /// # Errors
    /// If the annotations can't be read, and those of [`new`](Self::new).
    pub fn open(
        annotations: impl AsRef<Path>,
        images: impl AsRef<Path>,
        classes: &ClassList,
    ) -> Result<Self, EvalError> {
        Self::new(read_annotations(annotations)?, images, classes)
    }

    /// Annotations whose classes must be those of the model, and the folder of their images. Objects on
    /// images that can't be read count as missed.
    ///
    /// # Errors
    /// If all images can't be read, or the classes differ.
    pub fn new(
        annotations: Annotations,
        images: impl AsRef<Path>,
        classes: &ClassList,
    ) -> Result<Self, EvalError> {
        let evaluator = CocoEvaluator::new(&annotations);
        let source = annotations.source.clone();
        let (mut dataset, mut health) = Dataset::from_annotations(annotations, images)?;
        dataset.check_images(&mut health);
        if dataset.is_empty() {
            let annotations = source;
            return Err(EvalError::NothingToEvaluate {
                annotations,
                health,
            });
        }
        Ok(Self {
            dataset: dataset.with_classes(classes)?,
            health,
            annotations: source,
            evaluator,
        })
    }

    /// The images and their boxes.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// What was odd in the annotations.
    pub fn health(&self) -> &HealthReport {
        &self.health
    }

    /// What the annotations were read from.
    pub fn annotations(&self) -> &Path {
        &self.annotations
    }

    /// Predicts every image and computes the metrics; `progress` hears how many are done.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn evaluate<B: BackboneModel>(
        &self,
        pipeline: &Pipeline<B>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<CocoMetrics, EvalError> {
        let found = self.predict(pipeline, progress)?;
        self.evaluator.evaluate(&found)
    }

    /// COCO result rows of all images; `progress` hears how many are done. Images that can't be
    /// loaded count as images without detections, and a warning says how many there are.
    ///
    /// # Errors
    /// If not one image can be loaded, or a prediction fails.
    pub fn predict<B: BackboneModel>(
        &self,
        pipeline: &Pipeline<B>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<ResultRow>, EvalError> {
        let mut predicted = Predicted::default();
        for index in 0..self.len() {
            match self.dataset.load(index) {
                Ok(image) => {
                    let mut batch = pipeline.predict(&[&image])?;
                    predicted.non_finite += batch.non_finite[0];
                    predicted
                        .rows
                        .extend(self.rows(index, &batch.detections.remove(0)));
                }
                Err(error) => predicted.failures.push(error),
            }
            progress(index + 1);
        }
        predicted.judged(self.len())
    }

    /// What was found in the image at that place of the data set, under the data set's ids.
    fn rows(&self, index: usize, found: &[Detection]) -> impl Iterator<Item = ResultRow> {
        let id = self.dataset.sample(index).id;
        let row = move |d: &Detection| {
            let category = self.dataset.category_ids()[d.label as usize];
            ResultRow::new(id, category, d.bbox, d.score)
        };
        found.iter().map(row)
    }
}

/// What came of a val set's images.
#[derive(Default)]
struct Predicted {
    rows: Vec<ResultRow>,
    /// Outputs of the network that are not finite.
    non_finite: usize,
    /// Why images could not be loaded.
    failures: Vec<DataError>,
}

impl Predicted {
    /// The rows, with a warning of what is missing; an error if nothing of so many images is there.
    fn judged(self, images: usize) -> Result<Vec<ResultRow>, EvalError> {
        let non_finite = self.non_finite;
        if non_finite > 0 {
            tracing::warn!(non_finite, "outputs of the network that are not finite");
        }
        let skipped = self.failures.len();
        if let Some(first) = self.failures.into_iter().next() {
            if skipped == images {
                return Err(first.into());
            }
            tracing::warn!(
                skipped,
                first = error_chain(&first),
                "val images that can't be loaded"
            );
        }
        Ok(self.rows)
    }
}
