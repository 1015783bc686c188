//! Choosing the algorithm of a convolution.

use rayon::prelude::*;

use super::planes::Finish;
use super::shape::ConvShape;
use super::sums;
use super::{im2col, pointwise, winograd};

/// What is done to every output beside the sum of products.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// `[Cout]`; zeros if there is none.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

impl Epilogue<'_> {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        bias: None,
        relu: false,
    };

    pub(crate) fn of_channel(&self, channel: usize) -> Finish {
        Finish {
            bias: self.bias.map_or(0.0, |bias| bias[channel]),
            least: if self.relu { 0.0 } else { f32::NEG_INFINITY },
        }
    }
}

/// Runs `f` on a thread of rayon's pool. The kernels fork and join hundreds of times: from another
/// thread, each of these would put that thread to sleep and wake it again (measured: a tenth of a
/// forward pass).
fn in_pool(f: impl FnOnce() + Send) {
    rayon::scope(|_| f());
}

/// Forward: `y [B, Cout, OH, OW]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
) {
    in_pool(|| {
        if winograd::applies(shape) {
            winograd::forward(shape, x, weight, epilogue, y);
        } else if pointwise::applies(shape) {
            pointwise::forward(shape, x, weight, epilogue, y);
        } else {
            im2col::forward(shape, x, weight, epilogue, y);
        }
    });
}

/// Gradient to the input, `dx [B, Cin, H, W]`.
pub(crate) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    in_pool(|| {
        if winograd::applies(shape) {
            winograd::input_grad(shape, weight, dy, dx);
        } else if pointwise::applies(shape) {
            pointwise::input_grad(shape, weight, dy, dx);
        } else {
            im2col::input_grad(shape, weight, dy, dx);
        }
    });
}

/// Gradient to the weights, `dw [Cout, Cin / groups, KH, KW]`.
pub(crate) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    in_pool(|| {
        if winograd::applies(shape) {
            winograd::weight_grad(shape, x, dy, dw);
        } else if pointwise::applies(shape) {
            pointwise::weight_grad(shape, x, dy, dw);
        } else {
            im2col::weight_grad(shape, x, dy, dw);
        }
    });
}

/// Gradient to the bias: the sum of every output plane over the images.
pub(crate) fn bias_grad(channels: usize, plane_len: usize, dy: &[f32], db: &mut [f32]) {
    db.par_iter_mut().enumerate().for_each(|(channel, db)| {
        let planes = dy.chunks(plane_len).skip(channel).step_by(channels);
        *db = planes.map(sums::sum).sum::<f64>() as f32;
    });
}
