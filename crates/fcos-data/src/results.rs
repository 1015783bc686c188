//! COCO's results format, for other tools' evaluation and for submission.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fcos_core::BBox;
use serde::{Deserialize, Serialize};

use crate::DataError;

/// One detection as COCO's results files list them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoResult {
    /// COCO's image id: [`ImageRecord::id`](crate::ImageRecord::id).
    pub image_id: u64,
    /// COCO's category id: the label's entry in
    /// [`Dataset::category_ids`](crate::Dataset::category_ids).
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f32; 4],
    /// Confidence, 0 to 1.
    pub score: f32,
}

impl CocoResult {
    /// A detection in pixels of the original image.
    pub fn new(image_id: u64, category_id: u64, bbox: BBox, score: f32) -> Self {
        Self {
            image_id,
            category_id,
            bbox: bbox.to_xywh(),
            score,
        }
    }

    fn is_finite(&self) -> bool {
        self.score.is_finite() && self.bbox.iter().all(|v| v.is_finite())
    }
}

/// Writes detections as a JSON array, in their order.
///
/// # Errors
/// [`DataError::NonFiniteResult`], before anything is written, and [`DataError::Write`].
pub fn write_results(path: &Path, results: &[CocoResult]) -> Result<(), DataError> {
    if let Some(index) = results.iter().position(|r| !r.is_finite()) {
        let image_id = results[index].image_id;
        return Err(DataError::NonFiniteResult {
            path: path.into(),
            index,
            image_id,
        });
    }
    let file = File::create(path).map_err(|e| DataError::write(path, e))?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, results).map_err(|e| DataError::write(path, e.into()))?;
    writer.flush().map_err(|e| DataError::write(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_coco_wants_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("results.json");
        let row = CocoResult::new(885, 90, BBox::new(1.5, 20.0, 4.0, 60.25), 0.75);
        write_results(&path, &[row]).expect("writes");
        let expected =
            r#"[{"image_id":885,"category_id":90,"bbox":[1.5,20.0,2.5,40.25],"score":0.75}]"#;
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), expected);
        write_results(&path, &[]).expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "[]");
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("results.json");
        let good = CocoResult::new(1, 1, BBox::new(0.0, 0.0, 1.0, 1.0), 0.5);
        let bad = CocoResult {
            score: f32::NAN,
            ..good
        };
        let error = write_results(&path, &[good, bad]).expect_err("NaN");
        assert!(
            matches!(error, DataError::NonFiniteResult { index: 1, .. }),
            "{error}"
        );
        assert!(!path.exists());
        let error = write_results(dir.path(), &[good]).expect_err("a folder");
        assert!(matches!(error, DataError::Write { .. }), "{error}");
    }
}
