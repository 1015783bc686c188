//! From annotations and a folder of images to images with checked boxes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use fcos_core::{BBox, ClassList, Size, error_chain};

use crate::annotations::Classes;
use crate::report::{Finding, FindingKind, HealthReport};
use crate::{Annotations, DataError, ImageEntry, ImageRecord, Object, decode_size};

/// Pixels by which a box may leave its image unreported: COCO rounds to hundredths.
const ROUNDING: f64 = 0.05;

/// A data set but for its folder.
pub(crate) struct Parts {
    pub classes: Classes,
    pub records: Vec<ImageRecord>,
    pub report: HealthReport,
}

/// Checks and joins the entries.
pub(crate) fn assemble(annotations: Annotations, images_dir: &Path) -> Result<Parts, DataError> {
    let classes = annotations.classes()?;
    annotations.check_image_ids()?;
    let mut assembly = Assembly::new(&classes.category_ids);
    let listed = annotations.images.len();
    for finding in annotations.findings {
        assembly.report.add(finding);
    }
    for image in annotations.images {
        assembly.add_image(image, &annotations.source, images_dir)?;
    }
    if assembly.records.is_empty() {
        return Err(DataError::NoImages {
            annotations: annotations.source,
            images: images_dir.into(),
            listed,
        });
    }
    for object in &annotations.objects {
        assembly.add_object(object);
    }
    let (records, report) = assembly.finish(&classes.names);
    Ok(Parts {
        classes,
        records,
        report,
    })
}

/// Where an image went that the file lists.
enum Listed {
    Kept(usize),
    LeftOut { file_name: String },
}

struct Assembly {
    labels: BTreeMap<u64, u32>,
    images: HashMap<u64, Listed>,
    annotation_ids: HashSet<u64>,
    /// Record, label and the corners' bits.
    boxes: HashSet<(usize, u32, [u32; 4])>,
    records: Vec<ImageRecord>,
    report: HealthReport,
}

impl Assembly {
    fn new(category_ids: &[u64]) -> Self {
        Self {
            labels: category_ids.iter().copied().zip(0..).collect(),
            images: HashMap::new(),
            annotation_ids: HashSet::new(),
            boxes: HashSet::new(),
            records: Vec::new(),
            report: HealthReport::default(),
        }
    }

    fn add_image(
        &mut self,
        ImageEntry {
            id,
            file_name,
            size,
        }: ImageEntry,
        source: &Path,
        images_dir: &Path,
    ) -> Result<(), DataError> {
        let file_name = file_name.ok_or_else(|| DataError::NoFileName {
            path: source.into(),
            id,
        })?;
        let listed = match find_size(&images_dir.join(&file_name), size) {
            Ok(size) => {
                self.records.push(ImageRecord::new(id, file_name, size));
                Listed::Kept(self.records.len() - 1)
            }
            Err((kind, detail)) => {
                self.report.add(image_finding(kind, &file_name, id, detail));
                Listed::LeftOut { file_name }
            }
        };
        self.images.insert(id, listed);
        Ok(())
    }

    fn file_name<'a>(&'a self, listed: &'a Listed) -> &'a str {
        match listed {
            Listed::Kept(index) => &self.records[*index].file_name,
            Listed::LeftOut { file_name } => file_name,
        }
    }

    fn add_object(&mut self, object: &Object) {
        // Other tools look objects up by id, this crate doesn't.
        let repeated = object.id.filter(|&id| !self.annotation_ids.insert(id));
        if repeated.is_some() {
            self.note(FindingKind::DuplicateAnnotationId, object, String::new());
        }
        // Where it belongs: an image that is there, a category that is listed.
        let index = match self.images.get(&object.image_id) {
            Some(Listed::Kept(index)) => *index,
            // The image's own finding says it all.
            Some(Listed::LeftOut { .. }) => return,
            None => return self.note(FindingKind::UnknownImage, object, String::new()),
        };
        let Some(&label) = self.labels.get(&object.category_id) else {
            let detail = format!("category {}", object.category_id);
            return self.note(FindingKind::UnknownCategory, object, detail);
        };
        let Some(bbox) = self.read_box(object, self.records[index].size()) else {
            return;
        };
        // A crowd is no box to learn from; it is kept apart.
        if object.crowd {
            self.records[index].crowd.push(bbox);
            self.note(FindingKind::Crowd, object, String::new());
        } else {
            let corners = <[f32; 4]>::from(bbox);
            if !self.boxes.insert((index, label, corners.map(f32::to_bits))) {
                let detail = format!("corners {corners:?}");
                self.note(FindingKind::DuplicateBox, object, detail);
            }
            self.records[index].boxes.push(bbox);
            self.records[index].labels.push(label);
        }
    }

