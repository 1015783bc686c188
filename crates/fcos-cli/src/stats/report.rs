//! The figures as a table and as JSON.

use fcos::data::{AnnotatedImages, LeftOut};
use fcos::targets::{AtssConfig, NeverLearnt, SizeSummary, Summary};
use serde::Serialize;

use super::{Args, LowQuality, RuleName};
use crate::terminal::say;

/// Classes and boxes that are printed; `--json` has all of them.
const PRINTED: usize = 5;

/// All figures, as `--json` writes them, and the settings that they depend on.
#[derive(Serialize)]
pub struct Report<'a> {
    rule: RuleName,
    fpn: bool,
    center_sampling: Option<f32>,
    legacy_pixels: bool,
    short: u16,
    long: u16,
    /// FCOS's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<&'a [f32]>,
    #[serde(flatten)]
    atss: Option<AtssConfig>,
    /// RetinaNet's.
    #[serde(skip_serializing_if = "Option::is_none")]
    low_quality: Option<LowQuality>,
    left_out: LeftOut,
    #[serde(flatten)]
    summary: &'a Summary,
    by_class: Vec<ClassRow<'a>>,
    never_learnt: Vec<MissedRow<'a>>,
}

/// A box that no location learns, with the ids that the annotations have for it.
#[derive(Serialize)]
struct MissedRow<'a> {
    image_id: u64,
    annotation_id: Option<u64>,
    category_id: u64,
    category: &'a str,
    /// `[x, y, width, height]` in pixels of the original image.
    bbox: [f32; 4],
}

impl<'a> MissedRow<'a> {
    fn new(annotations: &'a AnnotatedImages, missed: &NeverLearnt) -> Self {
        let image = &annotations.images[missed.image];
        let index = missed.index;
        let label = image.labels[index];
        Self {
            image_id: image.id,
            annotation_id: image.annotation_ids[index],
            category_id: annotations.category_ids[label as usize],
            category: annotations.classes.name(label),
            bbox: image.boxes[index],
        }
    }
}

#[derive(Serialize)]
struct ClassRow<'a> {
    name: &'a str,
    boxes: u64,
    bpr: f64,
}

impl<'a> Report<'a> {
    pub fn new(
        args: &'a Args,
        annotations: &'a AnnotatedImages,
        summary: &'a Summary,
        missed: &[NeverLearnt],
    ) -> Self {
        let retinanet = || LowQuality(args.retinanet().low_quality_iou);
        Self {
            rule: args.rule,
            fpn: !args.no_fpn,
            center_sampling: args.center_sampling,
            legacy_pixels: args.legacy_pixels,
            short: args.short,
            long: args.long,
            ranges: (args.rule == RuleName::Fcos).then(|| args.ranges()),
            atss: (args.rule == RuleName::Atss).then(|| args.atss()),
            low_quality: (args.rule == RuleName::Retinanet).then(retinanet),
            left_out: annotations.left_out,
            summary,
            by_class: class_rows(annotations, summary),
            never_learnt: missed
                .iter()
                .map(|m| MissedRow::new(annotations, m))
                .collect(),
        }
    }
}

/// The classes that have boxes, the worst recalled first.
fn class_rows<'a>(annotations: &'a AnnotatedImages, summary: &Summary) -> Vec<ClassRow<'a>> {
    let figures = summary.boxes_by_label.iter().zip(&summary.bpr_by_label);
    let row = |(name, (&boxes, &bpr))| ClassRow { name, boxes, bpr };
    let mut rows: Vec<_> = annotations.classes.iter().zip(figures).map(row).collect();
    rows.retain(|row| row.boxes > 0);
    rows.sort_by(|a, b| a.bpr.total_cmp(&b.bpr));
    rows
}

/// Prints the figures as tables.
pub fn print(
    args: &Args,
    annotations: &AnnotatedImages,
    summary: &Summary,
    missed: &[NeverLearnt],
) {
    let left_out = annotations.left_out;
    say!("{} images, {} boxes", summary.images, summary.boxes);
    say!(
        "left out: {} images without a size, {} crowd regions, {} unusable annotations",
        left_out.images,
        left_out.crowd,
        left_out.unusable
    );
    say!("\nbest possible recall          {:6.2} %", summary.bpr);
    say!("ambiguous, of all positives   {:6.2} %", summary.ambiguous);
    say!(
        "… across different classes    {:6.2} %",
        summary.ambiguous_across_classes
    );
    say!("\nboxes      number      BPR  positives per box: mean   5 %  25 %  50 %  75 %  95 %");
    let rows = [
        ("all", &summary.all),
        ("small", &summary.small),
        ("medium", &summary.medium),
        ("large", &summary.large),
    ];
    rows.iter().for_each(|(name, row)| print_sizes(name, row));
    let strides = args.strides();
    say!("\npositives  {}", summary.positives);
    for (stride, &positives) in strides.iter().zip(&summary.positives_per_level) {
        let share = 100.0 * positives as f64 / summary.positives.max(1) as f64;
        say!("  stride {stride:<4} {positives:>10}  {share:5.1} %");
    }
    say!("\nleast recalled classes");
    for row in class_rows(annotations, summary).iter().take(PRINTED) {
        say!("  {:<16} {:6.2} % of {}", row.name, row.bpr, row.boxes);
    }
    say!("\nnever learnt: {} boxes", missed.len());
    for m in missed.iter().take(PRINTED) {
        let m = MissedRow::new(annotations, m);
        say!("  image {}: {} {:?}", m.image_id, m.category, m.bbox);
    }
}

fn print_sizes(name: &str, row: &SizeSummary) {
    let quantiles = row.quantiles.map(|q| format!("{q:6}")).concat();
    say!(
        "{name:<7} {:>9}  {:6.2} %                    {:7.1}{quantiles}",
        row.boxes,
        row.bpr,
        row.mean
    );
}
