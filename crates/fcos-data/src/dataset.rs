//! The images that a run learns from or is judged on, and their checked boxes.
//!
//! Naming: C classes; labels are `0..C`, category ids only occur in files.

use std::path::{Path, PathBuf};

use fcos_core::{BBox, ClassList, Size, error_chain};
use image::RgbImage;
use rayon::prelude::*;

use crate::assemble::assemble;
use crate::formats::{coco, read_annotations};
use crate::report::{Finding, FindingKind, HealthReport};
use crate::{Annotations, DataError, decode, decode_size};

/// One image and what is annotated on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// The image's id in the annotations.
    pub id: u64,
    /// File name, relative to the data set's folder of images.
    pub file_name: String,
    /// Width of the upright image in pixels.
    pub width: usize,
    /// Height of the upright image in pixels.
    pub height: usize,
    /// The objects' boxes in pixels of the upright image: valid and inside it, in the file's order.
    pub boxes: Vec<BBox>,
    /// The boxes' labels, each below C.
    pub labels: Vec<u32>,
    /// Regions marked `iscrowd`, valid and inside the image: no boxes to train on.
    pub crowd: Vec<BBox>,
}

impl ImageRecord {
    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }
}

/// Images with annotated boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    classes: ClassList,
    category_ids: Vec<u64>,
    images_dir: PathBuf,
    records: Vec<ImageRecord>,
}

impl Dataset {
    /// Joins annotations and the folder `images_dir`, which their file names are relative to.
    ///
    /// Labels are the categories in ascending order of their ids, as in pycocotools and detectron2,
    /// whatever their order in the file. Images keep the file's order. Boxes are clipped to their
    /// image; crowd regions, and objects that can't be used, are no boxes. All that was odd
    /// is in the report. Images without boxes stay: see [`filter_empty`](Self::filter_empty). The
    /// image files are only looked up, not read, unless their size is not annotated: see
    /// [`check_images`](Self::check_images).
    ///
    /// # Errors
    /// The kinds [`NoFileName`](DataError::NoFileName),
    /// [`DuplicateImageId`](DataError::DuplicateImageId),
    /// [`DuplicateCategoryId`](DataError::DuplicateCategoryId), [`Classes`](DataError::Classes) and
    /// [`NoImages`](DataError::NoImages).
    pub fn from_annotations(
        annotations: Annotations,
        images_dir: impl AsRef<Path>,
    ) -> Result<(Self, HealthReport), DataError> {
        let images_dir = images_dir.as_ref();
        let parts = assemble(annotations, images_dir)?;
        let dataset = Self {
            classes: parts.classes.names,
            category_ids: parts.classes.category_ids,
            images_dir: images_dir.into(),
            records: parts.records,
        };
        Ok((dataset, parts.report))
    }

    /// Reads annotations of [any known format](read_annotations) and joins them with their folder of
    /// images.
    ///
    /// # Errors
    /// Those of [`read_annotations`] and [`from_annotations`](Self::from_annotations).
    pub fn read(
        annotations: impl AsRef<Path>,
        images_dir: impl AsRef<Path>,
    ) -> Result<(Self, HealthReport), DataError> {
        Self::from_annotations(read_annotations(annotations)?, images_dir)
    }

