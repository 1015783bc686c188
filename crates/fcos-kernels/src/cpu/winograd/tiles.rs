//! Cutting planes into tiles, and tiles to and from the transform domain.

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{self, PATCH, POINTS, TILE};
use crate::cpu::planes::Finish;
use crate::cpu::shape::ConvShape;
use crate::cpu::simd::{LANES, Lanes, vectorize};

/// How the output planes of all images divide into rows of 4×4 tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    batch: usize,
    /// Rows of tiles in a plane.
    rows: usize,
    /// Tiles in a row.
    cols: usize,
}

impl Tiling {
    pub(super) fn of_output(shape: &ConvShape) -> Self {
        let [height, width] = shape.output();
        Self {
            batch: shape.batch,
            rows: height.div_ceil(TILE),
            cols: width.div_ceil(TILE),
        }
    }

    /// Tiles of all images.
    pub(super) fn count(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    /// Runs of tiles (across rows and images) that fill the columns of the matrix kernel, and of which
    /// `channels` planes transform to at most `values`, or as few as that takes.
    pub(super) fn blocks(self, channels: usize, values: usize) -> impl Iterator<Item = Block> {
        let tiles = self.count();
        let most = values / (POINTS * channels);
        let per_block = (most - most % KERNEL_COLUMNS).max(KERNEL_COLUMNS);
        (0..tiles).step_by(per_block).map(move |start| Block {
            tiling: self,
            tiles: start..(start + per_block).min(tiles),
        })
    }
}

/// What the matrix kernel computes at once (with AVX-512). A rest of a few columns takes half as long.
const KERNEL_COLUMNS: usize = 64;

/// A run of tiles, numbered by row and through all images.
pub(super) struct Block {
    tiling: Tiling,
    tiles: Range<usize>,
}

/// The tiles of a block that lie in one row.
struct Run {
    image: usize,
    /// Row of tiles in the plane.
    row: usize,
    /// Columns of tiles.
    cols: Range<usize>,
    /// The first tile's place in the block.
    first: usize,
}

impl Block {
    pub(super) fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// Distance between the values of neighbouring points. Full groups of lanes are written, so a
    /// row has room for the part of a group that sticks out.
    pub(super) fn row_stride(&self) -> usize {
        self.tiles().next_multiple_of(LANES) + LANES
    }

    /// The images the block touches.
    pub(super) fn images(&self) -> Range<usize> {
        let per_image = self.tiling.rows * self.tiling.cols;
        self.tiles.start / per_image..(self.tiles.end - 1) / per_image + 1
    }

    /// The block's tiles row by row: a block begins and ends anywhere in a row.
    #[inline(always)]
    fn runs(&self) -> impl Iterator<Item = Run> {
        let Tiling { rows, cols, .. } = self.tiling;
        let Range { start, end } = self.tiles;
        // Rows are numbered through all images, as tiles are.
        (start / cols..end.div_ceil(cols)).map(move |row| {
            // The block may begin in the middle of its first row, and end in that of its last.
            let first = start.max(row * cols);
            Run {
                image: row / rows,
                row: row % rows,
                cols: first - row * cols..end.min((row + 1) * cols) - row * cols,
                first: first - start,
            }
        })
    }
}

/// Planes `[B, C, H, W]` seen as if surrounded by zeros.
pub(super) struct Planes<'a> {
    data: &'a [f32],
    channels: usize,
    size: [usize; 2],
    padding: [usize; 2],
}

impl<'a> Planes<'a> {
    pub(super) fn input(shape: &ConvShape, data: &'a [f32]) -> Self {
        Self {
            data,
            channels: shape.in_channels,
            size: shape.input,
            padding: shape.padding,
        }
    }

    pub(super) fn output(shape: &ConvShape, data: &'a [f32]) -> Self {
        Self {
            data,
            channels: shape.out_channels,
            size: shape.output(),
            padding: [0, 0],
        }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    #[inline(always)]
    fn plane(&self, image: usize, channel: usize) -> &'a [f32] {
        let len = self.size[0] * self.size[1];
        let start = (image * self.channels + channel) * len;
        &self.data[start..start + len]
    }

    /// Copies row `row` (counted from the first row of padding) into `line`, whose columns of
    /// padding are zero.
    #[inline(always)]
    fn copy_row(&self, plane: &[f32], row: usize, line: &mut [f32]) {
        let [height, width] = self.size;
        let [top, left] = self.padding;
        if (top..top + height).contains(&row) {
            let row = &plane[(row - top) * width..][..width];
            line[left..left + width].copy_from_slice(row);
        } else {
            line.fill(0.0);
        }
    }
}

/// Length of the transformed values of `channels` planes: `[C, 36, row_stride]`.
pub(super) fn transformed_len(block: &Block, channels: usize) -> usize {
    channels * POINTS * block.row_stride()
}

/// `Bᵀ d B` of every tile, to `v [C, 36, row_stride]`.
pub(super) fn transform_inputs(block: &Block, planes: &Planes, v: &mut [f32]) {
    v.par_chunks_mut(POINTS * block.row_stride())
        .enumerate()
        .for_each(|(channel, v)| transform_input_channel(block, planes, channel, v));
}

/// `A dy Aᵀ` of every tile, to `e [C, 36, row_stride]`.
pub(super) fn transform_output_grads(block: &Block, planes: &Planes, e: &mut [f32]) {
    e.par_chunks_mut(POINTS * block.row_stride())
        .enumerate()
        .for_each(|(channel, e)| transform_grad_channel(block, planes, channel, e));
}

