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
    /// Whether `max(y, 0)` of the result is wanted, in the same pass where a kernel can.
    pub relu: bool,
}

impl Default for Conv2dOptions {
    /// Stride 1, no padding, dilation 1, one group, no ReLU.
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
            relu: false,
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
