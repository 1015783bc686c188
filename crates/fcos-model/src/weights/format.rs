//! Whose file it is, told from its keys.

use std::fmt;

use burn::tensor::TensorData;

use super::families::{FAMILIES, classifier};
use super::names::{Destination, Entry};
use super::{adelaidet, mmdet, official, torchvision};
use crate::backbone::resnet::Arch;
use crate::params::{NamedShape, NamedTensors};

/// The origin of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// torchvision's `FCOS`.
    Torchvision,
    /// tianzhi0549/FCOS.
    Official,
    /// sfzhang15/ATSS.
    Atss,
    /// aim-uofa/AdelaiDet.
    AdelaiDet,
    /// mmdetection's `FCOS`, whose towers have no bias.
    MmdetPlain,
    /// mmdetection's `FCOS`, whose towers have a bias.
    MmdetTricks,
    /// mmdetection's `ATSS`.
    MmdetAtss,
    /// torchvision's ImageNet classifiers: a backbone to start training from, no detector.
    ImageNet,
}

impl Format {
    /// The format that a file with these tensors has, if any; every format has one tensor that no
    /// other has.
    pub(super) fn detect(tensors: &NamedTensors) -> Option<Self> {
        let has = |key: &str| tensors.contains_key(key);
        let any = |prefix: &str| tensors.keys().any(|key| key.starts_with(prefix));
        let is_classifier = || {
            FAMILIES
                .iter()
                .any(|family| (family.is_classifier)(tensors))
        };
        let mmdet = has("bbox_head.conv_cls.weight") || has("bbox_head.fcos_cls.weight");
        Some(match () {
            () if has("head.classification_head.cls_logits.weight") => Self::Torchvision,
            () if any("rpn.anchor_generator.") => Self::Atss,
            () if has("rpn.head.cls_logits.weight") => Self::Official,
            () if any("proposal_generator.fcos_head.") => Self::AdelaiDet,
            () if has("bbox_head.atss_cls.weight") => Self::MmdetAtss,
            () if mmdet && has("bbox_head.cls_convs.0.conv.bias") => Self::MmdetTricks,
            () if mmdet => Self::MmdetPlain,
            () if is_classifier() => Self::ImageNet,
            () => return None,
        })
    }

    /// The recipes whose files have this format, on a backbone and with so many levels above P5:
    /// more than one if the keys can't tell.
    pub fn presets(self, arch: Arch, top_levels: usize) -> &'static [&'static str] {
        match self {
            Self::Torchvision => &["torchvision"],
            Self::Official => &["official-orig", "official-imprv"],
            Self::Atss => &["atss-anchor", "atss-point"],
            Self::AdelaiDet if top_levels == 0 => &["adelaidet-rt"],
            Self::AdelaiDet => &["adelaidet"],
            Self::MmdetPlain => &["mmdet-plain"],
            // The stride in the 1×1 convolution, or in the 3×3.
            Self::MmdetTricks if arch.is_bottleneck() && !arch.is_resnext() => {
                &["mmdet-tricks", "mmdet-lsj"]
            }
            Self::MmdetTricks => &["mmdet-tricks"],
            Self::MmdetAtss => &["mmdet-atss"],
            Self::ImageNet => &[],
        }
    }

    fn entry(self, key: &str) -> Entry {
        let parts: Vec<&str> = key.split('.').collect();
        match self {
            Self::Torchvision => torchvision::detector(&parts),
            Self::Official | Self::Atss => official::detector(&parts),
            Self::AdelaiDet => adelaidet::detector(&parts),
            Self::MmdetPlain | Self::MmdetTricks | Self::MmdetAtss => mmdet::detector(&parts),
            Self::ImageNet => classifier(&parts),
        }
    }

    /// The tensors under this library's names, and the keys that have no place in a network.
    pub(super) fn translate(self, tensors: NamedTensors) -> (NamedTensors, Vec<NamedShape>) {
        let (mut known, mut unknown) = (NamedTensors::new(), Vec::new());
        for (key, data) in tensors {
            match self.entry(&key) {
                // Of two keys with one place the second is one too many.
                Some(Destination::Tensor(name)) if !known.contains_key(&name) => {
                    let data = with_our_shape(&name, data);
                    known.insert(name, data);
                }
                Some(Destination::Nowhere) => {}
                _ => unknown.push((key, data.shape().to_vec())),
            }
        }
        (known, unknown)
    }
}

/// mmdetection's factors per level are numbers, here they are vectors of one.
fn with_our_shape(name: &str, mut data: TensorData) -> TensorData {
    if name.starts_with("head.scales.") && data.shape().is_empty() {
        data = TensorData::from_bytes_vec(data.as_bytes().to_vec(), vec![1], data.dtype());
    }
    data
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision FCOS",
            Self::Official => "tianzhi0549/FCOS",
            Self::Atss => "sfzhang15/ATSS",
            Self::AdelaiDet => "AdelaiDet FCOS",
            Self::MmdetPlain => "mmdetection FCOS without tower biases",
            Self::MmdetTricks => "mmdetection FCOS with tower biases",
            Self::MmdetAtss => "mmdetection ATSS",
            Self::ImageNet => "torchvision ImageNet classifier",
        })
    }
}
