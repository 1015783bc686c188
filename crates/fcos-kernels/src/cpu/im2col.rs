//! Convolution of any shape as matrix products over unfolded input ("im2col").
//!
//! A block of output rows at a time, every input value a filter tap needs is copied to a column
//! matrix `[Cin * KH * KW, T]`; forward is then `W col`, the gradient to the input `Wᵀ dy` folded
//! back, the gradient to the weights `dy colᵀ`. Blocks follow one another in a fixed order.
//!
//! Legend: B images, K = Cin · KH · KW rows of columns, T output pixels of a block.

use std::ops::Range;

use rayon::prelude::*;

use super::conv::Epilogue;
use super::matmul::{MatMut, MatRef, Threads, Write, matmul};
use super::planes;
use super::scratch::with_scratch;
use super::shape::ConvShape;
use super::simd::vectorize;

/// Values in the column matrix of one block: it stays in the outer caches.
const BLOCK_VALUES: usize = 1 << 20;

/// Forward: `y [B, Cout, OH, OW]` of `x [B, Cin, H, W]` and `weight [Cout, Cin / groups, KH, KW]`.
pub(crate) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    epilogue: Epilogue,
    y: &mut [f32],
) {
    for block in Block::all(shape) {
        with_scratch(block.columns_len(), |columns| {
            block.unfold(x, columns);
            with_scratch(shape.out_channels * block.pixels(), |out| {
                block.multiply(weight, columns, out);
                block.scatter(out, epilogue, y);
            });
        });
    }
}

/// Gradient to the input, `dx [B, Cin, H, W]`.
pub(crate) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for block in Block::all(shape) {
        with_scratch(shape.out_channels * block.pixels(), |grads| {
            block.gather(dy, grads);
            with_scratch(block.columns_len(), |columns| {
                block.multiply_transposed(weight, grads, columns);
                block.fold(columns, dx);
            });
        });
    }
}

/// Gradient to the weights, `dw [Cout, Cin / groups, KH, KW]`.
pub(crate) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let mut write = Write::Replace;
    for block in Block::all(shape) {
        with_scratch(block.columns_len(), |columns| {
            block.unfold(x, columns);
            with_scratch(shape.out_channels * block.pixels(), |grads| {
                block.gather(dy, grads);
                block.add_weight_grad(columns, grads, write, dw);
            });
        });
        write = Write::Add;
    }
}

/// A run of output rows, numbered through all images.
struct Block<'a> {
    shape: &'a ConvShape,
    rows: Range<usize>,
}

/// Where one row of the output takes its values from, for one filter tap.
struct Tap {
    /// First and last-but-one output column that meets the input.
    cols: Range<usize>,
    /// Input column of the first of them.
    start: usize,
}

impl<'a> Block<'a> {
    fn all(shape: &'a ConvShape) -> impl Iterator<Item = Self> {
        let [height, width] = shape.output();
        let rows = shape.batch * height;
        let taps = shape.in_channels * shape.kernel[0] * shape.kernel[1];
        let per_block = (BLOCK_VALUES / (taps * width).max(1)).clamp(1, rows.max(1));
        (0..rows).step_by(per_block).map(move |start| Self {
            shape,
            rows: start..(start + per_block).min(rows),
        })
    }

    /// T
    fn pixels(&self) -> usize {
        self.rows.len() * self.shape.output()[1]
    }

    /// K · T
    fn columns_len(&self) -> usize {
        self.shape.in_channels * self.taps() * self.pixels()
    }

