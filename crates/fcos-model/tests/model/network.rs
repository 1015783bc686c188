use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fcos_core::{Size, pyramid_grids};
use fcos_model::{Arch, BackboneConfig, BoxActivation, FcosConfig, P6Source, ResNetConfig};

use crate::{build, noise, relative_error, resnet, scrambled, small, values};

fn output_sizes(config: &FcosConfig, [h, w]: [usize; 2]) -> Vec<(usize, usize)> {
    let device = Device::flex();
    let features = build(config).forward_features(noise([1, 3, h, w], &device));
    let size = |x: &Tensor<4>| (x.dims()[2], x.dims()[3]);
    assert!(
        features
            .pyramid
            .iter()
            .all(|p| p.dims()[1] == config.fpn.channels)
    );
    features
        .levels
        .iter()
        .map(|l| size(&l.cls_logits))
        .collect()
}

fn grid_sizes(config: &FcosConfig, [height, width]: [usize; 2]) -> Vec<(usize, usize)> {
    let grids = pyramid_grids(Size { width, height }, &config.strides());
    grids.iter().map(|g| (g.height, g.width)).collect()
}

/// FCOS, fig. 2.
#[test]
fn sizes_of_figure_2() {
    let mut config = small();
    resnet(&mut config).width = 1;
    config.fpn.channels = 4;
    let sizes = output_sizes(&config, [800, 1024]);
    assert_eq!(sizes, [(100, 128), (50, 64), (25, 32), (13, 16), (7, 8)]);
    assert_eq!(sizes, grid_sizes(&config, [800, 1024]));
}

#[test]
fn any_size_gives_the_locations_grid() {
    let bottleneck = FcosConfig {
        backbone: BackboneConfig::ResNet(ResNetConfig {
            width: 4,
            ..ResNetConfig::new(Arch::ResNet50)
        }),
        ..small()
    };
    let resnext = FcosConfig {
        backbone: BackboneConfig::ResNet(ResNetConfig {
            width: 16,
            ..ResNetConfig::new(Arch::ResNeXt50_32x4d)
        }),
        ..small()
    };
    for config in [small(), bottleneck, resnext] {
        for size in [[1, 1], [31, 33], [64, 96], [127, 200], [161, 65]] {
            assert_eq!(
                output_sizes(&config, size),
                grid_sizes(&config, size),
                "{size:?}"
            );
        }
    }
}

#[test]
fn fewer_levels_and_c5() {
    for top_levels in 0..=2 {
        for p6_source in [P6Source::P5, P6Source::C5] {
            let mut config = small();
            config.fpn.top_levels = top_levels;
            config.fpn.p6_source = p6_source;
            let sizes = output_sizes(&config, [64, 128]);
            assert_eq!(sizes.len(), 3 + top_levels);
            assert_eq!(sizes, grid_sizes(&config, [64, 128]));
        }
    }
}

/// With zero tower outputs a class's probability is the prior; the drawn weights hardly move it.
#[test]
fn classes_start_at_the_prior() {
    let device = Device::flex();
    for prior in [0.01, 0.2] {
        let mut config = small();
        config.num_classes = 20;
        config.fpn.channels = 64;
        config.head.prior = prior;
        let output = build(&config).forward(noise([1, 3, 64, 64], &device));
        let p = burn::tensor::activation::sigmoid(output.cls_logits);
        let mean: f64 = p.mean().into_scalar::<f64>();
        assert!((mean / prior - 1.0).abs() < 0.1, "{prior}: {mean}");
    }
}