/// The rows of input behind one row of tiles, split by column modulo 4: neighbouring tiles, which
/// are four columns apart, become neighbours in memory.
struct Window {
    lines: Vec<f32>,
    phases: Vec<f32>,
    /// Tiles in a phase: whole groups of lanes, and one group for the columns after the last tile.
    len: usize,
}

impl Window {
    #[inline(always)]
    fn new(rows: usize, cols: usize, planes: &Planes) -> Self {
        let reach = planes.size[1] + planes.padding[1];
        let len = (cols + 1).max(reach.div_ceil(TILE)).next_multiple_of(LANES) + LANES;
        Self {
            lines: vec![0.0; rows * TILE * len],
            phases: vec![0.0; rows * TILE * len],
            len,
        }
    }

    /// Reads the window whose first row is `first`, counted from the first row of padding.
    #[inline(always)]
    fn read(&mut self, planes: &Planes, plane: &[f32], first: usize) {
        let len = TILE * self.len;
        // All lines first: a wide load that follows a narrow store to the same place waits.
        for (r, line) in self.lines.chunks_exact_mut(len).enumerate() {
            planes.copy_row(plane, first + r, line);
        }
        let lines = self.lines.chunks_exact(len);
        for (line, phases) in lines.zip(self.phases.chunks_exact_mut(len)) {
            for (t, line) in line.chunks_exact(TILE * LANES).enumerate() {
                for phase in 0..TILE {
                    let lanes = Lanes::gather(&line[phase..], TILE);
                    lanes.store(&mut phases[phase * self.len + t * LANES..]);
                }
            }
        }
    }

    /// The `N` × `N` values of the eight tiles from `tile`, by row and column in the tile.
    #[inline(always)]
    fn tiles<const N: usize>(&self, tile: usize) -> [[Lanes; N]; N] {
        let mut tiles = [[Lanes::ZERO; N]; N];
        for (r, row) in tiles.iter_mut().enumerate() {
            for (c, lanes) in row.iter_mut().enumerate() {
                let phase = (r * TILE + c % TILE) * self.len;
                *lanes = Lanes::load(&self.phases[phase + tile + c / TILE..]);
            }
        }
        tiles
    }
}

vectorize! {
    fn transform_input_channel(block: &Block, planes: &Planes, channel: usize, v: &mut [f32]) {
        let stride = block.row_stride();
        let mut window = Window::new(PATCH, block.tiling.cols, planes);
        for run in block.runs() {
            window.read(planes, planes.plane(run.image, channel), run.row * TILE);
            for tile in (0..run.cols.len()).step_by(LANES) {
                // The last group may run past the row: `row_stride` has room, the next run overwrites.
                let d = transform::input(window.tiles(run.cols.start + tile));
                store_points(d, &mut v[run.first + tile..], stride);
            }
        }
    }
}

vectorize! {
    fn transform_grad_channel(block: &Block, planes: &Planes, channel: usize, e: &mut [f32]) {
        let stride = block.row_stride();
        let mut window = Window::new(TILE, block.tiling.cols, planes);
        for run in block.runs() {
            window.read(planes, planes.plane(run.image, channel), run.row * TILE);
            for tile in (0..run.cols.len()).step_by(LANES) {
                let d = transform::output_grad(window.tiles(run.cols.start + tile));
                store_points(d, &mut e[run.first + tile..], stride);
            }
        }
    }
}

vectorize! {
    /// The tiles of one output plane that belong to the block; what follows them in the last row is
    /// overwritten by the next block. `m` starts at the plane's channel; its points lie `stride` apart.
    pub(super) fn transform_outputs(
        block: &Block, image: usize, m: &[f32], stride: usize, finish: Finish, plane: &mut [f32],
        width: usize,
    ) {
        for run in block.runs().filter(|run| run.image == image) {
            for tile in (0..run.cols.len()).step_by(LANES) {
                // One value of each of eight tiles per lane, gathered from the 36 products.
                let mut points = [[Lanes::ZERO; PATCH]; PATCH];
                for point in 0..POINTS {
                    points[point / PATCH][point % PATCH] =
                        Lanes::load(&m[point * stride + run.first + tile..]);
                }
                let y = transform::output(points);
                let rows = plane[run.row * TILE * width..].chunks_mut(width).take(TILE);
                for (values, line) in y.into_iter().zip(rows) {
                    write_line(values, finish, &mut line[(run.cols.start + tile) * TILE..]);
                }
            }
        }
    }
}

/// Writes the 36 points of eight tiles, `stride` apart.
#[inline(always)]
fn store_points(points: [[Lanes; PATCH]; PATCH], out: &mut [f32], stride: usize) {
    for point in 0..POINTS {
        points[point / PATCH][point % PATCH].store(&mut out[point * stride..]);
    }
}

/// Interleaves one row of eight tiles into `line`, dropping what lies beyond its end.
#[inline(always)]
fn write_line(values: [Lanes; TILE], finish: Finish, line: &mut [f32]) {
    let mut row = [0.0; LANES * TILE];
    for (c, lanes) in values.into_iter().enumerate() {
        for (t, value) in lanes.to_array().into_iter().enumerate() {
            row[t * TILE + c] = finish.apply(value);
        }
    }
    match line.first_chunk_mut() {
        Some(line) => *line = row,
        None => line.copy_from_slice(&row[..line.len()]),
    }
}