    fn taps(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1]
    }

    fn images(&self) -> Range<usize> {
        let height = self.shape.output()[0];
        self.rows.start / height..(self.rows.end - 1) / height + 1
    }

    /// The block's rows of one image: (row in the plane, first pixel in the block).
    fn rows_of(&self, image: usize) -> impl Iterator<Item = (usize, usize)> {
        let [height, width] = self.shape.output();
        let first = image * height;
        let rows = self.rows.start.max(first)..self.rows.end.min(first + height);
        let start = self.rows.start;
        rows.map(move |row| (row - first, (row - start) * width))
    }

    /// The input row that tap row `ky` meets at output row `oy`, if it lies inside the plane.
    fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        let shape = self.shape;
        (oy * shape.stride[0] + ky * shape.dilation[0])
            .checked_sub(shape.padding[0])
            .filter(|&row| row < shape.input[0])
    }

    /// The output columns at which tap column `kx` lies inside the plane.
    fn tap(&self, kx: usize) -> Tap {
        let shape = self.shape;
        let (stride, left) = (shape.stride[1], shape.padding[1]);
        let offset = kx * shape.dilation[1];
        let first = left.saturating_sub(offset).div_ceil(stride);
        let end = (shape.input[1] + left)
            .saturating_sub(offset)
            .div_ceil(stride);
        let cols = first..end.min(shape.output()[1]).max(first);
        let start = (first * stride + offset).saturating_sub(left);
        Tap { cols, start }
    }

    /// Copies the input under every tap: `columns [Cin · KH · KW, T]`.
    fn unfold(&self, x: &[f32], columns: &mut [f32]) {
        let shape = self.shape;
        let (plane_len, width) = (shape.in_plane(), shape.output()[1]);
        columns
            .par_chunks_mut(self.pixels())
            .enumerate()
            .for_each(|(row, columns)| {
                let (channel, tap) = (row / self.taps(), row % self.taps());
                let (ky, tap) = (tap / shape.kernel[1], self.tap(tap % shape.kernel[1]));
                for image in self.images() {
                    let plane =
                        &x[(image * shape.in_channels + channel) * plane_len..][..plane_len];
                    for (oy, first) in self.rows_of(image) {
                        let out = &mut columns[first..first + width];
                        let row = self.input_row(oy, ky);
                        let row = row.map(|row| &plane[row * shape.input[1]..][..shape.input[1]]);
                        copy_tap(row, &tap, shape.stride[1], out);
                    }
                }
            });
    }

    /// Adds the columns' gradient to the input values they were copied from.
    fn fold(&self, columns: &[f32], dx: &mut [f32]) {
        let shape = self.shape;
        let (plane_len, images) = (shape.in_plane(), self.images());
        let planes = images.start * shape.in_channels..images.end * shape.in_channels;
        dx[planes.start * plane_len..planes.end * plane_len]
            .par_chunks_mut(plane_len)
            .enumerate()
            .for_each(|(i, plane)| {
                let image = images.start + i / shape.in_channels;
                self.fold_plane(image, i % shape.in_channels, columns, plane);
            });
    }

    fn fold_plane(&self, image: usize, channel: usize, columns: &[f32], plane: &mut [f32]) {
        let shape = self.shape;
        let (pixels, width) = (self.pixels(), shape.output()[1]);
        for tap in 0..self.taps() {
            let columns = &columns[(channel * self.taps() + tap) * pixels..][..pixels];
            let (ky, tap) = (tap / shape.kernel[1], self.tap(tap % shape.kernel[1]));
            for (oy, first) in self.rows_of(image) {
                if let Some(row) = self.input_row(oy, ky) {
                    let row = &mut plane[row * shape.input[1]..][..shape.input[1]];
                    add_tap(&columns[first..first + width], &tap, shape.stride[1], row);
                }
            }
        }
    }

    /// `out [Cout, T]` = weights times columns, group by group.
    fn multiply(&self, weight: &[f32], columns: &[f32], out: &mut [f32]) {
        let (per_group, taps, pixels) = self.group_sizes();
        self.for_groups(out, per_group * pixels, |group, out, threads| {
            let weight = MatRef::new(&weight[group * per_group * taps..], per_group, taps, taps);
            let columns = MatRef::new(&columns[group * taps * pixels..], taps, pixels, pixels);
            let out = MatMut::new(out, per_group, pixels, pixels);
            matmul(out, Write::Replace, weight, columns, threads);
        });
    }

    /// `columns [K, T]` = transposed weights times output gradients, group by group.
    fn multiply_transposed(&self, weight: &[f32], grads: &[f32], columns: &mut [f32]) {
        let (per_group, taps, pixels) = self.group_sizes();
        self.for_groups(columns, taps * pixels, |group, columns, threads| {
            let weight = MatRef::new(&weight[group * per_group * taps..], per_group, taps, taps);
            let grads = &grads[group * per_group * pixels..];
            let grads = MatRef::new(grads, per_group, pixels, pixels);
            let columns = MatMut::new(columns, taps, pixels, pixels);
            matmul(columns, Write::Replace, weight.t(), grads, threads);
        });
    }

    /// `dw` (+)= output gradients times transposed columns, group by group.
    fn add_weight_grad(&self, columns: &[f32], grads: &[f32], write: Write, dw: &mut [f32]) {
        let (per_group, taps, pixels) = self.group_sizes();
        self.for_groups(dw, per_group * taps, |group, dw, threads| {
            let columns = MatRef::new(&columns[group * taps * pixels..], taps, pixels, pixels);
            let grads = &grads[group * per_group * pixels..];
            let grads = MatRef::new(grads, per_group, pixels, pixels);
            let dw = MatMut::new(dw, per_group, taps, taps);
            matmul(dw, write, grads, columns.t(), threads);
        });
    }

    /// Output channels of a group, rows of columns of a group, T.
    fn group_sizes(&self) -> (usize, usize, usize) {
        let shape = self.shape;
        let per_group = shape.out_channels / shape.groups;
        (per_group, shape.taps_per_filter(), self.pixels())
    }

    /// Runs `f` on every group's part of `out`: parallel over groups, or inside a lone group.
    fn for_groups(
        &self,
        out: &mut [f32],
        group_len: usize,
        f: impl Fn(usize, &mut [f32], Threads) + Sync,
    ) {
        if self.shape.groups == 1 {
            f(0, out, Threads::All);
        } else {
            out.par_chunks_mut(group_len)
                .enumerate()
                .for_each(|(group, out)| f(group, out, Threads::One));
        }
    }

    /// Copies `out [Cout, T]`, finished, to the planes of `y`.
    fn scatter(&self, out: &[f32], epilogue: Epilogue, y: &mut [f32]) {
        let (cout, plane_len) = (self.shape.out_channels, self.shape.out_plane());
        let (images, width) = (self.images(), self.shape.output()[1]);
        y[images.start * cout * plane_len..images.end * cout * plane_len]
            .par_chunks_mut(plane_len)
            .enumerate()
            .for_each(|(i, plane)| {
                let (image, channel) = (images.start + i / cout, i % cout);
                let finish = epilogue.of_channel(channel);
                let out = &out[channel * self.pixels()..][..self.pixels()];
                for (oy, first) in self.rows_of(image) {
                    let row = &mut plane[oy * width..(oy + 1) * width];
                    row.copy_from_slice(&out[first..first + width]);
                    planes::finish(row, finish);
                }
            });
    }

    /// Copies the planes of `dy` to `grads [Cout, T]`.
    fn gather(&self, dy: &[f32], grads: &mut [f32]) {
        let (cout, plane_len) = (self.shape.out_channels, self.shape.out_plane());
        let width = self.shape.output()[1];
        grads
            .par_chunks_mut(self.pixels())
            .enumerate()
            .for_each(|(channel, grads)| {
                for image in self.images() {
                    let plane = &dy[(image * cout + channel) * plane_len..][..plane_len];
                    for (oy, first) in self.rows_of(image) {
                        let row = &plane[oy * width..(oy + 1) * width];
                        grads[first..first + width].copy_from_slice(row);
                    }
                }
            });
    }
}

