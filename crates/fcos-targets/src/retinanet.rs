//! RetinaNet's matching of anchors by IoU, for statistics beside the other rules.
//!
//! G ground-truth boxes. A slot is one of the nine anchors of a location: `9 · location + anchor`.

use std::ops::Range;

use fcos_core::{BBox, Locations, SettingError};

use crate::grid::LevelGrid;
use crate::{Candidate, Rule};

/// Anchors per location: three shapes in three sizes.
const ANCHORS: usize = 9;
/// Height over width of the three shapes.
const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];
/// Side of a level's smallest square anchor in strides; the others are 2^(1/3) and 2^(2/3) larger.
const SMALLEST: f32 = 4.0;

/// The settings of [`RetinaNetRule`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetinaNetConfig {
    /// An anchor learns the box that it overlaps most if their IoU is at least this; 0.5 in the
    /// paper. (Anchors below it but above 0.4 are no positives; training leaves them out.)
    pub positive_iou: f32,
    /// Low-quality matches: the anchors that overlap some box most of all anchors learn *their*
    /// best box also if that IoU is only this much; 0 for any overlap, `None` for no such matches.
    /// Detectron's RetinaNet has 0.4.
    pub low_quality_iou: Option<f32>,
    /// Whether boxes end on their last pixel, so that it is added to their sides, and the anchors'
    /// sides are rounded, as in Detectron and maskrcnn-benchmark ([the added
    /// pixel](fcos_core#the-pixel-that-older-code-adds)).
    pub legacy_pixels: bool,
}

impl Default for RetinaNetConfig {
    fn default() -> Self {
        Self {
            positive_iou: 0.5,
            low_quality_iou: Some(0.4),
            legacy_pixels: false,
        }
    }
}

impl RetinaNetConfig {
    fn check(&self) -> Result<(), SettingError> {
        let Self {
            positive_iou: positive,
            low_quality_iou: low,
            ..
        } = *self;
        let ok = positive > 0.0 && positive <= 1.0;
        SettingError::check(ok, "positive_iou", positive, "above 0 and at most 1")?;
        let low = low.unwrap_or_default();
        let ok = (0.0..=1.0).contains(&low);
        SettingError::check(ok, "low_quality_iou", low, "in [0, 1]")
    }
}

/// RetinaNet's matching by IoU thresholds (Lin et al., ICCV 2017, §4): nine anchors per location,
/// of the areas `(4 · 2^(i/3) · stride)²` and the ratios 1:2, 1:1, 2:1. For statistics beside those
/// of the other rules, not for training.
#[derive(Debug, Clone)]
pub struct RetinaNetRule {
    /// L levels, finest first.
    levels: Vec<Level>,
    ranges: Vec<Range<usize>>,
    config: RetinaNetConfig,
}

impl RetinaNetRule {
    /// Prepares the rule for these locations, which are the anchors' centres.
    ///
    /// # Errors
    /// If a threshold is outside `[0, 1]`, or the positives' is 0.
    pub fn new(config: RetinaNetConfig, locations: &Locations) -> Result<Self, SettingError> {
        config.check()?;
        let grids = LevelGrid::all(locations);
        let slots = |r: Range<usize>| ANCHORS * r.start..ANCHORS * r.end;
        Ok(Self {
            ranges: grids.iter().map(|g| slots(g.range())).collect(),
            levels: grids.into_iter().map(|g| Level::new(g, config)).collect(),
            config,
        })
    }

    /// A box in the coordinates in which its extent is the difference of its corners.
    fn continuous(&self, b: BBox) -> BBox {
        if self.config.legacy_pixels {
            BBox::new(b.x1, b.y1, b.x2 + 1.0, b.y2 + 1.0)
        } else {
            b
        }
    }

    /// The anchors that overlap `bbox` most, all of equal ones; none if none touches it.
    fn best_anchors(&self, bbox: BBox) -> Vec<Overlap> {
        // The best IoU of all levels first, so that the search below looks at few anchors.
        let bound = |level: &Level| level.best_of_nearest(bbox);
        let bound = self.levels.iter().map(bound).fold(0.0, f32::max);
        // The nearest anchors are the best but for rounding.
        let at_least = bound * (1.0 - 1e-5);
        let mut best: Vec<Overlap> = vec![];
        if at_least > 0.0 {
            for level in &self.levels {
                level.overlapping(bbox, at_least, |found| {
                    let most = best.first().map_or(0.0, |b| b.iou);
                    if found.iou > most {
                        best.clear();
                    }
                    if found.iou >= most {
                        best.push(found);
                    }
                });
            }
        }
        best
    }

    /// The low-quality matches that are no positives anyway.
    fn low_quality(&self, boxes: &[BBox], least: f32, visit: &mut impl FnMut(Candidate)) {
        let mut anchors: Vec<Overlap> = boxes.iter().flat_map(|&b| self.best_anchors(b)).collect();
        anchors.sort_unstable_by_key(|anchor| anchor.slot);
        anchors.dedup_by_key(|anchor| anchor.slot);
        for Overlap { slot, anchor, .. } in anchors {
            let (index, iou) = most_overlapped(anchor, boxes);
            if iou >= least && iou < self.config.positive_iou {
                let rank = -iou;
                visit(Candidate { slot, index, rank });
            }
        }
    }
}

impl Rule for RetinaNetRule {
    fn levels(&self) -> &[Range<usize>] {
        &self.ranges
    }

    fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
        let boxes: Vec<BBox> = boxes.iter().map(|&b| self.continuous(b)).collect();
        for (index, &bbox) in boxes.iter().enumerate() {
            for level in &self.levels {
                level.overlapping(
                    bbox,
                    self.config.positive_iou,
                    |Overlap { slot, iou, .. }| {
                        let rank = -iou;
                        visit(Candidate { slot, index, rank });
                    },
                );
            }
        }
        if let Some(least) = self.config.low_quality_iou {
            self.low_quality(&boxes, least, &mut visit);
        }
    }
}

/// Index and IoU of the box that an anchor overlaps most, the first of equals.
fn most_overlapped(anchor: BBox, boxes: &[BBox]) -> (usize, f32) {
    let ious = boxes.iter().map(|b| anchor.iou(*b)).enumerate();
    ious.fold(
        (0, 0.0),
        |best, next| if next.1 > best.1 { next } else { best },
    )
}

/// An anchor and how much it overlaps a box.
#[derive(Debug, Clone, Copy)]
struct Overlap {
    slot: usize,
    anchor: BBox,
    iou: f32,
}

/// One pyramid level's locations and the anchors around each.
#[derive(Debug, Clone)]
struct Level {
    grid: LevelGrid,
    /// Width and height of the anchors in pixels.
    shapes: [[f32; 2]; ANCHORS],
}

impl Level {
    fn new(grid: LevelGrid, config: RetinaNetConfig) -> Self {
        let shape = |i: usize| {
            let size = SMALLEST * 2f32.powf((i % 3) as f32 / 3.0);
            let [width, height] = base_shape(grid.stride, RATIOS[i / 3], config.legacy_pixels);
            [size * width, size * height]
        };
        let shapes = std::array::from_fn(shape);
        Self { grid, shapes }
    }

    /// The largest IoU of `bbox` with the anchors around the location nearest to its centre.
    fn best_of_nearest(&self, bbox: BBox) -> f32 {
        let center = bbox.center();
        let x = closest(&self.grid.xs, center.x);
        let y = closest(&self.grid.ys, center.y);
        let (Some(x), Some(y)) = (x, y) else {
            return 0.0;
        };
        let ious = self.shapes.iter().map(|&s| around(x, y, s).iou(bbox));
        ious.fold(0.0, f32::max)
    }

    /// Visits the anchors whose IoU with `bbox` is at least `least`, which must be above 0.
    ///
    /// Such an anchor shares at least `least / (1 + least)` of both areas with the box, which
    /// bounds how far apart the centres can be along x and along y.
    fn overlapping(&self, bbox: BBox, least: f32, mut visit: impl FnMut(Overlap)) {
        let center = bbox.center();
        let (width, height) = (bbox.width(), bbox.height());
        for (shape, &[w, h]) in self.shapes.iter().enumerate() {
            // IoU ≥ least means intersection ≥ least · union, and the union is both areas less the
            // intersection. Divided by the longest side that it can have, that area is the least
            // overlap along the other axis.
            let shared = least / (1.0 + least) * (width * height + w * h);
            let reach_x = reach([width, w], shared / height.min(h));
            let reach_y = reach([height, h], shared / width.min(w));
            let columns = span(&self.grid.xs, center.x, reach_x);
            for row in span(&self.grid.ys, center.y, reach_y) {
                for column in columns.clone() {
                    let (x, y) = (self.grid.xs[column], self.grid.ys[row]);
                    let anchor = around(x, y, [w, h]);
                    let iou = anchor.iou(bbox);
                    if iou >= least {
                        let slot = ANCHORS * self.grid.location(row, column) + shape;
                        visit(Overlap { slot, anchor, iou });
                    }
                }
            }
        }
    }
}

/// Width and height of an anchor of the area `stride²`.
fn base_shape(stride: f32, ratio: f32, legacy_pixels: bool) -> [f32; 2] {
    let width = (stride * stride / ratio).sqrt();
    if legacy_pixels {
        let width = width.round_ties_even();
        [width, (width * ratio).round_ties_even()]
    } else {
        [width, width * ratio]
    }
}

fn around(x: f32, y: f32, [width, height]: [f32; 2]) -> BBox {
    let (w, h) = (width / 2.0, height / 2.0);
    BBox::new(x - w, y - h, x + w, y + h)
}

/// How far apart the centres of two intervals of these `lengths` may be that share this much;
/// generous by more than rounding can matter, negative if they can't.
fn reach([a, b]: [f32; 2], shared: f32) -> f32 {
    let slack = 1e-4 * (a + b) + 1e-3;
    if shared > a.min(b) + slack {
        -1.0
    } else {
        (a + b) / 2.0 - shared + slack
    }
}

/// Which of the ascending positions `at` are no farther from `center` than `reach`.
fn span(at: &[f32], center: f32, reach: f32) -> Range<usize> {
    let end = at.partition_point(|&p| p <= center + reach);
    at.partition_point(|&p| p < center - reach).min(end)..end
}

/// The position of an ascending axis closest to `to`.
fn closest(axis: &[f32], to: f32) -> Option<f32> {
    let above = axis.partition_point(|&p| p < to);
    let neighbours = [above.checked_sub(1), Some(above)].into_iter().flatten();
    let positions = neighbours.filter_map(|i| axis.get(i).copied());
    positions.min_by(|a, b| (a - to).abs().total_cmp(&(b - to).abs()))
}
