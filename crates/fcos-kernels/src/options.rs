//! What the functions are asked for besides tensors.

/// What follows an operation, in the same pass where a kernel can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing: the result as it is.
    #[default]
    Nothing,
    /// `max(y, 0)`.
    Relu,
}

/// Sizes of a two-dimensional convolution. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Distance between neighbouring windows, in input pixels; at least 1.
    pub stride: [usize; 2],
    /// Rows and columns of zeros on every side.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps, in input pixels; at least 1.
    pub dilation: [usize; 2],
    /// Number of groups of channels that are convolved apart; divides both channel counts.
    pub groups: usize,
    /// What follows.
    pub then: Activation,
}

impl Default for Conv2dOptions {
    /// Stride 1, no padding, dilation 1, one group, nothing that follows.
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
            then: Activation::Nothing,
        }
    }
}

/// A square max-pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2dOptions {
    /// Side of the window, in pixels.
    pub kernel_size: usize,
    /// Distance between neighbouring windows, in pixels.
    pub stride: usize,
    /// Cells on every side that never hold the maximum; at most half of `kernel_size`.
    pub padding: usize,
}
