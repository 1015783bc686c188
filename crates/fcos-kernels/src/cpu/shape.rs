//! Sizes of a two-dimensional convolution.

/// Sizes of a two-dimensional convolution of `x [B, Cin, H, W]` with `weight
/// [Cout, Cin / groups, KH, KW]` into `y [B, Cout, OH, OW]`. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) input: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Zeros before the first row and column; as many follow the last.
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

impl ConvShape {
    /// Rows and columns of the output.
    ///
    /// # Panics
    /// If the kernel is larger than the padded input.
    pub(crate) fn output(&self) -> [usize; 2] {
        std::array::from_fn(|d| {
            let padded = self.input[d] + 2 * self.padding[d];
            let reach = self.dilation[d] * (self.kernel[d] - 1) + 1;
            assert!(
                padded >= reach,
                "kernel of extent {reach} on padded input of {padded}"
            );
            (padded - reach) / self.stride[d] + 1
        })
    }

    /// Values in one input plane.
    pub(crate) fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Values in one output plane.
    pub(crate) fn out_plane(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.in_plane()
    }

    pub(crate) fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.out_plane()
    }

    pub(crate) fn weight_len(&self) -> usize {
        self.out_channels * self.taps_per_filter()
    }

    /// Weights of one output channel: `Cin / groups * KH * KW`.
    pub(crate) fn taps_per_filter(&self) -> usize {
        self.in_channels / self.groups * self.kernel[0] * self.kernel[1]
    }
}
