//! What the loss tests share: tensors of either precision, gradients, comparison.
#![allow(dead_code)] // each test binary uses its own part

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use fcos_loss::{LossTerms, term};
use serde_json::Value;

/// Relative tolerance of values and of gradients in each precision.
#[derive(Debug, Clone, Copy)]
pub struct Precision {
    pub dtype: DType,
    pub key: &'static str,
    pub value: f64,
    pub gradient: f64,
}

pub const F64: Precision = Precision {
    dtype: DType::F64,
    key: "f64",
    value: 1e-11,
    gradient: 1e-9,
};
pub const F32: Precision = Precision {
    dtype: DType::F32,
    key: "f32",
    value: 1e-5,
    gradient: 1e-4,
};

pub fn device() -> Device {
    Device::flex().autodiff()
}

pub fn tensor<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&device(), dtype))
}

pub fn leaf<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Tensor<D> {
    tensor(values, shape, dtype).require_grad()
}

pub fn labels<const D: usize>(values: &[i64], shape: [usize; D]) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device())
}

pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as::<f64>().expect("readable")
}

/// The values of FCOS's three terms.
pub fn values(terms: &LossTerms) -> [f64; 3] {
    let value = |name| terms.get(name).expect(name).clone();
    [term::CLS, term::BBOX, term::CENTERNESS].map(|name| to_vec(value(name))[0])
}

/// Value of a loss and its gradient with respect to one leaf.
pub fn value_and_gradient<const D: usize, const E: usize>(
    loss: Tensor<E>,
    input: &Tensor<D>,
) -> (Vec<f64>, Vec<f64>) {
    let gradients = loss.clone().sum().backward();
    let gradient = input.grad(&gradients).expect("a leaf of the loss");
    (to_vec(loss), to_vec(gradient))
}

/// Equal to the relative `tolerance`, element by element. A gradient that is a difference of
/// larger ones may be off by a thousandth of the tolerance of the largest.
pub fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let allowed = tolerance * (e.abs() + 1e-3 * largest);
        assert!(
            (a - e).abs() <= allowed,
            "{what}[{i}]: {a}, expected {e} ± {allowed}"
        );
    }
}

pub fn golden(name: &str) -> Value {
    let path = format!("{}/../../testdata/loss/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("golden file");
    serde_json::from_str(&text).expect("golden JSON")
}

pub fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("list of numbers");
    list.iter().map(|v| v.as_f64().expect("number")).collect()
}

pub fn integers(value: &Value) -> Vec<i64> {
    let list = value.as_array().expect("list of integers");
    list.iter().map(|v| v.as_i64().expect("integer")).collect()
}

pub fn size(value: &Value) -> usize {
    value.as_u64().expect("size") as usize
}

/// A small generator of repeatable inputs (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// Uniform in `low..high`, rounded to `f32` so that both precisions see the same number.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        f64::from((low + unit * (high - low)) as f32)
    }

    pub fn list(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
