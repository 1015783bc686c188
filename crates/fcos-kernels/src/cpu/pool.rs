//! Max pooling of planes.

use std::ops::Range;

use rayon::prelude::*;

use super::simd::vectorize;

/// A square pooling window over planes of `input` (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolShape {
    pub(crate) input: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Cells around the plane that never win; smaller than the kernel.
    pub(crate) padding: usize,
}

impl PoolShape {
    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        self.input
            .map(|size| (size + 2 * self.padding - self.kernel) / self.stride + 1)
    }

    fn out_plane(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// The part of the window at `out` that lies inside the plane, along dimension `dim`.
    #[inline(always)]
    fn window(&self, out: usize, dim: usize) -> Range<usize> {
        let start = out * self.stride;
        let end = (start + self.kernel).saturating_sub(self.padding);
        start.saturating_sub(self.padding)..end.min(self.input[dim])
    }

    /// `y` = the largest value of every window. A NaN wins.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32]) {
        y.par_chunks_mut(self.out_plane())
            .zip(x.par_chunks(self.in_plane()))
            .for_each(|(y, x)| largest(self, x, y));
    }

    /// [`forward`](Self::forward); `winners` = the value's index in the plane, the
    /// first of equals.
    pub(crate) fn forward_winners(&self, x: &[f32], y: &mut [f32], winners: &mut [u32]) {
        y.par_chunks_mut(self.out_plane())
            .zip(winners.par_chunks_mut(self.out_plane()))
            .zip(x.par_chunks(self.in_plane()))
            .for_each(|((y, winners), x)| self.find_winners(x, y, winners));
    }

    fn find_winners(&self, x: &[f32], y: &mut [f32], winners: &mut [u32]) {
        let width = self.output()[1];
        for (out, (y, winner)) in y.iter_mut().zip(winners).enumerate() {
            let (rows, cols) = (self.window(out / width, 0), self.window(out % width, 1));
            let mut best = rows.start * self.input[1] + cols.start;
            for row in rows {
                for at in row * self.input[1] + cols.start..row * self.input[1] + cols.end {
                    if exceeds(x[at], x[best]) {
                        best = at;
                    }
                }
            }
            *y = x[best];
            *winner = best as u32;
        }
    }

    /// Every output's gradient goes to the winner of its window.
    pub(crate) fn backward(&self, winners: &[u32], dy: &[f32], dx: &mut [f32]) {
        dx.par_chunks_mut(self.in_plane())
            .zip(winners.par_chunks(self.out_plane()))
            .zip(dy.par_chunks(self.out_plane()))
            .for_each(|((dx, winners), dy)| {
                dx.fill(0.0);
                for (&winner, dy) in winners.iter().zip(dy) {
                    dx[winner as usize] += dy;
                }
            });
    }
}

/// Whether `value` takes the place of `best`.
#[inline(always)]
fn exceeds(value: f32, best: f32) -> bool {
    value > best || value.is_nan()
}

vectorize! {
    /// One plane: first along the columns of the windows, then along their rows.
    fn largest(shape: &PoolShape, x: &[f32], y: &mut [f32]) {
        let (in_width, out_width) = (shape.input[1], shape.output()[1]);
        let mut line = vec![0.0; in_width];
        for (out, y) in y.chunks_exact_mut(out_width).enumerate() {
            let rows = shape.window(out, 0);
            line.copy_from_slice(&x[rows.start * in_width..][..in_width]);
            for row in rows.skip(1) {
                for (best, &value) in line.iter_mut().zip(&x[row * in_width..][..in_width]) {
                    *best = if exceeds(value, *best) { value } else { *best };
                }
            }
            for (out, y) in y.iter_mut().enumerate() {
                let window = &line[shape.window(out, 1)];
                let mut best = window[0];
                for &value in window {
                    best = if exceeds(value, best) { value } else { best };
                }
                *y = best;
            }
        }
    }
}
