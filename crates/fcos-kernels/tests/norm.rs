//! Normalisations against the definition in double precision and against finite differences.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{Random, assert_close, bits, relative_error, values};
use fcos_kernels::{Activation, batch_norm, channel_affine, group_norm};

const EPS: f64 = 1e-5;

/// Batch, channels, height, width, groups.
const CASES: &[([usize; 4], usize)] = &[
    ([1, 1, 1, 2], 1),
    ([1, 4, 1, 1], 2),
    ([2, 6, 5, 7], 3),
    ([3, 32, 9, 11], 32),
    ([2, 64, 20, 28], 32),
    ([4, 12, 33, 31], 1),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Group(usize),
    Batch,
    Affine,
}

/// The operation under test; any float type.
fn run(kind: Kind, x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, then: Activation) -> Tensor<4> {
    match kind {
        Kind::Group(groups) => group_norm(x, groups, gamma, beta, EPS, then),
        Kind::Batch => batch_norm(x, gamma, beta, EPS, then).output,
        Kind::Affine => channel_affine(x, gamma, beta, then),
    }
}

/// The definition in double precision.
fn reference(
    kind: Kind,
    dims: [usize; 4],
    x: &[f64],
    gamma: &[f64],
    beta: &[f64],
    then: Activation,
) -> Vec<f64> {
    let (channels, plane) = (dims[1], dims[2] * dims[3]);
    let set_of = |i: usize| match kind {
        Kind::Group(groups) => i / plane / (channels / groups),
        Kind::Batch => i / plane % channels,
        Kind::Affine => 0,
    };
    let (mut count, mut sum) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for (i, x) in x.iter().enumerate() {
        count[set_of(i)] += 1.0;
        sum[set_of(i)] += x;
    }
    let mean: Vec<f64> = sum.iter().zip(&count).map(|(s, n)| s / n).collect();
    let mut squares = vec![0.0; x.len()];
    for (i, x) in x.iter().enumerate() {
        squares[set_of(i)] += (x - mean[set_of(i)]).powi(2);
    }
    let map = |(i, x): (usize, &f64)| {
        let (set, channel) = (set_of(i), i / plane % channels);
        let normalized = match kind {
            Kind::Affine => *x,
            _ => (x - mean[set]) / (squares[set] / count[set] + EPS).sqrt(),
        };
        let y = normalized * gamma[channel] + beta[channel];
        if then == Activation::Relu {
            y.max(0.0)
        } else {
            y
        }
    };
    x.iter().enumerate().map(map).collect()
}

fn kinds(groups: usize) -> [Kind; 3] {
    [Kind::Group(groups), Kind::Batch, Kind::Affine]
}

struct Inputs {
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    dy: Tensor<4>,
}

impl Inputs {
    fn new(dims: [usize; 4], device: &Device) -> Self {
        let mut random = Random::new(17);
        Self {
            x: random.tensor::<4>(dims, device) * 2.0 + 0.5,
            gamma: random.tensor([dims[1]], device),
            beta: random.tensor([dims[1]], device),
            dy: random.tensor(dims, device),
        }
    }

    /// The same values as leaves of a gradient graph, in `dtype`.
    fn leaves(&self, dtype: DType) -> Self {
        Self {
            x: self.x.clone().cast(dtype).detach().require_grad(),
            gamma: self.gamma.clone().cast(dtype).detach().require_grad(),
            beta: self.beta.clone().cast(dtype).detach().require_grad(),
            dy: self.dy.clone().cast(dtype),
        }
    }

    /// Gradients of `Σ y dy` to x, gamma and beta.
    fn gradients(&self, kind: Kind, then: Activation) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
        let (gamma, beta) = (self.gamma.clone(), self.beta.clone());
        let y = run(kind, self.x.clone(), gamma, beta, then);
        let grads = (y * self.dy.clone()).sum().backward();
        (
            self.x.grad(&grads).expect("gradient to x"),
            self.gamma.grad(&grads).expect("gradient to gamma"),
            self.beta.grad(&grads).expect("gradient to beta"),
        )
    }
}

#[test]
fn values_that_are_no_numbers_are_errors() {
    for found in [
        [f64::NAN, 1.0, 1.0],
        [1.0, -f64::NAN, 1.0],
        [1.0, 1.0, f64::NAN],
    ] {
        assert!(relative_error(&found, &[1.0; 3]).is_nan(), "{found:?}");
        assert!(relative_error(&[1.0; 3], &found).is_nan(), "{found:?}");
    }
    assert_eq!(relative_error(&[4.0, -1.0], &[4.0, -2.0]), 0.25);
}

#[test]
fn forward_matches_the_definition() {
    for &(dims, groups) in CASES {
        for kind in kinds(groups) {
            for then in [Activation::Nothing, Activation::Relu] {
                let inputs = Inputs::new(dims, &Device::flex());
                let (x, gamma, beta) = (&inputs.x, &inputs.gamma, &inputs.beta);
                let y = run(kind, x.clone(), gamma.clone(), beta.clone(), then);
                let expected =
                    reference(kind, dims, &values(x), &values(gamma), &values(beta), then);
                assert_close(&y, &expected, 1e-5, &format!("{dims:?} in {groups}"));
            }
        }
    }
}

