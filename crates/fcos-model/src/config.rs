//! What a network is made of, as plain data: read from TOML or JSON, stored in weights files.

mod error;
mod fpn;
mod head;

use std::ops::RangeInclusive;

use fcos_core::{DistanceUnit, SettingError};
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::backbone::resnet::{Arch, BackboneNorm, ResNetConfig};
pub use error::ConfigError;
pub use fpn::{FpnConfig, P6Source};
pub use head::{BoxActivation, CenternessOn, HeadConfig};

/// The whole network: backbone, feature pyramid and head.
///
/// The default is a ResNet-50 for COCO's 80 classes with the head of the paper's improved
/// version. [`preset`](Self::preset) gives those of the published implementations.
///
/// ```
/// let config: fcos_model::FcosConfig =
///     serde_json::from_str(r#"{ "num_classes": 3, "backbone": { "arch": "r18" } }"#)?;
/// assert_eq!(config.strides(), [8, 16, 32, 64, 128]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FcosConfig {
    /// C, without a background class.
    pub num_classes: usize,
    /// The network that makes feature maps of images: a ResNet or ResNeXt, or one's own.
    pub backbone: BackboneConfig,
    /// The feature pyramid.
    pub fpn: FpnConfig,
    /// The head that all levels share.
    pub head: HeadConfig,
}

impl Default for FcosConfig {
    fn default() -> Self {
        Self {
            num_classes: 80,
            backbone: BackboneConfig::default(),
            fpn: FpnConfig::default(),
            head: HeadConfig::default(),
        }
    }
}

impl FcosConfig {
    /// A network small enough to learn on a CPU within minutes: a ResNet-18 of a quarter of the
    /// width, trained from scratch, under a pyramid of 64 channels with towers of two layers.
    pub fn tiny() -> Self {
        let base = Self::default();
        Self {
            backbone: BackboneConfig::ResNet(ResNetConfig {
                width: 16,
                norm: BackboneNorm::Trained,
                frozen_stages: 0,
                ..ResNetConfig::new(Arch::ResNet18)
            }),
            fpn: FpnConfig {
                channels: 64,
                ..base.fpn
            },
            head: HeadConfig {
                num_convs: 2,
                gn_groups: 16,
                ..base.head
            },
            ..base
        }
    }

    /// Whether the network can be built. What a backbone of one's own is made of only its
    /// [`init`](crate::BackboneModel::init) can tell.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("num_classes", self.num_classes, 1..=65_536)?;
        self.backbone.validate().map_err(|e| e.within("backbone"))?;
        self.fpn.validate().map_err(|e| e.within("fpn"))?;
        let head = self.head.validate(self.fpn.channels);
        Ok(head.map_err(|e| e.within("head"))?)
    }

    /// L, the number of pyramid levels.
    pub fn num_levels(&self) -> usize {
        self.strides().len()
    }

    /// The levels' nominal strides in pixels of the network input: 8, 16, 32, then the top levels',
    /// if the pyramid [begins](FpnConfig::first_stride) at 8.
    pub fn strides(&self) -> Vec<usize> {
        self.fpn.strides()
    }

    /// The unit of the predicted distances.
    pub fn distance_unit(&self) -> DistanceUnit {
        self.head.box_activation.distance_unit()
    }
}

pub(crate) fn in_range(
    setting: &str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), SettingError> {
    let expected = format!("from {} to {}", range.start(), range.end());
    SettingError::check(range.contains(&value), setting, value, expected)
}
