//! The implementations' networks, as differences from the defaults.

use crate::backbone::resnet::{Arch, ResNetConfig, StrideIn};
use crate::config::{BoxActivation, CenternessOn, FcosConfig, HeadConfig};

impl FcosConfig {
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
