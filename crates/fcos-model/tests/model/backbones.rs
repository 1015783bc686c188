//! A backbone of one's own under the pyramid and head, pyramids that begin at stride 4, and what
//! settings say of a backbone.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use fcos_core::{ClassList, Outputs, Size, error_chain, pyramid_grids};
use fcos_model::layers::{Activation, Conv, ConvNorm, ConvSize, Distribution, Init};
use fcos_model::weights::{self, WeightsErrorKind};
use fcos_model::{
    Arch, BackboneConfig, BackboneModel, ConfigError, DetectorConfig, Fcos, FcosConfig, FeatureMap,
    Pipeline, ResNetConfig, StrideIn,
};
use image::RgbImage;
use serde_json::json;

use crate::{build, noise, relative_error, scrambled, small, values};

const NAME: &str = "strided";

/// A layer of the library's or of Burn's: what Burn derives for an enum puts the variant's name
/// into paths.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are five of them")]
enum Layer {
    Ours(ConvNorm),
    Burns(Conv2d),
}

/// Convolutions of stride 2, each with twice the channels of the one before.
#[derive(Module, Debug)]
struct Strided {
    layers: Vec<Layer>,
    width: usize,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    width: usize,
}

impl Strided {
    fn layer(level: usize, width: usize, init: &Init) -> Layer {
        let channels = match level {
            0 => [3, width],
            level => [width << (level - 1), width << level],
        };
        if level == 1 {
            let config = Conv2dConfig::new(channels, [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            return Layer::Burns(config.init(init.device()));
        }
        let size = ConvSize::new(channels, 3).stride(2);
        Layer::Ours(ConvNorm::new(size, 1e-5, init))
    }
}

impl BackboneModel for Strided {
    fn init(config: &BackboneConfig, init: &Init) -> Result<Self, ConfigError> {
        let Settings { width } = config.own_settings(NAME)?;
        Ok(Self {
            layers: (0..5).map(|i| Self::layer(i, width, init)).collect(),
            width,
        })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |level: usize| FeatureMap {
            channels: self.width << level,
            stride: 2 << level,
        };
        (0..5).map(map).collect()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = images;
        let mut maps = Vec::new();
        for layer in &self.layers {
            x = match layer {
                Layer::Ours(layer) => layer.forward(x, Activation::Relu),
                Layer::Burns(layer) => burn::tensor::activation::relu(layer.forward(x)),
            };
            maps.push(x.clone());
        }
        maps
    }

    fn map_layers(self, f: fn(ConvNorm) -> ConvNorm) -> Self {
        let layer = |layer| match layer {
            Layer::Ours(layer) => Layer::Ours(f(layer)),
            other => other,
        };
        Self {
            layers: self.layers.into_iter().map(layer).collect(),
            ..self
        }
    }
}

fn strided() -> FcosConfig {
    FcosConfig {
        backbone: BackboneConfig::own(NAME, Settings { width: 4 }).expect("a table"),
        ..small()
    }
}

fn own(config: &FcosConfig, device: &Device) -> Fcos<Strided> {
    Fcos::new(config, 0, device).expect("valid")
}

fn squares(output: Outputs<Tensor<3>>) -> Tensor<1> {
    let sum = |x: Tensor<3>| x.powi_scalar(2).sum();
    sum(output.cls_logits) + sum(output.ltrb) + sum(output.centerness)
}

/// A step against the gradient of the outputs' squares; their sum before it.
fn step<B: BackboneModel>(model: Fcos<B>, device: &Device) -> (Fcos<B>, f32) {
    let loss = squares(model.forward(noise([2, 3, 64, 96], device)));
    let value = loss.clone().into_scalar::<f32>();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    (SgdConfig::new().init().step(1e-6, model, gradients), value)
}

#[test]
fn ones_own_backbone_trains_is_saved_and_predicts() {
    let (config, device) = (strided(), Device::flex());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.safetensors");
    let training = device.clone().autodiff();
    let (model, first) = step(own(&config, &training), &training);
    let (model, second) = step(model, &training);
    assert!(second < first, "{first} to {second}");
    let initial = own(&config, &device).tensors();
    let trained = model.tensors();
    for name in [
        "layers.0.conv.weight",
        "layers.1.weight",
        "layers.2.norm.running_mean",
    ] {
        let name = format!("backbone.{name}");
        assert_ne!(trained[&name], initial[&name], "{name}");
    }

    let classes = ClassList::new(["cat", "dog", "cow"]).expect("names");
    let detector = DetectorConfig::new(config.clone(), classes);
    detector.save(&file, &model).expect("saves");
    let (loaded, found): (Fcos<Strided>, _) = DetectorConfig::load(&file, &device).expect("loads");
    assert_eq!((loaded.tensors(), &found), (trained.clone(), &detector));
    let start = weights::load_into(&file, own(&config, &device)).expect("the same network");
    assert_eq!(start.tensors(), trained);

    let images = noise([1, 3, 64, 96], &device);
    let expected = loaded.valid().forward(images.clone());
    let folded = loaded.clone().fold_batch_norm();
    assert!(folded.is_folded() && !loaded.is_folded());
    assert!(folded.clone().fold_batch_norm().is_folded());
    let output = folded.forward(images);
    for (a, b) in [
        (output.cls_logits, expected.cls_logits),
        (output.ltrb, expected.ltrb),
    ] {
        assert!(relative_error(&values(&a), &values(&b)) < 1e-5);
    }
    let refused = weights::save(&file, &folded, &()).expect_err("folded");
    assert!(
        matches!(refused.kind(), WeightsErrorKind::Folded),
        "{refused}"
    );
    let found = Pipeline::new(loaded, found).predict(&[&RgbImage::new(40, 30)]);
    assert_eq!(found.expect("predicts").detections.len(), 1);
}

#[test]
fn updates_that_wait_do_not_change_what_is_put_in() {
    let device = Device::flex().autodiff();
    let model = own(&strided(), &device);
    let initial = model.tensors();
    let (model, _) = step(model, &device);
    let restored = model.with_tensors(initial.clone()).expect("its own");
    assert_eq!(restored.tensors(), initial);
}

/// Convolutions alone: there is nothing to fold.
#[derive(Module, Debug)]
struct Plain {
    layers: Vec<Conv>,
}

impl BackboneModel for Plain {
    fn init(_: &BackboneConfig, init: &Init) -> Result<Self, ConfigError> {
        let layer = |i: usize| {
            let size = ConvSize::new([3 << i, 6 << i], 3).stride(2);
            Conv::new(size, size.he_normal(), init)
        };
        Ok(Self {
            layers: (0..5).map(layer).collect(),
        })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |i: usize| FeatureMap {
            channels: 3 << i,
            stride: 1 << i,
        };
        (1..6).map(map).collect()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = vec![images];
        for layer in &self.layers {
            maps.push(layer.forward(maps[maps.len() - 1].clone(), Activation::Relu));
        }
        maps.split_off(1)
    }
}

#[test]
fn a_network_that_folding_does_not_change_is_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plain.safetensors");
    let device = Device::flex();
    let model = Fcos::<Plain>::new(&strided(), 0, &device).expect("valid");
    let tensors = model.tensors();
    let folded = model.fold_batch_norm();
    assert!(!folded.is_folded());
    weights::save(&file, &folded, &()).expect("saves");
    let (loaded, ()): (Fcos<Plain>, ()) = weights::load(&file, &device).expect("loads");
    assert_eq!(loaded.tensors(), tensors);
    let output = loaded.forward(noise([1, 3, 64, 96], &device));
    assert_eq!(output.centerness.dims()[0], 1);
}

/// Two tensors that weights files call `weight`.
#[derive(Module, Debug)]
struct Twice {
    gamma: Param<Tensor<1>>,
    weight: Param<Tensor<1>>,
}

impl BackboneModel for Twice {
    fn init(_: &BackboneConfig, init: &Init) -> Result<Self, ConfigError> {
        let one = || Initializer::Ones.init([1], init.device());
        Ok(Self {
            gamma: one(),
            weight: one(),
        })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |stride| FeatureMap {
            channels: 3,
            stride,
        };
        [8, 16, 32].map(map).into()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        vec![images]
    }
}

#[test]
fn tensors_need_names_of_their_own() {
    let error = Fcos::<Twice>::new(&strided(), 0, &Device::flex()).expect_err("one name");
    let name = "backbone.weight".into();
    assert_eq!(error, ConfigError::RepeatedName { name });
}

#[test]
fn other_programs_and_other_settings_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("own.safetensors");
    let (config, device) = (strided(), Device::flex());
    weights::save(&file, &own(&config, &device), &()).expect("saves");
    let built_in: Result<(Fcos, ()), _> = weights::load(&file, &device);
    let error = error_chain(&built_in.expect_err("not here"));
    assert!(
        error.contains("\"strided\"") && error.contains("\"resnet\""),
        "{error}"
    );
    let other = FcosConfig {
        backbone: BackboneConfig::own("other", json!({})).expect("a table"),
        ..config.clone()
    };
    let resnet = small();
    for config in [other, resnet] {
        let error = Fcos::<Strided>::new(&config, 0, &device).expect_err("another");
        let name = config.backbone.name();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    for (settings, expected) in [
        (json!({}), "width"),
        (json!({ "width": 4, "deep": 5 }), "deep"),
    ] {
        let config = FcosConfig {
            backbone: BackboneConfig::own(NAME, settings).expect("a table"),
            ..config.clone()
        };
        let error = Fcos::<Strided>::new(&config, 0, &device).expect_err("other settings");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = BackboneConfig::own(NAME, 3).expect_err("no table");
    assert!(error.to_string().contains("strided"), "{error}");
}

/// A backbone that ends at stride 16.
#[derive(Module, Debug)]
struct Short {
    conv: Conv,
}

impl BackboneModel for Short {
    fn init(_: &BackboneConfig, init: &Init) -> Result<Self, ConfigError> {
        let conv = Conv::new(ConvSize::new([3, 4], 3), Distribution::Normal(1.0), init);
        Ok(Self { conv })
    }

    fn features(&self) -> Vec<FeatureMap> {
        let map = |stride| FeatureMap {
            channels: 4,
            stride,
        };
        [8, 16].map(map).into()
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        vec![self.conv.forward(images, Activation::Nothing)]
    }
}

#[test]
fn the_pyramid_needs_its_maps() {
    let error = Fcos::<Short>::new(&strided(), 0, &Device::flex()).expect_err("too short");
    assert_eq!(
        error,
        ConfigError::Features {
            expected: vec![8, 16, 32],
            found: vec![8, 16]
        }
    );
}

#[test]
fn pyramids_begin_at_stride_4_too() {
    let device = Device::flex();
    let training = device.clone().autodiff();
    for backbone in [small().backbone, ResNetConfig::new(Arch::ResNet18).into()] {
        let mut config = FcosConfig {
            backbone,
            ..small()
        };
        config.fpn.first_stride = 4;
        assert_eq!(config.strides(), [4, 8, 16, 32, 64, 128]);
        let model = build(&config);
        assert_eq!(model.tensors()["head.scales.5"].shape().as_slice(), [1]);
        let features = model.forward_features(noise([1, 3, 96, 130], &device));
        assert_eq!(features.backbone.len(), 4);
        let grids = pyramid_grids(
            Size {
                width: 130,
                height: 96,
            },
            &config.strides(),
        );
        let expected: Vec<_> = grids.iter().map(|g| [g.height, g.width]).collect();
        let found: Vec<_> = features.levels.iter().map(|l| l.ltrb.dims()).collect();
        let found: Vec<_> = found.iter().map(|d| [d[2], d[3]]).collect();
        assert_eq!(found, expected);
    }
    let mut config = strided();
    config.fpn.first_stride = 4;
    let model = own(&config, &training);
    let before = model.tensors();
    let (model, _) = step(model, &training);
    let after = model.tensors();
    for name in [
        "fpn.lateral.3.weight",
        "fpn.output.0.weight",
        "head.cls_logits.weight",
    ] {
        assert_ne!(before[name], after[name], "{name}");
    }
    config.fpn.first_stride = 16;
    let error = config.validate().expect_err("16").to_string();
    assert!(error.contains("fpn.first_stride is 16"), "{error}");
}

/// The network above P3 is the same whether there is a P2 below it.
#[test]
fn a_finer_level_changes_no_other() {
    let device = Device::flex();
    let coarse = scrambled(build(&small()));
    let mut config = small();
    config.fpn.first_stride = 4;
    let mut tensors = build(&config).tensors();
    let moved = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        let next = |level: &str| level.parse::<usize>().expect("a level") + 1;
        match *parts.as_slice() {
            ["fpn", part @ ("lateral" | "output"), level, field] => {
                format!("fpn.{part}.{}.{field}", next(level))
            }
            ["head", "scales", level] => format!("head.scales.{}", next(level)),
            _ => name.to_string(),
        }
    };
    tensors.extend(
        coarse
            .tensors()
            .into_iter()
            .map(|(name, data)| (moved(&name), data)),
    );
    let fine = build(&config).with_tensors(tensors).expect("fit");
    let images = noise([1, 3, 64, 96], &device);
    let levels = fine.forward_features(images.clone()).levels.split_off(1);
    for (a, b) in levels.iter().zip(coarse.forward_features(images).levels) {
        assert_eq!(values(&a.ltrb), values(&b.ltrb));
        assert_eq!(values(&a.cls_logits), values(&b.cls_logits));
    }
}

#[test]
fn settings_are_tagged_by_family() {
    let read = |text: &str| serde_json::from_str::<BackboneConfig>(text);
    let r18: BackboneConfig = ResNetConfig::new(Arch::ResNet18).into();
    assert_eq!(
        read(r#"{ "arch": "r18" }"#).expect("of before families"),
        r18
    );
    assert_eq!(
        read(r#"{ "family": "resnet", "arch": "r18" }"#).expect("tagged"),
        r18
    );
    let own = BackboneConfig::own(NAME, Settings { width: 4 }).expect("a table");
    for config in [r18, own, BackboneConfig::default()] {
        let json = serde_json::to_value(&config).expect("json");
        assert!(json["family"].is_string(), "{json}");
        assert_eq!(
            serde_json::from_value::<BackboneConfig>(json).expect("back"),
            config
        );
    }
    for (text, named) in [
        (r#"{ "family": "vgg" }"#, "vgg"),
        (r#"{ "family": 3 }"#, "family"),
        (r#"{ "depth": 50 }"#, "depth"),
        (r#"{ "arch": "r51" }"#, "r51"),
        (r#"{ "family": "own" }"#, "name"),
        (r#"{ "family": "own", "name": "x", "arch": "r50" }"#, "arch"),
        (r#"{ "family": "resnet", "settings": {} }"#, "settings"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(named), "{error}");
    }
    assert_eq!("x101-64x4d".parse::<Arch>(), Ok(Arch::ResNeXt101_64x4d));
    assert_eq!("1x1".parse(), Ok(StrideIn::Conv1x1));
    assert!(
        Arch::ALL
            .iter()
            .all(|arch| arch.to_string().parse() == Ok(*arch))
    );
}
