//! FCOS (Tian et al., ICCV 2019) as a network in Burn: ResNet or ResNeXt, feature pyramid and
//! head, with a [configuration](FcosConfig), presets of the published implementations, and
//! [weights files](weights).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fcos_model::{Arch, FcosConfig, ResNetConfig};
//!
//! let mut config = FcosConfig::preset("torchvision")?;
//! config.num_classes = 3;
//! config.backbone = ResNetConfig { width: 8, ..ResNetConfig::new(Arch::ResNet18) }.into();
//! config.fpn.channels = 32;
//!
//! let device = Device::flex();
//! let model = config.init(&device)?.fold_batch_norm();
//! let output = model.forward(Tensor::zeros([1, 3, 64, 96], &device));
//! let locations = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1 * 1; // strides 8, 16, 32, 64, 128
//! assert_eq!(output.cls_logits.dims(), [1, locations, 3]);
//! assert_eq!(output.ltrb.dims(), [1, locations, 4]);
//! assert_eq!(output.centerness.dims(), [1, locations, 1]);
//! # Ok::<(), fcos_model::ConfigError>(())
//! ```

mod backbone;
mod config;
mod detector;
mod fcos;
mod fpn;
mod head;
mod init;
pub mod layers;
mod ops;
mod params;
mod pipeline;
mod presets;
pub mod weights;

pub use backbone::*; // the families say there what is public
pub use config::{
    BoxActivation, CenternessOn, ConfigError, FcosConfig, FpnConfig, HeadConfig, P6Source,
};
pub use detector::DetectorConfig;
pub use fcos::{Fcos, Features};
pub use fcos_core::Outputs;
pub use head::ANCHOR_SIDE;
pub use params::{NamedShape, NamedTensors, ParamPath, TensorDifference, TensorMismatch};
pub use pipeline::{BatchDetections, Pipeline, PredictError, Timings};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
