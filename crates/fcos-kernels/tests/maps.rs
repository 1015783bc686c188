//! Rectification, pooling and enlargement against Burn's own operations.

mod common;

use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation, module};
use common::{Random, bits, values};
use fcos_kernels::{MaxPool2dOptions, add_relu, max_pool2d, relu, upsample_add};

/// Output and gradients of `Σ y dy` to the two arguments, in bits.
fn run(
    f: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    a: [usize; 4],
    b: [usize; 4],
    device: &Device,
) -> [Option<Vec<u32>>; 3] {
    let mut random = Random::new(23);
    let a = random.tensor(a, device).require_grad();
    let b = random.tensor(b, device).require_grad();
    let y = f(a.clone(), b.clone());
    let dy = random.tensor(y.dims(), device);
    let grads = (y.clone() * dy).sum().backward();
    let of = |t: &Tensor<4>| t.grad(&grads).map(|grad| bits(&grad));
    [Some(bits(&y)), of(&a), of(&b)]
}

const DIMS: [usize; 4] = [3, 5, 37, 61];

#[test]
fn relu_matches_burn() {
    let device = Device::flex().autodiff();
    let ours = run(|x, _| relu(x), DIMS, DIMS, &device);
    assert_eq!(ours, run(|x, _| activation::relu(x), DIMS, DIMS, &device));
    assert!(ours[1].is_some() && ours[2].is_none());
}

#[test]
fn add_relu_matches_burn() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let ours = run(add_relu, DIMS, DIMS, &device);
        assert_eq!(
            ours,
            run(|a, b| activation::relu(a + b), DIMS, DIMS, &device)
        );
        assert!(ours.iter().all(Option::is_some));
    }
}

#[test]
fn diverged_values_pass_relu() {
    let data = TensorData::new(vec![f32::NAN, -1.0, 3.0, f32::INFINITY], [1, 1, 2, 2]);
    let y = values(&relu(Tensor::<4>::from_data(data, &Device::flex())));
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 3.0, f64::INFINITY]);
}

#[test]
fn max_pool_matches_burn() {
    let device = Device::flex().autodiff();
    for (kernel_size, stride, padding) in [(3, 2, 1), (2, 2, 0), (1, 2, 0), (3, 1, 1), (4, 3, 2)] {
        for size in [[7, 9], [8, 6], [5, 4]] {
            let dims = [2, 3, size[0], size[1]];
            let options = MaxPool2dOptions {
                kernel_size,
                stride,
                padding,
            };
            let stock = MaxPoolOptions::new([kernel_size; 2])
                .with_stride([stride; 2])
                .with_padding([padding; 2]);
            let ours = run(|x, _| max_pool2d(x, options), dims, dims, &device);
            let theirs = run(
                |x, _| module::max_pool2d(x, stock.clone()),
                dims,
                dims,
                &device,
            );
            assert_eq!(ours, theirs, "{options:?} on {size:?}");
            let x = Random::new(23).tensor(dims, &device);
            let plain = max_pool2d(x.inner(), options);
            assert_eq!(Some(bits(&plain)), ours[0], "{options:?} on {size:?}");
        }
    }
}

#[test]
fn max_pool_takes_the_first_of_equals_and_passes_nan() {
    let device = Device::flex().autodiff();
    let data = TensorData::new(
        vec![2.0, 2.0, f32::NAN, 1.0, 2.0, 0.0, 5.0, 1.0],
        [1, 1, 2, 4],
    );
    let x = Tensor::<4>::from_data(data, &device).require_grad();
    let options = MaxPool2dOptions {
        kernel_size: 2,
        stride: 2,
        padding: 0,
    };
    let y = max_pool2d(x.clone(), options);
    for y in [y.clone(), max_pool2d(x.clone().inner(), options)] {
        assert_eq!(values(&y)[0], 2.0);
        assert!(values(&y)[1].is_nan());
    }
    let grad = x.grad(&y.sum().backward()).expect("gradient");
    assert_eq!(values(&grad), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn upsample_add_matches_burn() {
    let device = Device::flex().autodiff();
    for (coarse, fine) in [
        ([3, 4], [6, 8]),
        ([3, 4], [5, 7]),
        ([1, 1], [3, 2]),
        ([5, 5], [5, 5]),
    ] {
        let stock = |coarse: Tensor<4>, fine: Tensor<4>| {
            let [_, _, height, width] = fine.dims();
            let options = InterpolateOptions::new(InterpolateMode::Nearest)
                .with_output_size([height, width])
                .with_align_corners(false);
            module::interpolate(coarse, options) + fine
        };
        let (a, b) = ([2, 3, coarse[0], coarse[1]], [2, 3, fine[0], fine[1]]);
        assert_eq!(
            run(upsample_add, a, b, &device),
            run(stock, a, b, &device),
            "{coarse:?}"
        );
    }
}
