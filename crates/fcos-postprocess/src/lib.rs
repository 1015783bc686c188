//! From one image's head outputs to detections: score, pre-filter, top-k per level, decode, clip,
//! class-aware NMS, and the limit per image. Plain host Rust over slices.
//!
//! Published FCOS implementations differ in nearly every step. Each difference is a field of
//! [`PostprocessConfig`], and its presets reproduce them.
//!
//! ```
//! use fcos_core::{DistanceUnit, LocationRule, Locations, Outputs, Scale, Size};
//! use fcos_postprocess::{PostprocessConfig, postprocess, scale_to_original};
//!
//! // A 16 × 8 input with one level of stride 8 (N = 2 locations) and C = 3 classes.
//! let input = Size { width: 16, height: 8 };
//! let locations = Locations::new(input, &[8], LocationRule::HalfStride);
//! let outputs = Outputs {
//!     cls_logits: vec![-9.0, -9.0, -9.0, -9.0, 3.0, -9.0],
//!     ltrb: vec![0.0, 0.0, 0.0, 0.0, 0.5, 0.25, 0.5, 0.25],
//!     centerness: vec![0.0, 2.0],
//! };
//! let outputs = outputs.as_ref().map(Vec::as_slice);
//! let config = PostprocessConfig::default();
//! let mut found = postprocess(outputs, &locations, DistanceUnit::Stride, input, &config)?;
//! assert_eq!((found.len(), found[0].label), (1, 1));
//! assert_eq!(<[f32; 4]>::from(found[0].bbox), [8.0, 2.0, 16.0, 6.0]);
//!
//! // The image had been enlarged twofold before it went into the network.
//! scale_to_original(&mut found, Scale { x: 2.0, y: 2.0 }, Size { width: 8, height: 4 })?;
//! assert_eq!(<[f32; 4]>::from(found[0].bbox), [4.0, 1.0, 8.0, 3.0]);
//! # Ok::<(), fcos_postprocess::PostprocessError>(())
//! ```

mod candidates;
mod config;
mod detect;
mod error;
mod lengths;
mod nms;
mod rank;
mod score;
mod soft_nms;

pub use config::{
    Clip, FilterOn, NmsConfig, NmsKind, PostprocessConfig, PreFilter, ScoreRule, TieRule, TopKKey,
};
pub use detect::{Detection, Postprocessed, postprocess, postprocess_counted, scale_to_original};
pub use error::PostprocessError;
pub use nms::{Kept, NmsOutput, nms, nms_scored};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
