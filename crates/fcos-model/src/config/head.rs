//! What the head is made of.

use fcos_core::{DistanceUnit, SettingError, serde_names};
use serde::{Deserialize, Serialize};

use super::in_range;

serde_names!(CenternessOn, BoxActivation);

/// Which tower the centre-ness layer sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CenternessOn {
    /// The classification tower (FCOS, fig. 2).
    Cls,
    /// The box tower (FCOS, footnote to fig. 2: better), and most implementations.
    #[default]
    Box,
}

/// How four numbers per location become distances to the sides of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BoxActivation {
    /// `exp(s·x)`, in pixels (FCOS, §3.2). Its argument is cut off at ln 10⁵.
    Exp,
    /// `relu(s·x)`, in units of the level's stride (the improved FCOS).
    #[default]
    ReluStride,
    /// The offsets of a square anchor of [8 strides](crate::ANCHOR_SIDE) around the location, as ATSS (Zhang et al.
    /// 2020) predicts them: `(dx, dy, dw, dh) = s·x` with Faster R-CNN's weights 10, 10, 5, 5,
    /// given here as distances in units of the level's stride.
    AnchorDelta,
    /// As [`AnchorDelta`](Self::AnchorDelta) with the "+1" pixel of ATSS's own code: sides of `n`
    /// pixels end `n − 1` pixels from where they start. For its published weights.
    LegacyAnchorDelta,
}

impl BoxActivation {
    /// Whether boxes are offsets of an anchor, of [8 strides](crate::ANCHOR_SIDE) a side.
    pub fn is_of_anchors(self) -> bool {
        matches!(self, Self::AnchorDelta | Self::LegacyAnchorDelta)
    }

    /// The unit of the distances.
    pub fn distance_unit(self) -> DistanceUnit {
        match self {
            Self::Exp => DistanceUnit::Pixels,
            Self::ReluStride | Self::AnchorDelta | Self::LegacyAnchorDelta => DistanceUnit::Stride,
        }
    }
}

/// The head that all levels share: two towers and three output layers (FCOS, fig. 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// Layers of each tower: 3×3 convolution, group normalisation, ReLU.
    pub num_convs: usize,
    /// Groups of the group normalisation (Wu & He 2018).
    pub gn_groups: usize,
    /// Whether the towers' convolutions have a bias.
    pub tower_bias: bool,
    /// Which tower the centre-ness layer sits on.
    pub centerness_on: CenternessOn,
    /// How four numbers become distances.
    pub box_activation: BoxActivation,
    /// Whether each level multiplies the box output by a factor of its own (FCOS, §3.2: `sᵢ`).
    pub scales: bool,
    /// The box layer's bias before training. Above 0 it keeps [`BoxActivation::ReluStride`] from
    /// dying at high learning rates: an output that is negative everywhere has no gradient. 0 in
    /// FCOS; 4 (strides) in sfzhang15/ATSS where it predicts from points.
    pub bbox_bias: f64,
    /// Every class's probability before training, π in the focal-loss paper (Lin et al. 2017).
    pub prior: f64,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self {
            num_convs: 4,
            gn_groups: 32,
            tower_bias: true,
            centerness_on: CenternessOn::default(),
            box_activation: BoxActivation::default(),
            scales: true,
            bbox_bias: 0.0,
            prior: 0.01,
        }
    }
}

impl HeadConfig {
    pub(super) fn validate(&self, channels: usize) -> Result<(), SettingError> {
        in_range("num_convs", self.num_convs, 0..=32)?;
        let groups = self.gn_groups;
        SettingError::check(
            groups > 0 && channels.is_multiple_of(groups),
            "gn_groups",
            groups,
            format!("a divisor of fpn.channels, {channels}"),
        )?;
        let bias = self.bbox_bias;
        SettingError::check(bias.is_finite(), "bbox_bias", bias, "finite")?;
        let is_probability = self.prior > 0.0 && self.prior < 1.0;
        SettingError::check(
            is_probability,
            "prior",
            self.prior,
            "strictly between 0 and 1",
        )
    }
}
