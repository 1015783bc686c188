//! Time from the head's output to detections, by number of candidates, and of NMS alone.
//!
//! ```sh
//! cargo bench -p fcos-benches --bench postprocess
//! ```

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fcos_benches::{INPUT, boxes, locations, uniform};
use fcos_core::{DistanceUnit, Outputs};
use fcos_postprocess::{NmsConfig, PostprocessConfig, nms, postprocess};

const CLASSES: usize = 80;

/// As many of the N·C class scores pass the pre-filter as asked for; no level's top-k cuts them.
fn postprocessing(criterion: &mut Criterion) {
    let locations = locations();
    let n = locations.len();
    let config = PostprocessConfig {
        pre_nms_top_k: usize::MAX,
        ..PostprocessConfig::default()
    };
    let ltrb: Vec<f32> = uniform(4 * n).map(|u| 0.5 + 8.0 * u).collect();
    let centerness: Vec<f32> = uniform(n).map(|u| 4.0 * u - 2.0).collect();
    let mut group = criterion.benchmark_group("postprocess");
    for candidates in [1_000, 5_000, 20_000] {
        let share = candidates as f32 / (n * CLASSES) as f32;
        let logit = |u: f32| {
            if u < share {
                3.0 * u / share - 2.0
            } else {
                -6.0
            }
        };
        let cls_logits: Vec<f32> = uniform(n * CLASSES).map(logit).collect();
        let head: Outputs<&[f32]> = Outputs {
            cls_logits: &cls_logits,
            ltrb: &ltrb,
            centerness: &centerness,
        };
        group.bench_function(BenchmarkId::from_parameter(candidates), |bencher| {
            bencher.iter(|| {
                postprocess(head, &locations, DistanceUnit::Stride, INPUT, &config).expect("valid")
            });
        });
    }
    group.finish();
}

fn suppression(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nms");
    for count in [1_000, 5_000, 20_000] {
        let boxes = boxes(count);
        let scores: Vec<f32> = uniform(count).collect();
        let labels: Vec<u32> = (0..count).map(|i| (i * 7 % CLASSES) as u32).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| nms(&boxes, &scores, &labels, &NmsConfig::default()).expect("valid"));
        });
    }
    group.finish();
}

criterion_group!(benches, postprocessing, suppression);
criterion_main!(benches);
