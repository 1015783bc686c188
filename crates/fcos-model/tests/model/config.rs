use fcos_core::DistanceUnit;
use fcos_model::{
    Arch, BackboneNorm, BoxActivation, CenternessOn, ConfigError, DetectorConfig, FcosConfig,
    StrideIn,
};

use crate::{build, resnet};

/// Parameters as enumerated from the original implementations, apart from batch normalisation.
#[test]
fn published_parameter_counts() {
    let counts = [
        ("official-orig-r50", 32_244_250),
        ("official-imprv-r50", 32_244_250),
        ("official-imprv-r101", 51_184_154),
        ("official-imprv-x101-32x8d", 95_328_794),
        ("official-imprv-x101-64x4d", 89_992_730),
        ("adelaidet-r50", 32_244_250),
        ("adelaidet-x101-32x8d", 95_328_794),
        ("torchvision", 32_269_600),
        ("mmdet-plain-r50", 32_242_202),
        ("mmdet-plain-r101", 51_182_106),
        ("mmdet-plain-x101-64x4d", 89_990_682),
        ("mmdet-tricks-r50", 32_244_250),
        ("mmdet-tricks-r18", 19_268_122),
        ("atss-anchor-r50", 32_244_250),
        ("atss-anchor-x101-64x4d", 89_992_730),
    ];
    for (name, count) in counts {
        let config = FcosConfig::preset(name).expect(name);
        assert_eq!(build(&config).num_params(), count, "{name}");
    }
}

/// Trained batch normalisation adds a scale and a shift per channel: 53 120 in a ResNet-50.
#[test]
fn trained_norm_counts() {
    let mut config = FcosConfig::adelaidet(Arch::ResNet50);
    resnet(&mut config).norm = BackboneNorm::Trained;
    assert_eq!(build(&config).num_params(), 32_244_250 + 2 * 26_560);
}

#[test]
fn presets_are_what_they_say() {
    use BoxActivation::{Exp, LegacyAnchorDelta, ReluStride};
    use StrideIn::{Conv1x1, Conv3x3};
    let table = [
        (
            "official-orig-r50",
            Conv1x1,
            0.0,
            CenternessOn::Cls,
            Exp,
            true,
            true,
        ),
        (
            "official-imprv-r50",
            Conv1x1,
            0.0,
            CenternessOn::Box,
            ReluStride,
            true,
            true,
        ),
        (
            "official-orig-x101-32x8d",
            Conv3x3,
            0.0,
            CenternessOn::Cls,
            Exp,
            true,
            true,
        ),
        (
            "adelaidet-r101",
            Conv1x1,
            1e-5,
            CenternessOn::Box,
            ReluStride,
            true,
            true,
        ),
        (
            "adelaidet-x101-32x8d",
            Conv3x3,
            1e-5,
            CenternessOn::Box,
            ReluStride,
            true,
            true,
        ),
        (
            "torchvision-r50",
            Conv3x3,
            1e-5,
            CenternessOn::Box,
            ReluStride,
            false,
            true,
        ),
        (
            "mmdet-plain-r50",
            Conv1x1,
            1e-5,
            CenternessOn::Cls,
            Exp,
            true,
            false,
        ),
        (
            "mmdet-plain-x101-64x4d",
            Conv3x3,
            1e-5,
            CenternessOn::Cls,
            Exp,
            true,
            false,
        ),
        (
            "mmdet-tricks-r50",
            Conv1x1,
            1e-5,
            CenternessOn::Box,
            ReluStride,
            true,
            true,
        ),
        (
            "atss-anchor-r50",
            Conv1x1,
            0.0,
            CenternessOn::Box,
            LegacyAnchorDelta,
            true,
            true,
        ),
    ];
    for (name, stride_in, eps, centerness_on, activation, scales, tower_bias) in table {
        let FcosConfig { backbone, head, .. } = FcosConfig::preset(name).expect(name);
        let backbone = backbone.as_resnet().expect("a ResNet");
        assert_eq!(
            (backbone.stride_in, backbone.norm_eps),
            (stride_in, eps),
            "{name}"
        );
        assert_eq!(head.centerness_on, centerness_on, "{name}");
        assert_eq!(
            (head.box_activation, head.scales),
            (activation, scales),
            "{name}"
        );
        assert_eq!(head.tower_bias, tower_bias, "{name}");
    }
}