    /// Reads an annotation file in [COCO's format](coco) and joins it with its folder of images.
    ///
    /// # Errors
    /// Those of [`coco::read`] and [`from_annotations`](Self::from_annotations).
    ///
    /// ```
    /// use fcos_data::{Dataset, FindingKind};
    ///
    /// let dir = tempfile::tempdir()?;
    /// image::RgbImage::new(40, 30).save(dir.path().join("a.png"))?;
    /// let json = r#"{
    ///     "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
    ///     "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
    ///     "annotations": [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [20, 5, 30, 10]}]
    /// }"#;
    /// let annotations = dir.path().join("instances.json");
    /// std::fs::write(&annotations, json)?;
    ///
    /// let (dataset, report) = Dataset::from_coco(&annotations, dir.path())?;
    /// assert_eq!(dataset.classes().name(1), "dog");
    /// assert_eq!(dataset.category_ids(), [3, 90]);
    /// let record = dataset.sample(0);
    /// assert_eq!((record.id, record.boxes[0].x2, record.labels[0]), (7, 40.0, 1));
    /// assert_eq!(report.count(FindingKind::BoxOutsideImage), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_coco(
        annotations: impl AsRef<Path>,
        images_dir: impl AsRef<Path>,
    ) -> Result<(Self, HealthReport), DataError> {
        Self::from_annotations(coco::read(annotations)?, images_dir)
    }

    /// The class names by label.
    pub fn classes(&self) -> &ClassList {
        &self.classes
    }

    /// The categories' ids by label, for writing results back.
    pub fn category_ids(&self) -> &[u64] {
        &self.category_ids
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The image at this index, and its annotations.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn sample(&self, index: usize) -> &ImageRecord {
        &self.records[index]
    }

    /// All images in order.
    pub fn samples(&self) -> &[ImageRecord] {
        &self.records
    }

    /// Path of the image file at this index.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.images_dir.join(&self.records[index].file_name)
    }

    /// Decodes the image at this index.
    ///
    /// # Errors
    /// As [`decode`](crate::decode), and [`DataError::SizeMismatch`] if the upright image is not as
    /// large as annotated.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn load(&self, index: usize) -> Result<RgbImage, DataError> {
        let image = decode(self.image_path(index))?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        self.check_size(index, Size { width, height })?;
        Ok(image)
    }

    /// Without the images that have no box, as training does it (official FCOS, detectron2 and
    /// mmdetection); images with crowd regions only are among them.
    #[must_use]
    pub fn filter_empty(mut self) -> Self {
        self.records.retain(|record| !record.boxes.is_empty());
        self
    }

    /// With the labels of another class list: for a validation set whose categories stand in another
    /// order, or have other ids, than the training set's.
    ///
    /// # Errors
    /// [`DataError::ClassMismatch`] unless both have the same names.
    pub fn with_classes(mut self, classes: &ClassList) -> Result<Self, DataError> {
        let missing = names_beyond(classes, &self.classes);
        let unexpected = names_beyond(&self.classes, classes);
        if !(missing.is_empty() && unexpected.is_empty()) {
            return Err(DataError::ClassMismatch {
                missing,
                unexpected,
            });
        }
        // `old_labels[new]` is the label that the class had, `new_labels[old]` the one it gets.
        let old_label = |name| self.classes.iter().position(|n| n == name);
        let old_labels: Vec<usize> = classes.iter().filter_map(old_label).collect();
        self.category_ids = old_labels
            .iter()
            .map(|&old| self.category_ids[old])
            .collect();
        let mut new_labels = vec![0; old_labels.len()];
        (0..)
            .zip(&old_labels)
            .for_each(|(new, &old)| new_labels[old] = new);
        let labels = self.records.iter_mut().flat_map(|r| &mut r.labels);
        labels.for_each(|label| *label = new_labels[*label as usize]);
        self.classes = classes.clone();
        Ok(self)
    }

    /// Reads every image's header and leaves out, with a finding, what [`load`](Self::load) would fail
    /// on: files that can't be read, and sizes other than annotated. Takes a fraction of a
    /// millisecond per image, on all cores.
    pub fn check_images(&mut self, report: &mut HealthReport) {
        let check = |index| {
            let size = decode_size(self.image_path(index));
            let checked = size.and_then(|size| self.check_size(index, size));
            checked.err().map(|error| self.finding(index, error))
        };
        let findings: Vec<_> = (0..self.len()).into_par_iter().map(check).collect();
        let mut findings = findings.into_iter();
        self.records.retain(|record| {
            let Some(finding) = findings.next().flatten() else {
                return true;
            };
            report.add(finding);
            report.images = report.images.saturating_sub(1);
            report.boxes = report.boxes.saturating_sub(record.boxes.len());
            false
        });
    }

    /// The group of every image for batches of one shape: 0 for landscape, 1 for the others
    /// (detectron2's and the official FCOS's grouping).
    pub fn aspect_groups(&self) -> Vec<usize> {
        let portrait = |r: &ImageRecord| usize::from(r.width <= r.height);
        self.records.iter().map(portrait).collect()
    }

    fn check_size(&self, index: usize, decoded: Size) -> Result<(), DataError> {
        let record = self.sample(index);
        if decoded == record.size() {
            return Ok(());
        }
        Err(DataError::SizeMismatch {
            path: self.image_path(index),
            image_id: record.id,
            decoded,
            annotated: record.size(),
        })
    }

    fn finding(&self, index: usize, error: DataError) -> Finding {
        let record = self.sample(index);
        let kind = match error {
            DataError::SizeMismatch { .. } => FindingKind::SizeMismatch,
            _ => FindingKind::UnreadableFile,
        };
        Finding {
            kind,
            file_name: Some(record.file_name.clone()),
            image_id: Some(record.id),
            annotation_id: None,
            detail: error_chain(&error),
        }
    }
}

/// The names in `a` that `b` lacks.
fn names_beyond(a: &ClassList, b: &ClassList) -> Vec<String> {
    let lacks = |name: &&str| !b.iter().any(|n| n == *name);
    a.iter().filter(lacks).map(String::from).collect()
}
