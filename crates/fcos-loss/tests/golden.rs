//! Values and gradients against PyTorch and torchvision (`testdata/loss/make_goldens.py`).

mod common;

use burn::tensor::Tensor;
use common::{F32, F64, Precision, assert_close, golden, integers, labels, leaf, numbers, size};
use common::{tensor, to_vec, value_and_gradient};
use fcos_core::Outputs;
use fcos_loss::{
    BatchCounts, BoxWeighting, IouLoss, IouSmoothing, LossConfig, LossTargets, Normalizer,
    centerness_loss, iou_loss, sigmoid_focal_loss,
};
use serde_json::Value;

/// Compares with the golden of the same precision and, for `f32`, with that of `f64` too.
fn compare(got: (Vec<f64>, Vec<f64>), case: &Value, precision: Precision, what: &str) {
    for key in [precision.key, "f64"] {
        let what = format!("{what}, {} against torch's {key}", precision.key);
        let (value, gradient) = (
            numbers(&case[key]["value"]),
            numbers(&case[key]["gradients"][0]),
        );
        assert_close(&got.0, &value, precision.value, &what);
        assert_close(
            &got.1,
            &gradient,
            precision.gradient,
            &format!("gradient of {what}"),
        );
    }
}

#[test]
fn focal() {
    for case in golden("focal.json")["cases"].as_array().expect("cases") {
        let shape: [usize; 3] = std::array::from_fn(|i| size(&case["shape"][i]));
        let labels = labels(&integers(&case["labels"]), [shape[0], shape[1]]);
        let number = |key: &str| case[key].as_f64().expect("number");
        for precision in [F64, F32] {
            let logits = leaf(&numbers(&case["logits"]), shape, precision.dtype);
            let (alpha, gamma) = (number("alpha"), number("gamma"));
            let loss = sigmoid_focal_loss(logits.clone(), labels.clone(), alpha, gamma);
            let got = value_and_gradient(loss, &logits);
            compare(got, case, precision, &format!("focal {}", case["name"]));
        }
    }
}

/// Of a perfect box only rounding and the epsilons are left, here and in torch: nothing to be
/// relative to.
fn assert_rounds_to_nothing(
    got: &(Vec<f64>, Vec<f64>),
    case: &Value,
    precision: Precision,
    what: &str,
) {
    let rounding = if precision.key == "f64" { 1e-14 } else { 2e-7 };
    let expected = &case["f64"];
    let (value, gradient) = (
        numbers(&expected["value"]),
        numbers(&expected["gradients"][0]),
    );
    let all = got
        .0
        .iter()
        .chain(&got.1)
        .zip(value.iter().chain(&gradient));
    for (actual, expected) in all {
        assert!(expected.abs() < 1e-9, "{what}: not a perfect box");
        assert!(
            (actual - expected).abs() < rounding,
            "{what}: {actual}, {expected}"
        );
    }
}

#[test]
fn iou_family() {
    let golden = golden("iou.json");
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 5 * 7 + 3 * 7 + 3 * 6);
    for case in cases {
        let kind: IouLoss = serde_json::from_value(case["kind"].clone()).expect("kind");
        let smoothing: IouSmoothing =
            serde_json::from_value(case["smoothing"].clone()).expect("smoothing");
        let boxes = &golden["boxes"][case["boxes"].as_str().expect("name")];
        let (predicted, target) = (numbers(&boxes["predicted"]), numbers(&boxes["target"]));
        let shape = [1, predicted.len() / 4, 4];
        for precision in [F64, F32] {
            let predicted = leaf(&predicted, shape, precision.dtype);
            let target = tensor(&target, shape, precision.dtype);
            let loss = iou_loss(predicted.clone(), target, kind, smoothing);
            let what = format!("{kind:?} {smoothing:?} of {}", case["boxes"]);
            let got = value_and_gradient(loss, &predicted);
            if case["boxes"] == "equal" {
                assert_rounds_to_nothing(&got, case, precision, &what);
            } else {
                compare(got, case, precision, &what);
            }
        }
    }
}

