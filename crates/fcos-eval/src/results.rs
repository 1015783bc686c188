//! COCO's files of results; objects and detections in hotcoco's form.
//!
//! hotcoco turns on `serde_json/float_roundtrip`, without which an area at the border of two ranges
//! could be read one unit in the last place off.

use std::fs;
use std::path::Path;

use fcos_data::{Object, ResultRow};

use crate::EvalError;

/// Reads a file of detections: a JSON array of [`ResultRow`]s, whose other keys are skipped.
///
/// # Errors
/// [`EvalError::Read`] and [`EvalError::Parse`].
pub fn read_results(path: impl AsRef<Path>) -> Result<Vec<ResultRow>, EvalError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| EvalError::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| EvalError::Parse {
        path: path.into(),
        source,
    })
}

/// `None` where the object has no four finite numbers as its box.
pub(crate) fn object_to_hotcoco(object: &Object) -> Option<hotcoco::Annotation> {
    let bbox = *object.bbox.as_ref().ok()?;
    if !bbox.into_iter().all(f64::is_finite) {
        return None;
    }
    let area = object.area.filter(|area| area.is_finite());
    Some(hotcoco::Annotation {
        image_id: object.image_id,
        category_id: object.category_id,
        bbox: Some(bbox),
        area: area.or(Some(bbox[2] * bbox[3])),
        iscrowd: object.crowd,
        ..Default::default()
    })
}

/// Fails where a number is not finite or a side negative; `row` is the position to report.
pub(crate) fn detection_to_hotcoco(
    detection: &ResultRow,
    row: usize,
) -> Result<hotcoco::Annotation, EvalError> {
    check(detection, row)?;
    let bbox = detection.bbox;
    Ok(hotcoco::Annotation {
        image_id: detection.image_id,
        category_id: detection.category_id,
        bbox: Some(bbox),
        area: Some(bbox[2] * bbox[3]),
        score: Some(detection.score),
        ..Default::default()
    })
}

fn check(detection: &ResultRow, row: usize) -> Result<(), EvalError> {
    let &ResultRow {
        image_id,
        bbox,
        score,
        ..
    } = detection;
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
    Ok(())
}
