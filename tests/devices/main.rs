//! The same network on every device: against torch's numbers, and against each other.
//!
//! ```sh
//! cargo test --workspace --test devices -- --nocapture
//! ```
//!
//! Every device that the build has and the machine offers is tested; a list in the variable
//! `FCOS_TEST_DEVICES`, such as `flex,wgpu`, names those that must be there instead.

mod agreement;
mod golden;
mod kernels;
mod missing;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};
use fcos::DeviceSpec;
use fcos_tests::worst;

/// A device under test.
struct Tested {
    spec: DeviceSpec,
    /// What its driver calls it.
    name: String,
    device: Device,
}

/// What may lie between a device's numbers and the reference's, relative to the largest value of a
/// tensor.
///
/// A rounding error of one part in 2ᵏ per operation grows with the square root of the number of
/// operations in a row, here about forty layers with sums of up to 150 products: by a factor of
/// some tens, at the worst element of many by some hundreds. Gradients go through twice as many
/// layers, and batch normalisation over as few as eight values amplifies them; steps add up.
#[derive(Clone, Copy)]
struct Tolerance {
    forward: f32,
    /// Each is a sum over all locations, where the outputs' errors largely cancel.
    loss: f32,
    gradient: f32,
    /// Losses during five steps, and outputs after them.
    trained_loss: f32,
    trained: f32,
}

/// Single precision: 2⁻²⁴ = 6e-8 per operation.
const F32: Tolerance = Tolerance {
    forward: 1e-5,
    loss: 1e-6,
    gradient: 1e-4,
    trained_loss: 1e-6,
    trained: 2e-5,
};

/// CUDA computes products of `f32` matrices on tensor cores in TF32, with 10 bits of mantissa
/// instead of 23: 2⁻¹¹ = 5e-4 per factor, 8000 times that of single precision, while sums remain
/// in single precision.
const TF32: Tolerance = Tolerance {
    forward: 2e-2,
    loss: 1e-2,
    gradient: 1e-1,
    trained_loss: 1e-2,
    trained: 1e-1,
};

/// Half precision in forward passes: 10 bits of mantissa in `f16`, 7 in `bf16`, eight times coarser.
/// Sums are rounded to them too.
const F16: f32 = 1e-2;
const BF16: f32 = 8e-2;

impl Tested {
    fn tolerance(&self) -> Tolerance {
        match self.spec {
            DeviceSpec::Cuda(_) => TF32,
            _ => F32,
        }
    }
}

/// The devices to test, one test at a time: several at once would fight for the same cores.
fn devices() -> (Vec<Tested>, MutexGuard<'static, ()>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let found = DeviceSpec::found();
    let wanted: Vec<DeviceSpec> = match std::env::var("FCOS_TEST_DEVICES") {
        Ok(list) => list.split(',').map(|d| d.parse().expect(d)).collect(),
        Err(_) => found
            .iter()
            .filter(|d| d.name.is_ok())
            .map(|d| d.spec)
            .collect(),
    };
    let tested = wanted.into_iter().map(|spec| {
        let device = spec.device().unwrap_or_else(|e| panic!("{e}"));
        let name = found.iter().find(|d| d.spec == spec);
        let name = name.and_then(|d| d.name.clone().ok()).unwrap_or_default();
        Tested { spec, name, device }
    });
    let tested: Vec<_> = tested.collect();
    for t in &tested {
        println!("device {}: {}", t.spec, t.name);
    }
    assert!(!tested.is_empty(), "no device to test");
    (tested, guard)
}

/// The largest difference, relative to the largest expected value.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    worst(found.iter().zip(expected).map(|(a, b)| a - b)) / largest
}

#[test]
fn values_that_are_no_numbers_are_errors() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
        for found in [[bad, 1.0, 1.0], [1.0, bad, 1.0], [1.0, 1.0, bad]] {
            assert!(!relative_error(&found, &[1.0; 3]).is_finite(), "{found:?}");
            assert!(!relative_error(&[1.0; 3], &found).is_finite(), "{found:?}");
        }
        assert!(!worst([0.0, bad, 1.0]).is_finite(), "{bad}");
    }
    assert_eq!(relative_error(&[4.0, -1.0], &[3.0, -2.0]), 1.0 / 3.0);
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .expect("floats")
}
