//! COCO's list of results.

use fcos_core::BBox;
use serde::{Deserialize, Serialize};

/// One detection, as in COCO's file of results: an array of these is the file.
///
/// COCO has four keys; the names are for people, and left out where they are not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The image's id in the annotations.
    pub image_id: u64,
    /// The category's id in the annotations (no contiguous label).
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f64; 4],
    /// Confidence; only the order counts.
    pub score: f64,
    /// The image's file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The category's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category_name: Option<String>,
}

impl ResultRow {
    /// The row of a box in pixels of the original image, without names.
    pub fn new(image_id: u64, category_id: u64, bbox: BBox, score: f32) -> Self {
        Self {
            image_id,
            category_id,
            bbox: bbox.to_xywh().map(f64::from),
            score: f64::from(score),
            file_name: None,
            category_name: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_known_are_left_out() {
        let row = ResultRow::new(42, 18, BBox::new(10.0, 200.0, 14.0, 210.0), 0.5);
        let json = r#"{"image_id":42,"category_id":18,"bbox":[10.0,200.0,4.0,10.0],"score":0.5}"#;
        assert_eq!(serde_json::to_string(&row).expect("serialises"), json);
        assert_eq!(
            serde_json::from_str::<ResultRow>(json).expect("parses"),
            row
        );
    }
}
