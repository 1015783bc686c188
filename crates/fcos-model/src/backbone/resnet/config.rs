//! What a ResNet or ResNeXt is made of.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use fcos_core::{SettingError, serde_names};
use serde::{Deserialize, Serialize};

use crate::config::in_range;

serde_names!(StrideIn, BackboneNorm);

/// Widths that a backbone can have.
pub(crate) const WIDTHS: RangeInclusive<usize> = 1..=1024;

/// Depth and kind of the backbone. In settings it is its [`name`](Arch::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Arch {
    /// ResNet-18, of basic blocks.
    ResNet18,
    /// ResNet-34, of basic blocks.
    ResNet34,
    /// ResNet-50.
    #[default]
    ResNet50,
    /// ResNet-101.
    ResNet101,
    /// ResNet-152.
    ResNet152,
    /// ResNeXt-50 with 32 groups of 4 channels.
    ResNeXt50_32x4d,
    /// ResNeXt-101 with 32 groups of 8 channels.
    ResNeXt101_32x8d,
    /// ResNeXt-101 with 64 groups of 4 channels.
    ResNeXt101_64x4d,
}

impl Arch {
    /// Every backbone.
    pub const ALL: [Self; 8] = [
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
        Self::ResNet152,
        Self::ResNeXt50_32x4d,
        Self::ResNeXt101_32x8d,
        Self::ResNeXt101_64x4d,
    ];

    /// The name in configurations and presets: `r50`, `x101-32x8d`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "r18",
            Self::ResNet34 => "r34",
            Self::ResNet50 => "r50",
            Self::ResNet101 => "r101",
            Self::ResNet152 => "r152",
            Self::ResNeXt50_32x4d => "x50-32x4d",
            Self::ResNeXt101_32x8d => "x101-32x8d",
            Self::ResNeXt101_64x4d => "x101-64x4d",
        }
    }

    /// Blocks in each of the four stages (He et al. 2016, table 1).
    pub fn depths(self) -> [usize; 4] {
        match self {
            Self::ResNet18 => [2, 2, 2, 2],
            Self::ResNet34 | Self::ResNet50 | Self::ResNeXt50_32x4d => [3, 4, 6, 3],
            Self::ResNet101 | Self::ResNeXt101_32x8d | Self::ResNeXt101_64x4d => [3, 4, 23, 3],
            Self::ResNet152 => [3, 8, 36, 3],
        }
    }

    /// How the 3×3 convolutions are grouped (Xie et al. 2017, table 1).
    pub fn groups(self) -> Groups {
        let (count, channels) = match self {
            Self::ResNeXt50_32x4d => (32, 4),
            Self::ResNeXt101_32x8d => (32, 8),
            Self::ResNeXt101_64x4d => (64, 4),
            _ => (1, 64),
        };
        Groups { count, channels }
    }

    /// Whether a block is 1×1, 3×3, 1×1 rather than two 3×3.
    pub fn is_bottleneck(self) -> bool {
        !matches!(self, Self::ResNet18 | Self::ResNet34)
    }

    /// Whether it is a ResNeXt.
    pub fn is_resnext(self) -> bool {
        self.groups().count > 1
    }
}

/// Groups of channels that don't see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// Channels of each in the first stage, where the width is 64.
    pub channels: usize,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Arch> for &'static str {
    fn from(arch: Arch) -> Self {
        arch.name()
    }
}

impl FromStr for Arch {
    type Err = SettingError;

    fn from_str(name: &str) -> Result<Self, SettingError> {
        let found = Self::ALL.into_iter().find(|arch| arch.name() == name);
        let known = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| SettingError::new("arch", name, format!("one of {}", known())))
    }
}

impl TryFrom<String> for Arch {
    type Error = SettingError;

    fn try_from(name: String) -> Result<Self, SettingError> {
        name.parse()
    }
}

/// Which convolution of a bottleneck block carries the stride. Weights fit both, but only one is
/// the network they were trained in. Basic blocks don't care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StrideIn {
    /// The first 1×1: the original ResNet (He et al. 2016), so Caffe, Detectron and their heirs.
    #[serde(rename = "1x1")]
    Conv1x1,
    /// The 3×3: torchvision, and every ResNeXt.
    #[default]
    #[serde(rename = "3x3")]
    Conv3x3,
}

/// What the backbone's batch normalisation does in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackboneNorm {
    /// A fixed scale and shift per channel: no gradients, statistics that don't move. For
    /// training on top of pre-trained weights with few images per device.
    #[default]
    Frozen,
    /// Ordinary batch normalisation, apart from the frozen stages. For training from scratch.
    Trained,
}

/// The ResNet or ResNeXt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// Depth and kind.
    pub arch: Arch,
    /// Channels of the stem and of the first stage's convolutions, 64 in every published network;
    /// the later stages double it. A narrow network (16, 32) trains on a CPU.
    pub width: usize,
    /// Which convolution of a bottleneck block carries the stride.
    pub stride_in: StrideIn,
    /// What batch normalisation does in training.
    pub norm: BackboneNorm,
    /// What batch normalisation adds to the variance: 1e-5, but 0 in the original implementation.
    pub norm_eps: f64,
    /// How many parts, from the input on, stay as they are in training: the stem is the first,
    /// the four stages follow. 2 (stem and first stage) is Detectron's `FREEZE_AT = 2`.
    pub frozen_stages: usize,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            arch: Arch::default(),
            width: 64,
            stride_in: StrideIn::default(),
            norm: BackboneNorm::default(),
            norm_eps: 1e-5,
            frozen_stages: 2,
        }
    }
}

impl ResNetConfig {
    /// The default with another depth or kind.
    pub fn new(arch: Arch) -> Self {
        Self {
            arch,
            ..Self::default()
        }
    }

    /// Channels of the 3×3 convolutions inside stage `stage` (0 to 3).
    pub(crate) fn inner_channels(&self, stage: usize) -> usize {
        let Groups { count, channels } = self.arch.groups();
        (self.width << stage) * channels / 64 * count
    }

    /// Channels of the feature map that stage `stage` (0 to 3) gives: C2 to C5.
    pub(crate) fn stage_channels(&self, stage: usize) -> usize {
        let expansion = if self.arch.is_bottleneck() { 4 } else { 1 };
        (self.width << stage) * expansion
    }

    /// Whether there is a network of these settings.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        in_range("width", self.width, WIDTHS)?;
        in_range("frozen_stages", self.frozen_stages, 0..=5)?;
        let enough = format!("enough for the groups of {}", self.arch);
        SettingError::check(self.inner_channels(0) > 0, "width", self.width, enough)?;
        let may_be_zero = matches!(self.norm, BackboneNorm::Frozen);
        let lowest = self.norm_eps > 0.0 || (self.norm_eps == 0.0 && may_be_zero);
        SettingError::check(
            lowest && self.norm_eps.is_finite(),
            "norm_eps",
            self.norm_eps,
            "finite and above 0 (0 only where norm is frozen)",
        )
    }

    /// Takes over from `other` what matters in training only: weights are the same with either.
    pub(crate) fn train_as(&mut self, other: &Self) {
        self.norm = other.norm;
        self.frozen_stages = other.frozen_stages;
        // Basic blocks have no 1×1 convolution that could carry the stride.
        if !other.arch.is_bottleneck() {
            self.stride_in = other.stride_in;
        }
    }
}
