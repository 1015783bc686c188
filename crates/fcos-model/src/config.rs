//! What a network is made of, as plain data: read from TOML or JSON, stored in weights files.

mod backbone;
mod fpn;
mod head;

use std::ops::RangeInclusive;

use fcos_core::DistanceUnit;
use serde::{Deserialize, Serialize};

pub(crate) use backbone::WIDTHS;
pub use backbone::{Arch, BackboneConfig, BackboneNorm, StrideIn};
pub use fpn::{FpnConfig, P6Source};
pub use head::{BoxActivation, CenternessOn, HeadConfig};

/// Why a configuration describes no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A number lies outside what the network can be built with.
    #[error("{field} is {value}, but must lie in {min}..={max}")]
    OutOfRange {
        /// The field, as in the configuration.
        field: &'static str,
        /// Its value.
        value: usize,
        /// Smallest valid value.
        min: usize,
        /// Largest valid value.
        max: usize,
    },
    /// Channels can't be split into equal groups.
    #[error("{channels} channels of {field} can't be split into {groups} equal groups")]
    Groups {
        /// Which layer.
        field: &'static str,
        /// Its channels.
        channels: usize,
        /// The groups wanted.
        groups: usize,
    },
    /// The batch normalisation's epsilon is negative, not finite, or 0 although it trains.
    #[error("backbone.norm_eps is {0}, but must be finite and above 0 (0 only where frozen)")]
    NormEps(f64),
    /// The box layer's initial bias is no number.
    #[error("head.bbox_bias is {0}, but must be finite")]
    BoxBias(f64),
    /// The class prior is no probability strictly between 0 and 1.
    #[error("head.prior is {0}, but must lie strictly between 0 and 1")]
    Prior(f64),
    /// No preset has this name.
    #[error("there is no preset {name:?}; a preset is one of {recipes} with one of {backbones}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The recipes' names.
        recipes: String,
        /// The backbones' names.
        backbones: String,
    },
    /// A preset of one backbone was asked for a network with another.
    #[error("preset {preset:?} is for {named}, but this network's backbone is {found}")]
    OtherBackbone {
        /// The name asked for.
        preset: String,
        /// The backbone in it.
        named: &'static str,
        /// The network's.
        found: &'static str,
    },
}

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
    /// The ResNet or ResNeXt.
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
            backbone: BackboneConfig {
                width: 16,
                norm: BackboneNorm::Trained,
                frozen_stages: 0,
                ..BackboneConfig::new(Arch::ResNet18)
            },
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

    /// Whether the network can be built.
    ///
    /// # Errors
    /// The first number that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("num_classes", self.num_classes, 1..=65_536)?;
        self.backbone.validate()?;
        self.fpn.validate()?;
        self.head.validate(self.fpn.channels)
    }

    /// L, the number of pyramid levels.
    pub fn num_levels(&self) -> usize {
        3 + self.fpn.top_levels
    }

    /// The levels' nominal strides in pixels of the network input: 8, 16, 32, then the top levels'.
    pub fn strides(&self) -> Vec<usize> {
        (0..self.num_levels()).map(|level| 8 << level).collect()
    }

    /// The unit of the predicted distances.
    pub fn distance_unit(&self) -> DistanceUnit {
        self.head.box_activation.distance_unit()
    }
}

fn in_range(
    field: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(ConfigError::OutOfRange {
            field,
            value,
            min: *range.start(),
            max: *range.end(),
        }),
    }
}
