//! 1×1 stride-1 convolution: one matrix product per image, straight from and to the planes.
//!
//! Legend: B images, P pixels of a plane.

use rayon::prelude::*;

use super::conv::Epilogue;
use super::matmul::{MatMut, MatRef, Threads, Write, matmul, matmul_by_columns};
use super::planes;
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

/// Pixels of a block of the forward pass: enough that packing the weights anew for each pays, few
/// enough that its outputs are finished while they are in the cache. Not a function of the number
/// of threads: the results are not either.
const BLOCK: usize = 1024;
/// With fewer blocks, threads would wait for each other.
const MIN_BLOCKS: usize = 8;

/// Forward: `y [B, Cout, P]` of `x [B, Cin, P]` and `weight [Cout, Cin]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
) {
    let (cout, cin, pixels) = (shape.out_channels, shape.in_channels, shape.in_plane());
    let weight = MatRef::new(weight, cout, cin, cin);
    for (x, y) in x.chunks(cin * pixels).zip(y.chunks_mut(cout * pixels)) {
        let x = MatRef::new(x, cin, pixels, pixels);
        let finish = |channel, y: &mut [f32]| planes::finish(y, epilogue.of_channel(channel));
        if pixels >= MIN_BLOCKS * BLOCK {
            let y = MatMut::new(y, cout, pixels, pixels);
            matmul_by_columns(y, weight, x, BLOCK, finish);
        } else {
            let product = MatMut::new(y, cout, pixels, pixels);
            matmul(product, Write::Replace, weight, x, Threads::All);
            let planes = y.par_chunks_mut(pixels).enumerate();
            planes.for_each(|(channel, y)| finish(channel, y));
        }
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
