//! The four small matrices of Winograd's F(4x4, 3x3), applied to eight tiles or filters at once.
//!
//! Lavin & Gray (CVPR 2016) write a tile of output as `y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` with `d` the
//! 6×6 input tile and `g` the 3×3 filter. The matrices follow from six interpolation points
//! `0, ±p, ±q, ∞` (Toom-Cook). The usual `p, q = 1, 2` make the powers in `A` and `B` large and
//! lose a decimal digit; `5/8, 3/2` keep the error of one convolution near 2e-6 of the largest
//! output (measured in `docs/kernels.md`), and every constant of `A` and `B` is exact in binary.

use crate::cpu::simd::Lanes;

/// Outputs of a tile along one side.
pub(super) const TILE: usize = 4;
/// Inputs of a tile along one side.
pub(super) const PATCH: usize = 6;
/// Products per tile and channel pair.
pub(super) const POINTS: usize = PATCH * PATCH;

const P: f32 = 0.625;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;
/// The rows of `G` are divided by these (products of differences of the points).
const N_ZERO: f32 = 1.0 / (P2 * Q2);
const N_P: f32 = 1.0 / (2.0 * P2 * (P2 - Q2));
const N_Q: f32 = 1.0 / (2.0 * Q2 * (Q2 - P2));

/// One side of `Bᵀ d B`.
#[inline(always)]
fn input_1d(d: [Lanes; PATCH]) -> [Lanes; PATCH] {
    let even_p = d[4] - d[2] * Q2;
    let odd_p = (d[3] - d[1] * Q2) * P;
    let even_q = d[4] - d[2] * P2;
    let odd_q = (d[3] - d[1] * P2) * Q;
    [
        d[4] - d[2] * (P2 + Q2) + d[0] * (P2 * Q2),
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        d[5] - d[3] * (P2 + Q2) + d[1] * (P2 * Q2),
    ]
}

/// One side of `Aᵀ m A`.
#[inline(always)]
fn output_1d(m: [Lanes; PATCH]) -> [Lanes; TILE] {
    let (even_p, odd_p) = (m[1] + m[2], (m[1] - m[2]) * P);
    let (even_q, odd_q) = (m[3] + m[4], (m[3] - m[4]) * Q);
    [
        m[0] + even_p + even_q,
        odd_p + odd_q,
        even_p * P2 + even_q * Q2,
        m[5] + odd_p * P2 + odd_q * Q2,
    ]
}

/// One side of `A e Aᵀ`, the transpose of [`output_1d`].
#[inline(always)]
fn output_grad_1d(e: [Lanes; TILE]) -> [Lanes; PATCH] {
    let (even_p, odd_p) = (e[0] + e[2] * P2, (e[1] + e[3] * P2) * P);
    let (even_q, odd_q) = (e[0] + e[2] * Q2, (e[1] + e[3] * Q2) * Q);
    [
        e[0],
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        e[3],
    ]
}

/// One side of `G g Gᵀ`.
#[inline(always)]
fn filter_1d(g: [Lanes; 3]) -> [Lanes; PATCH] {
    let (even_p, odd_p) = ((g[0] + g[2] * P2) * N_P, g[1] * (P * N_P));
    let (even_q, odd_q) = ((g[0] + g[2] * Q2) * N_Q, g[1] * (Q * N_Q));
    [
        g[0] * N_ZERO,
        even_p + odd_p,
        even_p - odd_p,
        even_q + odd_q,
        even_q - odd_q,
        g[2],
    ]
}

/// One side of `Gᵀ u G`, the transpose of [`filter_1d`].
#[inline(always)]
fn filter_grad_1d(u: [Lanes; PATCH]) -> [Lanes; 3] {
    let (even_p, odd_p) = ((u[1] + u[2]) * N_P, (u[1] - u[2]) * (P * N_P));
    let (even_q, odd_q) = ((u[3] + u[4]) * N_Q, (u[3] - u[4]) * (Q * N_Q));
    [
        u[0] * N_ZERO + even_p + even_q,
        odd_p + odd_q,
        u[5] + even_p * P2 + even_q * Q2,
    ]
}

/// Applies `$f` along the second index of a square, then along the first.
///
/// The result has its indices exchanged, `[x][y]` for `[y][x]`; going to the transform domain and
/// back exchanges them twice. Written out rather than looped: the compiler turns a loop over rows
/// of [`Lanes`] into gathers and scatters.
macro_rules! both_sides {
    ($f:ident, $m:expr, [$($row:literal)+], [$($col:literal)+]) => {{
        let m = $m;
        let rows = [$($f(m[$row])),+];
        [$($f(column(&rows, $col))),+]
    }};
}

#[inline(always)]
fn column<const N: usize, const M: usize>(rows: &[[Lanes; M]; N], index: usize) -> [Lanes; N] {
    let mut column = [Lanes::ZERO; N];
    for row in 0..N {
        column[row] = rows[row][index];
    }
    column
}

/// `Bᵀ d B` of input tiles.
#[inline(always)]
pub(super) fn input(d: [[Lanes; PATCH]; PATCH]) -> [[Lanes; PATCH]; PATCH] {
    both_sides!(input_1d, d, [0 1 2 3 4 5], [0 1 2 3 4 5])
}

/// `Aᵀ m A` of products, giving output tiles.
#[inline(always)]
pub(super) fn output(m: [[Lanes; PATCH]; PATCH]) -> [[Lanes; TILE]; TILE] {
    both_sides!(output_1d, m, [0 1 2 3 4 5], [0 1 2 3])
}

/// `A e Aᵀ` of gradients of output tiles.
#[inline(always)]
pub(super) fn output_grad(e: [[Lanes; TILE]; TILE]) -> [[Lanes; PATCH]; PATCH] {
    both_sides!(output_grad_1d, e, [0 1 2 3], [0 1 2 3 4 5])
}

/// `G g Gᵀ` of filters.
#[inline(always)]
pub(super) fn filter(g: [[Lanes; 3]; 3]) -> [[Lanes; PATCH]; PATCH] {
    both_sides!(filter_1d, g, [0 1 2], [0 1 2 3 4 5])
}

/// `Gᵀ u G` of gradients of transformed filters.
#[inline(always)]
pub(super) fn filter_grad(u: [[Lanes; PATCH]; PATCH]) -> [[Lanes; 3]; 3] {
    both_sides!(filter_grad_1d, u, [0 1 2 3 4 5], [0 1 2])
}