/// The settings that the implementations differ in, in words.
fn wiring(preset: &str) -> String {
    let DetectorConfig {
        model,
        preprocess: pixels,
        location_rule,
        postprocess: post,
        ..
    } = DetectorConfig::preset(preset).expect(preset);
    let backbone = model.backbone.as_resnet().expect("a ResNet");
    let (fpn, head) = (&model.fpn, &model.head);
    format!(
        "{} {:?} eps {} | top {} relu {} | {:?} {:?} scales {} bias {} | {location_rule:?} | \
         {:?} {:?} {}/{} {:?} {} {} | {:?} {:?}>{} {:?} {:?} empty {} NMS {} +1 {} {:?}",
        model.num_classes,
        backbone.stride_in,
        backbone.norm_eps,
        fpn.top_levels,
        fpn.relu_before_p7,
        head.box_activation,
        head.centerness_on,
        head.scales,
        head.tower_bias,
        pixels.resize,
        pixels.filter,
        pixels.short_side,
        pixels.long_side,
        pixels.channels,
        pixels.mean[0],
        pixels.std[0],
        post.score_rule,
        post.pre_filter.on,
        post.pre_filter.threshold,
        post.top_k_key,
        post.clip,
        !post.remove_empty,
        post.nms.threshold,
        post.nms.legacy_plus_one,
        post.tie_rule,
    )
}

/// Each recipe, written out from the projects' configurations.
#[test]
#[rustfmt::skip]
fn recipes_are_put_together_as_published() {
    let table = [
        ("official-orig", "80 Conv1x1 eps 0 | top 2 relu true | Exp Cls scales true bias true | HalfStride | Official Bilinear 800/1333 Bgr 102.9801 1 | SqrtProduct Cls>0.05 Product LegacyBeforeNms empty true NMS 0.6 +1 true KeepTies"),
        ("official-imprv", "80 Conv1x1 eps 0 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | Official Bilinear 800/1333 Bgr 102.9801 1 | SqrtProduct Cls>0.05 Product LegacyBeforeNms empty true NMS 0.6 +1 true KeepTies"),
        ("adelaidet", "80 Conv1x1 eps 0.00001 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | Detectron2 Bilinear 800/1333 Bgr 103.53 1 | SqrtProduct Cls>0.05 Product AfterNms empty false NMS 0.6 +1 false KeepTies"),
        ("adelaidet-x101-32x8d", "80 Conv3x3 eps 0.00001 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | Detectron2 Bilinear 800/1333 Bgr 103.53 57.375 | SqrtProduct Cls>0.05 Product AfterNms empty false NMS 0.6 +1 false KeepTies"),
        ("adelaidet-rt", "80 Conv1x1 eps 0.00001 | top 0 relu true | ReluStride Box scales true bias true | HalfStride | Detectron2 Bilinear 512/736 Bgr 103.53 1 | SqrtProduct Cls>0.05 Product AfterNms empty false NMS 0.6 +1 false KeepTies"),
        ("torchvision", "91 Conv3x3 eps 0.00001 | top 2 relu true | ReluStride Box scales false bias true | Torchvision | Torchvision BilinearNoAntialias 800/1333 Rgb 0.485 0.229 | SqrtProduct Score>0.2 Product BeforeNms empty true NMS 0.6 +1 false Exact"),
        ("mmdet-plain", "80 Conv1x1 eps 0.00001 | top 2 relu true | Exp Cls scales true bias false | HalfStride | MmdetRound BilinearOpenCv 800/1333 Bgr 102.9801 1 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.5 +1 false Exact"),
        ("mmdet-plain-x101-64x4d", "80 Conv3x3 eps 0.00001 | top 2 relu true | Exp Cls scales true bias false | HalfStride | MmdetRound BilinearOpenCv 800/1333 Rgb 123.675 58.395 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.5 +1 false Exact"),
        ("mmdet-tricks", "80 Conv1x1 eps 0.00001 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | MmdetRound BilinearOpenCv 800/1333 Bgr 103.53 1 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.6 +1 false Exact"),
        ("mmdet-tricks-r18", "80 Conv1x1 eps 0.00001 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | MmdetRound BilinearOpenCv 800/1333 Rgb 123.675 58.395 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.6 +1 false Exact"),
        ("mmdet-lsj", "80 Conv3x3 eps 0.00001 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | MmdetRound BilinearOpenCv 800/1333 Rgb 123.675 58.395 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.6 +1 false Exact"),
        ("mmdet-atss", "80 Conv3x3 eps 0.00001 | top 2 relu false | AnchorDelta Box scales true bias false | Corner | MmdetRound BilinearOpenCv 800/1333 Rgb 123.675 58.395 | Product Cls>0.05 Cls BeforeNms empty false NMS 0.6 +1 false Exact"),
        ("atss-anchor", "80 Conv1x1 eps 0 | top 2 relu true | LegacyAnchorDelta Box scales true bias true | HalfStride | Official Bilinear 800/1333 Bgr 102.9801 1 | SqrtProduct Cls>0.05 Product LegacyBeforeNms empty true NMS 0.6 +1 true KeepTies"),
        ("atss-point", "80 Conv1x1 eps 0 | top 2 relu true | ReluStride Box scales true bias true | HalfStride | Official Bilinear 800/1333 Bgr 102.9801 1 | SqrtProduct Cls>0.05 Product LegacyBeforeNms empty true NMS 0.6 +1 true KeepTies"),
    ];
    for (preset, expected) in table {
        assert_eq!(wiring(preset), expected, "{preset}");
    }
}

