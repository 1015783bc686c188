//! What a detector says of an image.

use std::ops::Deref;
use std::sync::Arc;

use fcos_core::BBox;
use fcos_data::ResultRow;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One detected object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The class, 0-based.
    pub label: u32,
    /// The class's id in the data set that the detector was trained on.
    pub category_id: u64,
    /// The class's name.
    #[serde(serialize_with = "name_as_str", deserialize_with = "name_of_string")]
    pub name: Arc<str>,
    /// Confidence in `[0, 1]`; for most models `√(class probability · centre-ness)`.
    pub score: f32,
    /// Where, in pixels of the original image; `[x1, y1, x2, y2]` as JSON.
    pub bbox: BBox,
    /// The index among all locations of the network's input that it comes from: what
    /// [`Fcos::forward`](fcos_model::Fcos::forward) says in that row is this object's.
    #[serde(default)]
    pub location: usize,
}

/// `serde`'s own form of an `Arc` is behind a feature.
fn name_as_str<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

fn name_of_string<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

/// The objects found in one image, best score first. Derefs to a slice of [`Detection`]s.
///
/// Collected from any, for programs and tests that get them elsewhere:
/// ```
/// use fcos::{BBox, Detection, Detections};
///
/// let found = |score| Detection {
///     label: 0,
///     category_id: 18,
///     name: "dog".into(),
///     score,
///     bbox: BBox::new(10.0, 20.0, 50.0, 80.0),
///     location: 0,
/// };
/// let detections: Detections = [found(0.4), found(0.9)].into_iter().collect();
/// assert_eq!(detections[0].score, 0.9);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Detections {
    detections: Vec<Detection>,
    non_finite: usize,
}

/// What a detector says of a class.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub name: Arc<str>,
    pub category_id: u64,
}

impl Detections {
    /// Objects whose labels all have a place in `classes`.
    pub(crate) fn new(
        found: &[fcos_postprocess::Detection],
        non_finite: usize,
        classes: &[Class],
    ) -> Self {
        let detection = |d: &fcos_postprocess::Detection| {
            let class = &classes[d.label as usize];
            Detection {
                label: d.label,
                category_id: class.category_id,
                name: class.name.clone(),
                score: d.score,
                bbox: d.bbox,
                location: d.location,
            }
        };
        Self {
            detections: found.iter().map(detection).collect(),
            non_finite,
        }
    }

    /// How many candidates were left out because the network's outputs for them were not finite.
    /// Not 0 means that the weights are broken: objects may be missing.
    pub fn non_finite(&self) -> usize {
        self.non_finite
    }

    /// Only those whose score is at least `score`.
    #[must_use]
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.detections.retain(|d| d.score >= score);
        self
    }

    /// Rows of a COCO results list, with the category ids of the data set that the detector was
    /// trained on, and with names for people beside the numbers.
    pub fn to_coco(&self, image_id: u64, file_name: &str) -> Vec<ResultRow> {
        let row = |d: &Detection| ResultRow {
            file_name: Some(file_name.into()),
            category_name: Some(d.name.to_string()),
            ..ResultRow::new(image_id, d.category_id, d.bbox, d.score)
        };
        self.detections.iter().map(row).collect()
    }
}

/// The best first, of equal scores the earlier one.
impl FromIterator<Detection> for Detections {
    fn from_iter<I: IntoIterator<Item = Detection>>(detections: I) -> Self {
        let mut detections = Vec::from_iter(detections);
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self {
            detections,
            non_finite: 0,
        }
    }
}

impl Deref for Detections {
    type Target = [Detection];

    fn deref(&self) -> &[Detection] {
        &self.detections
    }
}

impl<'a> IntoIterator for &'a Detections {
    type Item = &'a Detection;
    type IntoIter = std::slice::Iter<'a, Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.detections.iter()
    }
}

impl IntoIterator for Detections {
    type Item = Detection;
    type IntoIter = std::vec::IntoIter<Detection>;

    fn into_iter(self) -> Self::IntoIter {
        self.detections.into_iter()
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
            location: 40 + label as usize,
        };
        let class = |(name, category_id): (&str, u64)| Class {
            name: name.into(),
            category_id,
        };
        let classes = [("cat", 3), ("dog", 18)].map(class);
        Detections::new(&[found(1, 0.75), found(0, 0.5)], 2, &classes)
    }

    #[test]
    fn names_ids_and_threshold() {
        let found = detections();
        let classes: Vec<_> = found.iter().map(|d| (&*d.name, d.category_id)).collect();
        assert_eq!(classes, [("dog", 18), ("cat", 3)]);
        let locations: Vec<_> = found.iter().map(|d| d.location).collect();
        assert_eq!(locations, [41, 40]);
        assert_eq!(found.with_min_score(0.6).len(), 1);
    }

    #[test]
    fn coco_rows() {
        let json = serde_json::to_value(&detections().to_coco(42, "a.jpg")[0]);
        let expected = serde_json::json!({
            "image_id": 42, "category_id": 18, "bbox": [10.0, 200.0, 4.0, 10.0], "score": 0.75,
            "file_name": "a.jpg", "category_name": "dog"
        });
        assert_eq!(json.expect("serialises"), expected);
    }

    #[test]
    fn detections_survive_json() {
        let text = serde_json::to_string(&detections()).expect("serialises");
        assert!(text.contains(r#""name":"dog""#), "{text}");
        let read: Detections = serde_json::from_str(&text).expect("parses");
        assert_eq!(read, detections());
    }

    #[test]
    fn the_best_comes_first() {
        let mut all = Vec::from_iter(detections());
        all.reverse();
        let collected = Detections::from_iter(all);
        assert_eq!(collected[..], detections()[..]);
        assert_eq!(collected.non_finite(), 0);
    }
}
