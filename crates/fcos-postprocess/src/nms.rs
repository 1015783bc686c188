//! Class-aware non-maximum suppression, greedy or soft.

use fcos_core::{BBox, iou_from_areas};

use crate::rank::descending;
use crate::soft_nms::{gaussian, linear, soft};
use crate::{NmsConfig, NmsKind, PostprocessError};

/// A box that outlived suppression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// Position in the lists given.
    pub index: usize,
    /// Its score, lowered if the kind is a soft one.
    pub score: f32,
}

/// What suppression left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NmsOutput {
    /// Survivors by descending score, of equal scores the earlier index first.
    pub kept: Vec<Kept>,
    /// How many were dropped at once because their score or box is NaN or infinite.
    pub non_finite: usize,
}

/// Non-maximum suppression: the indices of the boxes kept, by descending (for the soft kinds:
/// lowered) score, of equal scores the earlier index first.
///
/// Greedy (with [`NmsKind::Hard`]): the best box stays, all of its label whose IoU with it is
/// strictly above the threshold go, and so on. Equal scores rank by index, hence one answer for one
/// input. Boxes without area overlap nothing. Boxes and scores that are NaN or infinite are never
/// kept.
///
/// Labels are compared, not turned into coordinate offsets, which would round the boxes.
///
/// ```
/// use fcos_core::BBox;
/// use fcos_postprocess::{NmsConfig, nms};
///
/// let boxes = [BBox::new(0.0, 0.0, 9.0, 9.0), BBox::new(0.0, 0.0, 10.0, 10.0)];
/// assert_eq!(nms(&boxes, &[0.7, 0.8], &[5, 5], &NmsConfig::default())?, [1]);
/// assert_eq!(nms(&boxes, &[0.7, 0.8], &[5, 6], &NmsConfig::default())?, [1, 0]);
/// # Ok::<(), fcos_postprocess::PostprocessError>(())
/// ```
///
/// # Errors
/// [`NmsLength`](PostprocessError::NmsLength) if the lists differ in length, else as
/// [`NmsConfig::validate`].
pub fn nms(
    boxes: &[BBox],
    scores: &[f32],
    labels: &[u32],
    config: &NmsConfig,
) -> Result<Vec<usize>, PostprocessError> {
    let output = nms_scored(boxes, scores, labels, config)?;
    Ok(output.kept.iter().map(|kept| kept.index).collect())
}

/// As [`nms`], with the scores that soft-NMS leaves and the number of boxes dropped.
///
/// # Errors
/// As [`nms`].
pub fn nms_scored(
    boxes: &[BBox],
    scores: &[f32],
    labels: &[u32],
    config: &NmsConfig,
) -> Result<NmsOutput, PostprocessError> {
    config.validate()?;
    same_length(boxes, scores, labels)?;
    let ranked = rank(boxes, scores, labels, config.class_aware);
    let mut kept = Vec::with_capacity(ranked.len());
    // No group sees another's boxes: each is settled by itself, and the kept are sorted at the end.
    let mut survivors = Survivors::default();
    for group in ranked.chunk_by(|a, b| a.group == b.group) {
        let group = group.iter().map(|r| Scored {
            index: r.index,
            score: scores[r.index],
            bbox: extent(boxes[r.index], config.legacy_plus_one),
        });
        suppress(group, config, &mut survivors, &mut kept);
    }
    kept.sort_unstable_by_key(|k| (descending(k.score), k.index));
    let non_finite = boxes.len() - ranked.len();
    Ok(NmsOutput { kept, non_finite })
}

/// Moves what outlives the others of its group, given best first, to `kept`.
fn suppress(
    group: impl Iterator<Item = Scored>,
    config: &NmsConfig,
    survivors: &mut Survivors,
    kept: &mut Vec<Kept>,
) {
    match config.kind {
        NmsKind::Hard => hard(group, config.threshold, survivors, kept),
        NmsKind::SoftLinear { min_score } => {
            soft(group.collect(), linear(config.threshold), min_score, kept);
        }
        NmsKind::SoftGaussian { sigma, min_score } => {
            soft(group.collect(), gaussian(sigma), min_score, kept);
        }
    }
}

fn same_length(boxes: &[BBox], scores: &[f32], labels: &[u32]) -> Result<(), PostprocessError> {
    let (boxes, scores, labels) = (boxes.len(), scores.len(), labels.len());
    if boxes == scores && boxes == labels {
        return Ok(());
    }
    Err(PostprocessError::NmsLength {
        boxes,
        scores,
        labels,
    })
}

