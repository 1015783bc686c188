//! The annotation file: COCO's "instances" layout.

use serde::Serialize;

use super::scene::Object;
use super::shapes::Shape;

/// A written image and what is on it.
pub(super) struct ImageEntry {
    pub(super) file_name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) objects: Vec<Object>,
}

#[derive(Serialize)]
struct Instances<'a> {
    info: Info,
    licenses: [(); 0],
    categories: Vec<Category>,
    images: Vec<Image<'a>>,
    annotations: Vec<Annotation>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
    version: String,
}

#[derive(Serialize)]
struct Category {
    id: usize,
    name: &'static str,
    supercategory: &'static str,
}

#[derive(Serialize)]
struct Image<'a> {
    id: usize,
    file_name: &'a str,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Annotation {
    id: usize,
    image_id: usize,
    category_id: usize,
    bbox: [f32; 4],
    /// The box's area: there are no segmentations.
    area: f32,
    segmentation: [(); 0],
    iscrowd: u8,
}

/// The file's text. All ids count from 1; category `label + 1` is class `label`.
pub(super) fn instances_json(version: u32, entries: &[ImageEntry]) -> serde_json::Result<Vec<u8>> {
    let objects = entries
        .iter()
        .enumerate()
        .flat_map(|(i, e)| e.objects.iter().map(move |o| (i, o)));
    serde_json::to_vec(&Instances {
        info: Info {
            description: "Generated shapes",
            version: version.to_string(),
        },
        licenses: [],
        categories: Shape::ALL.into_iter().enumerate().map(category).collect(),
        images: entries.iter().enumerate().map(image).collect(),
        annotations: objects.enumerate().map(annotation).collect(),
    })
}

fn category((label, shape): (usize, Shape)) -> Category {
    Category {
        id: label + 1,
        name: shape.name(),
        supercategory: "shape",
    }
}

fn image((index, entry): (usize, &ImageEntry)) -> Image<'_> {
    Image {
        id: index + 1,
        file_name: &entry.file_name,
        width: entry.width,
        height: entry.height,
    }
}

fn annotation((index, (image, object)): (usize, (usize, &Object))) -> Annotation {
    Annotation {
        id: index + 1,
        image_id: image + 1,
        category_id: object.label + 1,
        bbox: object.bbox.to_xywh(),
        area: object.bbox.area(),
        segmentation: [],
        iscrowd: 0,
    }
}