#[test]
fn initial_parameters() {
    let config = FcosConfig {
        num_classes: 5,
        ..FcosConfig::default()
    };
    let tensors = build(&config).tensors();
    let stats = |name: &str| {
        let x: Vec<f32> = tensors[name].try_to_vec::<f32>().expect("f32");
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / x.len() as f32;
        (mean, variance.sqrt())
    };
    let close = |found: f32, expected: f32| (found / expected - 1.0).abs() < 0.03;
    for layer in [
        "cls_tower.0.conv",
        "bbox_tower.3.conv",
        "cls_logits",
        "bbox_pred",
        "centerness",
    ] {
        let (mean, std) = stats(&format!("head.{layer}.weight"));
        assert!(
            mean.abs() < 1e-3 && close(std, 0.01),
            "{layer}: {mean} {std}"
        );
    }
    assert_eq!(stats("head.cls_logits.bias"), ((-99f32.ln()), 0.0));
    let zero = [
        "head.bbox_pred",
        "head.centerness",
        "head.cls_tower.2.conv",
        "fpn.top.1",
        "fpn.lateral.0",
    ];
    for layer in zero {
        assert_eq!(stats(&format!("{layer}.bias")), (0.0, 0.0), "{layer}");
    }
    // uniform on ±√(3 / fan in), and normal with √(2 / fan out)
    assert!(close(
        stats("fpn.output.0.weight").1,
        (1.0 / (256.0 * 9.0f32)).sqrt()
    ));
    assert!(close(
        stats("backbone.stages.1.0.conv2.conv.weight").1,
        (2.0 / (128.0 * 9.0f32)).sqrt()
    ));
    assert!(close(
        stats("backbone.stages.3.2.conv3.conv.weight").1,
        (2.0 / 2048.0f32).sqrt()
    ));
    assert_eq!(stats("backbone.stages.0.0.conv1.norm.weight"), (1.0, 0.0));
    assert_eq!(stats("head.scales.4"), (1.0, 0.0));
}

#[test]
fn boxes_start_at_their_bias() {
    let mut config = small();
    config.head.bbox_bias = 4.0;
    let tensors = build(&config).tensors();
    let bias = tensors["head.bbox_pred.bias"].try_to_vec::<f32>();
    assert_eq!(bias.expect("f32"), [4.0; 4]);
}

/// torch's fan out does not shrink with the groups.
#[test]
fn grouped_convolutions_start_as_in_torch() {
    let backbone = ResNetConfig::new(Arch::ResNeXt50_32x4d).into();
    let tensors = build(&FcosConfig {
        backbone,
        ..small()
    })
    .tensors();
    let weight: Vec<f32> = tensors["backbone.stages.0.0.conv2.conv.weight"]
        .try_to_vec::<f32>()
        .expect("f32");
    let std = (weight.iter().map(|v| v * v).sum::<f32>() / weight.len() as f32).sqrt();
    assert!(
        (std / (2.0 / (128.0 * 9.0f32)).sqrt() - 1.0).abs() < 0.05,
        "{std}"
    );
}

#[test]
fn folding_changes_nothing_but_time() {
    let device = Device::flex();
    for arch in [Arch::ResNet18, Arch::ResNet50] {
        let mut config = small();
        resnet(&mut config).arch = arch;
        let model = scrambled(build(&config));
        let folded = model.clone().fold_batch_norm();
        assert!(folded.is_folded() && !model.is_folded());
        assert!(!folded.tensors().keys().any(|n| n.contains("running")));
        let images = noise([2, 3, 70, 90], &device);
        let (a, b) = (model.forward(images.clone()), folded.forward(images));
        for (a, b) in [(&a.cls_logits, &b.cls_logits), (&a.ltrb, &b.ltrb)] {
            let error = relative_error(&values(b), &values(a));
            assert!(error < 1e-5, "{arch:?}: {error}");
        }
        assert!(relative_error(&values(&b.centerness), &values(&a.centerness)) < 1e-5);
    }
}

#[test]
fn images_of_a_batch_do_not_see_each_other() {
    let device = Device::flex();
    let model = scrambled(build(&small())).valid();
    let images = noise([2, 3, 64, 96], &device);
    let both = model.forward(images.clone());
    for i in 0..2 {
        let one = model.forward(images.clone().narrow(0, i, 1));
        let part = values(&both.cls_logits.clone().narrow(0, i, 1));
        assert!(relative_error(&part, &values(&one.cls_logits)) < 1e-6);
        let part = values(&both.ltrb.clone().narrow(0, i, 1));
        assert!(relative_error(&part, &values(&one.ltrb)) < 1e-6);
        let part = values(&both.centerness.clone().narrow(0, i, 1));
        assert!(relative_error(&part, &values(&one.centerness)) < 1e-6);
    }
}