/// `Σ reference · dy` moved by a step in one argument, against the analytic gradient.
#[test]
fn gradients_match_finite_differences() {
    let (dims, groups) = ([2, 6, 5, 7], 3);
    for kind in kinds(groups) {
        for then in [Activation::Nothing, Activation::Relu] {
            let inputs = Inputs::new(dims, &Device::flex().autodiff()).leaves(DType::F32);
            let dy = values(&inputs.dy);
            let arguments = [
                values(&inputs.x),
                values(&inputs.gamma),
                values(&inputs.beta),
            ];
            let loss = |a: &[Vec<f64>; 3]| -> f64 {
                let y = reference(kind, dims, &a[0], &a[1], &a[2], then);
                y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
            };
            let differences = |which: usize| -> Vec<f64> {
                let step = 1e-6;
                let mut moved = arguments.clone();
                (0..arguments[which].len())
                    .map(|i| {
                        let at = arguments[which][i];
                        moved[which][i] = at + step;
                        let above = loss(&moved);
                        moved[which][i] = at - step;
                        let below = loss(&moved);
                        moved[which][i] = at;
                        (above - below) / (2.0 * step)
                    })
                    .collect()
            };
            let (dx, dgamma, dbeta) = inputs.gradients(kind, then);
            assert_close(&dx, &differences(0), 1e-5, "dx");
            assert_close(&dgamma, &differences(1), 1e-5, "dgamma");
            assert_close(&dbeta, &differences(2), 1e-5, "dbeta");
        }
    }
}

/// In double precision the functions are composed of Burn's operations: an independent gradient.
#[test]
fn gradients_match_burn_in_double_precision() {
    for &(dims, groups) in &CASES[2..] {
        for kind in kinds(groups) {
            for then in [Activation::Nothing, Activation::Relu] {
                let inputs = Inputs::new(dims, &Device::flex().autodiff());
                let (dx, dgamma, dbeta) = inputs.leaves(DType::F32).gradients(kind, then);
                let expected = inputs.leaves(DType::F64).gradients(kind, then);
                let what = format!("{dims:?} in {groups}");
                assert_close(&dx, &values(&expected.0), 1e-4, &what);
                assert_close(&dgamma, &values(&expected.1), 1e-4, &what);
                assert_close(&dbeta, &values(&expected.2), 1e-4, &what);
            }
        }
    }
}

#[test]
fn batch_norm_returns_biased_statistics() {
    let device = Device::flex();
    let x = Tensor::<1>::from_floats([1.0, 3.0, 5.0, 7.0, 10.0, 10.0, 10.0, 14.0], &device);
    let x = x.reshape([2, 2, 1, 2]);
    let (gamma, beta) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
    let result = batch_norm(x, gamma, beta, EPS, Activation::Nothing);
    // Channel 0 holds 1, 3, 10, 10; channel 1 holds 5, 7, 10, 14.
    assert_close(&result.mean, &[6.0, 9.0], 1e-6, "mean");
    assert_close(&result.variance, &[16.5, 11.5], 1e-6, "variance");
}

#[test]
fn a_large_mean_costs_no_accuracy_in_the_variance() {
    let device = Device::flex();
    let x = Random::new(2).tensor::<4>([1, 1, 64, 64], &device) + 4096.0;
    let of_x = values(&x);
    let mean = of_x.iter().sum::<f64>() / of_x.len() as f64;
    let variance = of_x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of_x.len() as f64;
    let gamma = Tensor::ones([1], &device);
    let result = batch_norm(
        x,
        gamma.clone(),
        gamma.zeros_like(),
        EPS,
        Activation::Nothing,
    );
    assert_close(&result.variance, &[variance], 1e-6, "variance");
}

#[test]
fn diverged_values_stay_visible() {
    let device = Device::flex();
    let data = TensorData::new(vec![f32::NAN, -1.0, 1.0, 2.0], [1, 1, 2, 2]);
    let x = Tensor::<4>::from_data(data, &device);
    let one = Tensor::ones([1], &device);
    let y = values(&channel_affine(
        x,
        one.clone(),
        one.zeros_like(),
        Activation::Relu,
    ));
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 1.0, 2.0]);
}

#[test]
fn is_deterministic() {
    let inputs = Inputs::new([4, 64, 40, 56], &Device::flex().autodiff()).leaves(DType::F32);
    for kind in kinds(32) {
        let run = || {
            let (dx, dgamma, dbeta) = inputs.gradients(kind, Activation::Relu);
            (bits(&dx), bits(&dgamma), bits(&dbeta))
        };
        let first = run();
        assert!((0..5).all(|_| run() == first));
    }
}

#[test]
#[should_panic(expected = "group_norm of 6 channels in 4 groups")]
fn groups_must_divide_the_channels() {
    let inputs = Inputs::new([1, 6, 2, 2], &Device::flex());
    group_norm(
        inputs.x,
        4,
        inputs.gamma,
        inputs.beta,
        EPS,
        Activation::Nothing,
    );
}
