//! Speed of the kernels next to Flex's own operations.
//!
//! `cargo run -p fcos-kernels --example bench [filter]` prints the best time of several
//! runs and, for convolutions, the rate in GFLOP/s of the direct algorithm (two operations per
//! product, so that algorithms that save products can exceed the processor's peak).

use std::time::Instant;

use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Tensor, activation, module};
use fcos_kernels::{
    Activation, Conv2dOptions, MaxPool2dOptions, add_relu, batch_norm, channel_affine, conv2d,
    group_norm, max_pool2d, relu, upsample_add,
};

/// Time spent on each measurement, and the least number of runs.
const SECONDS: f64 = 0.5;
const RUNS: usize = 3;

/// Batch, Cin, Cout, height, width, kernel, stride, groups.
const CONVS: &[[usize; 8]] = &[
    [4, 256, 256, 40, 56, 3, 1, 1],
    [4, 256, 256, 20, 28, 3, 1, 1],
    [4, 256, 256, 10, 14, 3, 1, 1],
    [4, 256, 256, 5, 7, 3, 1, 1],
    [4, 256, 256, 3, 4, 3, 1, 1],
    [4, 256, 20, 40, 56, 3, 1, 1],
    [4, 256, 4, 40, 56, 3, 1, 1],
    [4, 64, 64, 80, 112, 3, 1, 1],
    [4, 128, 128, 40, 56, 3, 1, 1],
    [4, 512, 512, 10, 14, 3, 1, 1],
    [4, 3, 64, 320, 448, 7, 2, 1],
    [4, 64, 128, 80, 112, 3, 2, 1],
    [4, 256, 256, 10, 14, 3, 2, 1],
    [4, 64, 128, 80, 112, 1, 2, 1],
    [4, 128, 256, 40, 56, 1, 1, 1],
    [4, 512, 256, 10, 14, 1, 1, 1],
    [4, 128, 128, 80, 112, 3, 1, 32],
    [1, 256, 256, 100, 136, 3, 1, 1],
    [1, 64, 256, 200, 272, 1, 1, 1],
];

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!(
        "{:34} {:>9} {:>21} {:>21}",
        "", "pass", "here ms (GFLOP/s)", "Flex ms (GFLOP/s)"
    );
    for &sizes in CONVS {
        let name = format!("conv {sizes:?}");
        if name.contains(&filter) {
            bench_conv(&name, sizes);
        }
    }
    for (name, ours, flex) in maps() {
        if name.contains(&filter) {
            bench_map(name, ours, flex);
        }
    }
}

fn best_ms(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < RUNS || start.elapsed().as_secs_f64() < SECONDS {
        let run = Instant::now();
        f();
        best = best.min(run.elapsed().as_secs_f64() * 1e3);
        runs += 1;
    }
    best
}

fn random<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

/// Times of forward and of both gradients; the gradients include a forward pass, taken off here.
fn bench_conv(name: &str, [batch, cin, cout, height, width, kernel, stride, groups]: [usize; 8]) {
    let device = Device::flex();
    let x = random([batch, cin, height, width], &device);
    let weight = random([cout, cin / groups, kernel, kernel], &device);
    let padding = [kernel / 2; 2];
    let ours = |x, weight| {
        let options = Conv2dOptions {
            stride: [stride; 2],
            padding,
            groups,
            ..Default::default()
        };
        conv2d(x, weight, None, options)
    };
    let flex = |x, weight| {
        module::conv2d(
            x,
            weight,
            None,
            ConvOptions::new([stride; 2], padding, [1; 2], groups),
        )
    };
    let outputs = ours(x.clone(), weight.clone()).shape().num_elements();
    let operations = 2.0 * (outputs * cin / groups * kernel * kernel) as f64;
    let (here, there) = (conv_times(ours, &x, &weight), conv_times(flex, &x, &weight));
    for (pass, (here, there)) in ["forward", "dx", "dweight"]
        .iter()
        .zip(here.iter().zip(there))
    {
        let rate = |ms: f64| operations / ms / 1e6;
        println!(
            "{name:34} {pass:>9} {here:>12.2} ({:>6.1}) {there:>12.2} ({:>6.1})",
            rate(*here),
            rate(there)
        );
    }
}

