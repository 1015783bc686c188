//! What can be wrong with outputs, settings and lists of boxes.

use fcos_core::{Scale, SettingError};

/// Why head outputs couldn't be turned into detections.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PostprocessError {
    /// A head output doesn't have as many values as the locations ask for.
    #[error("head output `{what}` has {found} values where the locations ask for {expected}")]
    HeadLength {
        /// The field of [`Outputs`](fcos_core::Outputs).
        what: &'static str,
        /// Number of values the locations ask for.
        expected: usize,
        /// Number of values there are.
        found: usize,
    },
    /// The class logits don't hold the same number of classes, at least one, for each location.
    #[error(
        "{found} class logits can't be shared out evenly, at least one each, to {locations} locations"
    )]
    ClassLogits {
        /// Number of class logits.
        found: usize,
        /// Number of locations N.
        locations: usize,
    },
    /// NMS was given lists of different lengths.
    #[error("NMS needs lists of one length, found {boxes} boxes, {scores} scores, {labels} labels")]
    NmsLength {
        /// Number of boxes.
        boxes: usize,
        /// Number of scores.
        scores: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A setting lies outside what it may be.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A resize's factors are not finite numbers above zero.
    #[error("the resize scale must be finite and above 0, found {} and {}", .0.x, .0.y)]
    Scale(Scale),
}
