//! The published FCOS implementations: network, preprocessing, locations and postprocessing of
//! each, as differences from the defaults. What they train with has presets of its own.

use fcos_core::{ClassList, LocationRule};
use fcos_data::PreprocessConfig;
use fcos_postprocess::PostprocessConfig;

use crate::DetectorConfig;
use crate::backbone::resnet::{Arch, ResNetConfig, StrideIn};
use crate::config::{BoxActivation, CenternessOn, ConfigError, FcosConfig, HeadConfig};

/// One implementation.
struct Recipe {
    name: &'static str,
    /// Those that it was published with; it can be put on any other.
    backbones: &'static [Arch],
    model: fn(Arch) -> FcosConfig,
    preprocess: fn(Arch) -> PreprocessConfig,
    location_rule: LocationRule,
    postprocess: fn() -> PostprocessConfig,
}

/// The backbones of most projects' published weights.
const LARGE: &[Arch] = &[
    Arch::ResNet50,
    Arch::ResNet101,
    Arch::ResNeXt101_32x8d,
    Arch::ResNeXt101_64x4d,
];

/// The name that sfzhang15/ATSS's two ways to predict boxes once shared with a training preset,
/// which is neither.
const AMBIGUOUS: &str = "atss";

static RECIPES: [Recipe; 11] = [
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

/// The recipe and the backbone that a preset's name says, if it says one.
fn find(name: &str) -> Result<(&'static Recipe, Option<Arch>), ConfigError> {
    let found = RECIPES
        .iter()
        .find_map(|recipe| Some((recipe, backbone_after(recipe.name, name)?)));
    if found.is_none() && backbone_after(AMBIGUOUS, name).is_some() {
        return Err(ConfigError::RenamedPreset {
            name: name.into(),
            instead: "\"atss-anchor\", where boxes are an anchor's offsets, or \"atss-point\", where \
                      they are distances from a point",
        });
    }
    found.ok_or_else(|| ConfigError::UnknownPreset {
        name: name.into(),
        recipes: RECIPES.each_ref().map(|recipe| recipe.name).join(", "),
        backbones: Arch::ALL.map(Arch::name).join(", "),
    })
}

/// The backbone that follows a recipe's name in a preset's, if it is that recipe's: none, if nothing
/// follows.
fn backbone_after(recipe: &str, preset: &str) -> Option<Option<Arch>> {
    match preset.strip_prefix(recipe)? {
        "" => Some(None),
        rest => rest.strip_prefix('-')?.parse().ok().map(Some),
    }
}

/// The recipe in a preset's name.
pub(crate) fn recipe(name: &str) -> Result<&'static str, ConfigError> {
    find(name).map(|(recipe, _)| recipe.name)
}

impl DetectorConfig {
    /// Everything of the preset `<recipe>-<backbone>`, such as `official-imprv-r50` or
    /// `adelaidet-x101-32x8d`, with COCO's classes. The backbone may be left out: it is then
    /// `r50`.
    ///
    /// # Errors
    /// If there is no such preset.
    ///
    /// ```
    /// let detector = fcos_model::DetectorConfig::preset("torchvision")?;
    /// assert_eq!(detector.classes.name(18), "dog");
    /// # Ok::<(), fcos_model::ConfigError>(())
    /// ```
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let (_, arch) = find(name)?;
        Self::preset_on(name, arch.unwrap_or_default())
    }

    /// The names that [`preset`](Self::preset) takes, without backbones.
    pub fn recipe_names() -> impl Iterator<Item = &'static str> {
        RECIPES.iter().map(|recipe| recipe.name)
    }

    /// As [`preset`](Self::preset), on the backbone that a file was found to have.
    ///
    /// # Errors
    /// If there is no such preset, or its name says another backbone.
    pub fn preset_on(name: &str, arch: Arch) -> Result<Self, ConfigError> {
        let (recipe, named) = find(name)?;
        if let Some(named) = named.filter(|&named| named != arch) {
            return Err(ConfigError::OtherBackbone {
                preset: name.into(),
                named: named.name(),
                found: arch.name(),
            });
        }
        let model = (recipe.model)(arch);
        let classes = ClassList::coco(model.num_classes);
        Ok(Self {
            preprocess: (recipe.preprocess)(arch),
            location_rule: recipe.location_rule,
            postprocess: (recipe.postprocess)(),
            ..Self::new(model, classes)
        })
    }
}

