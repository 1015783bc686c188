//! Empty batches, garbage in the background, degenerate boxes, and how the parts are put together.

mod common;

use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{F32, Random, labels, leaf, tensor, to_vec};
use fcos_core::Outputs;
use fcos_loss::{
    BatchCounts, BoxWeighting, IouLoss, IouSmoothing, LossConfig, LossTargets, LossWeights,
    Normalizer, iou_loss,
};

const KINDS: [IouLoss; 5] = [
    IouLoss::Iou,
    IouLoss::LinearIou,
    IouLoss::Giou,
    IouLoss::Diou,
    IouLoss::Ciou,
];
const SMOOTHINGS: [IouSmoothing; 3] = [
    IouSmoothing::Epsilon,
    IouSmoothing::ClampUnion,
    IouSmoothing::PlusOne,
];
const CLASSES: usize = 4;

/// Host values of a batch of one image.
#[derive(Clone)]
struct Batch {
    labels: Vec<i64>,
    cls: Vec<f64>,
    ltrb: Vec<f64>,
    centerness: Vec<f64>,
    ltrb_targets: Vec<f64>,
    centerness_targets: Vec<f64>,
}

/// Value of each loss and gradient of their sum by each prediction.
#[derive(Debug, PartialEq)]
struct Outcome {
    losses: [f64; 3],
    cls: Vec<f64>,
    ltrb: Vec<f64>,
    centerness: Vec<f64>,
}

impl Outcome {
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let gradients = self.cls.iter().chain(&self.ltrb).chain(&self.centerness);
        self.losses.iter().chain(gradients).copied()
    }
}

impl Batch {
    fn random(labels: &[i64]) -> Self {
        let (n, mut random) = (labels.len(), Random(7));
        Self {
            labels: labels.to_vec(),
            cls: random.list(n * CLASSES, -4.0, 4.0),
            ltrb: random.list(n * 4, 0.1, 9.0),
            centerness: random.list(n, -2.0, 2.0),
            ltrb_targets: random.list(n * 4, 0.1, 9.0),
            centerness_targets: random.list(n, 0.1, 1.0),
        }
    }

    /// Replaces all that stands at background locations and must not matter.
    fn with_background(mut self, garbage: f64) -> Self {
        for n in (0..self.labels.len())
            .filter(|&n| self.labels[n] < 0)
            .collect::<Vec<_>>()
        {
            self.ltrb[4 * n..4 * n + 4].fill(garbage);
            self.ltrb_targets[4 * n..4 * n + 4].fill(garbage);
            self.centerness[n] = garbage;
            self.centerness_targets[n] = garbage;
        }
        self
    }

    fn counts(&self) -> BatchCounts {
        let labels: Vec<i32> = self.labels.iter().map(|&l| l as i32).collect();
        let centerness: Vec<f32> = self.centerness_targets.iter().map(|&t| t as f32).collect();
        BatchCounts::from_targets(&labels, &centerness)
    }

    fn run(&self, config: LossConfig, counts: BatchCounts) -> Outcome {
        let n = self.labels.len();
        let cls = leaf(&self.cls, [1, n, CLASSES], F32.dtype);
        let ltrb = leaf(&self.ltrb, [1, n, 4], F32.dtype);
        let centerness = leaf(&self.centerness, [1, n, 1], F32.dtype);
        let input = Outputs {
            cls_logits: cls.clone(),
            ltrb: ltrb.clone(),
            centerness: centerness.clone(),
        };
        let targets = LossTargets {
            labels: labels(&self.labels, [1, n]),
            ltrb: tensor(&self.ltrb_targets, [1, n, 4], F32.dtype),
            centerness: tensor(&self.centerness_targets, [1, n], F32.dtype),
        };
        let loss = config
            .init()
            .forward(input, targets, &Normalizer::new(counts));
        let gradients = loss.total().backward();
        Outcome {
            losses: common::values(&loss),
            cls: to_vec(cls.grad(&gradients).expect("gradient")),
            ltrb: to_vec(ltrb.grad(&gradients).expect("gradient")),
            centerness: to_vec(centerness.grad(&gradients).expect("gradient")),
        }
    }

    /// One location of the batch.
    fn location(&self, n: usize) -> Self {
        Self {
            labels: vec![self.labels[n]],
            cls: self.cls[n * CLASSES..(n + 1) * CLASSES].to_vec(),
            ltrb: self.ltrb[n * 4..(n + 1) * 4].to_vec(),
            centerness: vec![self.centerness[n]],
            ltrb_targets: self.ltrb_targets[n * 4..(n + 1) * 4].to_vec(),
            centerness_targets: vec![self.centerness_targets[n]],
        }
    }
}

