/// Why head outputs couldn't be turned into detections.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
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
    /// A threshold on a probability or an IoU lies outside `[0, 1]`.
    #[error("`{field}` must lie in [0, 1], found {value}")]
    Threshold {
        /// The configuration field.
        field: &'static str,
        /// Its value.
        value: f32,
    },
    /// A count that must be at least 1 is 0.
    #[error("`{field}` must be at least 1")]
    ZeroCount {
        /// The configuration field.
        field: &'static str,
    },
    /// The width of soft-NMS's Gaussian is not a finite number above zero.
    #[error("`nms.kind.soft_gaussian.sigma` must be finite and above 0, found {value}")]
    Sigma {
        /// The width given.
        value: f32,
    },
    /// A resize scale is not a finite number above zero.
    #[error("the resize scale must be finite and above 0, found ({x}, {y})")]
    Scale {
        /// Resized width over original width.
        x: f32,
        /// Resized height over original height.
        y: f32,
    },
}
