//! Time to assign targets for one image of 800 × 1344 (22,400 locations), by number of boxes.
//!
//! ```sh
//! cargo bench -p fcos-benches --bench assignment
//! ```

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fcos_benches::{STRIDES, boxes};
use fcos_core::DistanceUnit;
use fcos_core::{LocationRule, Locations, Size};
use fcos_targets::{AssignConfig, AssignRule, Assigner};

fn assignment(criterion: &mut Criterion) {
    let input = Size {
        width: 1344,
        height: 800,
    };
    let locations = Locations::new(input, &STRIDES, LocationRule::HalfStride);
    let mut group = criterion.benchmark_group("assignment");
    for (name, rule) in [("fcos", AssignRule::Fcos), ("atss", AssignRule::Atss)] {
        let config = AssignConfig {
            rule,
            ..AssignConfig::default()
        };
        let assigner =
            Assigner::new(&config, &locations, DistanceUnit::Stride).expect("five levels");
        for count in [1, 10, 100, 500] {
            let boxes = boxes(count);
            let labels = vec![0; count];
            group.bench_with_input(BenchmarkId::new(name, count), &boxes, |bencher, boxes| {
                bencher.iter(|| assigner.assign(boxes, &labels).expect("valid boxes"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, assignment);
criterion_main!(benches);
