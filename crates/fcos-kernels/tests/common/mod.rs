//! Shared by the tests of this crate.
#![allow(dead_code)] // Every test binary uses its own part.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// A fixed sequence of nearly normal numbers with mean 0 and deviation 1.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        ((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0) as f32
    }

    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.normal()).collect()
    }

    pub fn tensor<const D: usize>(&mut self, dims: [usize; D], device: &Device) -> Tensor<D> {
        let values = self.values(dims.iter().product());
        Tensor::from_data(TensorData::new(values, dims), device)
    }
}

/// The values of a tensor, in double precision.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    let tensor = tensor.clone().cast(DType::F64);
    tensor
        .into_data()
        .try_into_vec::<f64>()
        .expect("f64 values")
}

/// The bits of a tensor of `f32`.
pub fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    let values = tensor.clone().into_data().try_into_vec::<f32>();
    values
        .expect("f32 values")
        .iter()
        .map(|v| v.to_bits())
        .collect()
}

/// The largest difference, in units of the largest expected magnitude.
pub fn relative_error(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
    let differences = actual.iter().zip(expected).map(|(a, e)| (a - e).abs());
    let worst = differences.max_by(f64::total_cmp); // NaN is the largest
    worst.expect("values to compare") / largest.max(1e-30)
}

/// Fails unless the tensors agree to `tolerance` of the largest expected magnitude.
pub fn assert_close<const D: usize>(
    actual: &Tensor<D>,
    expected: &[f64],
    tolerance: f64,
    what: &str,
) {
    let error = relative_error(&values(actual), expected);
    assert!(
        error < tolerance,
        "{what}: error {error:e}, allowed {tolerance:e}"
    );
}
