//! What every rule of assignment comes down to: which slots may learn which boxes.

use std::ops::Range;

use fcos_core::BBox;

use crate::AssignError;

/// A pair that a rule admits: this slot may learn this box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// What predicts one box: a location, or one of a location's anchors. All levels in order.
    pub slot: usize,
    /// Index of the box among the image's boxes.
    pub index: usize,
    /// A slot learns the candidate of the least rank, of equals the one with the lower index. NaN is
    /// for no rule to give: it takes a slot from no other candidate, but loses its own to none.
    pub rank: f32,
}

impl Candidate {
    /// Whether it takes the slot from the winner so far, of the rank `least`; `None` without one.
    pub(crate) fn wins(self, least: Option<f32>) -> bool {
        least.is_none_or(|least| self.rank < least)
    }
}

/// Which slots may learn which boxes.
///
/// A rule of your own whose slots are the locations can be trained with: give it to
/// [`Assigner::with_rule`](crate::Assigner::with_rule) or
/// [`Assigners::with_rule`](crate::Assigners::with_rule). This one has each box learnt by the
/// locations of one level that lie in it:
///
/// ```
/// use std::ops::Range;
///
/// use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Ltrb, Size};
/// use fcos_targets::{Assigner, Candidate, Rule};
///
/// struct Finest {
///     locations: Locations,
///     levels: Vec<Range<usize>>,
/// }
///
/// impl Rule for Finest {
///     fn levels(&self) -> &[Range<usize>] {
///         &self.levels
///     }
///
///     fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
///         for (index, &bbox) in boxes.iter().enumerate() {
///             for slot in self.levels[0].clone() {
///                 if Ltrb::from_box(self.locations.points()[slot], bbox).is_inside() {
///                     visit(Candidate { slot, index, rank: bbox.area() });
///                 }
///             }
///         }
///     }
/// }
///
/// let input = Size { width: 64, height: 32 };
/// let locations = Locations::new(input, &[8, 16], LocationRule::HalfStride);
/// let rule = Finest { levels: locations.level_ranges(), locations: locations.clone() };
/// let assigner = Assigner::with_rule(rule, &locations, DistanceUnit::Stride)?;
/// let targets = assigner.assign(&[BBox::new(0.0, 0.0, 24.0, 16.0)], &[5])?;
/// assert_eq!(targets.num_positives(), 3 * 2);
/// # Ok::<(), fcos_targets::AssignError>(())
/// ```
pub trait Rule {
    /// The slots of each pyramid level, finest first: ranges that follow each other from 0.
    fn levels(&self) -> &[Range<usize>];

    /// Visits every candidate among an image's G `boxes`, in pixels of the network input. For one
    /// slot the boxes come in ascending order, each once at most.
    fn candidates(&self, boxes: &[BBox], visit: impl FnMut(Candidate));

    /// Number of slots of all levels. It follows from [`levels`](Self::levels), and is not to be
    /// overridden: an [`Assigner`](crate::Assigner) does not ask for it.
    fn slots(&self) -> usize {
        self.levels().last().map_or(0, |level| level.end)
    }

    /// Per slot: the index of the box that it learns; −1 for none. It follows from the
    /// [`candidates`](Self::candidates), and is not to be overridden: an
    /// [`Assigner`](crate::Assigner) does not ask for it.
    ///
    /// # Errors
    /// [`AssignError::Candidate`] if the rule visits a candidate that can't be one.
    fn matched(&self, boxes: &[BBox]) -> Result<Vec<i32>, AssignError> {
        let slots = self.slots();
        let mut least = vec![None; slots];
        let mut matched = vec![-1; slots];
        visit_checked(self, slots, boxes, |candidate| {
            let slot = candidate.slot;
            if candidate.wins(least[slot]) {
                least[slot] = Some(candidate.rank);
                matched[slot] = candidate.index as i32;
            }
        })?;
        Ok(matched)
    }
}

/// Visits the candidates that name one of the `slots` and of the `boxes`.
///
/// # Errors
/// The first candidate that does not; the others are still visited.
pub(crate) fn visit_checked<R: Rule + ?Sized>(
    rule: &R,
    slots: usize,
    boxes: &[BBox],
    mut visit: impl FnMut(Candidate),
) -> Result<(), AssignError> {
    let mut wrong = None;
    rule.candidates(boxes, |candidate| {
        if candidate.slot < slots && candidate.index < boxes.len() {
            visit(candidate);
        } else {
            wrong.get_or_insert(candidate);
        }
    });
    let error = |candidate| AssignError::Candidate {
        candidate,
        slots,
        boxes: boxes.len(),
    };
    wrong.map_or(Ok(()), |candidate| Err(error(candidate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_rank_wins() {
        let wins = |rank, least| {
            let candidate = Candidate {
                slot: 0,
                index: 0,
                rank,
            };
            candidate.wins(least)
        };
        assert!(wins(1.0, None) && wins(1.0, Some(2.0)));
        assert!(!wins(2.0, Some(2.0)) && !wins(3.0, Some(2.0)));
        assert!(wins(f32::NAN, None) && !wins(f32::NAN, Some(2.0)));
        assert!(!wins(1.0, Some(f32::NAN)));
    }
}
