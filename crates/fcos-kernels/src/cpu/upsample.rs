//! Nearest-neighbour enlargement, added to a finer map: the top-down path of a feature pyramid.

use rayon::prelude::*;

/// Planes of `coarse` (height, width) enlarged to `fine`; output pixel `i` reads `⌊i · coarse / fine⌋`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpsampleShape {
    pub(crate) coarse: [usize; 2],
    pub(crate) fine: [usize; 2],
}

impl UpsampleShape {
    fn source(&self, index: usize, dim: usize) -> usize {
        index * self.coarse[dim] / self.fine[dim]
    }

    fn source_cols(&self) -> Vec<usize> {
        (0..self.fine[1]).map(|col| self.source(col, 1)).collect()
    }

    /// `y = fine + enlarged coarse`
    pub(crate) fn add(&self, coarse: &[f32], fine: &[f32], y: &mut [f32]) {
        let cols = self.source_cols();
        let plane = self.fine[0] * self.fine[1];
        y.par_chunks_mut(plane)
            .zip(fine.par_chunks(plane))
            .zip(coarse.par_chunks(self.coarse[0] * self.coarse[1]))
            .for_each(|((y, fine), coarse)| {
                let rows = y.chunks_mut(cols.len()).zip(fine.chunks(cols.len()));
                for (row, (y, fine)) in rows.enumerate() {
                    let coarse = &coarse[self.source(row, 0) * self.coarse[1]..][..self.coarse[1]];
                    for ((y, fine), &col) in y.iter_mut().zip(fine).zip(&cols) {
                        *y = fine + coarse[col];
                    }
                }
            });
    }

    /// Gradient to the coarse map: the sum over the pixels that read each of its values.
    pub(crate) fn coarse_grad(&self, dy: &[f32], dcoarse: &mut [f32]) {
        let cols = self.source_cols();
        dcoarse
            .par_chunks_mut(self.coarse[0] * self.coarse[1])
            .zip(dy.par_chunks(self.fine[0] * self.fine[1]))
            .for_each(|(dcoarse, dy)| {
                dcoarse.fill(0.0);
                for (row, dy) in dy.chunks(cols.len()).enumerate() {
                    let start = self.source(row, 0) * self.coarse[1];
                    let dcoarse = &mut dcoarse[start..start + self.coarse[1]];
                    for (dy, &col) in dy.iter().zip(&cols) {
                        dcoarse[col] += dy;
                    }
                }
            });
    }
}
