//! Soft-NMS (Bodla et al., ICCV 2017, Algorithm 1): overlapping boxes lose score instead of being
//! removed.

use crate::Kept;
use crate::nms::Scored;
use crate::rank::descending;

/// Eq. 2: an overlap above the threshold costs its share of the score.
pub(crate) fn linear(threshold: f32) -> impl Fn(f32) -> f32 {
    move |iou| if iou > threshold { 1.0 - iou } else { 1.0 }
}

/// Eq. 3: every overlap costs, smoothly.
pub(crate) fn gaussian(sigma: f32) -> impl Fn(f32) -> f32 {
    move |iou| (-iou * iou / sigma).exp()
}

/// Moves the boxes of one group to `kept`, best first, each lowering by `factor(IoU)` the scores of
/// those that remain. Boxes below `min_score` are removed.
pub(crate) fn soft(
    mut remaining: Vec<Scored>,
    factor: impl Fn(f32) -> f32,
    min_score: f32,
    kept: &mut Vec<Kept>,
) {
    remaining.retain(|r| r.score >= min_score);
    while let Some(best) = best(&remaining) {
        let Scored { index, score, bbox } = remaining.swap_remove(best);
        kept.push(Kept { index, score });
        for other in &mut remaining {
            other.score *= factor(bbox.iou(other.bbox));
        }
        remaining.retain(|r| r.score >= min_score);
    }
}

/// Position of the highest score, of equal ones that with the smallest index.
fn best(remaining: &[Scored]) -> Option<usize> {
    let key = |&i: &usize| (descending(remaining[i].score), remaining[i].index);
    (0..remaining.len()).min_by_key(key)
}
