//! Boxes as they stand in a file, by image, for statistics.
//!
//! Naming: C classes; labels are `0..C`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use fcos_core::{ClassList, Size};
use serde::Serialize;

use crate::annotations::Classes;
use crate::{Annotations, DataError, ImageEntry, Object, read_annotations};

/// An annotation file's boxes as they stand there, for statistics that need no image files. (To
/// train on, [`Dataset`](crate::Dataset) checks the boxes and finds the files.)
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedImages {
    /// The class names by label.
    pub classes: ClassList,
    /// The category ids by label.
    pub category_ids: Vec<u64>,
    /// The images with a size, in the file's order.
    pub images: Vec<AnnotatedImage>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// An image and its boxes, crowd regions excepted.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedImage {
    /// The image's id.
    pub id: u64,
    /// The image's size in pixels.
    pub size: Size,
    /// `[x, y, width, height]` in pixels of the image, neither clipped nor checked but for finite
    /// numbers and sides not below 0; in the file's order.
    pub boxes: Vec<[f32; 4]>,
    /// The boxes' labels, each below C.
    pub labels: Vec<u32>,
    /// The annotations' own ids, where they have one.
    pub annotation_ids: Vec<Option<u64>>,
}

/// What [`AnnotatedImages::new`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Images whose size is not annotated.
    pub images: usize,
    /// Crowd regions.
    pub crowd: usize,
    /// Annotations without four usable numbers, of an unknown image or of an unknown category, and
    /// [what the reader could make nothing of](Annotations::findings).
    pub unusable: usize,
}

impl AnnotatedImages {
    /// Sorts the objects by image. Labels are the categories in ascending order of their ids.
    ///
    /// # Errors
    /// The kinds [`DuplicateImageId`](DataError::DuplicateImageId),
    /// [`DuplicateCategoryId`](DataError::DuplicateCategoryId) and
    /// [`Classes`](DataError::Classes).
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let file = dir.path().join("instances.json");
    /// let json = r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 3, "name": "cat"}],
    ///     "annotations": [{"image_id": 7, "category_id": 3, "bbox": [20, 5, 30, 0]},
    ///                     {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1}]
    /// }"#;
    /// std::fs::write(&file, json)?;
    ///
    /// let found = fcos_data::AnnotatedImages::read(&file)?;
    /// assert_eq!(found.images[0].boxes, [[20.0, 5.0, 30.0, 0.0]]);
    /// assert_eq!(found.left_out.crowd, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(annotations: &Annotations) -> Result<Self, DataError> {
        let Classes {
            names,
            category_ids,
        } = annotations.classes()?;
        annotations.check_image_ids()?;
        let images: Vec<_> = annotations
            .images
            .iter()
            .filter_map(AnnotatedImage::new)
            .collect();
        let mut found = Self {
            classes: names,
            category_ids,
            left_out: LeftOut {
                images: annotations.images.len() - images.len(),
                unusable: annotations.findings.len(),
                ..LeftOut::default()
            },
            images,
        };
        found.add_objects(&annotations.objects);
        Ok(found)
    }

    /// The same of a file of [any known format](read_annotations).
    ///
    /// # Errors
    /// Those of [`read_annotations`] and [`new`](Self::new).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::new(&read_annotations(path)?)
    }

    fn add_objects(&mut self, objects: &[Object]) {
        let labels: BTreeMap<u64, u32> = self.category_ids.iter().copied().zip(0..).collect();
        let ids = self.images.iter().map(|image| image.id);
        let positions: HashMap<u64, usize> = ids.zip(0..).collect();
        for object in objects {
            let position = positions.get(&object.image_id);
            let label = labels.get(&object.category_id);
            match (position, label, usable_box(object)) {
                _ if object.crowd => self.left_out.crowd += 1,
                (Some(&i), Some(&label), Some(xywh)) => self.images[i].add(object.id, label, xywh),
                _ => self.left_out.unusable += 1,
            }
        }
    }
}