/// Row `y · W + x` of a level's part of the flat outputs is its location (x, y).
#[test]
fn flat_outputs_are_in_the_order_of_locations() {
    let device = Device::flex();
    let (config, images) = (small(), noise([2, 3, 96, 160], &device));
    let model = build(&config);
    let flat = model.forward(images.clone());
    let levels = model.forward_features(images).levels;
    let locations = fcos_core::Locations::new(
        Size {
            width: 160,
            height: 96,
        },
        &config.strides(),
        fcos_core::LocationRule::HalfStride,
    );
    assert_eq!(flat.centerness.dims(), [2, locations.len(), 1]);
    for (i, level) in levels.iter().enumerate() {
        let (range, grid) = (locations.level_range(i), locations.grids()[i]);
        let (x, y) = (grid.width / 2, grid.height - 1);
        let n = range.start + y * grid.width + x;
        let cell = level.ltrb.clone().slice([1..2, 0..4, y..y + 1, x..x + 1]);
        let row = flat.ltrb.clone().slice([1..2, n..n + 1, 0..4]);
        assert_eq!(values(&row), values(&cell));
        let cell = level
            .cls_logits
            .clone()
            .slice([1..2, 0..3, y..y + 1, x..x + 1]);
        let row = flat.cls_logits.clone().slice([1..2, n..n + 1, 0..3]);
        assert_eq!(values(&row), values(&cell));
        let cell = level
            .centerness
            .clone()
            .slice([1..2, 0..1, y..y + 1, x..x + 1]);
        assert_eq!(
            values(&flat.centerness.clone().slice([1..2, n..n + 1, 0..1])),
            values(&cell)
        );
    }
}

/// The box layer's bias alone decides when its weights are 0.
#[test]
fn activations_of_known_numbers() {
    let ln2 = std::f32::consts::LN_2;
    let cases = [
        // bias, scale, expected distances
        (
            BoxActivation::Exp,
            [0.0, ln2, -ln2, 1e9],
            2.0,
            [1.0, 4.0, 0.25, 1e5],
        ),
        (
            BoxActivation::ReluStride,
            [1.0, -3.0, 0.5, 7.0],
            2.0,
            [2.0, 0.0, 1.0, 14.0],
        ),
        // centre (1, −2)·0.8, width 8·2, height 8·62.5 (cut off)
        (
            BoxActivation::AnchorDelta,
            [1.0, -2.0, 5.0 * ln2, 99.0],
            1.0,
            [7.2, 251.6, 8.8, 248.4],
        ),
    ];
    for (activation, bias, scale, expected) in cases {
        let mut config = small();
        config.head.box_activation = activation;
        let model = build(&config);
        let mut tensors = model.tensors();
        let weight = tensors["head.bbox_pred.weight"].shape().to_vec();
        let zeros = burn::tensor::TensorData::zeros::<f32, _>(weight);
        tensors.insert("head.bbox_pred.weight".into(), zeros);
        tensors.insert("head.bbox_pred.bias".into(), bias.into());
        for level in 0..5 {
            tensors.insert(format!("head.scales.{level}"), [scale as f32].into());
        }
        let model = model.with_tensors(tensors).expect("same shapes");
        let output = values(&model.forward(noise([1, 3, 32, 32], &Device::flex())).ltrb);
        for row in output.chunks(4) {
            let pairs = row.iter().zip(expected);
            let mut close = pairs.map(|(a, b)| (a - b).abs() <= 1e-5 * b);
            assert!(close.all(|c| c), "{activation:?}: {row:?}");
        }
    }
}