/// A box that competes within its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    /// Position in the lists given.
    pub index: usize,
    /// Score.
    pub score: f32,
    /// Box, by its continuous extent.
    pub bbox: BBox,
}

/// The continuous extent of a box, which with `legacy_plus_one` includes its last pixel.
fn extent(bbox: BBox, legacy_plus_one: bool) -> BBox {
    let last = if legacy_plus_one { 1.0 } else { 0.0 };
    BBox::new(bbox.x1, bbox.y1, bbox.x2 + last, bbox.y2 + last)
}

/// Sorts by group, then descending score, then index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    group: u32,
    rank: u32,
    index: usize,
}

/// The finite boxes, group by group, best first. The label makes the group if `class_aware`.
fn rank(boxes: &[BBox], scores: &[f32], labels: &[u32], class_aware: bool) -> Vec<Ranked> {
    let finite = |i: &usize| {
        scores[*i].is_finite() && <[f32; 4]>::from(boxes[*i]).iter().all(|v| v.is_finite())
    };
    let ranked = |index: usize| Ranked {
        group: if class_aware { labels[index] } else { 0 },
        rank: descending(scores[index]),
        index,
    };
    let mut order: Vec<_> = (0..boxes.len()).filter(finite).map(ranked).collect();
    order.sort_unstable();
    order
}

/// Keeps each box of a group, given best first, unless one kept before overlaps it.
fn hard(
    group: impl Iterator<Item = Scored>,
    threshold: f32,
    survivors: &mut Survivors,
    kept: &mut Vec<Kept>,
) {
    survivors.clear();
    for Scored { index, score, bbox } in group {
        if !survivors.overlap(bbox, threshold) {
            survivors.push(bbox);
            kept.push(Kept { index, score });
        }
    }
}

/// The boxes of a group that were kept so far, laid out to be compared with one box at a time.
#[derive(Debug, Default)]
struct Survivors {
    blocks: Vec<Block>,
    len: usize,
}

impl Survivors {
    fn clear(&mut self) {
        self.blocks.clear();
        self.len = 0;
    }

    fn push(&mut self, bbox: BBox) {
        let lane = self.len % LANES;
        if lane == 0 {
            self.blocks.push(Block::EMPTY);
        }
        if let Some(block) = self.blocks.last_mut() {
            block.set(lane, bbox);
        }
        self.len += 1;
    }

    /// Whether the IoU with any of them is above the threshold.
    fn overlap(&self, bbox: BBox, threshold: f32) -> bool {
        let area = bbox.area();
        self.blocks
            .iter()
            .any(|block| block.overlap(bbox, area, threshold))
    }
}

const LANES: usize = 8;

/// Eight boxes side by side, so that the comparison becomes vector instructions.
#[derive(Debug, Clone, Copy)]
struct Block {
    x1: [f32; LANES],
    y1: [f32; LANES],
    x2: [f32; LANES],
    y2: [f32; LANES],
    area: [f32; LANES],
}

impl Block {
    /// Boxes that intersect nothing, for the lanes not yet in use.
    const EMPTY: Self = Self {
        x1: [f32::INFINITY; LANES],
        y1: [f32::INFINITY; LANES],
        x2: [f32::NEG_INFINITY; LANES],
        y2: [f32::NEG_INFINITY; LANES],
        area: [0.0; LANES],
    };

    fn set(&mut self, lane: usize, bbox: BBox) {
        self.x1[lane] = bbox.x1;
        self.y1[lane] = bbox.y1;
        self.x2[lane] = bbox.x2;
        self.y2[lane] = bbox.y2;
        self.area[lane] = bbox.area();
    }

    #[inline]
    fn get(&self, lane: usize) -> BBox {
        BBox::new(self.x1[lane], self.y1[lane], self.x2[lane], self.y2[lane])
    }

    /// Whether the IoU of any lane with `bbox`, whose area is given, is above the threshold.
    #[inline]
    fn overlap(&self, bbox: BBox, area: f32, threshold: f32) -> bool {
        let mut any = false;
        for lane in 0..LANES {
            let intersection = self.get(lane).intersection(bbox);
            any |= iou_from_areas(intersection, self.area[lane], area) > threshold;
        }
        any
    }
}

#[cfg(test)]
#[path = "nms_tests.rs"]
mod tests;
