//! From an annotation file's entries to images with checked boxes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use fcos_core::{BBox, ClassList, Size};

use crate::coco::{CocoAnnotation, CocoCategory, CocoFile, CocoImage};
use crate::report::{Finding, FindingKind, HealthReport};
use crate::{DataError, ImageRecord, decode_size};

/// Pixels by which a box may leave its image unreported: COCO rounds to hundredths.
const ROUNDING: f64 = 0.05;

/// A data set but for its folder.
pub(crate) struct Parts {
    pub classes: ClassList,
    pub category_ids: Vec<u64>,
    pub records: Vec<ImageRecord>,
}

/// Checks and joins the entries. `annotations` is the file they come from.
pub(crate) fn assemble(
    file: CocoFile,
    annotations: &Path,
    images_dir: &Path,
) -> Result<(Parts, HealthReport), DataError> {
    let (classes, category_ids) = read_classes(file.categories, annotations)?;
    let mut assembly = Assembly::new(&category_ids);
    let listed = file.images.len();
    for image in file.images {
        assembly.add_image(image, annotations, images_dir)?;
    }
    if assembly.records.is_empty() {
        let (annotations, images) = (annotations.into(), images_dir.into());
        return Err(DataError::NoImages {
            annotations,
            images,
            listed,
        });
    }
    file.annotations
        .iter()
        .for_each(|a| assembly.add_annotation(a));
    let (records, report) = assembly.finish(&classes);
    Ok((
        Parts {
            classes,
            category_ids,
            records,
        },
        report,
    ))
}

/// Names and ids in ascending order of the ids.
pub(crate) fn read_classes(
    mut categories: Vec<CocoCategory>,
    path: &Path,
) -> Result<(ClassList, Vec<u64>), DataError> {
    categories.sort_by_key(|c| c.id.0);
    if let Some(pair) = categories
        .windows(2)
        .find(|pair| pair[0].id.0 == pair[1].id.0)
    {
        return Err(DataError::DuplicateCategoryId {
            path: path.into(),
            id: pair[0].id.0,
            first: pair[0].name.clone(),
            second: pair[1].name.clone(),
        });
    }
    let ids = categories.iter().map(|c| c.id.0).collect();
    let classes = ClassList::new(categories.into_iter().map(|c| c.name)).map_err(|source| {
        DataError::Classes {
            path: path.into(),
            source,
        }
    })?;
    Ok((classes, ids))
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
        image: CocoImage,
        annotations: &Path,
        images_dir: &Path,
    ) -> Result<(), DataError> {
        let annotated = image.size();
        let CocoImage { id, file_name, .. } = image;
        let file_name = file_name.ok_or_else(|| DataError::NoFileName {
            path: annotations.into(),
            id: id.0,
        })?;
        if let Some(first) = self.images.get(&id.0) {
            return Err(DataError::DuplicateImageId {
                path: annotations.into(),
                id: id.0,
                first: self.file_name(first).into(),
                second: file_name,
            });
        }
        let listed = match find_size(&images_dir.join(&file_name), annotated) {
            Ok(size) => {
                self.records.push(ImageRecord::new(id.0, file_name, size));
                Listed::Kept(self.records.len() - 1)
            }
            Err((kind, detail)) => {
                self.report
                    .add(image_finding(kind, &file_name, id.0, detail));
                Listed::LeftOut { file_name }
            }
        };
        self.images.insert(id.0, listed);
        Ok(())
    }

    fn file_name<'a>(&'a self, listed: &'a Listed) -> &'a str {
        match listed {
            Listed::Kept(index) => &self.records[*index].file_name,
            Listed::LeftOut { file_name } => file_name,
        }
    }

    fn add_annotation(&mut self, annotation: &CocoAnnotation) {
        let repeated = annotation.id.filter(|id| !self.annotation_ids.insert(id.0));
        if repeated.is_some() {
            self.note(
                FindingKind::DuplicateAnnotationId,
                annotation,
                String::new(),
            );
        }
        let index = match self.images.get(&annotation.image_id.0) {
            Some(Listed::Kept(index)) => *index,
            // The image's own finding says it all.
            Some(Listed::LeftOut { .. }) => return,
            None => return self.note(FindingKind::UnknownImage, annotation, String::new()),
        };
        let Some(&label) = self.labels.get(&annotation.category_id.0) else {
            let detail = format!("category {}", annotation.category_id.0);
            return self.note(FindingKind::UnknownCategory, annotation, detail);
        };
        let Some(bbox) = self.read_box(annotation, self.records[index].size()) else {
            return;
        };
        if annotation.is_crowd() {
            self.records[index].crowd.push(bbox);
            self.note(FindingKind::Crowd, annotation, String::new());
        } else {
            let corners = <[f32; 4]>::from(bbox);
            if !self.boxes.insert((index, label, corners.map(f32::to_bits))) {
                let detail = format!("corners {corners:?}");
                self.note(FindingKind::DuplicateBox, annotation, detail);
            }
            self.records[index].boxes.push(bbox);
            self.records[index].labels.push(label);
        }
    }

    /// The annotation's box, clipped; `None`, and a finding, if nothing of it can be used.
    fn read_box(&mut self, annotation: &CocoAnnotation, size: Size) -> Option<BBox> {
        let Some([x, y, w, h]) = annotation.xywh() else {
            let detail = match &annotation.bbox {
                Some(numbers) => format!("bbox has {} numbers", numbers.len()),
                None => "no bbox".into(),
            };
            self.note(FindingKind::DegenerateBox, annotation, detail);
            return None;
        };
        let detail = format!("bbox [{x}, {y}, {w}, {h}]");
        let full = BBox::new(x as f32, y as f32, (x + w) as f32, (y + h) as f32);
        if !full.is_valid() || w <= 0.0 || h <= 0.0 {
            self.note(FindingKind::DegenerateBox, annotation, detail);
            return None;
        }
        let (width, height) = (size.width as f64, size.height as f64);
        let clipped = full.clip(width as f32, height as f32);
        let overhang = [-x, -y, x + w - width, y + h - height];
        if overhang.iter().any(|&by| by > ROUNDING) || !clipped.is_valid() {
            let detail = format!("{detail} in {width}x{height}");
            self.note(FindingKind::BoxOutsideImage, annotation, detail);
        }
        Some(clipped).filter(|bbox| bbox.is_valid())
    }

    fn note(&mut self, kind: FindingKind, annotation: &CocoAnnotation, detail: String) {
        let listed = self.images.get(&annotation.image_id.0);
        let finding = Finding {
            kind,
            file_name: listed.map(|l| self.file_name(l).into()),
            image_id: Some(annotation.image_id.0),
            annotation_id: annotation.id.map(|id| id.0),
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
    let decode = || decode_size(path).map_err(|e| (FindingKind::UnreadableFile, e.to_string()));
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
