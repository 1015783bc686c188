use std::ops::Range;

use fcos_core::BBox;

/// A pair that a rule admits: this slot may learn this box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// What predicts one box: a location, or one of a location's anchors. All levels in order.
    pub slot: usize,
    /// Index of the box among the image's boxes.
    pub index: usize,
    /// A slot learns the candidate of the least rank, of equals the one with the lower index.
    pub rank: f32,
}

impl Candidate {
    /// Whether it takes the slot from the winner so far, of the rank `least`; `None` without one.
    pub(crate) fn wins(self, least: Option<f32>) -> bool {
        least.is_none_or(|least| self.rank < least)
    }
}

/// Which slots may learn which boxes: what every rule of assignment comes down to.
pub trait Rule {
    /// The slots of each pyramid level, finest first: ranges that follow each other from 0.
    fn levels(&self) -> &[Range<usize>];

    /// Visits every candidate among an image's G `boxes`, in pixels of the network input. For one
    /// slot the boxes come in ascending order, each once at most.
    fn candidates(&self, boxes: &[BBox], visit: impl FnMut(Candidate));

    /// Number of slots of all levels.
    fn slots(&self) -> usize {
        self.levels().last().map_or(0, |level| level.end)
    }

    /// Per slot: the index of the box that it learns; −1 for none.
    fn matched(&self, boxes: &[BBox]) -> Vec<i32> {
        let mut least = vec![None; self.slots()];
        let mut matched = vec![-1; self.slots()];
        self.candidates(boxes, |candidate| {
            let slot = candidate.slot;
            if candidate.wins(least[slot]) {
                least[slot] = Some(candidate.rank);
                matched[slot] = candidate.index as i32;
            }
        });
        matched
    }
}
