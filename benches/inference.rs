//! Time of a prediction's parts on the CPU: preprocessing a 640 × 480 photograph, and ResNet-50
//! FCOS at 800 × 1088 by its parts, with batch normalisation folded.
//!
//! ```sh
//! cargo bench -p fcos-benches --bench inference
//! ```

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use fcos_benches::{INPUT, uniform};
use fcos_core::Size;
use fcos_data::PreprocessConfig;
use fcos_model::{Fcos, FcosConfig};
use image::RgbImage;

fn preprocessing(criterion: &mut Criterion) {
    let pixels = uniform(640 * 480 * 3).map(|u| (256.0 * u) as u8).collect();
    let photograph = RgbImage::from_raw(640, 480, pixels).expect("three bytes a pixel");
    let config = PreprocessConfig::torchvision();
    criterion.bench_function("preprocess", |bencher| {
        bencher.iter(|| config.pad_batch(&[config.apply(&photograph)]));
    });
}

fn forward(criterion: &mut Criterion) {
    let device = Device::flex();
    let model: Fcos = FcosConfig::preset("torchvision-r50")
        .and_then(|config| config.init(&device))
        .expect("a preset")
        .fold_batch_norm();
    let Size { width, height } = INPUT;
    let pixels: Vec<f32> = uniform(3 * height * width).collect();
    let image: Tensor<4> =
        Tensor::from_data(TensorData::new(pixels, [1, 3, height, width]), &device);
    let features = model.forward_features(image.clone());

    let mut group = criterion.benchmark_group("forward");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(15));
    group.bench_function("backbone", |b| {
        b.iter(|| model.forward_backbone(image.clone()));
    });
    group.bench_function("pyramid", |b| {
        b.iter(|| model.forward_pyramid(&features.backbone));
    });
    group.bench_function("head", |b| b.iter(|| model.forward_head(&features.pyramid)));
    group.bench_function("all", |b| b.iter(|| model.forward(image.clone())));
    group.finish();
}

criterion_group!(benches, preprocessing, forward);
criterion_main!(benches);
