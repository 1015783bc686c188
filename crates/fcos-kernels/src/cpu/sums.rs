//! Sums over planes: short runs in single precision, the runs together in double.

use super::simd::vectorize;

/// Values added in single precision before the sum moves on in double.
const RUN: usize = 256;
/// Independent partial sums of a run, so that its additions do not wait for each other.
const PARTS: usize = 32;

/// The sum of `f(x, y)` over pairs of elements.
#[inline(always)]
fn sum_pairs(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0.0;
    for (x, y) in x.chunks(RUN).zip(y.chunks(RUN)) {
        total += sum_run(x, y, &f);
    }
    total
}

#[inline(always)]
fn sum_run(x: &[f32], y: &[f32], f: &impl Fn(f32, f32) -> f32) -> f64 {
    let mut parts = [0.0f32; PARTS];
    let (x, y) = (x.chunks_exact(PARTS), y.chunks_exact(PARTS));
    let rest: f32 = (x.remainder().iter().zip(y.remainder()))
        .map(|(&x, &y)| f(x, y))
        .sum();
    for (x, y) in x.zip(y) {
        for i in 0..PARTS {
            parts[i] += f(x[i], y[i]);
        }
    }
    f64::from(rest) + parts.iter().map(|&part| f64::from(part)).sum::<f64>()
}

vectorize! {
    /// The sum of all values.
    pub(crate) fn sum(values: &[f32]) -> f64 {
        sum_pairs(values, values, |value, _| value)
    }
}

vectorize! {
    /// The sum of squared distances from `center`.
    pub(crate) fn squares_around(values: &[f32], center: f32) -> f64 {
        sum_pairs(values, values, |value, _| (value - center) * (value - center))
    }
}

vectorize! {
    /// The sum of `(x - center) * y`.
    pub(crate) fn products_around(x: &[f32], center: f32, y: &[f32]) -> f64 {
        sum_pairs(x, y, |x, y| (x - center) * y)
    }
}