    /// The object's box, clipped; `None`, and a finding, if nothing of it can be used.
    fn read_box(&mut self, object: &Object, size: Size) -> Option<BBox> {
        let [x, y, w, h] = match &object.bbox {
            Ok(xywh) => *xywh,
            Err(instead) => {
                self.note(FindingKind::DegenerateBox, object, instead.clone());
                return None;
            }
        };
        let detail = format!("bbox [{x}, {y}, {w}, {h}]");
        let full = BBox::new(x as f32, y as f32, (x + w) as f32, (y + h) as f32);
        if !full.is_valid() || w <= 0.0 || h <= 0.0 {
            self.note(FindingKind::DegenerateBox, object, detail);
            return None;
        }
        // What leaves the image is cut off; only more than rounding explains is worth a word.
        let (width, height) = (size.width as f64, size.height as f64);
        let clipped = full.clip(width as f32, height as f32);
        let overhang = [-x, -y, x + w - width, y + h - height];
        if overhang.iter().any(|&by| by > ROUNDING) || !clipped.is_valid() {
            let detail = format!("{detail} in {width}x{height}");
            self.note(FindingKind::BoxOutsideImage, object, detail);
        }
        Some(clipped).filter(|bbox| bbox.is_valid())
    }

    fn note(&mut self, kind: FindingKind, object: &Object, detail: String) {
        let listed = self.images.get(&object.image_id);
        let finding = Finding {
            kind,
            file_name: listed.map(|l| self.file_name(l).into()),
            image_id: Some(object.image_id),
            annotation_id: object.id,
            detail,
        };
        self.report.add(finding);
    }

    fn finish(mut self, classes: &ClassList) -> (Vec<ImageRecord>, HealthReport) {
        let mut boxes_per_class = vec![0; classes.len()];
        for record in &self.records {
            record
                .labels
                .iter()
                .for_each(|&l| boxes_per_class[l as usize] += 1);
            if record.boxes.is_empty() {
                let ImageRecord { file_name, id, .. } = record;
                let finding = image_finding(FindingKind::NoBoxes, file_name, *id, String::new());
                self.report.add(finding);
            }
        }
        let unused = classes
            .iter()
            .zip(&boxes_per_class)
            .filter(|&(_, &count)| count == 0);
        unused.for_each(|(name, _)| self.report.add(class_finding(name)));
        self.report.images = self.records.len();
        self.report.boxes = boxes_per_class.iter().sum();
        self.report.classes = classes.len();
        (self.records, self.report)
    }
}

impl ImageRecord {
    fn new(id: u64, file_name: String, Size { width, height }: Size) -> Self {
        let (boxes, labels, crowd) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            id,
            file_name,
            width,
            height,
            boxes,
            labels,
            crowd,
        }
    }
}

/// The annotated size, else the file's; a finding if there is no such file, or it tells no size.
fn find_size(path: &Path, annotated: Option<Size>) -> Result<Size, (FindingKind, String)> {
    if !path.is_file() {
        return Err((FindingKind::MissingFile, path.display().to_string()));
    }
    let decode = || decode_size(path).map_err(|e| (FindingKind::UnreadableFile, error_chain(&e)));
    annotated.map_or_else(decode, Ok)
}

fn image_finding(kind: FindingKind, file_name: &str, id: u64, detail: String) -> Finding {
    let (file_name, image_id) = (Some(file_name.into()), Some(id));
    Finding {
        kind,
        file_name,
        image_id,
        annotation_id: None,
        detail,
    }
}

fn class_finding(name: &str) -> Finding {
    Finding {
        kind: FindingKind::UnusedClass,
        file_name: None,
        image_id: None,
        annotation_id: None,
        detail: format!("{name:?}"),
    }
}
