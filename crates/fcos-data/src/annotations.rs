//! What a file of annotations says, in no format's own terms: the form between the readers of files
//! and all who use them.

use std::collections::HashMap;
use std::path::PathBuf;

use fcos_core::{ClassList, Size};

use crate::{DataError, Finding};

/// The images, categories and objects that a file lists, as they stand there.
///
/// [`read_annotations`](crate::read_annotations) makes one of a file of any known format; a program may
/// make its own of whatever it has. [`Dataset::from_annotations`](crate::Dataset::from_annotations)
/// checks it against the image files, [`AnnotatedImages::new`](crate::AnnotatedImages::new) takes its
/// boxes as they are, and an evaluator judges detections against it. Nothing is checked before: ids may
/// stand twice, boxes may be anything.
///
/// ```
/// use fcos_core::Size;
/// use fcos_data::{AnnotatedImages, Annotations, Category, ImageEntry, Object};
///
/// let annotations = Annotations {
///     source: "my.table".into(),
///     images: vec![ImageEntry {
///         id: 7,
///         file_name: Some("a.png".into()),
///         size: Some(Size { width: 40, height: 30 }),
///     }],
///     categories: vec![Category { id: 3, name: "cat".into() }],
///     objects: vec![Object::new(7, 3, [20.0, 5.0, 10.0, 15.0])],
///     findings: vec![],
/// };
/// let images = AnnotatedImages::new(&annotations)?;
/// assert_eq!(images.images[0].boxes, [[20.0, 5.0, 10.0, 15.0]]);
/// # Ok::<(), fcos_data::DataError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    /// The file or folder that all this was read from; errors name it.
    pub source: PathBuf,
    /// The images, with or without objects.
    pub images: Vec<ImageEntry>,
    /// The categories in any order.
    pub categories: Vec<Category>,
    /// The objects in the file's order.
    pub objects: Vec<Object>,
    /// What the reader could make neither image nor object of, with the file and the row. A health
    /// report begins with it.
    pub findings: Vec<Finding>,
}

/// An image that a file of annotations lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEntry {
    /// Its id; where a format has none, its reader counts.
    pub id: u64,
    /// Its file, relative to the folder of images, where one is named.
    pub file_name: Option<String>,
    /// Its size in pixels, upright, where a usable one is written down.
    pub size: Option<Size>,
}

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its id, any number; where a format has none, its reader counts.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// An object on an image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Object {
    /// Its own id, where it has one.
    pub id: Option<u64>,
    /// The image that it is on.
    pub image_id: u64,
    /// Its category.
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels of the upright image, NaN where a number is missing; or, in a
    /// few words, what the file has in place of four numbers.
    pub bbox: Result<[f64; 4], String>,
    /// Pixels covered (in COCO: by the mask), which make it small, medium or large; `None` for the
    /// box's area.
    pub area: Option<f64>,
    /// A group of objects: nothing to learn from; is never missed, and absorbs any number of
    /// detections.
    pub crowd: bool,
}

impl Object {
    /// A single object without an id of its own, of which no more is known than its box
    /// `[x, y, width, height]` in pixels of the upright image.
    pub fn new(image_id: u64, category_id: u64, xywh: [f64; 4]) -> Self {
        Self {
            id: None,
            image_id,
            category_id,
            bbox: Ok(xywh),
            area: None,
            crowd: false,
        }
    }
}

/// The categories in the order of their labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Classes {
    pub names: ClassList,
    pub category_ids: Vec<u64>,
}

impl Annotations {
    /// Labels for the categories, in ascending order of the ids as in pycocotools and detectron2.
    pub(crate) fn classes(&self) -> Result<Classes, DataError> {
        let mut categories: Vec<&Category> = self.categories.iter().collect();
        categories.sort_by_key(|c| c.id);
        let twice = categories.windows(2).find(|pair| pair[0].id == pair[1].id);
        if let Some(pair) = twice {
            return Err(DataError::DuplicateCategoryId {
                path: self.source.clone(),
                id: pair[0].id,
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
            });
        }
        let names = ClassList::new(categories.iter().map(|c| c.name.as_str()));
        Ok(Classes {
            names: names.map_err(|source| DataError::Classes {
                path: self.source.clone(),
                source,
            })?,
            category_ids: categories.iter().map(|c| c.id).collect(),
        })
    }

    /// That each image has an id of its own.
    pub(crate) fn check_image_ids(&self) -> Result<(), DataError> {
        let mut seen = HashMap::with_capacity(self.images.len());
        for image in &self.images {
            let Some(first) = seen.insert(image.id, image) else {
                continue;
            };
            let name = |image: &ImageEntry| image.file_name.clone().unwrap_or_default();
            return Err(DataError::DuplicateImageId {
                path: self.source.clone(),
                id: image.id,
                first: name(first),
                second: name(image),
            });
        }
        Ok(())
    }
}
