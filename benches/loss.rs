//! Time of the three losses, forward and backward, for a batch of four images of 800 × 1088 and 80
//! classes.
//!
//! ```sh
//! cargo bench -p fcos-benches --bench loss
//! ```

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use burn::tensor::{Device, Int, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use fcos_benches::{locations, uniform};
use fcos_core::Outputs;
use fcos_loss::{BatchCounts, LossConfig, LossTargets, Normalizer};

const BATCH: usize = 4;
const CLASSES: usize = 80;

fn floats<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = uniform(shape.iter().product()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn loss(criterion: &mut Criterion) {
    let n = locations().len();
    // One location in 50 is positive.
    let labels: Vec<i32> = uniform(BATCH * n)
        .map(|u| if u < 0.02 { (u * 4e3) as i32 } else { -1 })
        .collect();
    let counts = BatchCounts::from_targets(&labels, &vec![0.5; labels.len()]);
    let device = Device::flex().autodiff();
    let labels: Tensor<2, Int> = Tensor::from_data(TensorData::new(labels, [BATCH, n]), &device);
    let targets = LossTargets {
        labels,
        ltrb: floats([BATCH, n, 4], &device) + 0.5,
        centerness: floats([BATCH, n], &device),
    };
    let loss = LossConfig::default().init();
    let mut group = criterion.benchmark_group("loss");
    group.sample_size(10);
    group.bench_function("forward and backward", |bencher| {
        bencher.iter(|| {
            let outputs = Outputs {
                cls_logits: (floats([BATCH, n, CLASSES], &device) * 4 - 6).require_grad(),
                ltrb: (floats([BATCH, n, 4], &device) + 0.5).require_grad(),
                centerness: floats([BATCH, n, 1], &device).require_grad(),
            };
            let output = loss.forward(outputs, targets.clone(), &Normalizer::new(counts));
            output.total().backward()
        });
    });
    group.finish();
}

criterion_group!(benches, loss);
criterion_main!(benches);
