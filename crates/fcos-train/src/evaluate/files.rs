//! COCO's files, as far as box metrics need them, and their records in hotcoco's form.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::EvalError;

/// One detection, as in COCO's file of results: an array of these is the file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The image's id in the annotations.
    pub image_id: u64,
    /// The category's id in the annotations (no contiguous label).
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f64; 4],
    /// Confidence; only the order counts.
    pub score: f64,
}

/// The part of a COCO annotation file that box metrics need; other keys are skipped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct CocoAnnotations {
    /// The images to judge, with or without annotations.
    pub images: Vec<CocoImage>,
    /// What is to be found. Annotations of unlisted images or categories do not count.
    pub annotations: Vec<CocoAnnotation>,
    /// The categories to judge.
    pub categories: Vec<CocoCategory>,
}

/// An image.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct CocoImage {
    /// Its id.
    pub id: u64,
}

/// An annotated object.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct CocoAnnotation {
    /// The image it is on.
    pub image_id: u64,
    /// Its category.
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels.
    pub bbox: [f64; 4],
    /// Pixels covered (in COCO: by the mask), which make it small, medium or large; if absent,
    /// the box's area.
    pub area: Option<f64>,
    /// A group of objects: is never missed, and absorbs any number of detections.
    /// In files 0, 1, `false`, `true` or absent.
    #[serde(default, deserialize_with = "flag")]
    pub iscrowd: bool,
}

/// A category.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CocoCategory {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Reads a file of detections: a JSON array of [`ResultRow`]s, whose other keys are skipped.
///
/// # Errors
/// [`EvalError::Read`] and [`EvalError::Parse`].
pub fn read_results(path: &Path) -> Result<Vec<ResultRow>, EvalError> {
    read_json(path)
}

/// Reads a JSON file. hotcoco turns on `serde_json/float_roundtrip`, without which an area at
/// the border of two ranges could be read one unit in the last place off.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EvalError> {
    let bytes = fs::read(path).map_err(|source| EvalError::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| EvalError::Parse {
        path: path.into(),
        source,
    })
}

/// A flag that is written as a truth value or as a number.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected 0, 1, false or true")]
    enum Flag {
        Bool(bool),
        Number(u8),
    }
    Ok(match Flag::deserialize(deserializer)? {
        Flag::Bool(set) => set,
        Flag::Number(number) => number != 0,
    })
}

impl CocoAnnotation {
    /// Fails where a number is not finite; `index` is the position to report.
    pub(super) fn to_hotcoco(self, index: usize) -> Result<hotcoco::Annotation, EvalError> {
        let Self {
            image_id,
            category_id,
            bbox,
            area,
            iscrowd,
        } = self;
        if !bbox.into_iter().chain(area).all(f64::is_finite) {
            return Err(EvalError::BadAnnotation {
                index,
                image_id,
                bbox,
                area,
            });
        }
        let area = area.or(Some(bbox[2] * bbox[3]));
        let bbox = Some(bbox);
        Ok(hotcoco::Annotation {
            image_id,
            category_id,
            bbox,
            area,
            iscrowd,
            ..Default::default()
        })
    }
}

impl ResultRow {
    /// Fails where a number is not finite or a side negative; `row` is the position to report.
    pub(super) fn to_hotcoco(self, row: usize) -> Result<hotcoco::Annotation, EvalError> {
        let Self {
            image_id,
            category_id,
            bbox,
            score,
        } = self;
        if !score.is_finite() {
            return Err(EvalError::BadScore {
                row,
                image_id,
                score,
            });
        }
        if !bbox.into_iter().all(f64::is_finite) || bbox[2] < 0.0 || bbox[3] < 0.0 {
            return Err(EvalError::BadBox {
                row,
                image_id,
                bbox,
            });
        }
        let area = Some(bbox[2] * bbox[3]);
        let (bbox, score) = (Some(bbox), Some(score));
        Ok(hotcoco::Annotation {
            image_id,
            category_id,
            bbox,
            area,
            score,
            ..Default::default()
        })
    }
}
