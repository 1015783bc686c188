//! The network as its users see it. One binary, since linking takes longer than testing.
#![allow(clippy::unwrap_used)]

mod backbones;
mod checkpoints;
mod compat;
mod config;
mod golden;
mod network;
mod training;
mod weights;

use burn::tensor::{Device, Distribution, Tensor};
use fcos_model::{Fcos, FcosConfig, ResNetConfig};

/// A network of a few thousand parameters, with both kinds of normalisation.
fn small() -> FcosConfig {
    let mut config = FcosConfig::tiny();
    config.num_classes = 3;
    resnet(&mut config).width = 4;
    config.fpn.channels = 8;
    config.head.gn_groups = 4;
    config
}

fn resnet(config: &mut FcosConfig) -> &mut ResNetConfig {
    config.backbone.as_resnet_mut().expect("a ResNet")
}

fn build(config: &FcosConfig) -> Fcos {
    config.init(&Device::flex()).expect("valid")
}

/// Random numbers that depend on the shape and the seed alone.
fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let mut state = 0x2545_f491_u64 + n as u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let data: Vec<f32> = (0..n).map(|_| draw()).collect();
    Tensor::from_data(burn::tensor::TensorData::new(data, shape), device)
}

fn values<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
    x.to_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .expect("f32")
}

/// The network with random running statistics and affine parameters everywhere.
fn scrambled(model: Fcos) -> Fcos {
    let mut tensors = model.tensors();
    for (name, data) in &mut tensors {
        let range = match name.rsplit('.').next() {
            Some("running_var") => 0.5..2.0,
            Some("weight") if data.shape().len() == 1 => 0.5..1.5,
            _ => continue,
        };
        let shape = [data.shape()[0]];
        let distribution = Distribution::Uniform(range.start, range.end);
        *data = Tensor::<1>::random(shape, distribution, &Device::flex()).into_data();
    }
    model.with_tensors(tensors).expect("same names")
}

/// The largest difference, as a part of the largest expected value.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-30f32, |m, x| m.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.iter().all(|x| x.is_finite()));
    worst / scale
}
