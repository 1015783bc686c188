//! The centre-ness term (FCOS, §3.3).
//!
//! B images, N locations.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Bool, Tensor};

/// Sum over positive locations of the binary cross-entropy between `σ(logits)` and `targets`.
///
/// - `logits`: `[B, N]`, before the sigmoid.
/// - `targets`: `[B, N]` in `[0, 1]`. They are soft, so the least possible loss is their entropy and
///   not 0: about 0.5 to 0.6 per location in a trained detector.
/// - `background`: `[B, N]`, true where a location has no box; what stands there is not looked at.
///
/// # Panics
/// When the shapes don't agree.
pub fn centerness_loss(
    logits: Tensor<2>,
    targets: Tensor<2>,
    background: Tensor<2, Bool>,
) -> Tensor<1> {
    let logits = logits.mask_fill(background.clone(), 0.0);
    let targets = targets.mask_fill(background.clone(), 0.0);
    let if_low = log_sigmoid(logits.clone().neg()) * (targets.clone().neg() + 1.0);
    let if_high = log_sigmoid(logits) * targets;
    (if_low + if_high).mask_fill(background, 0.0).sum().neg()
}
