//! Naming: C classes; labels are `0..C`, category ids only occur in COCO's files.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use fcos_core::{ClassList, Size};
use serde::Serialize;

use crate::DataError;
use crate::assemble::read_classes;
use crate::coco::{CocoAnnotation, CocoFile, CocoImage};

/// An annotation file's boxes as they stand there, for statistics that need no image files. (To
/// train on, [`Dataset`](crate::Dataset) checks the boxes and finds the files.)
#[derive(Debug, Clone, PartialEq)]
pub struct Annotations {
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
    /// COCO's image id.
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

/// What [`Annotations::read`] left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Images whose size is not annotated, or beyond what any image has.
    pub images: usize,
    /// Crowd regions.
    pub crowd: usize,
    /// Annotations without four usable numbers, of an unknown image or of an unknown category.
    pub unusable: usize,
}

impl Annotations {
    /// Reads an annotation file in COCO's "instances" layout. Labels are the categories in ascending
    /// order of their ids.
    ///
    /// # Errors
    /// The kinds [`Read`](DataError::Read), [`Json`](DataError::Json),
    /// [`DuplicateImageId`](DataError::DuplicateImageId),
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
    /// let annotations = fcos_data::Annotations::read(&file)?;
    /// assert_eq!(annotations.images[0].boxes, [[20.0, 5.0, 30.0, 0.0]]);
    /// assert_eq!(annotations.left_out.crowd, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = CocoFile::read(path)?;
        let (classes, category_ids) = read_classes(file.categories, path)?;
        let labels: BTreeMap<u64, u32> = category_ids.iter().copied().zip(0..).collect();
        let (mut images, left_out) = read_images(file.images, path)?;
        let mut read = Self {
            classes,
            category_ids,
            images: vec![],
            left_out,
        };
        let positions: HashMap<u64, usize> = images
            .iter()
            .enumerate()
            .map(|(i, im)| (im.id, i))
            .collect();
        for annotation in &file.annotations {
            let image = positions
                .get(&annotation.image_id.0)
                .map(|&i| &mut images[i]);
            let label = labels.get(&annotation.category_id.0);
            match (image, label, usable_box(annotation)) {
                _ if annotation.is_crowd() => read.left_out.crowd += 1,
                (Some(image), Some(&label), Some(xywh)) => {
                    image.boxes.push(xywh);
                    image.labels.push(label);
                    image.annotation_ids.push(annotation.id.map(|id| id.0));
                }
                _ => read.left_out.unusable += 1,
            }
        }
        read.images = images;
        Ok(read)
    }
}

fn read_images(
    listed: Vec<CocoImage>,
    path: &Path,
) -> Result<(Vec<AnnotatedImage>, LeftOut), DataError> {
    let mut names: HashMap<u64, String> = HashMap::new();
    let (mut images, mut left_out) = (vec![], LeftOut::default());
    for image in listed {
        let id = image.id.0;
        match image.size() {
            Some(size) => images.push(AnnotatedImage {
                id,
                size,
                boxes: vec![],
                labels: vec![],
                annotation_ids: vec![],
            }),
            None => left_out.images += 1,
        }
        let name = image.file_name.unwrap_or_default();
        if let Some(first) = names.insert(id, name.clone()) {
            return Err(DataError::DuplicateImageId {
                path: path.into(),
                id,
                first,
                second: name,
            });
        }
    }
    Ok((images, left_out))
}

fn usable_box(annotation: &CocoAnnotation) -> Option<[f32; 4]> {
    let xywh = annotation.xywh()?.map(|v| v as f32);
    let finite = xywh.iter().all(|v| v.is_finite());
    (finite && xywh[2] >= 0.0 && xywh[3] >= 0.0).then_some(xywh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(json: &str) -> Result<Annotations, DataError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("instances.json");
        fs::write(&file, json).expect("written");
        Annotations::read(&file)
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
    fn errors_are_named() {
        let twice = r#"{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}],
                        "categories": [{"id": 3, "name": "cat"}]}"#;
        let cases = [
            ("{", "1:1"),
            (r#"{"images": []}"#, "categories"),
            (twice, "stands twice"),
        ];
        for (json, word) in cases {
            let error = read(json).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(matches!(
            Annotations::read(Path::new("no/such/file.json")),
            Err(DataError::Read { .. })
        ));
    }
}
