//! Devices against each other: the same weights give the same detections, the same seed the same
//! training.

use std::ops::ControlFlow;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use burn::tensor::{Tensor, TensorData};
use fcos::Rng;
use fcos::model::{Arch, BackboneNorm, FcosConfig};
use fcos::train::{LAST_WEIGHTS, Observer, RunPlan, StepRow, Trainer};
use fcos::{Detections, Detector, DeviceSpec};
use fcos_tests::{tiny_run, worst};

use crate::{Tested, devices, relative_error, values};

/// In pixels of the image.
const BOX_TOLERANCE: f32 = 0.05;
const SCORE_TOLERANCE: f32 = 1e-3;
const LOSS_TOLERANCE: f32 = 0.005;

#[derive(Default)]
struct Losses(Vec<Vec<f64>>);

impl Observer for Losses {
    fn stepped(&mut self, row: &StepRow, _: &RunPlan) -> ControlFlow<()> {
        self.0.push(row.losses.iter().map(|l| l.value).collect());
        ControlFlow::Continue(())
    }
}

fn train(tested: &Tested, folder: &Path, run: &str, iterations: u64) -> Losses {
    let mut config = tiny_run(folder, iterations);
    // Rounding errors double with every step once the gradients are steep, however small they were:
    // at four times this rate, or with batch normalisation over four small images, to a percent
    // within fifty steps on any two devices.
    config.recipe.learning_rate = 0.005;
    config
        .model
        .backbone
        .as_resnet_mut()
        .expect("a ResNet")
        .norm = BackboneNorm::Frozen;
    config.recipe.batch_size = 4;
    let trainer = Trainer::start(config, folder.join(run), &tested.device);
    let mut losses = Losses::default();
    trainer.expect("starts").run(&mut losses).expect("trains");
    losses
}

#[test]
fn the_same_seed_trains_alike() {
    let temp = tempfile::tempdir().expect("a folder");
    let (devices, _guard) = devices();
    let runs = devices.iter().map(|tested| {
        let start = std::time::Instant::now();
        let losses = train(tested, temp.path(), &tested.spec.to_string(), 50).0;
        println!("{}: 50 steps in {:.1?}", tested.spec, start.elapsed());
        losses
    });
    let runs: Vec<_> = runs.collect();
    for (tested, run) in devices.iter().zip(&runs).skip(1) {
        assert_eq!(run.len(), runs[0].len());
        let pairs = run.iter().flatten().zip(runs[0].iter().flatten());
        let worst = worst(pairs.map(|(a, b)| (a / b - 1.0) as f32));
        println!(
            "{} and {}: losses differ by {worst:.1e}",
            tested.spec, devices[0].spec
        );
        assert!(worst <= LOSS_TOLERANCE, "{}: {worst}", tested.spec);
    }
}

#[test]
fn the_same_weights_detect_alike() {
    let temp = tempfile::tempdir().expect("a folder");
    let (devices, _guard) = devices();
    // Enough steps for scores that differ from each other; quick ones, where there is a CPU.
    let cpu = devices.iter().find(|t| t.spec == DeviceSpec::Flex);
    train(cpu.unwrap_or(&devices[0]), temp.path(), "run", 200);
    let weights = temp.path().join("run").join(LAST_WEIGHTS);
    let found: Vec<_> = devices
        .iter()
        .map(|t| detections(t, &weights, temp.path()))
        .collect();
    for (tested, other) in devices.iter().zip(&found).skip(1) {
        let mut worst = 0.0f32;
        for (a, b) in found[0].iter().zip(other) {
            worst = worst.max(compare(a, b));
        }
        let count: usize = other.iter().map(|found| found.len()).sum();
        println!(
            "{} and {}: {count} detections, boxes within {worst:.1e} px",
            devices[0].spec, tested.spec
        );
        assert!(count > 20, "{count} detections show nothing");
    }
}

/// Of all val images; the first also without blocking.
fn detections(tested: &Tested, weights: &Path, folder: &Path) -> Vec<Detections> {
    let mut detector = Detector::load(weights, &tested.device).expect("loads");
    detector.postprocess_mut().pre_filter.threshold = 0.02;
    let files = std::fs::read_dir(folder.join("shapes/val")).expect("images");
    let mut files: Vec<_> = files.map(|f| f.expect("a file").path()).collect();
    files.sort();
    let predict = |file| detector.predict_file(file).expect("predicts").detections;
    let found: Vec<_> = files.iter().map(predict).collect();
    let image = image::open(&files[0]).expect("opens");
    let again = block_on(detector.predict_async(&image)).expect("predicts");
    assert!(
        compare(&found[0], &again) < 1e-3,
        "{}: without blocking",
        tested.spec
    );
    found
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// The largest difference of a side, in pixels.
fn compare(a: &Detections, b: &Detections) -> f32 {
    let labels = |found: &Detections| found.iter().map(|d| d.label).collect::<Vec<_>>();
    assert_eq!(labels(a), labels(b));
    let mut worst = 0.0f32;
    for (a, b) in a.iter().zip(b) {
        assert!((a.score - b.score).abs() < SCORE_TOLERANCE, "{a:?} {b:?}");
        let (p, q) = (a.bbox, b.bbox);
        for (p, q) in [(p.x1, q.x1), (p.y1, q.y1), (p.x2, q.x2), (p.y2, q.y2)] {
            assert!((p - q).abs() <= BOX_TOLERANCE, "{a:?} {b:?}");
            worst = worst.max((p - q).abs());
        }
    }
    worst
}

/// Layers wide enough for a GPU's matrix units, at COCO's size.
#[test]
#[ignore = "half a minute on a CPU of 16 cores; `benches/gpu/run.sh` runs it"]
fn a_large_network_agrees() {
    pyramids_agree("a large network", &FcosConfig::default(), [1, 3, 800, 1088]);
}

/// Grouped convolutions; those of `flex` are tested in `fcos-kernels`.
#[test]
fn a_narrow_resnext_agrees() {
    let mut config = FcosConfig::tiny();
    let backbone = config.backbone.as_resnet_mut().expect("a ResNet");
    backbone.arch = Arch::ResNeXt50_32x4d;
    backbone.width = 32;
    pyramids_agree("a ResNeXt", &config, [2, 3, 72, 56]);
}

/// The initial biases of the class layer would hide its errors, so its input is compared: every
/// level of the pyramid.
fn pyramids_agree(what: &str, config: &FcosConfig, shape: [usize; 4]) {
    let (devices, _guard) = devices();
    let mut rng = Rng::from_key(&[22]);
    let pixels = (0..shape.iter().product()).map(|_| rng.uniform(-2.0, 2.0));
    let pixels = TensorData::new(pixels.collect::<Vec<f32>>(), shape);
    let pyramids = devices.iter().map(|tested| {
        let model = config
            .init(&tested.device)
            .expect("valid")
            .fold_batch_norm();
        let images = Tensor::from_data(pixels.clone(), &tested.device);
        let pyramid = model.forward_features(images).pyramid.into_iter();
        pyramid.map(values).collect::<Vec<_>>()
    });
    let pyramids: Vec<_> = pyramids.collect();
    for (tested, pyramid) in devices.iter().zip(&pyramids).skip(1) {
        let errors = pyramid
            .iter()
            .zip(&pyramids[0])
            .map(|(a, b)| relative_error(a, b));
        let worst = worst(errors);
        println!("{}: {what} within {worst:.1e}", tested.spec);
        assert!(
            worst <= tested.tolerance().forward,
            "{}: {worst}",
            tested.spec
        );
    }
}
