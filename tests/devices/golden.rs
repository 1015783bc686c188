//! Against torch: `testdata/devices/make_goldens.py`, which says what the tensors are, and the
//! networks of `testdata/model/make_goldens.py`.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use fcos::Outputs;
use fcos::loss::{BatchCounts, FcosLoss, LossConfig, LossTargets, LossTerm, LossTerms, Normalizer};
use fcos::model::{Fcos, FcosConfig, ParamPath};
use fcos_tests::worst;
use safetensors::{Dtype, SafeTensors};

use crate::{BF16, F16, Tested, devices, relative_error, values};

struct Golden {
    config: FcosConfig,
    sgd: serde_json::Value,
    tensors: BTreeMap<String, TensorData>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata");
        let path = &format!("{folder}/{name}.safetensors");
        let bytes = std::fs::read(path).expect(path);
        let (_, header) = SafeTensors::read_metadata(&bytes).expect(path);
        let metadata = header.metadata().as_ref().expect(path);
        let file = SafeTensors::deserialize(&bytes).expect(path);
        let tensors = file.iter().map(|(name, view)| {
            let dtype = match view.dtype() {
                Dtype::I32 => DType::I32,
                _ => DType::F32,
            };
            let (bytes, shape) = (view.data().to_vec(), view.shape().to_vec());
            (
                name.to_string(),
                TensorData::from_bytes_vec(bytes, shape, dtype),
            )
        });
        Self {
            config: serde_json::from_str(&metadata["config"]).expect("a configuration"),
            sgd: metadata.get("sgd").map_or(serde_json::Value::Null, |sgd| {
                serde_json::from_str(sgd).expect("settings")
            }),
            tensors: tensors.collect(),
        }
    }

    fn model(&self, device: &Device) -> Fcos {
        let weights = self.tensors.iter().filter_map(|(name, data)| {
            Some((name.strip_prefix("weights/")?.to_string(), data.clone()))
        });
        let model = self.config.init(device).expect("valid");
        model.with_tensors(weights.collect()).expect("fits")
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.tensors[name].clone(), device)
    }

    fn expected(&self, name: &str) -> Vec<f32> {
        self.tensors[name].try_to_vec().expect("f32")
    }

    /// The largest relative error of the three outputs.
    fn error(&self, prefix: &str, found: Outputs<Tensor<3>>) -> f32 {
        let found = [
            ("cls_logits", values(found.cls_logits)),
            ("ltrb", values(found.ltrb)),
            ("centerness", values(found.centerness)),
        ];
        let error = |(name, values): &(&str, Vec<f32>)| {
            relative_error(values, &self.expected(&format!("{prefix}{name}")))
        };
        worst(found.iter().map(error))
    }

    fn number(&self, name: &str) -> f64 {
        self.sgd[name].as_f64().expect(name)
    }
}

fn check(tested: &Tested, what: &str, error: f32, tolerance: f32) {
    println!(
        "{}: {what}: {error:.1e} (at most {tolerance:.0e})",
        tested.spec
    );
    // Not `<`: an error that is no number fails too.
    assert!(error <= tolerance, "{}: {what}: {error:e}", tested.spec);
}

#[test]
fn forward() {
    let golden = Golden::read("devices/golden");
    for tested in &devices().0 {
        let images = golden.tensor("images", &tested.device);
        let model = golden.model(&tested.device);
        let plain = golden.error("eval/", model.forward(images));
        check(tested, "forward", plain, tested.tolerance().forward);
        let images = golden.tensor("images", &tested.device);
        let folded = golden.error("eval/", model.fold_batch_norm().forward(images));
        check(
            tested,
            "forward, folded",
            folded,
            tested.tolerance().forward,
        );
    }
}

/// Bottleneck blocks, and every way to predict a box.
#[test]
fn forward_of_other_networks() {
    for name in ["exp", "relu", "anchor", "legacy_anchor"] {
        let golden = Golden::read(&format!("model/golden_{name}"));
        for tested in &devices().0 {
            let images = golden.tensor("input", &tested.device);
            let model = golden.model(&tested.device).fold_batch_norm();
            let error = golden.error("", model.forward(images));
            let what = format!("forward of `{name}`");
            check(tested, &what, error, tested.tolerance().forward);
        }
    }
}

/// Casts every parameter.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

#[test]
fn forward_in_half_precision() {
    let golden = Golden::read("devices/golden");
    for tested in &devices().0 {
        for (dtype, tolerance) in [(FloatDType::F16, F16), (FloatDType::BF16, BF16)] {
            if !tested.device.supports_dtype(dtype) {
                println!("{}: no {dtype:?}", tested.spec);
                continue;
            }
            let images = golden.tensor("images", &tested.device).cast(dtype);
            let model = golden
                .model(&tested.device)
                .fold_batch_norm()
                .map(&mut Cast(dtype));
            let error = golden.error("eval/", model.forward(images));
            check(tested, &format!("forward in {dtype:?}"), error, tolerance);
        }
    }
}

