use std::ops::Deref;
use std::sync::Arc;

use fcos_core::BBox;
use serde::Serialize;

/// One detected object.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The class, 0-based.
    pub label: u32,
    /// The class's name.
    pub name: Arc<str>,
    /// Confidence in `[0, 1]`; for most models `√(class probability · centre-ness)`.
    pub score: f32,
    /// Where, in pixels of the original image.
    pub bbox: BBox,
}

/// The objects found in one image, best score first. Derefs to a slice of [`Detection`]s.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detections {
    found: Vec<Detection>,
    dropped: usize,
}

/// One row of a COCO results list, with the names that people want beside the numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CocoResult {
    /// The image's id.
    pub image_id: u64,
    /// The category's id.
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the original image.
    pub bbox: [f32; 4],
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// The image's file name.
    pub file_name: String,
    /// The category's name.
    pub category_name: String,
}

impl Detections {
    pub(crate) fn new(
        found: &[fcos_postprocess::Detection],
        dropped: usize,
        names: &[Arc<str>],
    ) -> Self {
        let unnamed: Arc<str> = Arc::from("?");
        let name = |label: u32| names.get(label as usize).unwrap_or(&unnamed).clone();
        let detection = |d: &fcos_postprocess::Detection| Detection {
            label: d.label,
            name: name(d.label),
            score: d.score,
            bbox: d.bbox,
        };
        Self {
            found: found.iter().map(detection).collect(),
            dropped,
        }
    }

    /// How many candidates were left out because the network's outputs for them were no finite numbers.
    /// Not 0 means that the weights are broken: objects may be missing.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Only those whose score is at least `score`.
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.found.retain(|d| d.score >= score);
        self
    }

    /// Rows of a COCO results list. `category_ids` gives the id of each label, as
    /// [`DetectorConfig::category_ids`](crate::DetectorConfig::category_ids) does.
    pub fn to_coco(&self, image_id: u64, file_name: &str, category_ids: &[u64]) -> Vec<CocoResult> {
        let row = |d: &Detection| CocoResult {
            image_id,
            category_id: category_ids
                .get(d.label as usize)
                .copied()
                .unwrap_or(u64::from(d.label) + 1),
            bbox: d.bbox.to_xywh(),
            score: d.score,
            file_name: file_name.into(),
            category_name: d.name.to_string(),
        };
        self.found.iter().map(row).collect()
    }
}

impl Deref for Detections {
    type Target = [Detection];

    fn deref(&self) -> &[Detection] {
        &self.found
    }
}

impl<'a> IntoIterator for &'a Detections {
    type Item = &'a Detection;
    type IntoIter = std::slice::Iter<'a, Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.iter()
    }
}

impl IntoIterator for Detections {
    type Item = Detection;
    type IntoIter = std::vec::IntoIter<Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detections() -> Detections {
        let found = |label, score| fcos_postprocess::Detection {
            bbox: BBox::new(10.0, 200.0, 14.0, 210.0),
            score,
            label,
        };
        let names = [Arc::from("cat"), Arc::from("dog")];
        Detections::new(&[found(1, 0.9), found(0, 0.5), found(7, 0.1)], 0, &names)
    }

    #[test]
    fn names_and_threshold() {
        let names: Vec<_> = detections().iter().map(|d| d.name.to_string()).collect();
        assert_eq!(names, ["dog", "cat", "?"]);
        assert_eq!(detections().with_min_score(0.5).len(), 2);
    }

    #[test]
    fn coco_rows() {
        let json = serde_json::to_value(&detections().to_coco(42, "a.jpg", &[3, 18])[0]);
        let expected = serde_json::json!({
            "image_id": 42, "category_id": 18, "bbox": [10.0, 200.0, 4.0, 10.0], "score": 0.9f32,
            "file_name": "a.jpg", "category_name": "dog"
        });
        assert_eq!(json.expect("serialises"), expected);
    }
}
