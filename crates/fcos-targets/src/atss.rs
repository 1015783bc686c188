//! ATSS: the nearest locations learn a box, as many as overlap it well.

use std::ops::Range;

use fcos_core::{BBox, Locations, Ltrb, Point, SettingError};

use crate::grid::LevelGrid;
use crate::nearest::nearest;
use crate::{AtssConfig, Candidate, Rule};

/// Pixels by which a location must lie inside a box to learn it (the authors' code).
const INSIDE: f32 = 0.01;

/// ATSS (Zhang et al., CVPR 2020, Algorithm 1): around every location sits one square anchor. Per
/// level, the k anchors whose centres are nearest to a box's are its candidates; those whose IoU
/// reaches the candidates' mean plus standard deviation, with their centre inside the box, may
/// learn it. A location learns the box that its anchor overlaps most.
///
/// Where the paper is silent, this follows the authors' code (`rpn/atss/loss.py`): the standard
/// deviation is the unbiased one, and inside means by more than 0.01 pixels. What the code leaves
/// to the library is fixed: of equally distant centres the one with the lower index is nearer, of
/// equal IoUs the box with the lower index wins, IoUs are `f32` and their statistics `f64`, and the
/// standard deviation of a single candidate is 0.
#[derive(Debug, Clone)]
pub struct AtssRule {
    /// L levels, finest first.
    grids: Vec<LevelGrid>,
    ranges: Vec<Range<usize>>,
    config: AtssConfig,
}

/// One of the k·L anchors that a box's threshold is computed from.
struct Nearby {
    location: usize,
    point: Point,
    iou: f32,
}

impl AtssRule {
    /// Prepares the rule for these locations.
    ///
    /// # Errors
    /// If k is 0 or the anchor's side is not positive and finite.
    pub fn new(config: AtssConfig, locations: &Locations) -> Result<Self, SettingError> {
        config.check()?;
        let grids = LevelGrid::all(locations);
        Ok(Self {
            ranges: grids.iter().map(LevelGrid::range).collect(),
            grids,
            config,
        })
    }

    /// Lines 3 to 7 of Algorithm 1: the k nearest anchors of every level with their IoU.
    fn nearby(&self, bbox: BBox, found: &mut Vec<Nearby>) {
        found.clear();
        for grid in &self.grids {
            let half = grid.stride * self.config.anchor_scale / 2.0;
            for near in nearest(grid, bbox.center(), self.config.k) {
                let (x, y) = (grid.xs[near.column], grid.ys[near.row]);
                let anchor = BBox::new(x - half, y - half, x + half, y + half);
                found.push(Nearby {
                    location: grid.location(near.row, near.column),
                    point: Point { x, y },
                    iou: anchor.iou(bbox),
                });
            }
        }
    }
}

impl Rule for AtssRule {
    fn levels(&self) -> &[Range<usize>] {
        &self.ranges
    }

    fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
        let mut nearby = Vec::new();
        for (index, &bbox) in boxes.iter().enumerate() {
            self.nearby(bbox, &mut nearby);
            let threshold = threshold(&nearby);
            for &Nearby {
                location,
                point,
                iou,
            } in &nearby
            {
                if f64::from(iou) >= threshold && is_inside(point, bbox) {
                    let (slot, rank) = (location, -iou);
                    visit(Candidate { slot, index, rank });
                }
            }
        }
    }
}

/// Lines 8 to 10: mean plus unbiased standard deviation.
fn threshold(nearby: &[Nearby]) -> f64 {
    let ious = || nearby.iter().map(|n| f64::from(n.iou));
    let count = nearby.len() as f64;
    let mean = ious().sum::<f64>() / count;
    let squares: f64 = ious().map(|iou| (iou - mean).powi(2)).sum();
    mean + (squares / (count - 1.0).max(1.0)).sqrt()
}

fn is_inside(point: Point, bbox: BBox) -> bool {
    let Ltrb { l, t, r, b } = Ltrb::from_box(point, bbox);
    l.min(t).min(r).min(b) > INSIDE
}
