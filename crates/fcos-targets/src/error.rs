//! What can be wrong with settings, boxes and rules.

use std::ops::Range;

use fcos_core::{BBox, SettingError};

use crate::Candidate;

/// Why a configuration can't be used, or an image's boxes can't be assigned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignError {
    /// A setting lies outside what it may be.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A rule was made for other levels than the assigner: its slots have to be the locations.
    #[error("the rule's slots by level are {found:?}, where the locations are {expected:?}")]
    RuleLevels {
        /// The locations of each level.
        expected: Vec<Range<usize>>,
        /// What the rule says.
        found: Vec<Range<usize>>,
    },
    /// A rule names a slot or a box that does not exist.
    #[error("the rule is wrong: {candidate:?} where there are {slots} slots and {boxes} boxes")]
    Candidate {
        /// What it names.
        candidate: Candidate,
        /// Number of slots.
        slots: usize,
        /// Number of boxes G.
        boxes: usize,
    },
    /// A rule gives a box to a location that is not inside it, from where it has no distances.
    #[error("the rule is wrong: location {location} is not inside box {index}, {bbox:?}")]
    OutsideBox {
        /// The location.
        location: usize,
        /// The box's index among the image's boxes.
        index: usize,
        /// The box.
        bbox: BBox,
    },
    /// Boxes and labels don't come in pairs.
    #[error("{boxes} boxes but {labels} labels")]
    LabelCount {
        /// Number of boxes.
        boxes: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A box has a side of no length, a corner that is not finite, or an area beyond `f32`.
    #[error("box {index} is degenerate: {bbox:?}")]
    DegenerateBox {
        /// The box's index among the image's boxes.
        index: usize,
        /// The box.
        bbox: BBox,
    },
    /// A label doesn't fit the `i32` of [`Targets::labels`](crate::Targets::labels).
    #[error("label {label} of box {index} is beyond {}", i32::MAX)]
    LabelRange {
        /// The index of the box with this label.
        index: usize,
        /// The label.
        label: u32,
    },
}
