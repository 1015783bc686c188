//! What the feature pyramid is made of.

use fcos_core::{SettingError, pyramid_strides, serde_names};
use serde::{Deserialize, Serialize};

use super::in_range;

serde_names!(P6Source);

/// The stride of the coarsest map that the backbone gives: C5's.
const LAST_STRIDE: usize = 32;

/// From which feature map P6 is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum P6Source {
    /// The pyramid's P5 (FCOS, §3.2, and every published implementation).
    #[default]
    P5,
    /// The backbone's C5 (RetinaNet; the paper's ablation).
    C5,
}

/// The feature pyramid (Lin et al. 2017) over C3, C4 and C5, or from C2 on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of every level, and of the head.
    pub channels: usize,
    /// The stride of the finest level: 8 (P3, every published FCOS) or 4 (P2, for small objects, at
    /// four times the locations). What else depends on the number of levels, such as the size
    /// ranges of FCOS's assignment, has to be set with it.
    pub first_stride: usize,
    /// Levels above P5: 2 gives P7 as the last, 1 P6, 0 P5.
    pub top_levels: usize,
    /// From which feature map P6 is computed.
    pub p6_source: P6Source,
    /// Whether P7's convolution sees `relu(P6)`. P6 itself is handed on without it.
    pub relu_before_p7: bool,
}

impl Default for FpnConfig {
    fn default() -> Self {
        Self {
            channels: 256,
            first_stride: 8,
            top_levels: 2,
            p6_source: P6Source::default(),
            relu_before_p7: true,
        }
    }
}

impl FpnConfig {
    /// The strides of all levels, the finest first.
    pub fn strides(&self) -> Vec<usize> {
        pyramid_strides(self.first_stride, self.num_laterals() + self.top_levels)
    }

    /// The strides of the backbone's maps that the pyramid stands on.
    pub(crate) fn lateral_strides(&self) -> Vec<usize> {
        pyramid_strides(self.first_stride, self.num_laterals())
    }

    /// How many of the backbone's maps the pyramid stands on: those up to C5.
    fn num_laterals(&self) -> usize {
        let ratio = LAST_STRIDE / self.first_stride.max(1);
        ratio.checked_ilog2().map_or(0, |doublings| doublings + 1) as usize
    }

    pub(super) fn validate(&self) -> Result<(), SettingError> {
        in_range("channels", self.channels, 1..=8192)?;
        let first = self.first_stride;
        SettingError::check([4, 8].contains(&first), "first_stride", first, "4 or 8")?;
        in_range("top_levels", self.top_levels, 0..=2)
    }
}
