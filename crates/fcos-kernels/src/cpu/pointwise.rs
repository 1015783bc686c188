//! 1×1 stride-1 convolution: one matrix product per image, straight from and to the planes.
//!
//! Legend: B images, P pixels of a plane.

use super::matmul::{MatMut, MatRef, Threads, Write, matmul};
use super::shape::ConvShape;

/// Whether these kernels apply: 1×1, stride 1, no padding, one group, planes long enough for a
/// product of their own.
pub(crate) fn applies(shape: &ConvShape) -> bool {
    shape.kernel == [1, 1]
        && shape.stride == [1, 1]
        && shape.padding == [0, 0]
        && shape.groups == 1
        && shape.in_plane() >= MIN_PIXELS
}

/// Below this, pixels of several images together make better products (see `im2col`).
const MIN_PIXELS: usize = 64;

/// Forward: `y [B, Cout, P]` of `x [B, Cin, P]` and `weight [Cout, Cin]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (cout, cin, pixels) = (shape.out_channels, shape.in_channels, shape.in_plane());
    let weight = MatRef::new(weight, cout, cin, cin);
    for (x, y) in x.chunks(cin * pixels).zip(y.chunks_mut(cout * pixels)) {
        let write = fill_bias(bias, pixels, y);
        let x = MatRef::new(x, cin, pixels, pixels);
        matmul(
            MatMut::new(y, cout, pixels, pixels),
            write,
            weight,
            x,
            Threads::All,
        );
    }
}

/// Gradient to the input, `dx [B, Cin, P]`.
pub(crate) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (cout, cin, pixels) = (shape.out_channels, shape.in_channels, shape.in_plane());
    let weight = MatRef::new(weight, cout, cin, cin).t();
    for (dy, dx) in dy.chunks(cout * pixels).zip(dx.chunks_mut(cin * pixels)) {
        let dy = MatRef::new(dy, cout, pixels, pixels);
        let dx = MatMut::new(dx, cin, pixels, pixels);
        matmul(dx, Write::Replace, weight, dy, Threads::All);
    }
}

/// Gradient to the weights, `dw [Cout, Cin]`.
pub(crate) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (cout, cin, pixels) = (shape.out_channels, shape.in_channels, shape.in_plane());
    let mut write = Write::Replace;
    for (x, dy) in x.chunks(cin * pixels).zip(dy.chunks(cout * pixels)) {
        let x = MatRef::new(x, cin, pixels, pixels).t();
        let dy = MatRef::new(dy, cout, pixels, pixels);
        matmul(MatMut::new(dw, cout, cin, cin), write, dy, x, Threads::All);
        write = Write::Add;
    }
}

/// Writes the bias to every pixel, for the product to be added to.
fn fill_bias(bias: Option<&[f32]>, pixels: usize, y: &mut [f32]) -> Write {
    let Some(bias) = bias else {
        return Write::Replace;
    };
    for (y, &bias) in y.chunks_mut(pixels).zip(bias) {
        y.fill(bias);
    }
    Write::Add
}