/// The golden's batch on a device, and its loss.
struct Batch {
    images: Tensor<4>,
    targets: LossTargets,
    normalizer: Normalizer,
    loss: FcosLoss,
}

impl Batch {
    fn new(golden: &Golden, device: &Device) -> Self {
        let labels: Vec<i32> = golden.tensors["labels"].try_to_vec().expect("i32");
        let counts = BatchCounts::from_targets(&labels, &golden.expected("centerness"));
        Self {
            images: golden.tensor("images", device),
            targets: LossTargets {
                labels: Tensor::<2, Int>::from_data(golden.tensors["labels"].clone(), device),
                ltrb: golden.tensor("ltrb", device),
                centerness: golden.tensor("centerness", device),
            },
            normalizer: Normalizer::new(counts),
            loss: LossConfig::default().init(),
        }
    }

    fn loss(&self, outputs: Outputs<Tensor<3>>) -> LossTerms {
        self.loss
            .forward(outputs, self.targets.clone(), &self.normalizer)
    }
}

fn parts(loss: &LossTerms) -> Vec<f32> {
    let value = |term: &LossTerm| term.value.clone().detach().into_scalar();
    loss.iter().map(value).collect()
}

#[test]
fn losses_and_gradients() {
    let golden = Golden::read("devices/golden");
    for tested in &devices().0 {
        let device = tested.device.clone().autodiff();
        let (model, batch) = (golden.model(&device), Batch::new(&golden, &device));
        let predictions = model.forward(batch.images.clone());
        let error = golden.error("train/", predictions.clone());
        check(
            tested,
            "forward in training",
            error,
            tested.tolerance().forward,
        );
        let loss = batch.loss(predictions);
        let error = relative_error(&parts(&loss), &golden.expected("losses")[..3]);
        check(tested, "losses", error, tested.tolerance().loss);
        let mut worst = WorstGradient::new(&golden, &model, loss);
        model.visit(&mut worst);
        assert_eq!(worst.seen, golden_gradients(&golden), "{}", tested.spec);
        let what = format!("gradients (worst: {})", worst.name);
        check(tested, &what, worst.error, tested.tolerance().gradient);
    }
}

fn golden_gradients(golden: &Golden) -> usize {
    golden
        .tensors
        .keys()
        .filter(|name| name.starts_with("gradients/"))
        .count()
}

/// Compares every parameter's gradient, and remembers the one that is farthest off.
struct WorstGradient<'a> {
    golden: &'a Golden,
    gradients: GradientsParams,
    path: ParamPath,
    seen: usize,
    name: String,
    error: f32,
}

impl<'a> WorstGradient<'a> {
    fn new(golden: &'a Golden, model: &Fcos, loss: LossTerms) -> Self {
        Self {
            golden,
            gradients: GradientsParams::from_grads(loss.total().backward(), model),
            path: ParamPath::default(),
            seen: 0,
            name: String::new(),
            error: 0.0,
        }
    }
}

impl ModuleVisitor for WorstGradient<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        let name = self.path.name();
        let expected = self.golden.expected(&format!("gradients/{name}"));
        let error = relative_error(&values(gradient), &expected);
        self.seen += 1;
        if error.is_nan() || error > self.error {
            (self.error, self.name) = (error, name);
        }
    }
}

fn sgd(golden: &Golden) -> ModuleOptimizer {
    let momentum = MomentumConfig {
        momentum: golden.number("momentum"),
        dampening: 0.0,
        nesterov: false,
    };
    SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(golden.number("decay") as f32)))
        .init()
}

#[test]
fn training_steps() {
    let golden = Golden::read("devices/golden");
    for tested in &devices().0 {
        let device = tested.device.clone().autodiff();
        let (mut model, batch) = (golden.model(&device), Batch::new(&golden, &device));
        let mut optimizer = sgd(&golden);
        let mut losses = Vec::new();
        for _ in 0..golden.number("steps") as usize {
            let loss = batch.loss(model.forward(batch.images.clone()));
            losses.extend(parts(&loss));
            let gradients = GradientsParams::from_grads(loss.total().backward(), &model);
            model = optimizer.step(golden.number("rate"), model, gradients);
        }
        let error = relative_error(&losses, &golden.expected("losses"));
        check(
            tested,
            "losses of five steps",
            error,
            tested.tolerance().trained_loss,
        );
        let images = golden.tensor("images", &tested.device);
        let error = golden.error("trained/", model.valid().forward(images));
        check(
            tested,
            "forward after five steps",
            error,
            tested.tolerance().trained,
        );
    }
}