fn configs() -> impl Iterator<Item = LossConfig> {
    let weightings = [BoxWeighting::Centerness, BoxWeighting::Uniform];
    KINDS
        .into_iter()
        .flat_map(|kind| SMOOTHINGS.map(|smoothing| (kind, smoothing)))
        .flat_map(move |(box_loss, smoothing)| {
            weightings.map(|box_weighting| LossConfig {
                box_loss,
                smoothing,
                box_weighting,
                ..LossConfig::default()
            })
        })
}

#[test]
fn without_positives_only_classes_learn() {
    for garbage in [0.0, f64::NAN, f64::INFINITY, -1e30] {
        let batch = Batch::random(&[-1; 5]).with_background(garbage);
        for config in configs() {
            let outcome = batch.run(config, batch.counts());
            assert!(outcome.losses[0] > 0.0 && outcome.cls.iter().all(|g| *g > 0.0));
            assert_eq!(outcome.losses[1..], [0.0, 0.0], "{config:?}");
            assert_eq!(outcome.ltrb, [0.0; 20], "{config:?}");
            assert_eq!(outcome.centerness, [0.0; 5]);
        }
    }
}

#[test]
fn background_never_matters() {
    let clean = Batch::random(&[2, -1, 0, -1, -1, 3]);
    for config in configs() {
        let expected = clean.run(config, clean.counts());
        assert!(expected.numbers().all(f64::is_finite));
        for garbage in [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e30] {
            let batch = clean.clone().with_background(garbage);
            assert_eq!(
                batch.run(config, batch.counts()),
                expected,
                "{garbage} {config:?}"
            );
        }
        for n in [1, 3, 4] {
            assert_eq!(expected.ltrb[4 * n..4 * n + 4], [0.0; 4]);
            assert_eq!(expected.centerness[n], 0.0);
        }
    }
}

/// Any split of a step, by image or by location, adds up to the whole under one normaliser.
#[test]
fn parts_add_up() {
    let batch = Batch::random(&[1, -1, 3, 0, -1]);
    for config in configs() {
        let whole = batch.run(config, batch.counts());
        let parts: Vec<Outcome> = (0..5)
            .map(|n| batch.location(n).run(config, batch.counts()))
            .collect();
        for k in 0..3 {
            let sum: f64 = parts.iter().map(|part| part.losses[k]).sum();
            assert!(
                (sum - whole.losses[k]).abs() <= 1e-6 * whole.losses[k],
                "{config:?}"
            );
        }
        let ltrb: Vec<f64> = parts.iter().flat_map(|part| part.ltrb.clone()).collect();
        common::assert_close(&ltrb, &whole.ltrb, 1e-6, "gradient of distances");
    }
}

#[test]
fn huge_logits_stay_finite() {
    for size in [100.0, 1000.0] {
        let mut batch = Batch::random(&[0, -1, 2]);
        batch.cls = (0..12)
            .map(|i| if i % 2 == 0 { size } else { -size })
            .collect();
        batch.centerness = vec![size, -size, -size];
        let outcome = batch.run(LossConfig::default(), batch.counts());
        assert!(outcome.numbers().all(f64::is_finite));
        // Five logits claim a class that is not there, none misses one that is; of two positives.
        assert!((outcome.losses[0] - 4.0 * 0.75 * size / 2.0).abs() < 1e-3 * size);
    }
}

/// A freshly initialised head with ReLU predicts empty boxes.
#[test]
fn degenerate_boxes_stay_finite() {
    let predicted = [
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 3.0, 0.0, 4.0],
        [5.0, 0.0, 2.0, 0.0],
        [1e-20, 1e-20, 1e-20, 1e-20],
        [1e5, 1e5, 1e5, 1e5],
        [-1e5, 3.0, 1.2e5, 4.0],
    ];
    let target = [[3.0, 4.0, 5.0, 6.0]; 6];
    for (kind, smoothing) in KINDS.iter().flat_map(|&k| SMOOTHINGS.map(|s| (k, s))) {
        let input = leaf(&predicted.concat(), [1, 6, 4], F32.dtype);
        let targets = tensor(&target.concat(), [1, 6, 4], F32.dtype);
        let loss = iou_loss(input.clone(), targets, kind, smoothing);
        let (value, gradient) = common::value_and_gradient(loss, &input);
        let finite = value.iter().chain(&gradient).all(|v| v.is_finite());
        assert!(finite, "{kind:?} {smoothing:?}: {value:?} {gradient:?}");
        assert!(
            value.iter().all(|v| *v > 0.0),
            "{kind:?} {smoothing:?}: {value:?}"
        );
    }
}