#[test]
fn every_preset_name_is_a_preset() {
    let names: Vec<_> = FcosConfig::preset_names().collect();
    assert_eq!(names.len(), 28);
    for name in names {
        let config = FcosConfig::preset(&name).expect(&name);
        config.validate().expect(&name);
        let arch = config.backbone.as_resnet().expect("a ResNet").arch;
        assert!(name.ends_with(arch.name()));
    }
    for name in [
        "",
        "r50",
        "official",
        "official-imprvr50",
        "atss-anchor-",
        "atss-r51",
        "atss-point-r51",
        "torchvision-r50 ",
    ] {
        let error = FcosConfig::preset(name).expect_err(name);
        assert!(error.to_string().contains("mmdet-plain"), "{error}");
    }
}

/// The name that was a training preset's too.
#[test]
fn an_ambiguous_name_says_what_to_take() {
    for name in ["atss", "atss-r101"] {
        let error = FcosConfig::preset(name).expect_err(name);
        assert!(
            matches!(error, ConfigError::RenamedPreset { .. }),
            "{error}"
        );
        for instead in ["atss-anchor", "atss-point"] {
            assert!(error.to_string().contains(instead), "{error}");
        }
    }
}

#[test]
fn units_and_strides() {
    let mut config = FcosConfig::official_orig(Arch::ResNet50);
    assert_eq!(config.distance_unit(), DistanceUnit::Pixels);
    assert_eq!(FcosConfig::default().distance_unit(), DistanceUnit::Stride);
    assert_eq!(config.strides(), [8, 16, 32, 64, 128]);
    config.fpn.top_levels = 0;
    assert_eq!(config.strides(), [8, 16, 32]);
}

#[test]
fn json_round_trip_and_unknown_fields() {
    for name in FcosConfig::preset_names() {
        let config = FcosConfig::preset(&name).expect(&name);
        let json = serde_json::to_string(&config).expect("serialises");
        assert_eq!(
            serde_json::from_str::<FcosConfig>(&json).expect(&json),
            config
        );
    }
    let empty: FcosConfig = serde_json::from_str("{}").expect("all defaults");
    assert_eq!(empty, FcosConfig::default());
    for json in [
        r#"{ "classes": 3 }"#,
        r#"{ "backbone": { "depth": 50 } }"#,
        r#"{ "fpn": { "channel": 256 } }"#,
        r#"{ "head": { "convs": 4 } }"#,
        r#"{ "backbone": { "arch": "r51" } }"#,
    ] {
        assert!(serde_json::from_str::<FcosConfig>(json).is_err(), "{json}");
    }
}

#[test]
fn invalid_numbers_are_named() {
    type Change = fn(&mut FcosConfig);
    let cases: [(&str, Change); 15] = [
        ("num_classes", |c| c.num_classes = 0),
        ("num_classes", |c| c.num_classes = usize::MAX),
        ("backbone.width", |c| resnet(c).width = 0),
        ("backbone.width", |c| resnet(c).width = 1 << 40),
        ("backbone.width", |c| {
            resnet(c).arch = Arch::ResNeXt50_32x4d;
            resnet(c).width = 8;
        }),
        ("backbone.frozen_stages", |c| resnet(c).frozen_stages = 6),
        ("backbone.norm_eps", |c| resnet(c).norm_eps = f64::NAN),
        ("backbone.norm_eps", |c| {
            resnet(c).norm_eps = 0.0;
            resnet(c).norm = BackboneNorm::Trained;
        }),
        ("fpn.channels", |c| c.fpn.channels = 0),
        ("fpn.channels", |c| c.fpn.channels = 48),
        ("fpn.top_levels", |c| c.fpn.top_levels = 3),
        ("head.gn_groups", |c| c.head.gn_groups = 0),
        ("head.num_convs", |c| c.head.num_convs = 1000),
        ("head.prior", |c| c.head.prior = 1.0),
        ("head.bbox_bias", |c| c.head.bbox_bias = f64::NAN),
    ];
    for (field, change) in cases {
        let mut config = FcosConfig::default();
        change(&mut config);
        let error: ConfigError = config.validate().expect_err(field);
        assert!(error.to_string().contains(field), "{field}: {error}");
        assert!(config.init(&burn::tensor::Device::flex()).is_err());
    }
}
