//! Normalisation of planes that share statistics: group norm (Wu & He, ECCV 2018) and batch norm
//! (Ioffe & Szegedy, ICML 2015) differ only in which planes those are.
//!
//! Legend: B images, C channels, S sets of planes that share statistics.

use rayon::prelude::*;

use super::planes::{self, Affine};
use super::sums;

/// Which planes of `[B, C, H, W]` share their mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Group norm: neighbouring channels of one image.
    Groups {
        /// Channels of a group.
        channels_per_group: usize,
    },
    /// Batch norm: one channel of all images.
    Batch,
}

/// The sizes of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormShape {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    /// H · W
    pub(crate) plane_len: usize,
    pub(crate) sharing: Sharing,
}

/// Mean and biased variance of the values of one set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// The learnt scale and shift, `[C]` each, and what is done around them.
#[derive(Clone, Copy)]
pub(crate) struct NormParams<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
}

/// Gradients to the scale and the shift, `[C]` each.
pub(crate) struct ParamGrads {
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

/// Sums over one plane of the gradient `dy` to the normalised output.
#[derive(Clone, Copy, Default)]
struct GradSums {
    /// `Σ dy`
    plain: f64,
    /// `Σ dy · (x - mean) / deviation`
    by_normalized: f64,
}

impl NormShape {
    fn planes(&self) -> usize {
        self.batch * self.channels
    }

    /// The set of plane `plane` (numbered through images).
    fn set_of(&self, plane: usize) -> usize {
        match self.sharing {
            Sharing::Groups { channels_per_group } => plane / channels_per_group,
            Sharing::Batch => plane % self.channels,
        }
    }

    fn sets(&self) -> usize {
        match self.sharing {
            Sharing::Groups { channels_per_group } => self.planes() / channels_per_group,
            Sharing::Batch => self.channels,
        }
    }

    /// Values in a set.
    fn set_len(&self) -> f64 {
        (self.planes() / self.sets() * self.plane_len) as f64
    }

    /// Mean and variance of every set, `[S]`.
    pub(crate) fn statistics(&self, x: &[f32]) -> Vec<Statistics> {
        let planes: Vec<Statistics> = x.par_chunks(self.plane_len).map(plane_statistics).collect();
        let share = self.plane_len as f64 / self.set_len();
        let mut sets = vec![Statistics::default(); self.sets()];
        for (plane, statistics) in planes.iter().enumerate() {
            sets[self.set_of(plane)].mean += statistics.mean * share;
        }
        for (plane, statistics) in planes.iter().enumerate() {
            let set = &mut sets[self.set_of(plane)];
            let offset = statistics.mean - set.mean;
            set.variance += (statistics.variance + offset * offset) * share;
        }
        sets
    }

    /// `y = (x - mean) / deviation * gamma + beta`, rectified at will.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        sets: &[Statistics],
        params: NormParams,
        y: &mut [f32],
    ) {
        y.par_chunks_mut(self.plane_len)
            .zip(x.par_chunks(self.plane_len))
            .enumerate()
            .for_each(|(plane, (y, x))| planes::affine(x, self.map(plane, sets, params), y));
    }

    /// The map that normalises plane `plane`.
    fn map(&self, plane: usize, sets: &[Statistics], params: NormParams) -> Affine {
        let (set, channel) = (sets[self.set_of(plane)], plane % self.channels);
        let scale = f64::from(params.gamma[channel]) * set.inverse_deviation(params.epsilon);
        let center = set.mean as f32;
        let rounded_off = set.mean - f64::from(center);
        Affine {
            center,
            scale: scale as f32,
            shift: (f64::from(params.beta[channel]) - rounded_off * scale) as f32,
            relu: params.relu,
        }
    }

    /// Gradients to the input (`dx`, as large as `x`) and to scale and shift.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        sets: &[Statistics],
        params: NormParams,
        dy: &[f32],
        dx: &mut [f32],
    ) -> ParamGrads {
        let sums: Vec<GradSums> = (dx.par_chunks_mut(self.plane_len))
            .zip(x.par_chunks(self.plane_len))
            .zip(dy.par_chunks(self.plane_len))
            .enumerate()
            .map(|(plane, ((dx, x), dy))| {
                mask_plane(x, self.map(plane, sets, params), dy, dx);
                grad_sums(x, sets[self.set_of(plane)], params.epsilon, dx)
            })
            .collect();
        let shared = self.shared_sums(&sums, params.gamma);
        dx.par_chunks_mut(self.plane_len)
            .zip(x.par_chunks(self.plane_len))
            .enumerate()
            .for_each(|(plane, (dx, x))| {
                let (set, gamma) = (self.set_of(plane), params.gamma[plane % self.channels]);
                let scale = sets[set].inverse_deviation(params.epsilon);
                let by_dy = (f64::from(gamma) * scale) as f32;
                let by_x = (-scale * scale * shared[set].by_normalized) as f32;
                let constant = (-scale * shared[set].plain) as f32;
                planes::normalized_grad(x, sets[set].mean as f32, by_dy, by_x, constant, dx);
            });
        self.param_grads(&sums)
    }

    /// Per set, the means of `gamma dy` and of `gamma dy` times the normalised input.
    fn shared_sums(&self, sums: &[GradSums], gamma: &[f32]) -> Vec<GradSums> {
        let mut shared = vec![GradSums::default(); self.sets()];
        for (plane, sums) in sums.iter().enumerate() {
            let weight = f64::from(gamma[plane % self.channels]) / self.set_len();
            let set = &mut shared[self.set_of(plane)];
            set.plain += sums.plain * weight;
            set.by_normalized += sums.by_normalized * weight;
        }
        shared
    }

    fn param_grads(&self, sums: &[GradSums]) -> ParamGrads {
        let over_images = |value: fn(&GradSums) -> f64| {
            let planes = |channel| sums.iter().skip(channel).step_by(self.channels);
            (0..self.channels)
                .map(|channel| planes(channel).map(value).sum::<f64>() as f32)
                .collect()
        };
        ParamGrads {
            gamma: over_images(|sums| sums.by_normalized),
            beta: over_images(|sums| sums.plain),
        }
    }
}

impl Statistics {
    fn inverse_deviation(&self, epsilon: f64) -> f64 {
        1.0 / (self.variance + epsilon).sqrt()
    }
}

/// Two passes over a plane, which stays in the inner caches: no cancellation for a large mean.
fn plane_statistics(plane: &[f32]) -> Statistics {
    let len = plane.len() as f64;
    let mean = sums::sum(plane) / len;
    let center = mean as f32;
    let offset = mean - f64::from(center);
    Statistics {
        mean,
        variance: (sums::squares_around(plane, center) / len - offset * offset).max(0.0),
    }
}

/// The gradient to the affine map's output, before rectification.
pub(crate) fn mask_plane(x: &[f32], map: Affine, dy: &[f32], out: &mut [f32]) {
    if map.relu {
        planes::mask_grad(x, map, dy, out);
    } else {
        out.copy_from_slice(dy);
    }
}

fn grad_sums(x: &[f32], set: Statistics, epsilon: f64, dy: &[f32]) -> GradSums {
    let center = set.mean as f32;
    GradSums {
        plain: sums::sum(dy),
        by_normalized: sums::products_around(x, center, dy) * set.inverse_deviation(epsilon),
    }
}
