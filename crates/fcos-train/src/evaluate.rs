//! COCO's twelve bounding-box metrics (Lin et al., ECCV 2014), equal to those of pycocotools.
//!
//! Matching and precision-recall curves are [`hotcoco`]'s; reading, checking and averaging are
//! done here. Boxes are `[x, y, width, height]` in pixels of the original image, as in COCO's
//! files.
//!
//! Where pycocotools and hotcoco differ from each other, or from the definition of the metric:
//! - An annotation's own id is not used. (pycocotools takes a match to id 0 for "no match", and
//!   both count an annotation twice whose id another one has.)
//! - An annotation without four finite numbers as its box is left out with a warning.
//! - An annotation without `area` gets that of its box. (pycocotools fails; hotcoco draws the
//!   mask, if there is one.)
//! - No detections at all is a list like any other: 0 where there is something to find.
//!   (pycocotools fails.)
//! - Detections of categories that the annotations do not list are left out with a warning, as
//!   pycocotools does silently. Detections on images that they do not list are an error, as in
//!   pycocotools; hotcoco leaves them out.
//! - Scores and boxes that are not finite are errors. (pycocotools sorts NaN last; hotcoco leaves
//!   its order undefined.) So is a negative side, which both accept.
//! - A category listed twice is one category, with the later name. (hotcoco gives it two places.)

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fcos_data::DataError;
use fcos_data::coco::CocoFile;
use hotcoco::{AccumulatedEval, COCO, COCOeval, IouType};

mod files;
mod metrics;

pub use files::{ResultRow, read_results};
pub use metrics::{ClassMetrics, CocoMetrics, CocoStats};