/// IoU has nothing to say about boxes that don't touch; GIoU and DIoU pull them together.
#[test]
fn far_apart_boxes() {
    let predicted = [100.0, 4.0, -90.0, 6.0]; // ten pixels wide, far to the left
    let target = [3.0, 4.0, 5.0, 6.0];
    for (kind, pulls) in [
        (IouLoss::LinearIou, false),
        (IouLoss::Giou, true),
        (IouLoss::Diou, true),
    ] {
        let input = leaf(&predicted, [1, 1, 4], F32.dtype);
        let targets = tensor(&target, [1, 1, 4], F32.dtype);
        let loss = iou_loss(input.clone(), targets, kind, IouSmoothing::Epsilon);
        let (value, gradient) = common::value_and_gradient(loss, &input);
        let least = if pulls { 1.5 } else { 1.0 };
        assert!(value[0] >= least, "{kind:?}: {value:?}");
        // Descent moves the right side to the right.
        assert_eq!(gradient[2] < 0.0, pulls, "{kind:?}: {gradient:?}");
    }
}

/// An anchor's offsets may put the box beside its location. By hand, around (10, 10): predicted
/// (11, 8, 15, 13), target (9, 8, 13, 13); intersection 2·5, union 30, enclosing box 6·5, so
/// that GIoU is 1/3. A larger l and a smaller r bring the box back.
#[test]
fn a_box_beside_its_location() {
    let predicted = leaf(&[-1.0, 2.0, 5.0, 3.0], [1, 1, 4], F32.dtype);
    let target = tensor(&[1.0, 2.0, 3.0, 3.0], [1, 1, 4], F32.dtype);
    let loss = iou_loss(
        predicted.clone(),
        target,
        IouLoss::Giou,
        IouSmoothing::Epsilon,
    );
    let (value, gradient) = common::value_and_gradient(loss, &predicted);
    assert!((value[0] - 2.0 / 3.0).abs() < 1e-6, "{value:?}");
    assert!(gradient[0] < 0.0 && gradient[2] > 0.0, "{gradient:?}");
}

#[test]
fn one_location_by_hand() {
    let batch = Batch {
        labels: vec![1],
        cls: vec![0.0; CLASSES],
        ltrb: vec![2.0, 2.0, 2.0, 2.0],
        centerness: vec![0.0],
        ltrb_targets: vec![2.0, 2.0, 2.0, 6.0],
        centerness_targets: vec![0.5],
    };
    let config = LossConfig {
        box_loss: IouLoss::LinearIou,
        weights: LossWeights {
            cls: 2.0,
            bbox: 3.0,
            centerness: 5.0,
        },
        ..LossConfig::default()
    };
    let outcome = batch.run(config, batch.counts());
    let ln2 = std::f64::consts::LN_2;
    // p = ½: (α + 3(1 − α)) · ¼ · ln 2; half of the target is covered, weight and divisor cancel.
    let expected = [2.0 * 2.5 * 0.25 * ln2, 3.0 * 0.5, 5.0 * ln2];
    common::assert_close(&outcome.losses, &expected, 1e-6, "losses");

    let counts = BatchCounts {
        positives: 4.0,
        centerness_sum: 2.0,
    };
    let shared = batch.run(config, counts);
    common::assert_close(&shared.losses, &expected.map(|v| v / 4.0), 1e-6, "quarter");
}

/// Evaluation needs no autodiff, targets need none ever, and recomputation changes nothing.
#[test]
fn device_kinds_agree() {
    let batch = Batch::random(&[2, -1, 0]);
    let plain = Device::flex();
    let on = |values: &[f64], shape: [usize; 3], device: &Device| -> Tensor<3> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
    };
    let total = |device: &Device| {
        let ltrb = on(&batch.ltrb, [1, 3, 4], device).set_require_grad(device.is_autodiff());
        let input = Outputs {
            cls_logits: on(&batch.cls, [1, 3, CLASSES], device),
            ltrb: ltrb.clone(),
            centerness: on(&batch.centerness, [1, 3, 1], device),
        };
        let labels = Tensor::<2, Int>::from_data([[2, -1, 0]], &plain);
        let targets = LossTargets {
            labels,
            ltrb: on(&batch.ltrb_targets, [1, 3, 4], &plain),
            centerness: on(&batch.centerness_targets, [1, 3, 1], &plain).squeeze_dim(2),
        };
        let normalizer = Normalizer::new(batch.counts());
        (
            LossConfig::default()
                .init()
                .forward(input, targets, &normalizer)
                .total(),
            ltrb,
        )
    };
    let expected = batch.run(LossConfig::default(), batch.counts());
    let sum: f64 = expected.losses.iter().sum();
    assert!((to_vec(total(&plain).0)[0] - sum).abs() < 1e-6);
    for device in [
        plain.clone().autodiff(),
        plain.clone().autodiff().gradient_checkpointing(),
    ] {
        let (loss, ltrb) = total(&device);
        let (value, gradient) = common::value_and_gradient(loss, &ltrb);
        assert!((value[0] - sum).abs() < 1e-6);
        assert_eq!(gradient, expected.ltrb);
    }
}
