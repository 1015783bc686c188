//! The networks of the published FCOS implementations, as differences from
//! [`FcosConfig::default`]. Only what the network itself is: preprocessing, targets, losses and
//! post-processing have presets of their own.

use crate::config::{
    Arch, BackboneConfig, BoxActivation, CenternessOn, ConfigError, FcosConfig, HeadConfig,
    StrideIn,
};

type Recipe = (&'static str, fn(Arch) -> FcosConfig);

const RECIPES: [Recipe; 7] = [
    ("official-orig", FcosConfig::official_orig),
    ("official-imprv", FcosConfig::official_imprv),
    ("adelaidet", FcosConfig::adelaidet),
    ("torchvision", FcosConfig::torchvision),
    ("mmdet-plain", FcosConfig::mmdet_plain),
    ("mmdet-tricks", FcosConfig::mmdet_tricks),
    ("atss", FcosConfig::atss),
];

impl FcosConfig {
    /// The preset `<recipe>-<backbone>`, such as `official-imprv-r50` or
    /// `adelaidet-x101-32x8d`. The backbone may be left out: it is then `r50`.
    ///
    /// # Errors
    /// If there is no such preset.
    pub fn preset(name: &str) -> Result<Self, ConfigError> {
        let found = RECIPES.iter().find_map(|&(recipe, config)| {
            let backbone = name.strip_prefix(recipe)?;
            let arch = match backbone.strip_prefix('-') {
                Some(backbone) => Arch::ALL.into_iter().find(|a| a.name() == backbone)?,
                None => backbone.is_empty().then_some(Arch::ResNet50)?,
            };
            Some(config(arch))
        });
        found.ok_or_else(|| ConfigError::UnknownPreset {
            name: name.into(),
            recipes: RECIPES.map(|(recipe, _)| recipe).join(", "),
            backbones: Arch::ALL.map(Arch::name).join(", "),
        })
    }

    /// The names of all presets.
    pub fn preset_names() -> impl Iterator<Item = String> {
        let of = |(recipe, _): Recipe| Arch::ALL.map(|arch| format!("{recipe}-{}", arch.name()));
        RECIPES.into_iter().flat_map(of)
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
        let mut config = Self::adelaidet(arch);
        config.backbone.norm_eps = 0.0;
        config
    }

    /// aim-uofa/AdelaiDet (`configs/FCOS-Detection`): the ResNets' stride in the 1×1 convolution,
    /// the ResNeXts' in the 3×3.
    pub fn adelaidet(arch: Arch) -> Self {
        let stride_in = match arch.is_resnext() {
            true => StrideIn::Conv3x3,
            false => StrideIn::Conv1x1,
        };
        let backbone = BackboneConfig {
            stride_in,
            ..BackboneConfig::new(arch)
        };
        Self {
            backbone,
            ..Self::default()
        }
    }

    /// torchvision's `fcos_resnet50_fpn`: stride in the 3×3 convolution, no factors per level,
    /// and 91 outputs, which are COCO's category ids.
    pub fn torchvision(arch: Arch) -> Self {
        Self {
            num_classes: 91,
            backbone: BackboneConfig::new(arch),
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

    /// sfzhang15/ATSS: the official improved network, whose box output is an anchor's offsets.
    pub fn atss(arch: Arch) -> Self {
        let mut config = Self::official_imprv(arch);
        config.head.box_activation = BoxActivation::AnchorDelta;
        config
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
