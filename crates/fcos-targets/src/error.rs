use fcos_core::BBox;

/// Why a configuration can't be used, or an image's boxes can't be assigned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AssignError {
    /// The configuration and the pyramid disagree on the number of levels.
    #[error("`size_ranges`: {ranges} for a pyramid of {levels} levels")]
    LevelCount {
        /// Number of size ranges configured.
        ranges: usize,
        /// Number of pyramid levels.
        levels: usize,
    },
    /// A size range is empty, reversed or not a number.
    #[error("`size_ranges`: [{lower}, {upper}] of level {level} needs lower < upper")]
    SizeRange {
        /// Position of the range, 0 for the finest level.
        level: usize,
        /// Its lower bound in pixels.
        lower: f32,
        /// Its upper bound in pixels.
        upper: f32,
    },
    /// The centre-sampling radius is not a positive, finite number.
    #[error("`center_sampling_radius` must be finite and above 0, found {radius}")]
    CenterSamplingRadius {
        /// The radius configured.
        radius: f32,
    },
    /// ATSS is to choose among no candidates.
    #[error("`atss.k` must be at least 1")]
    NoCandidates,
    /// The side of ATSS's anchors is not a positive, finite number.
    #[error("`atss.anchor_scale` must be finite and above 0, found {scale}")]
    AnchorScale {
        /// The side configured, in strides.
        scale: f32,
    },
    /// An IoU threshold is not a number that an IoU can be.
    #[error("IoU threshold {threshold}: needs a number in [0, 1]; the positives' above 0")]
    IouThreshold {
        /// The threshold configured.
        threshold: f32,
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
