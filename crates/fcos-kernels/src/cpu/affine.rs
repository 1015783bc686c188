//! One scale and one shift per channel: batch norm whose statistics are fixed.
//!
//! Legend: B images, C channels, P pixels of a plane.

use rayon::prelude::*;

use super::norm::{ParamGrads, mask_plane};
use super::planes::{self, Affine};
use super::sums;

/// Scale and shift of every channel, `[C]` each.
#[derive(Clone, Copy)]
pub(crate) struct Channels<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) relu: bool,
}

impl Channels<'_> {
    fn map(&self, plane: usize) -> Affine {
        let channel = plane % self.scale.len();
        Affine {
            center: 0.0,
            scale: self.scale[channel],
            shift: self.shift[channel],
            relu: self.relu,
        }
    }

    /// `y = scale * x + shift` on `[B, C, P]`, rectified at will.
    pub(crate) fn forward(&self, plane_len: usize, x: &[f32], y: &mut [f32]) {
        y.par_chunks_mut(plane_len)
            .zip(x.par_chunks(plane_len))
            .enumerate()
            .for_each(|(plane, (y, x))| planes::affine(x, self.map(plane), y));
    }

    /// Gradient to the input.
    pub(crate) fn input_grad(&self, plane_len: usize, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        dx.par_chunks_mut(plane_len)
            .zip(x.par_chunks(plane_len))
            .zip(dy.par_chunks(plane_len))
            .enumerate()
            .for_each(|(plane, ((dx, x), dy))| {
                let map = self.map(plane);
                mask_plane(x, map, dy, dx);
                planes::normalized_grad(x, 0.0, map.scale, 0.0, 0.0, dx);
            });
    }

    /// Gradients to scale and shift.
    pub(crate) fn param_grads(&self, plane_len: usize, x: &[f32], dy: &[f32]) -> ParamGrads {
        let channels = self.scale.len();
        let sums: Vec<(f64, f64)> = (x.par_chunks(plane_len))
            .zip(dy.par_chunks(plane_len))
            .enumerate()
            .map(|(plane, (x, dy))| {
                let mut masked = vec![0.0; plane_len];
                mask_plane(x, self.map(plane), dy, &mut masked);
                (sums::products_around(x, 0.0, &masked), sums::sum(&masked))
            })
            .collect();
        let of = |channel: usize| sums.iter().skip(channel).step_by(channels);
        ParamGrads {
            gamma: (0..channels)
                .map(|c| of(c).map(|s| s.0).sum::<f64>() as f32)
                .collect(),
            beta: (0..channels)
                .map(|c| of(c).map(|s| s.1).sum::<f64>() as f32)
                .collect(),
        }
    }
}
