//! The implementations as a table: what each is made of.

use fcos_core::LocationRule;
use fcos_data::PreprocessConfig;
use fcos_postprocess::PostprocessConfig;

use crate::backbone::resnet::Arch;
use crate::config::FcosConfig;

/// One implementation.
pub(super) struct Recipe {
    pub name: &'static str,
    /// Those that it was published with; it can be put on any other.
    pub backbones: &'static [Arch],
    pub model: fn(Arch) -> FcosConfig,
    pub preprocess: fn(Arch) -> PreprocessConfig,
    pub location_rule: LocationRule,
    pub postprocess: fn() -> PostprocessConfig,
}

/// The backbones of most projects' published weights.
const LARGE: &[Arch] = &[
    Arch::ResNet50,
    Arch::ResNet101,
    Arch::ResNeXt101_32x8d,
    Arch::ResNeXt101_64x4d,
];

/// Every implementation.
pub(super) static RECIPES: [Recipe; 11] = [
    Recipe {
        name: "official-orig",
        backbones: LARGE,
        model: FcosConfig::official_orig,
        preprocess: |_| PreprocessConfig::official(),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::official,
    },
    Recipe {
        name: "official-imprv",
        backbones: LARGE,
        model: FcosConfig::official_imprv,
        preprocess: |_| PreprocessConfig::official(),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::official,
    },
    Recipe {
        name: "adelaidet",
        backbones: LARGE,
        model: FcosConfig::adelaidet,
        preprocess: adelaidet_pixels,
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::adelaidet,
    },
    Recipe {
        name: "adelaidet-rt",
        backbones: &[Arch::ResNet50],
        model: FcosConfig::adelaidet_rt,
        preprocess: |_| PreprocessConfig {
            short_side: 512,
            long_side: 736,
            ..PreprocessConfig::adelaidet()
        },
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::adelaidet,
    },
    Recipe {
        name: "torchvision",
        backbones: &[Arch::ResNet50],
        model: FcosConfig::torchvision,
        preprocess: |_| PreprocessConfig::torchvision(),
        location_rule: LocationRule::Torchvision,
        postprocess: PostprocessConfig::torchvision,
    },
    Recipe {
        name: "mmdet-plain",
        backbones: &[Arch::ResNet50, Arch::ResNet101, Arch::ResNeXt101_64x4d],
        model: FcosConfig::mmdet_plain,
        preprocess: |arch| mmdet_pixels(arch, PreprocessConfig::mmdet_plain()),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::mmdet_plain,
    },
    Recipe {
        name: "mmdet-tricks",
        backbones: &[Arch::ResNet50],
        model: FcosConfig::mmdet_tricks,
        preprocess: |arch| mmdet_pixels(arch, PreprocessConfig::mmdet_tricks()),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::mmdet_tricks,
    },
    Recipe {
        name: "mmdet-lsj",
        backbones: &[Arch::ResNet18, Arch::ResNet50, Arch::ResNet101],
        model: FcosConfig::mmdet_lsj,
        preprocess: |_| PreprocessConfig::mmdet_pytorch(),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::mmdet_tricks,
    },
    Recipe {
        name: "mmdet-atss",
        backbones: &[Arch::ResNet50, Arch::ResNet101],
        model: FcosConfig::mmdet_atss,
        preprocess: |_| PreprocessConfig::mmdet_pytorch(),
        location_rule: LocationRule::Corner,
        postprocess: PostprocessConfig::mmdet_tricks,
    },
    Recipe {
        name: "atss-anchor",
        backbones: LARGE,
        model: FcosConfig::atss_anchor,
        preprocess: |_| PreprocessConfig::official(),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::atss,
    },
    Recipe {
        name: "atss-point",
        backbones: &[Arch::ResNet50],
        model: FcosConfig::official_imprv,
        preprocess: |_| PreprocessConfig::official(),
        location_rule: LocationRule::HalfStride,
        postprocess: PostprocessConfig::atss,
    },
];

/// The X-101-32x8d alone divides by a deviation
/// (`configs/FCOS-Detection/MS_X_101_32x8d_2x.yaml`).
fn adelaidet_pixels(arch: Arch) -> PreprocessConfig {
    let base = PreprocessConfig::adelaidet();
    match arch {
        Arch::ResNeXt101_32x8d => PreprocessConfig {
            std: [57.375, 57.12, 58.395],
            ..base
        },
        _ => base,
    }
}

/// mmdetection's deep ResNets start from Caffe's weights and see their pixels, all others from
/// PyTorch's.
fn mmdet_pixels(arch: Arch, caffe: PreprocessConfig) -> PreprocessConfig {
    if arch.is_bottleneck() && !arch.is_resnext() {
        caffe
    } else {
        PreprocessConfig::mmdet_pytorch()
    }
}