/// Why an evaluation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The annotation file could not be read.
    #[error(transparent)]
    Annotations(#[from] DataError),
    /// The file of detections could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of detections is no JSON array of [`ResultRow`]s; ids are whole numbers from 0, and
    /// NaN is no JSON.
    #[error("{} is not in COCO's format", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A detection on an image that the annotations do not list: most often the annotations are
    /// those of another split.
    #[error("detection {row}: image {image_id} is not among the annotated images")]
    UnknownImage {
        /// Position in the list of detections, from 0.
        row: usize,
        /// The image.
        image_id: u64,
    },
    /// A detection's score is NaN or infinite.
    #[error("detection {row} (image {image_id}): score {score} is not a finite number")]
    BadScore {
        /// Position in the list of detections, from 0.
        row: usize,
        /// Its image.
        image_id: u64,
        /// Its score.
        score: f64,
    },
    /// A detection's box is not finite or has a negative side.
    #[error("detection {row} (image {image_id}): {bbox:?} is not a box")]
    BadBox {
        /// Position in the list of detections, from 0.
        row: usize,
        /// Its image.
        image_id: u64,
        /// Its box, `[x, y, width, height]`.
        bbox: [f64; 4],
    },
    /// hotcoco refused input that had passed all checks above.
    #[error("matching detections to annotations failed")]
    Matching(#[from] hotcoco::Error),
}

/// Judges detections against annotations that are read and indexed once.
///
/// ```
/// use fcos_data::coco::CocoFile;
/// use fcos_train::evaluate::{CocoEvaluator, ResultRow};
///
/// let annotations: CocoFile = serde_json::from_str(
///     r#"{"images": [{"id": 7}],
///         "categories": [{"id": 18, "name": "dog"}],
///         "annotations": [{"image_id": 7, "category_id": 18, "bbox": [10, 10, 40, 50]}]}"#,
/// )?;
/// let bbox = [10.0, 10.0, 40.0, 50.0];
/// let found = ResultRow { image_id: 7, category_id: 18, bbox, score: 0.9 };
///
/// let metrics = CocoEvaluator::new(annotations).evaluate(&[found])?;
/// assert!((metrics.stats.ap - 1.0).abs() < 1e-9);
/// assert_eq!(metrics.stats.ap_small, -1.0); // there is no small object
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CocoEvaluator {
    ground_truth: Arc<COCO>,
    image_ids: BTreeSet<u64>,
    /// Name by id; their ascending order is that of hotcoco's category axis.
    categories: BTreeMap<u64, String>,
}

impl CocoEvaluator {
    /// Indexes annotations.
    pub fn new(annotations: CocoFile) -> Self {
        let listed = annotations.annotations.len();
        let objects: Vec<_> = annotations
            .annotations
            .iter()
            .filter_map(files::object_to_hotcoco)
            .collect();
        let left_out = listed - objects.len();
        if left_out > 0 {
            tracing::warn!(left_out, "annotations without a box of four finite numbers");
        }
        let image_ids = annotations.images.iter().map(|image| image.id.0).collect();
        let categories = annotations
            .categories
            .into_iter()
            .map(|c| (c.id.0, c.name))
            .collect();
        let ground_truth = index(&image_ids, &categories, objects);
        Self {
            ground_truth,
            image_ids,
            categories,
        }
    }

    /// Reads and indexes an annotation file.
    ///
    /// # Errors
    /// [`EvalError::Annotations`].
    pub fn from_file(annotations: &Path) -> Result<Self, EvalError> {
        Ok(Self::new(CocoFile::read(annotations)?))
    }

    /// Judges the detections of all annotated images. Their order does not matter, save that of
    /// equal scores on the same image the earlier one goes first.
    ///
    /// # Errors
    /// [`EvalError::UnknownImage`], [`EvalError::BadScore`] and [`EvalError::BadBox`], with the
    /// first row that is at fault.
    pub fn evaluate(&self, detections: &[ResultRow]) -> Result<CocoMetrics, EvalError> {
        let detections = index(&self.image_ids, &self.categories, self.checked(detections)?);
        let mut matching = COCOeval::new(Arc::clone(&self.ground_truth), detections, IouType::Bbox);
        matching.evaluate()?;
        matching.accumulate();
        let no_curves = || hotcoco::Error::InvalidState("no curves were accumulated".to_owned());
        Ok(self.summarise(matching.accumulated().ok_or_else(no_curves)?))
    }

    /// The detections of listed categories, all rows having passed their checks.
    fn checked(&self, rows: &[ResultRow]) -> Result<Vec<hotcoco::Annotation>, EvalError> {
        let mut known = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            if !self.image_ids.contains(&row.image_id) {
                return Err(EvalError::UnknownImage {
                    row: i,
                    image_id: row.image_id,
                });
            }
            let detection = row.to_hotcoco(i)?;
            if self.categories.contains_key(&row.category_id) {
                known.push(detection);
            }
        }
        let left_out = rows.len() - known.len();
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "detections of categories that the annotations do not list"
            );
        }
        Ok(known)
    }

    fn summarise(&self, curves: &AccumulatedEval) -> CocoMetrics {
        let class = |(k, (&category_id, name)): (usize, (&u64, &String))| ClassMetrics {
            category_id,
            name: name.clone(),
            stats: CocoStats::new(curves, k..k + 1),
        };
        CocoMetrics {
            stats: CocoStats::new(curves, 0..self.categories.len()),
            per_class: self.categories.iter().enumerate().map(class).collect(),
        }
    }
}

/// Judges a file of detections against a file of annotations.
///
/// # Errors
/// Those of [`CocoEvaluator::from_file`], [`read_results`] and [`CocoEvaluator::evaluate`].
pub fn evaluate_files(annotations: &Path, detections: &Path) -> Result<CocoMetrics, EvalError> {
    CocoEvaluator::from_file(annotations)?.evaluate(&read_results(detections)?)
}

/// hotcoco's index over `boxes`, which get new ids: their positions from 1.
fn index(
    image_ids: &BTreeSet<u64>,
    categories: &BTreeMap<u64, String>,
    mut boxes: Vec<hotcoco::Annotation>,
) -> Arc<COCO> {
    for (id, annotation) in (1..).zip(&mut boxes) {
        annotation.id = id;
    }
    let image = |&id: &u64| hotcoco::Image {
        id,
        ..Default::default()
    };
    let category = |(&id, name): (&u64, &String)| {
        let name = name.clone();
        hotcoco::Category {
            id,
            name,
            ..Default::default()
        }
    };
    Arc::new(COCO::from_dataset(hotcoco::Dataset {
        images: image_ids.iter().map(image).collect(),
        categories: categories.iter().map(category).collect(),
        annotations: boxes,
        ..Default::default()
    }))
}

#[cfg(test)]
mod tests;
