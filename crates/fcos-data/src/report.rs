//! What is odd about a data set, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What can be odd about an annotation, an image or a class; the text says what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A row of the annotations is neither image nor object. It is left out.
    UnreadableRow,
    /// The image file is not on disk. The image is left out.
    MissingFile,
    /// The image's header can't be read. The image is left out.
    UnreadableFile,
    /// The file's upright size is not the annotated one. The image is left out.
    SizeMismatch,
    /// The annotation's image is not listed. The annotation is left out.
    UnknownImage,
    /// The annotation's category is not listed. The annotation is left out.
    UnknownCategory,
    /// The box is missing, has no four finite numbers, or a side of zero or less. It is left out.
    DegenerateBox,
    /// The box reaches out of the image. It is clipped, and left out if nothing remains.
    BoxOutsideImage,
    /// An annotation id stands more than once. All of its boxes stay.
    DuplicateAnnotationId,
    /// A box with this class and these corners was in the image before. Both stay.
    DuplicateBox,
    /// A region marked `iscrowd`. It is kept apart from the boxes.
    Crowd,
    /// The image has no usable box. It stays; see [`Dataset::filter_empty`](crate::Dataset::filter_empty).
    NoBoxes,
    /// No usable box has this class. The class stays.
    UnusedClass,
}

impl FindingKind {
    /// The finding in a few words, and what was done about it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::UnreadableRow => "row that can't be read (left out)",
            Self::MissingFile => "image file missing (left out)",
            Self::UnreadableFile => "image file unreadable (left out)",
            Self::SizeMismatch => "image size differs from the annotated one (left out)",
            Self::UnknownImage => "annotation of an unknown image (left out)",
            Self::UnknownCategory => "annotation of an unknown category (left out)",
            Self::DegenerateBox => "box without a usable size (left out)",
            Self::BoxOutsideImage => "box reaching out of the image (clipped)",
            Self::DuplicateAnnotationId => "annotation id used before (kept)",
            Self::DuplicateBox => "box present twice (kept)",
            Self::Crowd => "crowd region (no training box)",
            Self::NoBoxes => "image without a usable box (kept until filtered)",
            Self::UnusedClass => "class without a usable box (kept)",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// One finding and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The image's file name, where the image is known.
    pub file_name: Option<String>,
    /// The image's id; `None` for a class.
    pub image_id: Option<u64>,
    /// The annotation's id, where it has one.
    pub annotation_id: Option<u64>,
    /// The values in question.
    pub detail: String,
}

impl Finding {
    /// A row of an annotation file that its reader can't make sense of, for
    /// [`Annotations::findings`](crate::Annotations::findings). Rows count from 1.
    pub fn unreadable_row(file: impl AsRef<Path>, row: usize, why: impl fmt::Display) -> Self {
        let file = file.as_ref();
        Self {
            kind: FindingKind::UnreadableRow,
            file_name: None,
            image_id: None,
            annotation_id: None,
            detail: format!("{}:{row}: {why}", file.display()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file_name.clone();
        let image = self.image_id.map(|id| format!("image {id}"));
        let annotation = self.annotation_id.map(|id| format!("annotation {id}"));
        let detail = Some(self.detail.clone()).filter(|d| !d.is_empty());
        let parts: Vec<String> = [file, image, annotation, detail]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// What was found while a data set was read: all of it counted, the first
/// [`MAX_KEPT`](Self::MAX_KEPT) findings of each kind kept in full.
///
/// `Display` gives the counts, and the first [`MAX_SHOWN`](Self::MAX_SHOWN) findings of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthReport {
    /// Images kept.
    pub images: usize,
    /// Boxes kept, without crowd regions.
    pub boxes: usize,
    /// Classes.
    pub classes: usize,
    counts: BTreeMap<FindingKind, usize>,
    findings: Vec<Finding>,
}

impl HealthReport {
    /// Findings of one kind that are kept.
    pub const MAX_KEPT: usize = 1000;
    /// Findings of one kind that `Display` shows.
    pub const MAX_SHOWN: usize = 5;

    /// Number of findings of this kind, all of them.
    pub fn count(&self, kind: FindingKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Number of findings of each kind that occurred.
    pub fn counts(&self) -> impl Iterator<Item = (FindingKind, usize)> + '_ {
        self.counts.iter().map(|(&kind, &count)| (kind, count))
    }

    /// The findings kept, in the order they were made.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Counts a finding, and keeps it if there are not too many of its kind.
    pub(crate) fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= Self::MAX_KEPT {
            self.findings.push(finding);
        }
    }

    fn write_kind(&self, f: &mut fmt::Formatter<'_>, kind: FindingKind) -> fmt::Result {
        let count = self.count(kind);
        write!(f, "\n{count:>8}  {}", kind.describe())?;
        let shown = self.findings.iter().filter(|finding| finding.kind == kind);
        for finding in shown.take(Self::MAX_SHOWN) {
            write!(f, "\n            {finding}")?;
        }
        match count.saturating_sub(Self::MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n            … and {more} more"),
        }
    }
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            images,
            boxes,
            classes,
            ..
        } = self;
        write!(f, "{images} images, {boxes} boxes, {classes} classes")?;
        self.counts
            .keys()
            .try_for_each(|&kind| self.write_kind(f, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, id: u64) -> Finding {
        Finding {
            kind,
            file_name: Some("a.jpg".into()),
            image_id: Some(7),
            annotation_id: Some(id),
            detail: String::new(),
        }
    }

    #[test]
    fn counts_all_keeps_many_shows_few() {
        let mut report = HealthReport::default();
        assert!(report.is_clean());
        for id in 0..1500 {
            report.add(finding(FindingKind::DegenerateBox, id));
        }
        report.add(finding(FindingKind::Crowd, 9));
        assert_eq!(report.count(FindingKind::DegenerateBox), 1500);
        assert_eq!(report.findings().len(), HealthReport::MAX_KEPT + 1);
        let text = report.to_string();
        assert_eq!(text.lines().count(), 1 + (1 + 5 + 1) + (1 + 1), "{text}");
        assert!(text.contains("a.jpg, image 7, annotation 4"), "{text}");
        assert!(text.contains("… and 1495 more"), "{text}");
    }
}
