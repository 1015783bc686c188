//! Filters to and from the transform domain: `[Cout, Cin, 3, 3]` ↔ 36 matrices `[Cout, Cin]`.

use rayon::prelude::*;

use super::transform::{self, PATCH, POINTS};
use crate::cpu::matmul::MatRef;
use crate::cpu::simd::{LANES, Lanes, vectorize};

const TAPS: usize = 9;
/// One cache line.
pub(super) const PADDING: usize = 16;

/// Distance between neighbouring points of one output channel. Powers of two would put all 36 on
/// the same few lines of the cache.
pub(super) fn point_stride(cin: usize) -> usize {
    cin + PADDING
}

/// Length of the result of [`transform`].
pub(super) fn len(cout: usize, cin: usize) -> usize {
    cout * POINTS * point_stride(cin)
}

/// Transforms every filter to `filters [Cout, 36, point_stride]`. `turned` reverses the taps first.
pub(super) fn transform(weight: &[f32], cin: usize, turned: bool, filters: &mut [f32]) {
    filters
        .par_chunks_mut(POINTS * point_stride(cin))
        .zip(weight.par_chunks(cin * TAPS))
        .for_each(|(filters, weight)| transform_row(weight, cin, turned, filters));
}

/// The `[Cout, Cin]` matrix of one point in the result of [`transform`].
pub(super) fn matrix(filters: &[f32], cout: usize, cin: usize, point: usize) -> MatRef<'_> {
    let stride = point_stride(cin);
    MatRef::new(&filters[point * stride..], cout, cin, POINTS * stride)
}

/// Distance between the `[Cout, Cin]` matrices of neighbouring points in the sums of a gradient.
pub(super) fn sums_stride(cout: usize, cin: usize) -> usize {
    cout * cin + PADDING
}

/// The gradient to the filters `dw [Cout, Cin, 3, 3]` from 36 matrices `[Cout, Cin]`.
pub(super) fn transform_grad(sums: &[f32], cout: usize, cin: usize, dw: &mut [f32]) {
    let stride = sums_stride(cout, cin);
    dw.par_chunks_mut(cin * TAPS)
        .enumerate()
        .for_each(|(row, dw)| transform_grad_row(&sums[row * cin..], stride, cin, dw));
}

/// First channels of groups of [`LANES`]; the last group ends at `cin` and may overlap its
/// neighbour, whose values it computes again.
#[inline(always)]
fn lane_groups(cin: usize) -> impl Iterator<Item = usize> {
    (0..cin.div_ceil(LANES)).map(move |i| (i * LANES).min(cin - LANES))
}

vectorize! {
    /// One output channel: `weight [Cin, 9]` to `filters [36, Cin]`.
    fn transform_row(weight: &[f32], cin: usize, turned: bool, filters: &mut [f32]) {
        let taps = taps_first(weight, cin);
        for channel in lane_groups(cin) {
            let mut g = [[Lanes::ZERO; 3]; 3];
            for tap in 0..TAPS {
                let source = if turned { TAPS - 1 - tap } else { tap };
                g[tap / 3][tap % 3] = Lanes::load(&taps[source * cin + channel..]);
            }
            let u = transform::filter(g);
            for point in 0..POINTS {
                let out = &mut filters[point * point_stride(cin) + channel..];
                u[point / PATCH][point % PATCH].store(out);
            }
        }
    }
}

vectorize! {
    /// One output channel: `sums`, whose points lie `stride` apart, to `dw [Cin, 9]`.
    fn transform_grad_row(sums: &[f32], stride: usize, cin: usize, dw: &mut [f32]) {
        let mut taps = vec![0.0; TAPS * cin];
        for channel in lane_groups(cin) {
            let mut u = [[Lanes::ZERO; PATCH]; PATCH];
            for point in 0..POINTS {
                u[point / PATCH][point % PATCH] = Lanes::load(&sums[point * stride + channel..]);
            }
            let g = transform::filter_grad(u);
            for tap in 0..TAPS {
                g[tap / 3][tap % 3].store(&mut taps[tap * cin + channel..]);
            }
        }
        for (channel, dw) in dw.chunks_exact_mut(TAPS).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                *dw = taps[tap * cin + channel];
            }
        }
    }
}

/// `[Cin, 9]` to `[9, Cin]`, where neighbouring channels are neighbours in memory.
#[inline(always)]
fn taps_first(weight: &[f32], cin: usize) -> Vec<f32> {
    let mut taps = vec![0.0; TAPS * cin];
    for (channel, weight) in weight.chunks_exact(TAPS).enumerate() {
        for (tap, &weight) in weight.iter().enumerate() {
            taps[tap * cin + channel] = weight;
        }
    }
    taps
}
