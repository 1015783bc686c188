//! Values against the formulas written for single numbers in `f64`, gradients against central
//! differences of those, on random inputs and at the extremes.

mod common;

use std::f64::consts::PI;

use common::{F32, F64, Precision, Random, labels, leaf, tensor, value_and_gradient};
use fcos_core::{BBox, Ltrb, Point};
use fcos_loss::{IouLoss, IouSmoothing, centerness_loss, iou_loss, sigmoid_focal_loss};

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

/// A slope and how far rounding may have moved it.
#[derive(Clone, Copy)]
struct Slope {
    value: f64,
    noise: f64,
}

/// Slope of `f` at `x` by the five-point central difference.
fn slope(f: impl Fn(f64) -> f64, x: f64) -> Slope {
    let h = 1e-4 * x.abs().max(1e-2);
    let value = (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h);
    let noise = 4.0 * f64::EPSILON * f(x).abs() / h;
    Slope { value, noise }
}

/// Relative to `expected`, down to what `f32` can hold.
fn assert_near(actual: f64, expected: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * expected.abs() + f64::from(f32::MIN_POSITIVE);
    assert!(
        (actual - expected).abs() <= allowed,
        "{what}: {actual}, expected {expected}"
    );
}

/// Relative to `expected` or to `scale`, the size of the terms it is a difference of.
fn assert_slope(actual: f64, expected: Slope, scale: f64, tolerance: f64, what: &str) {
    let Slope { value, noise } = expected;
    let allowed = tolerance * (value.abs() + scale) + noise + f64::from(f32::MIN_POSITIVE);
    assert!(
        (actual - value).abs() <= allowed,
        "slope of {what}: {actual}, expected {value}"
    );
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn focal(logit: f64, is_target: bool, alpha: f64, gamma: f64) -> f64 {
    let (wrong, weight) = if is_target {
        (-logit, alpha)
    } else {
        (logit, 1.0 - alpha)
    };
    weight * (-gamma * softplus(-wrong)).exp() * softplus(wrong)
}

const EXTREME_LOGITS: [f64; 13] = [
    -1000.0, -100.0, -88.0, -30.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 30.0, 88.0, 100.0, 1000.0,
];

/// One logit at a time, so that nothing hides in a sum.
fn check_focal_element(logit: f64, label: i64, gamma: f64, precision: Precision) {
    let alpha = 0.25;
    let input = leaf(&[logit], [1, 1, 1], precision.dtype);
    let loss = sigmoid_focal_loss(input.clone(), labels(&[label], [1, 1]), alpha, gamma);
    let (value, gradient) = value_and_gradient(loss, &input);
    let reference = |x| focal(x, label == 0, alpha, gamma);
    let what = format!(
        "focal γ {gamma} at {logit}, label {label}, {}",
        precision.key
    );
    assert_near(value[0], reference(logit), precision.value, &what);
    assert_slope(
        gradient[0],
        slope(reference, logit),
        0.0,
        precision.gradient,
        &what,
    );
}

#[test]
fn focal_at_the_extremes_and_between() {
    let mut random = Random(1);
    let logits = EXTREME_LOGITS
        .into_iter()
        .chain(random.list(40, -12.0, 12.0));
    for logit in logits.collect::<Vec<_>>() {
        for gamma in [2.0, 0.0, 0.5, 1.0, 3.5] {
            for label in [0, -1] {
                check_focal_element(logit, label, gamma, F64);
                check_focal_element(logit, label, gamma, F32);
            }
        }
    }
}

#[test]
fn focal_sums_over_classes_and_locations() {
    let (n, c) = (50, 7);
    let mut random = Random(2);
    let logits = random.list(n * c, -6.0, 6.0);
    let label: Vec<i64> = (0..n)
        .map(|_| random.below(c as u64 + 3) as i64 - 3)
        .collect();
    let label: Vec<i64> = label.into_iter().map(|l| l.max(-1)).collect();
    let is_target = |i: usize| label[i / c] == (i % c) as i64;
    for precision in [F64, F32] {
        let input = leaf(&logits, [2, n / 2, c], precision.dtype);
        let loss = sigmoid_focal_loss(input.clone(), labels(&label, [2, n / 2]), 0.3, 2.0);
        let (value, gradient) = value_and_gradient(loss, &input);
        let sum = (0..n * c)
            .map(|i| focal(logits[i], is_target(i), 0.3, 2.0))
            .sum();
        assert_near(value[0], sum, precision.value, "sum");
        for (i, &logit) in logits.iter().enumerate() {
            let expected = slope(|x| focal(x, is_target(i), 0.3, 2.0), logit);
            assert_slope(
                gradient[i],
                expected,
                0.0,
                precision.gradient,
                &format!("logit {i}"),
            );
        }
    }
}

#[test]
fn centerness_at_the_extremes_and_between() {
    let mut random = Random(3);
    let bce = |x: f64, t: f64| t * softplus(-x) + (1.0 - t) * softplus(x);
    for logit in EXTREME_LOGITS
        .into_iter()
        .chain(random.list(40, -8.0, 8.0))
        .collect::<Vec<_>>()
    {
        for target in [0.0, 0.0625, 0.5, 0.875, 1.0] {
            for precision in [F64, F32] {
                let input = leaf(&[logit], [1, 1], precision.dtype);
                let targets = tensor(&[target], [1, 1], precision.dtype);
                let background = labels(&[0], [1, 1]).lower_elem(0);
                let loss = centerness_loss(input.clone(), targets, background);
                let (value, gradient) = value_and_gradient(loss, &input);
                let what = format!("bce {logit} {target} {}", precision.key);
                assert_near(value[0], bce(logit, target), precision.value, &what);
                let expected = slope(|x| bce(x, target), logit);
                // Of two opposite pulls, each at most 1.
                assert_slope(gradient[0], expected, 1e-2, precision.gradient, &what);
            }
        }
    }
}

/// A box loss on plain corners, unlike the library's in every step. `trade_off` is CIoU's.
struct Reference {
    kind: IouLoss,
    smoothing: IouSmoothing,
    target: [f64; 4],
}

impl Reference {
    fn loss(&self, predicted: [f64; 4], trade_off: Option<f64>) -> f64 {
        let (a, b) = (corners(predicted), corners(self.target));
        let overlap =
            length(a[0].max(b[0]), a[2].min(b[2])) * length(a[1].max(b[1]), a[3].min(b[3]));
        let union = area(a) + area(b) - overlap;
        let hull = [
            a[0].min(b[0]),
            a[1].min(b[1]),
            a[2].max(b[2]),
            a[3].max(b[3]),
        ];
        let iou = self.iou(overlap, union);
        match self.kind {
            IouLoss::Iou if self.smoothing == IouSmoothing::PlusOne => -iou.ln(),
            IouLoss::Iou => -iou.max(1e-6).ln(),
            IouLoss::LinearIou => 1.0 - iou,
            IouLoss::Giou => 1.0 - iou + self.empty_share(area(hull), union),
            IouLoss::Diou => 1.0 - iou + distance(a, b, hull),
            IouLoss::Ciou => {
                let v = aspect(a, b);
                let trade_off = trade_off.unwrap_or(v / (1.0 - iou + v + 1e-7));
                1.0 - iou + distance(a, b, hull) + trade_off * v
            }
            other => panic!("no formula for {other}"),
        }
    }

    fn iou(&self, overlap: f64, union: f64) -> f64 {
        match self.smoothing {
            IouSmoothing::Epsilon => overlap / (union + 1e-7),
            IouSmoothing::ClampUnion => overlap / union.max(1e-6),
            IouSmoothing::PlusOne => (overlap + 1.0) / (union + 1.0),
            other => panic!("no formula for {other}"),
        }
    }

    fn empty_share(&self, hull: f64, union: f64) -> f64 {
        match self.smoothing {
            IouSmoothing::Epsilon => (hull - union) / (hull + 1e-7),
            IouSmoothing::ClampUnion => (hull - union) / hull.max(1e-6),
            IouSmoothing::PlusOne => 1.0 - union / (hull + 1e-7),
            other => panic!("no formula for {other}"),
        }
    }

    /// Slope along one distance; CIoU's trade-off stays what it is at `predicted`.
    fn slope(&self, predicted: [f64; 4], side: usize) -> Slope {
        let (a, b) = (corners(predicted), corners(self.target));
        let overlap =
            length(a[0].max(b[0]), a[2].min(b[2])) * length(a[1].max(b[1]), a[3].min(b[3]));
        let (v, iou) = (aspect(a, b), self.iou(overlap, area(a) + area(b) - overlap));
        let trade_off = Some(v / (1.0 - iou + v + 1e-7));
        let moved = |x| {
            let mut moved = predicted;
            moved[side] = x;
            self.loss(moved, trade_off)
        };
        slope(moved, predicted[side])
    }
}

/// Seen from the origin, where no digits are lost.
fn corners([l, t, r, b]: [f64; 4]) -> [f64; 4] {
    [-l, -t, r, b]
}

fn length(low: f64, high: f64) -> f64 {
    (high - low).max(0.0)
}

fn area(c: [f64; 4]) -> f64 {
    (c[2] - c[0]) * (c[3] - c[1])
}

fn distance(a: [f64; 4], b: [f64; 4], hull: [f64; 4]) -> f64 {
    let center = |c: [f64; 4]| ((c[0] + c[2]) / 2.0, (c[1] + c[3]) / 2.0);
    let ((ax, ay), (bx, by)) = (center(a), center(b));
    let diagonal = (hull[2] - hull[0]).powi(2) + (hull[3] - hull[1]).powi(2);
    ((ax - bx).powi(2) + (ay - by).powi(2)) / (diagonal + 1e-7)
}

fn aspect(a: [f64; 4], b: [f64; 4]) -> f64 {
    let angle = |c: [f64; 4]| ((c[2] - c[0]) / (c[3] - c[1])).atan();
    4.0 / PI.powi(2) * (angle(b) - angle(a)).powi(2)
}

/// Small and large boxes, around the location and beside it.
fn random_boxes(count: usize) -> Vec<([f64; 4], [f64; 4])> {
    let mut random = Random(4);
    let mut draw = |i: usize| -> ([f64; 4], [f64; 4]) {
        let size = [1.0, 30.0, 400.0][i % 3];
        let target = std::array::from_fn(|_| random.uniform(0.02, 1.0) * size);
        let mut predicted: [f64; 4] = std::array::from_fn(|_| random.uniform(0.02, 1.5) * size);
        if i.is_multiple_of(5) {
            predicted[0] = random.uniform(-0.9, -0.1) * predicted[2]; // beside the location
        }
        let in_f32 = |b: [f64; 4]| b.map(|v| f64::from(v as f32));
        (in_f32(predicted), in_f32(target))
    };
    (0..count).map(&mut draw).collect()
}

#[test]
fn iou_family_on_random_boxes() {
    let boxes = random_boxes(120);
    let (predicted, target): (Vec<_>, Vec<_>) = boxes.iter().copied().unzip();
    let shape = [2, boxes.len() / 2, 4];
    for (kind, smoothing) in KINDS.iter().flat_map(|&k| SMOOTHINGS.map(|s| (k, s))) {
        for precision in [F64, F32] {
            let input = leaf(&predicted.concat(), shape, precision.dtype);
            let targets = tensor(&target.concat(), shape, precision.dtype);
            let loss = iou_loss(input.clone(), targets, kind, smoothing);
            let (value, gradient) = value_and_gradient(loss, &input);
            for (i, &(predicted, target)) in boxes.iter().enumerate() {
                let reference = Reference {
                    kind,
                    smoothing,
                    target,
                };
                let what = format!("{kind:?} {smoothing:?} of box {i}, {}", precision.key);
                assert_near(
                    value[i],
                    reference.loss(predicted, None),
                    precision.value,
                    &what,
                );
                let slopes: [Slope; 4] = std::array::from_fn(|k| reference.slope(predicted, k));
                let largest = slopes.iter().fold(0.0f64, |m, s| m.max(s.value.abs()));
                for (side, expected) in slopes.into_iter().enumerate() {
                    let actual = gradient[4 * i + side];
                    assert_slope(actual, expected, 0.01 * largest, precision.gradient, &what);
                }
            }
        }
    }
}

/// The host's IoU family is the same geometry.
#[test]
fn iou_family_agrees_with_the_host() {
    let boxes = random_boxes(60);
    let (predicted, target): (Vec<_>, Vec<_>) = boxes.iter().copied().unzip();
    let point = Point { x: 40.0, y: 25.0 };
    let host = |ltrb: [f64; 4]| Ltrb::from(ltrb.map(|v| v as f32)).to_box(point);
    type HostFormula = fn(BBox, BBox) -> f32;
    let formulas: [(IouLoss, HostFormula); 3] = [
        (IouLoss::LinearIou, BBox::iou),
        (IouLoss::Giou, BBox::giou),
        (IouLoss::Diou, BBox::diou),
    ];
    for (kind, formula) in formulas {
        let input = leaf(&predicted.concat(), [1, boxes.len(), 4], F64.dtype);
        let targets = tensor(&target.concat(), [1, boxes.len(), 4], F64.dtype);
        let loss = iou_loss(input, targets, kind, IouSmoothing::Epsilon);
        for (value, (p, t)) in common::to_vec(loss).into_iter().zip(&boxes) {
            let expected = 1.0 - f64::from(formula(host(*p), host(*t)));
            assert!(
                (value - expected).abs() < 1e-4,
                "{kind:?}: {value}, {expected}"
            );
        }
    }
}
