//! The losses FCOS is trained with, on Burn tensors: sigmoid focal loss for the classes, the IoU
//! family for the boxes, binary cross-entropy for centre-ness (FCOS, ICCV 2019, Eq. 2 and 4).
//!
//! Everything has fixed shapes. A background location is masked out, never gathered away, and adds
//! exactly zero to values and to gradients, whatever the network predicted there. Divisors are host
//! numbers ([`BatchCounts`]), because whoever assigned the targets knows them already: no loss waits
//! for the device.
//!
//! Letters: B images, N locations of all levels, C classes.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fcos_core::Outputs;
//! use fcos_loss::{BatchCounts, LossConfig, LossTargets, Normalizer, term};
//!
//! let device = Device::flex().autodiff();
//! let logits = Tensor::<3>::zeros([1, 2, 3], &device).require_grad(); // B = 1, N = 2, C = 3
//! let outputs = Outputs {
//!     cls_logits: logits.clone(),
//!     ltrb: Tensor::from_data([[[4.0, 4.0, 4.0, 4.0], [9.0, 9.0, 9.0, 9.0]]], &device),
//!     centerness: Tensor::zeros([1, 2, 1], &device),
//! };
//! let targets = LossTargets {
//!     labels: Tensor::from_data([[2, -1]], &device), // the second location is background
//!     ltrb: Tensor::from_data([[[4.0, 4.0, 4.0, 4.0], [0.0, 0.0, 0.0, 0.0]]], &device),
//!     centerness: Tensor::from_data([[1.0, 0.0]], &device),
//! };
//! let counts = BatchCounts::from_targets(&[2, -1], &[1.0, 0.0]);
//!
//! let loss = LossConfig::default().init().forward(outputs, targets, &Normalizer::new(counts));
//! let bbox = loss.get(term::BBOX).expect("one of its terms").clone();
//! assert!(bbox.into_scalar::<f32>() < 1e-6); // the predicted box is the target
//! let gradients = loss.total().backward();
//! assert!(logits.grad(&gradients).is_some());
//! ```

mod centerness;
mod config;
mod focal;
mod iou;
mod loss;
mod normalizer;
mod terms;

pub use centerness::centerness_loss;
pub use config::{BoxWeighting, LossConfig, LossWeights};
pub use focal::sigmoid_focal_loss;
pub use iou::{IouLoss, IouSmoothing, iou_loss};
pub use loss::{FcosLoss, LossTargets};
pub use normalizer::{BatchCounts, MovingScope, Normalizer, NormalizerRule, NormalizerState};
pub use terms::{LossTerm, LossTerms, term};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