/// The values one tap meets along an output row; zero where it lies outside (`row` is `None` above
/// and below the plane).
fn copy_tap(row: Option<&[f32]>, tap: &Tap, stride: usize, out: &mut [f32]) {
    let Some(row) = row.filter(|_| !tap.cols.is_empty()) else {
        return out.fill(0.0);
    };
    out[..tap.cols.start].fill(0.0);
    out[tap.cols.end..].fill(0.0);
    let out = &mut out[tap.cols.clone()];
    if stride == 1 {
        out.copy_from_slice(&row[tap.start..tap.start + out.len()]);
    } else if stride == 2 {
        copy_every_second(&row[tap.start..], out);
    } else {
        for (out, value) in out.iter_mut().zip(row[tap.start..].iter().step_by(stride)) {
            *out = *value;
        }
    }
}

vectorize! {
    /// The values at 0, 2, 4, … of `row`, which may end with the last of them.
    fn copy_every_second(row: &[f32], out: &mut [f32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for (out, pair) in out.iter_mut().zip(pairs) {
            *out = pair[0];
        }
        if let (Some(out), [value]) = (out.get_mut(pairs.len()), rest) {
            *out = *value;
        }
    }
}

/// The transpose of [`copy_tap`].
fn add_tap(columns: &[f32], tap: &Tap, stride: usize, row: &mut [f32]) {
    if tap.cols.is_empty() {
        return;
    }
    let columns = &columns[tap.cols.clone()];
    if stride == 1 {
        let row = &mut row[tap.start..tap.start + columns.len()];
        for (row, value) in row.iter_mut().zip(columns) {
            *row += value;
        }
    } else {
        for (row, value) in row[tap.start..].iter_mut().step_by(stride).zip(columns) {
            *row += value;
        }
    }
}
