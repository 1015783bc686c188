//! Detections against annotations: checks, matching and curves by [`hotcoco`], averages here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fcos_data::{Annotations, ResultRow, read_annotations};
use hotcoco::{AccumulatedEval, COCO, COCOeval, IouType};

use crate::results::{detection_to_hotcoco, object_to_hotcoco, read_results};
use crate::{ClassMetrics, CocoMetrics, CocoStats, EvalError};

/// Judges detections against annotations that are read and indexed once.
///
/// ```
/// use fcos_core::BBox;
/// use fcos_data::{Annotations, Category, ImageEntry, Object};
/// use fcos_eval::{CocoEvaluator, ResultRow};
///
/// let annotations = Annotations {
///     images: vec![ImageEntry { id: 7, file_name: None, size: None }],
///     categories: vec![Category { id: 18, name: "dog".into() }],
///     objects: vec![Object::new(7, 18, [10.0, 10.0, 40.0, 50.0])],
///     ..Annotations::default()
/// };
/// let found = ResultRow::new(7, 18, BBox::new(10.0, 10.0, 50.0, 60.0), 0.9);
///
/// let metrics = CocoEvaluator::new(&annotations).evaluate(&[found])?;
/// assert!((metrics.stats.ap - 1.0).abs() < 1e-9);
/// assert_eq!(metrics.stats.ap_small, -1.0); // there is no small object
/// # Ok::<(), fcos_eval::EvalError>(())
/// ```
pub struct CocoEvaluator {
    ground_truth: Arc<COCO>,
    image_ids: BTreeSet<u64>,
    /// Name by id; their ascending order is that of hotcoco's category axis.
    categories: BTreeMap<u64, String>,
}

impl CocoEvaluator {
    /// Indexes annotations. Objects without a box of four finite numbers, and what the reader
    /// [could make nothing of](Annotations::findings), are left out with a warning.
    pub fn new(annotations: &Annotations) -> Self {
        let objects = annotations.objects.iter();
        let objects: Vec<_> = objects.filter_map(object_to_hotcoco).collect();
        let left_out = annotations.objects.len() - objects.len();
        if left_out > 0 {
            tracing::warn!(left_out, "annotations without a box of four finite numbers");
        }
        if let Some(first) = annotations.findings.first() {
            let left_out = annotations.findings.len();
            tracing::warn!(left_out, %first, "rows that the annotations' reader could not use");
        }
        let image_ids = annotations.images.iter().map(|image| image.id).collect();
        let categories = annotations.categories.iter();
        let categories = categories.map(|c| (c.id, c.name.clone())).collect();
        let ground_truth = index(&image_ids, &categories, objects);
        Self {
            ground_truth,
            image_ids,
            categories,
        }
    }

    /// Reads and indexes annotations of [any known format](read_annotations).
    ///
    /// # Errors
    /// [`EvalError::Data`].
    pub fn from_file(annotations: impl AsRef<Path>) -> Result<Self, EvalError> {
        Ok(Self::new(&read_annotations(annotations)?))
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
            let detection = detection_to_hotcoco(row, i)?;
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

impl fmt::Debug for CocoEvaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CocoEvaluator")
            .field("images", &self.image_ids.len())
            .field("categories", &self.categories)
            .finish_non_exhaustive()
    }
}

/// Judges a file of detections against a file of annotations.
///
/// # Errors
/// Those of [`CocoEvaluator::from_file`], [`read_results`] and [`CocoEvaluator::evaluate`].
pub fn evaluate_files(
    annotations: impl AsRef<Path>,
    detections: impl AsRef<Path>,
) -> Result<CocoMetrics, EvalError> {
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