#[test]
fn centerness() {
    let case = golden("centerness.json");
    let positive = case["positive"].as_array().expect("mask");
    let label: Vec<i64> = positive.iter().map(|p| i64::from(p == true) - 1).collect();
    let shape = [2, label.len() / 2];
    for precision in [F64, F32] {
        let logits = leaf(&numbers(&case["logits"]), shape, precision.dtype);
        let targets = tensor(&numbers(&case["targets"]), shape, precision.dtype);
        let background = labels(&label, shape).lower_elem(0);
        let loss = centerness_loss(logits.clone(), targets, background);
        compare(
            value_and_gradient(loss, &logits),
            &case,
            precision,
            "centre-ness",
        );
    }
}

/// Predictions and targets of `fcos.json`, with distances in strides for both or, if `pixels`, in
/// pixels for both. The first are the leaves: predictions in strides.
struct Scene {
    leaves: Outputs<Tensor<3>>,
    outputs: Outputs<Tensor<3>>,
    targets: LossTargets,
    counts: BatchCounts,
}

fn scene(golden: &Value, precision: Precision, pixels: bool) -> Scene {
    let [b, n, c] = ["batch", "locations", "classes"].map(|key| size(&golden[key]));
    let read = |key: &str| numbers(&golden[key]);
    let cls = leaf(&read("cls_logits"), [b, n, c], precision.dtype);
    let ltrb = leaf(&read("ltrb"), [b, n, 4], precision.dtype);
    let centerness = leaf(&read("centerness"), [b, n, 1], precision.dtype);
    let strides = tensor(&read("strides"), [1, n, 1], precision.dtype);
    let ltrb_targets = tensor(&read("ltrb_targets"), [b, n, 4], precision.dtype);

    let label = integers(&golden["labels"]);
    let centerness_targets = read("centerness_targets");
    let counts = BatchCounts::from_targets(
        &label.iter().map(|&l| l as i32).collect::<Vec<_>>(),
        &centerness_targets
            .iter()
            .map(|&t| t as f32)
            .collect::<Vec<_>>(),
    );
    let targets = LossTargets {
        labels: labels(&label, [b, n]),
        ltrb: if pixels {
            ltrb_targets
        } else {
            ltrb_targets / strides.clone()
        },
        centerness: tensor(&centerness_targets, [b, n], precision.dtype),
    };
    let leaves = Outputs {
        cls_logits: cls,
        ltrb,
        centerness,
    };
    let mut outputs = leaves.clone();
    if pixels {
        outputs.ltrb = outputs.ltrb * strides;
    }
    Scene {
        leaves,
        outputs,
        targets,
        counts,
    }
}

fn whole_loss(config: LossConfig, key: &str, pixels: bool) {
    let golden = golden("fcos.json");
    for precision in [F64, F32] {
        let scene = scene(&golden, precision, pixels);
        let normalizer = Normalizer::new(scene.counts);
        let loss = config
            .init()
            .forward(scene.outputs, scene.targets, &normalizer);
        assert!(normalizer.num_positives > 20.0);
        let gradients = loss.total().backward();
        let got = scene
            .leaves
            .map(|leaf| to_vec(leaf.grad(&gradients).expect("gradient")));
        let got = [got.cls_logits, got.ltrb, got.centerness];
        let expected = &golden[key]["f64"];
        let parts = common::values(&loss);
        // The sum of centre-ness is counted in f32 on the host.
        let value = precision.value.max(1e-7);
        assert_close(&parts, &numbers(&expected["value"]), value, key);
        for (i, gradient) in got.iter().enumerate() {
            let what = format!("{key}, gradient {i}");
            let tolerance = precision.gradient.max(1e-7);
            assert_close(
                gradient,
                &numbers(&expected["gradients"][i]),
                tolerance,
                &what,
            );
        }
    }
}

#[test]
fn whole_loss_of_torchvision() {
    let config = LossConfig {
        box_weighting: BoxWeighting::Uniform,
        ..LossConfig::default()
    };
    whole_loss(config, "torchvision", true);
}

#[test]
fn whole_loss_of_the_original_fcos() {
    let config = LossConfig {
        smoothing: IouSmoothing::PlusOne,
        ..LossConfig::default()
    };
    whole_loss(config, "official", false);
}