impl FcosConfig {
    /// The network of the preset `<recipe>-<backbone>`; see [`DetectorConfig::preset`].
    ///
    /// # Errors
    /// If there is no such preset.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let (recipe, arch) = find(name)?;
        Ok((recipe.model)(arch.unwrap_or_default()))
    }

    /// The names of the presets that somebody published. [`preset`](Self::preset) takes every other
    /// backbone after a recipe's name too.
    pub fn preset_names() -> impl Iterator<Item = String> {
        let of = |recipe: &'static Recipe| {
            let archs = recipe.backbones.iter();
            archs.map(|arch| format!("{}-{arch}", recipe.name))
        };
        RECIPES.iter().flat_map(of)
    }

    /// tianzhi0549/FCOS as in the ICCV paper (`fcos_R_50_FPN_1x`): as
    /// [`official_imprv`](Self::official_imprv), but `exp` and centre-ness on the class tower.
    pub fn official_orig(arch: Arch) -> Self {
        let base = Self::official_imprv(arch);
        let head = original(base.head);
        Self { head, ..base }
    }

    /// tianzhi0549/FCOS, `fcos_imprv_*`: the ResNets' stride in the 1×1 convolution, and frozen
    /// batch normalisation without an epsilon (`fcos_core/layers/batch_norm.py`).
    pub fn official_imprv(arch: Arch) -> Self {
        let backbone = ResNetConfig {
            norm_eps: 0.0,
            ..detectron(arch)
        };
        Self {
            backbone: backbone.into(),
            ..Self::default()
        }
    }

    /// aim-uofa/AdelaiDet (`configs/FCOS-Detection`): the ResNets' stride in the 1×1 convolution,
    /// the ResNeXts' in the 3×3.
    pub fn adelaidet(arch: Arch) -> Self {
        Self {
            backbone: detectron(arch).into(),
            ..Self::default()
        }
    }

    /// AdelaiDet's real-time models (`MS_R_50_4x_syncbn.yaml`): P3 to P5 only.
    pub fn adelaidet_rt(arch: Arch) -> Self {
        let mut config = Self::adelaidet(arch);
        config.fpn.top_levels = 0;
        config
    }

    /// torchvision's `fcos_resnet50_fpn`: stride in the 3×3 convolution, no factors per level,
    /// and 91 outputs, which are COCO's category ids.
    pub fn torchvision(arch: Arch) -> Self {
        Self {
            num_classes: 91,
            backbone: ResNetConfig::new(arch).into(),
            head: HeadConfig {
                scales: false,
                ..HeadConfig::default()
            },
            ..Self::default()
        }
    }

    /// mmdetection's `fcos_*_fpn_gn-head`: the original head, with towers without bias.
    pub fn mmdet_plain(arch: Arch) -> Self {
        let base = Self::mmdet_tricks(arch);
        let head = HeadConfig {
            tower_bias: false,
            ..original(base.head)
        };
        Self { head, ..base }
    }

    /// mmdetection's `fcos_*-center-normbbox-centeronreg-giou`: `caffe` ResNets (stride in the
    /// 1×1 convolution), `pytorch` ResNeXts (in the 3×3), as AdelaiDet's.
    pub fn mmdet_tricks(arch: Arch) -> Self {
        Self::adelaidet(arch)
    }

    /// mmdetection's `fcos_*_fpn_…-lsj-200e`: as [`mmdet_tricks`](Self::mmdet_tricks), but on
    /// `pytorch` ResNets.
    pub fn mmdet_lsj(arch: Arch) -> Self {
        Self {
            backbone: ResNetConfig::new(arch).into(),
            ..Self::mmdet_tricks(arch)
        }
    }

    /// sfzhang15/ATSS: the official improved network, whose box output is an anchor's offsets.
    pub fn atss_anchor(arch: Arch) -> Self {
        let mut config = Self::official_imprv(arch);
        config.head.box_activation = BoxActivation::LegacyAnchorDelta;
        config
    }

    /// mmdetection's `atss_*`: PyTorch-style backbones, towers without bias, no ReLU before P7.
    pub fn mmdet_atss(arch: Arch) -> Self {
        let mut config = Self::mmdet_plain(arch);
        config.backbone = ResNetConfig::new(arch).into();
        config.fpn.relu_before_p7 = false;
        config.head.centerness_on = CenternessOn::Box;
        config.head.box_activation = BoxActivation::AnchorDelta;
        config
    }
}

/// The ResNets' stride in the 1×1 convolution, the ResNeXts' in the 3×3.
fn detectron(arch: Arch) -> ResNetConfig {
    let stride_in = if arch.is_resnext() {
        StrideIn::Conv3x3
    } else {
        StrideIn::Conv1x1
    };
    ResNetConfig {
        stride_in,
        ..ResNetConfig::new(arch)
    }
}

/// The first paper version's head: `exp` and centre-ness on the class tower (FCOS, fig. 2).
fn original(head: HeadConfig) -> HeadConfig {
    HeadConfig {
        centerness_on: CenternessOn::Cls,
        box_activation: BoxActivation::Exp,
        ..head
    }
}
