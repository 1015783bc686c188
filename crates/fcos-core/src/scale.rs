//! Factors on lengths, one per axis.

/// Factors on an image's two axes, such as resized by original width and resized by original height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The factor on x and on widths.
    pub x: f32,
    /// The factor on y and on heights.
    pub y: f32,
}
