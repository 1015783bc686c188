//! Arithmetic on whole planes: the affine map of a normalisation, rectification, addition.
//!
//! Rectification lets NaN through, forward and backward, so that a diverged run shows.

use rayon::prelude::*;

use super::simd::vectorize;

/// Values handed to one thread at a time where planes do not matter.
const CHUNK: usize = 1 << 14;

/// `y = scale * (x - center) + shift`, rectified at will: the map of one plane. Subtracting first
/// keeps small deviations from a large mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    pub(crate) center: f32,
    pub(crate) scale: f32,
    pub(crate) shift: f32,
    pub(crate) relu: bool,
}

impl Affine {
    /// The map without rectification.
    #[inline(always)]
    fn linear(self, x: f32) -> f32 {
        (x - self.center) * self.scale + self.shift
    }
}

/// What a convolution makes of the sums of one output channel: `y + bias`, but not below `least`,
/// which is 0 for a ReLU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish {
    pub(crate) bias: f32,
    pub(crate) least: f32,
}

impl Finish {
    #[inline(always)]
    pub(crate) fn apply(self, y: f32) -> f32 {
        let y = y + self.bias;
        if y < self.least { self.least } else { y }
    }
}

vectorize! {
    /// Finishes part of a plane in its place.
    pub(crate) fn finish(y: &mut [f32], finish: Finish) {
        for y in y {
            *y = finish.apply(*y);
        }
    }
}

#[inline(always)]
fn rectify(y: f32) -> f32 {
    if y < 0.0 { 0.0 } else { y }
}

/// `dy` where the output `y` was positive.
#[inline(always)]
fn masked(y: f32, dy: f32) -> f32 {
    if y <= 0.0 { 0.0 } else { dy }
}

vectorize! {
    /// Applies the map to one plane.
    pub(crate) fn affine(x: &[f32], map: Affine, y: &mut [f32]) {
        if map.relu {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = rectify(map.linear(x));
            }
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = map.linear(x);
            }
        }
    }
}

vectorize! {
    /// The gradient before rectification: `out = dy` where the map of `x` was positive.
    pub(crate) fn mask_grad(x: &[f32], map: Affine, dy: &[f32], out: &mut [f32]) {
        for ((out, &x), &dy) in out.iter_mut().zip(x).zip(dy) {
            *out = masked(map.linear(x), dy);
        }
    }
}

vectorize! {
    /// `dx = by_dy * dx + by_x * (x - center) + constant`, where `dx` holds the gradient to the
    /// output at first.
    pub(crate) fn normalized_grad(
        x: &[f32], center: f32, by_dy: f32, by_x: f32, constant: f32, dx: &mut [f32],
    ) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = by_dy * *dx + (by_x * (x - center) + constant);
        }
    }
}

vectorize! {
    fn relu_chunk(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = rectify(x);
        }
    }
}

vectorize! {
    fn add_relu_chunk(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = rectify(a + b);
        }
    }
}

vectorize! {
    fn relu_grad_chunk(y: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx = masked(y, dy);
        }
    }
}

/// `y = max(x, 0)`
pub(crate) fn relu(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| relu_chunk(x, y));
}

/// `y = max(a + b, 0)`
pub(crate) fn add_relu(a: &[f32], b: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)))
        .for_each(|(y, (a, b))| add_relu_chunk(a, b, y));
}

/// `dx = dy` where the rectified output `y` is positive.
pub(crate) fn relu_grad(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK)
        .zip(y.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK)))
        .for_each(|(dx, (y, dy))| relu_grad_chunk(y, dy, dx));
}