fn conv_times(
    conv: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>,
    x: &Tensor<4>,
    weight: &Tensor<4>,
) -> [f64; 3] {
    let forward = best_ms(|| drop(conv(x.clone(), weight.clone())));
    let ones = conv(x.clone(), weight.clone()).ones_like();
    let gradient = |track_x: bool| {
        let (x, weight) = (x.clone().autodiff(), weight.clone().autodiff());
        let (x, weight) = match track_x {
            true => (x.require_grad(), weight),
            false => (x, weight.require_grad()),
        };
        best_backward_ms(|| conv(x.clone(), weight.clone()) * ones.clone().autodiff())
    };
    [forward, gradient(true), gradient(false)]
}

/// Times the backward pass alone.
fn best_backward_ms(forward: impl Fn() -> Tensor<4>) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < RUNS || start.elapsed().as_secs_f64() < SECONDS {
        let loss = forward().sum();
        let run = Instant::now();
        drop(loss.backward());
        best = best.min(run.elapsed().as_secs_f64() * 1e3);
        runs += 1;
    }
    best
}

type Map = Box<dyn Fn(Tensor<4>) -> Tensor<4>>;

const FEATURES: [usize; 4] = [4, 256, 40, 56];

/// Name, this crate's operation and Flex's.
fn maps() -> Vec<(&'static str, Map, Map)> {
    let ones = || {
        Tensor::<1>::ones([FEATURES[1]], &Device::flex())
            .autodiff()
            .require_grad()
    };
    let zeros = || {
        Tensor::<1>::zeros([FEATURES[1]], &Device::flex())
            .autodiff()
            .require_grad()
    };
    let per_channel = |t: Tensor<1>| t.reshape([1, FEATURES[1], 1, 1]);
    let pool = MaxPool2dOptions {
        kernel_size: 3,
        stride: 2,
        padding: 1,
    };
    vec![
        (
            "group norm + relu",
            Box::new(move |x| group_norm(x, 32, ones(), zeros(), 1e-5, Activation::Relu)),
            Box::new(move |x: Tensor<4>| {
                let [batch, channels, height, width] = x.dims();
                let x = x.reshape([batch, 32, channels / 32 * height * width]);
                let (variance, mean) = x.clone().var_mean_bias(2);
                let x = ((x - mean) / (variance + 1e-5).sqrt())
                    .reshape([batch, channels, height, width]);
                activation::relu(x * per_channel(ones()) + per_channel(zeros()))
            }),
        ),
        (
            "batch norm + relu",
            Box::new(move |x| batch_norm(x, ones(), zeros(), 1e-5, Activation::Relu).output),
            Box::new(move |x| {
                activation::relu(module::batch_norm_train(x, ones(), zeros(), 1e-5).output)
            }),
        ),
        (
            "channel affine + relu",
            Box::new(move |x| {
                channel_affine(x, ones().detach(), zeros().detach(), Activation::Relu)
            }),
            Box::new(move |x| {
                activation::relu(x * per_channel(ones().detach()) + per_channel(zeros().detach()))
            }),
        ),
        ("relu", Box::new(relu), Box::new(activation::relu)),
        (
            "add + relu",
            Box::new(|x| add_relu(x.clone(), x)),
            Box::new(|x| activation::relu(x.clone() + x)),
        ),
        (
            "max pool 3x3/2",
            Box::new(move |x| max_pool2d(x, pool)),
            Box::new(|x| {
                let options = MaxPoolOptions::new([3, 3])
                    .with_stride([2, 2])
                    .with_padding([1, 1]);
                module::max_pool2d(x, options)
            }),
        ),
        (
            "upsample 2x + add",
            Box::new(|x| {
                let [batch, channels, height, width] = x.dims();
                let fine = Tensor::zeros([batch, channels, 2 * height, 2 * width], &x.device());
                upsample_add(x, fine)
            }),
            Box::new(|x| {
                let [batch, channels, height, width] = x.dims();
                let size = [2 * height, 2 * width];
                let fine = Tensor::zeros([batch, channels, size[0], size[1]], &x.device());
                let options = InterpolateOptions::new(InterpolateMode::Nearest)
                    .with_output_size(size)
                    .with_align_corners(false);
                module::interpolate(x, options) + fine
            }),
        ),
    ]
}

fn bench_map(name: &str, ours: Map, flex: Map) {
    let x = random(FEATURES, &Device::flex()).autodiff().require_grad();
    for (pass, f) in [("forward", false), ("backward", true)] {
        let time = |map: &Map| match f {
            false => best_ms(|| drop(map(x.clone()))),
            true => best_backward_ms(|| map(x.clone())),
        };
        println!(
            "{name:34} {pass:>9} {:>12.2} {:>21.2}",
            time(&ours),
            time(&flex)
        );
    }
}
