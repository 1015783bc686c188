//! Every rule of assignment trains, with both ways to predict a box.

use std::ops::ControlFlow;
use std::path::Path;

use fcos::model::BoxActivation;
use fcos::targets::{AssignConfig, AssignRule, Assigner};
use fcos::train::{LAST_WEIGHTS, Observer, RunPlan, StepRow, Trainer};
use fcos::{BBox, Locations, Size};
use fcos::{Detector, DeviceSpec};
use fcos_tests::tiny_run;

const STEPS: u64 = 36;

/// Steps in which every image is seen once.
const EPOCH: usize = 6;

#[derive(Default)]
struct Rows(Vec<StepRow>);

impl Observer for Rows {
    fn stepped(&mut self, row: &StepRow, _: &RunPlan) -> ControlFlow<()> {
        self.0.push(row.clone());
        ControlFlow::Continue(())
    }
}

/// Trains, predicts the val images, loads the weights again; the steps' rows.
fn trained(folder: &Path, rule: AssignRule, activation: BoxActivation) -> Vec<StepRow> {
    let mut config = tiny_run(folder, STEPS);
    config.assign.rule = rule;
    config.model.head.box_activation = activation;
    config.recipe.warmup.iterations = 0;
    config.recipe.learning_rate = 0.01; // for batches of two
    config.loss.weights.bbox = if rule == AssignRule::Atss { 2.0 } else { 1.0 };
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let run = folder.join(format!("{rule:?}-{activation:?}"));
    let trainer = Trainer::start(config, &run, &device).expect("starts");
    let mut rows = Rows::default();
    let summary = trainer.run(&mut rows).expect("trains");
    assert!(summary.metrics.is_some(), "the val images are predicted");
    let detector = Detector::load(run.join(LAST_WEIGHTS), &device).expect("loads");
    let saved = detector.config().model.head.box_activation;
    assert_eq!(saved, activation, "the weights know how boxes are meant");
    rows.0
}

fn mean(rows: &[StepRow], value: impl Fn(&StepRow) -> f64) -> f64 {
    rows.iter().map(value).sum::<f64>() / rows.len() as f64
}

/// A pyramid from stride 4 on learns its finest level's boxes there, and its weights predict.
#[test]
fn a_pyramid_from_stride_4_trains() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut config = tiny_run(temp.path(), 3);
    config.model.fpn.first_stride = 4;
    let strides = config.model.strides();
    config.assign = AssignConfig::torchvision(&strides);
    let size = Size {
        width: 96,
        height: 64,
    };
    let locations = Locations::new(size, &strides, config.location_rule);
    let unit = config.model.distance_unit();
    let assigner = Assigner::new(&config.assign, &locations, unit).expect("six ranges");
    let targets = assigner.assign(&[BBox::new(20.0, 20.0, 32.0, 32.0)], &[0]);
    let matched = targets.expect("a box").matched;
    let positive = |level| {
        let range = locations.level_range(level);
        matched[range].iter().filter(|&&index| index >= 0).count()
    };
    assert!(positive(0) > 0);
    assert_eq!((1..strides.len()).map(positive).sum::<usize>(), 0);

    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let run = temp.path().join("run");
    let trainer = Trainer::start(config, &run, &device).expect("starts");
    let summary = trainer.run(&mut Rows::default()).expect("trains");
    assert!(summary.metrics.is_some(), "the val images are predicted");
    let detector = Detector::load(run.join(LAST_WEIGHTS), &device).expect("loads");
    assert_eq!(detector.config().model.strides(), strides);
}

/// Both rules see the same images, so their positives differ only by the rule.
#[test]
fn rules_and_regressions_train() {
    let temp = tempfile::tempdir().expect("a folder");
    let cases = [
        (AssignRule::Fcos, BoxActivation::ReluStride),
        (AssignRule::Fcos, BoxActivation::AnchorDelta),
        (AssignRule::Atss, BoxActivation::ReluStride),
        (AssignRule::Atss, BoxActivation::AnchorDelta),
    ];
    let runs = cases.map(|(rule, activation)| trained(temp.path(), rule, activation));
    for (rows, case) in runs.iter().zip(cases) {
        assert_eq!(rows.len() as u64, STEPS, "{case:?}");
        assert!(rows.iter().all(|row| row.positives > 0.0), "{case:?}");
        let (first, last) = (&rows[..EPOCH], &rows[rows.len() - EPOCH..]);
        for name in ["cls", "bbox"] {
            let value = |row: &StepRow| row.loss_of(name).expect(name);
            let (before, after) = (mean(first, value), mean(last, value));
            assert!(after < before, "{case:?}: {before} to {after}");
        }
    }
    let positives = runs.each_ref().map(|rows| mean(rows, |row| row.positives));
    assert_eq!(positives[0], positives[1]);
    assert_eq!(positives[2], positives[3]);
    assert_ne!(positives[0], positives[2]);
}
