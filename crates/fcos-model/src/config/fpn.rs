use serde::{Deserialize, Serialize};

use super::{ConfigError, in_range};

/// From which feature map P6 is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum P6Source {
    /// The pyramid's P5 (FCOS, §3.2, and every published implementation).
    #[default]
    P5,
    /// The backbone's C5 (RetinaNet; the paper's ablation).
    C5,
}

/// The feature pyramid (Lin et al. 2017) over C3, C4 and C5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of every level, and of the head.
    pub channels: usize,
    /// Levels above P5: 2 gives P3–P7, 1 P3–P6, 0 P3–P5.
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
            top_levels: 2,
            p6_source: P6Source::default(),
            relu_before_p7: true,
        }
    }
}

impl FpnConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        in_range("fpn.channels", self.channels, 1..=8192)?;
        in_range("fpn.top_levels", self.top_levels, 0..=2)
    }
}
