//! 3×3 stride-1 convolution by Winograd's F(4x4, 3x3): 36 products where the definition has 144.
//!
//! The output is cut into 4×4 tiles. A block of tiles goes through three steps, each parallel over
//! disjoint outputs: transform the input (by channel), multiply (36 independent matrix products),
//! transform back (by output plane). Blocks follow one another, so the buffers stay in the cache
//! and every sum has one fixed order.
//!
//! The gradient to the input is the same convolution with turned filters. The gradient to the
//! weights runs the steps backwards: `dU = (A dy Aᵀ)(Bᵀ x B)ᵀ` per point, then `dg = Gᵀ dU G`.
//!
//! Legend: B images, C channels (`Cin`, `Cout`), T tiles of a block, 36 transform points.

mod filters;
mod tiles;
mod transform;

use rayon::prelude::*;

use super::conv::Epilogue;
use super::matmul::{MatMut, MatRef, Threads, Write, matmul};
use super::scratch::with_scratch;
use super::shape::ConvShape;
use super::simd::LANES;
use tiles::{Block, Planes, Tiling};
use transform::POINTS;

/// Whether these kernels apply: 3×3, stride 1, one group, enough input channels and tiles to pay.
pub(crate) fn applies(shape: &ConvShape) -> bool {
    let plain = shape.kernel == [3, 3]
        && shape.stride == [1, 1]
        && shape.dilation == [1, 1]
        && shape.groups == 1
        && shape.padding[0] <= 2
        && shape.padding[1] <= 2;
    plain && shape.in_channels >= 2 * LANES && Tiling::of_output(shape).count() >= MIN_TILES
}

/// With fewer tiles the transformed filters cost more than the products saved (measured).
const MIN_TILES: usize = 32;

/// Transformed values of a block: few enough for the caches.
const BLOCK_VALUES: usize = 3 << 19;
/// The same for the gradient to the weights, which reads and writes all its sums for each block.
const GRAD_BLOCK_VALUES: usize = 3 << 21;

/// Forward: `y [B, Cout, OH, OW]` of `x [B, Cin, H, W]` and `weight [Cout, Cin, 3, 3]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
) {
    let (cout, cin) = (shape.out_channels, shape.in_channels);
    with_scratch(filters::len(cout, cin), |filters| {
        filters::transform(weight, cin, false, filters);
        let lhs = |point| filters::matrix(filters, cout, cin, point);
        convolve(shape, x, lhs, epilogue, y);
    });
}

/// Gradient to the input: the convolution of `dy` with the filters turned by half a turn.
pub(crate) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (cout, cin) = (shape.out_channels, shape.in_channels);
    let turned = ConvShape {
        in_channels: cout,
        out_channels: cin,
        input: shape.output(),
        padding: shape.padding.map(|p| 2 - p),
        ..*shape
    };
    with_scratch(filters::len(cout, cin), |filters| {
        filters::transform(weight, cin, true, filters);
        let lhs = |point| filters::matrix(filters, cout, cin, point).t();
        convolve(&turned, dy, lhs, Epilogue::NONE, dx);
    });
}

/// Gradient to the weights, `dw [Cout, Cin, 3, 3]`.
pub(crate) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (cout, cin) = (shape.out_channels, shape.in_channels);
    let (inputs, grads) = (Planes::input(shape, x), Planes::output(shape, dy));
    with_scratch(POINTS * filters::sums_stride(cout, cin), |sums| {
        let mut write = Write::Replace;
        for block in Tiling::of_output(shape).blocks(cin + cout, GRAD_BLOCK_VALUES) {
            add_block_grad(&block, &inputs, &grads, write, sums);
            write = Write::Add;
        }
        filters::transform_grad(sums, cout, cin, dw);
    });
}

/// Adds one block's share of the gradient to the transformed filters.
fn add_block_grad(block: &Block, x: &Planes, dy: &Planes, write: Write, sums: &mut [f32]) {
    let (cout, cin, stride) = (dy.channels(), x.channels(), block.row_stride());
    with_scratch(tiles::transformed_len(block, cin), |v| {
        with_scratch(tiles::transformed_len(block, cout), |e| {
            tiles::transform_inputs(block, x, v);
            tiles::transform_output_grads(block, dy, e);
            sums.par_chunks_mut(filters::sums_stride(cout, cin))
                .enumerate()
                .for_each(|(point, sum)| {
                    let e = MatRef::new(&e[point * stride..], cout, block.tiles(), POINTS * stride);
                    let v = MatRef::new(&v[point * stride..], cin, block.tiles(), POINTS * stride);
                    let sum = MatMut::new(sum, cout, cin, cin);
                    matmul(sum, write, e, v.t(), Threads::One);
                });
        });
    });
}

/// The three steps for every block of tiles; `lhs(point)` is the matrix of filters of a point.
fn convolve<'a>(
    shape: &ConvShape,
    x: &[f32],
    lhs: impl Fn(usize) -> MatRef<'a> + Sync,
    epilogue: Epilogue,
    y: &mut [f32],
) {
    let (cout, cin) = (shape.out_channels, shape.in_channels);
    let planes = Planes::input(shape, x);
    for block in Tiling::of_output(shape).blocks(cin + cout, BLOCK_VALUES) {
        let point_stride = cout * block.row_stride() + filters::PADDING;
        with_scratch(POINTS * point_stride, |m| {
            with_scratch(tiles::transformed_len(&block, cin), |v| {
                tiles::transform_inputs(&block, &planes, v);
                multiply(&block, v, cin, cout, &lhs, m);
            });
            write_outputs(shape, &block, m, epilogue, y);
        });
    }
}

/// The 36 products `m [36, Cout, T]` of `lhs [Cout, Cin]` and `v [Cin, 36, T]`.
fn multiply<'a>(
    block: &Block,
    v: &[f32],
    cin: usize,
    cout: usize,
    lhs: &(impl Fn(usize) -> MatRef<'a> + Sync),
    m: &mut [f32],
) {
    let stride = block.row_stride();
    m.par_chunks_mut(cout * stride + filters::PADDING)
        .enumerate()
        .for_each(|(point, m)| {
            let v = MatRef::new(&v[point * stride..], cin, block.tiles(), POINTS * stride);
            let m = MatMut::new(m, cout, block.tiles(), stride);
            matmul(m, Write::Replace, lhs(point), v, Threads::One);
        });
}

/// The last step: the output planes of the block's images, each by one thread.
fn write_outputs(shape: &ConvShape, block: &Block, m: &[f32], epilogue: Epilogue, y: &mut [f32]) {
    let (cout, plane_len, images) = (shape.out_channels, shape.out_plane(), block.images());
    let (width, row_stride) = (shape.output()[1], block.row_stride());
    let point_stride = cout * row_stride + filters::PADDING;
    y[images.start * cout * plane_len..images.end * cout * plane_len]
        .par_chunks_mut(plane_len)
        .enumerate()
        .for_each(|(i, plane)| {
            let (image, channel) = (images.start + i / cout, i % cout);
            let finish = epilogue.of_channel(channel);
            let m = &m[channel * row_stride..];
            tiles::transform_outputs(block, image, m, point_stride, finish, plane, width);
        });
}