impl AnnotatedImage {
    /// An image without boxes so far; `None` if its size isn't known.
    fn new(image: &ImageEntry) -> Option<Self> {
        Some(Self {
            id: image.id,
            size: image.size?,
            boxes: vec![],
            labels: vec![],
            annotation_ids: vec![],
        })
    }

    fn add(&mut self, id: Option<u64>, label: u32, xywh: [f32; 4]) {
        self.boxes.push(xywh);
        self.labels.push(label);
        self.annotation_ids.push(id);
    }
}

fn usable_box(object: &Object) -> Option<[f32; 4]> {
    let xywh = object.bbox.as_ref().ok()?.map(|v| v as f32);
    let finite = xywh.iter().all(|v| v.is_finite());
    (finite && xywh[2] >= 0.0 && xywh[3] >= 0.0).then_some(xywh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Category, Finding};
    use std::fs;

    fn read(json: &str) -> Result<AnnotatedImages, DataError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("instances.json");
        fs::write(&file, json).expect("written");
        AnnotatedImages::read(&file)
    }

    #[test]
    fn what_cannot_be_used_is_counted() {
        let json = r#"{
            "images": [{"id": 2, "file_name": "b", "width": 40, "height": 30},
                       {"id": 1, "file_name": "a", "width": 0, "height": 30},
                       {"id": 3, "file_name": "c", "width": 1e300, "height": 30},
                       {"id": 4, "file_name": "d"},
                       {"id": 5, "file_name": "e", "width": 7.0, "height": 9}],
            "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": [
                {"id": 8, "image_id": 5, "category_id": 90, "bbox": [-4, 5, 30.5, 10]},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2, 0, 4]},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2, 0, 4], "iscrowd": true},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2, -1, 4]},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2, NaN, 4]},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2, 1e300, 4]},
                {"image_id": 2, "category_id": 3, "bbox": [1, 2]},
                {"image_id": 2, "category_id": 4, "bbox": [1, 2, 3, 4]},
                {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}]
        }"#;
        let found = read(json).expect("reads");
        let expected = LeftOut {
            images: 3,
            crowd: 1,
            unusable: 6,
        };
        assert_eq!(found.left_out, expected);
        let ids: Vec<_> = found.images.iter().map(|image| image.id).collect();
        assert_eq!(ids, [2, 5]);
        assert_eq!(found.images[0].boxes, [[1.0, 2.0, 0.0, 4.0]]);
        assert_eq!(found.images[1].boxes, [[-4.0, 5.0, 30.5, 10.0]]);
        assert_eq!(found.category_ids, [3, 90]);
        let ids = |i: usize| {
            (
                &found.images[i].labels[..],
                &found.images[i].annotation_ids[..],
            )
        };
        assert_eq!(ids(0), (&[0][..], &[None][..]));
        assert_eq!(ids(1), (&[1][..], &[Some(8)][..]));
        let expected = Size {
            width: 7,
            height: 9,
        };
        assert_eq!(found.images[1].size, expected);
    }

    #[test]
    fn what_the_reader_left_out_is_counted() {
        let annotations = Annotations {
            images: vec![ImageEntry {
                id: 7,
                file_name: None,
                size: None,
            }],
            categories: vec![Category {
                id: 3,
                name: "cat".into(),
            }],
            objects: vec![Object::new(8, 3, [0.0, 0.0, 1.0, 1.0])],
            findings: vec![Finding::unreadable_row("a.csv", 3, "no number")],
            ..Annotations::default()
        };
        let found = AnnotatedImages::new(&annotations).expect("classes");
        assert_eq!((found.left_out.images, found.left_out.unusable), (1, 2));
    }

    #[test]
    fn errors_are_named() {
        let twice = r#"{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}],
                        "categories": [{"id": 3, "name": "cat"}]}"#;
        let cases = [
            ("{", "1:1"),
            (r#"{"images": []}"#, "categories"),
            (twice, "stands twice"),
        ];
        for (json, word) in cases {
            let error = fcos_core::error_chain(&read(json).expect_err(word));
            assert!(error.contains(word), "{error}");
        }
    }
}
