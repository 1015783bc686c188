//! The kernels themselves: plain functions on slices, without Burn. All are parallel over disjoint
//! parts of the output and every sum has one order, so results do not depend on thread timing.

pub(crate) mod affine;
pub(crate) mod conv;
mod im2col;
mod matmul;
pub(crate) mod norm;
pub(crate) mod planes;
mod pointwise;
pub(crate) mod pool;
mod scratch;
pub(crate) mod shape;
mod simd;
mod sums;
pub(crate) mod upsample;
mod winograd;
