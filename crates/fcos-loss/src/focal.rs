//! Sigmoid focal loss (Lin et al., ICCV 2017), the classification term of FCOS Eq. 2.
//!
//! B images, N locations, C classes.

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Bool, Int, Tensor};

/// A logit so low that its probability and its loss are exactly zero, in `f16` too.
const NEVER: f64 = -1e4;

/// Sum over all locations and classes of `α_t · (1 − p_t)^γ · −ln p_t` (Lin et al., Eq. 5), where
/// `p_t` is the probability given to the truth of one class at one location, and `α_t` is `alpha`
/// for the assigned class and `1 − alpha` for every other.
///
/// - `logits`: `[B, N, C]`, any finite value; values and gradients stay finite.
/// - `labels`: `[B, N]`, the assigned class in `0..C`, or negative for background.
///   A label of C or more is outside the contract.
/// - `gamma`: at least 0. The usual 2 costs a multiplication, others a power.
///
/// As `torchvision.ops.sigmoid_focal_loss(…, reduction="sum")` with one-hot targets, and as the
/// CUDA kernel of the original FCOS.
///
/// # Panics
/// When the shapes of `logits` and `labels` don't agree.
pub fn sigmoid_focal_loss(
    logits: Tensor<3>,
    labels: Tensor<2, Int>,
    alpha: f64,
    gamma: f64,
) -> Tensor<1> {
    let [_, _, num_classes] = logits.dims();
    let background = labels.clone().lower_elem(0).unsqueeze_dim(2); // [B, N, 1]
    let class = labels.clone().clamp(0, num_classes as i64 - 1);
    let miss = logits // [B, N, 1]
        .clone()
        .gather(2, class.unsqueeze_dim(2))
        .neg()
        .mask_fill(background, NEVER);
    let false_alarm = logits.mask_fill(one_hot(labels, num_classes), NEVER); // [B, N, C]

    modulated_sum(false_alarm, gamma) * (1.0 - alpha) + modulated_sum(miss, gamma) * alpha
}

/// `Σ q^γ · −ln(1 − q)`, where `q = σ(s)` is the probability given to being wrong.
///
/// The gradient is written out, `q^γ · (q − γ (1 − q) ln(1 − q))` for each `s`. Left to autodiff,
/// every step would keep a tensor of this size for the backward pass, and a power's slope would be
/// infinite at 0 for γ < 1.
fn modulated_sum(wrong: Tensor<3>, gamma: f64) -> Tensor<1> {
    let logit = wrong.clone().detach();
    let log_right = log_sigmoid(logit.clone().neg());
    let q = sigmoid(logit);
    let modulation = if gamma == 2.0 {
        q.clone() * q.clone()
    } else {
        q.clone().powf_scalar(gamma)
    };
    let value = (modulation.clone() * log_right.clone()).sum().neg();
    let right = q.clone().neg() + 1.0;
    let slope = modulation * (q - right * log_right * gamma);
    with_slope(value, wrong, slope)
}

/// `value`, whose gradient with respect to `x` is `slope`; neither depends on `x` for autodiff.
fn with_slope(value: Tensor<1>, x: Tensor<3>, slope: Tensor<3>) -> Tensor<1> {
    let linear = (x * slope).sum();
    value + (linear.clone() - linear.detach()) // the bracket is 0, not its gradient
}

/// Where a class is the location's label: `[B, N, C]`.
fn one_hot(labels: Tensor<2, Int>, num_classes: usize) -> Tensor<3, Bool> {
    let options = (&labels.device(), labels.dtype());
    let classes = Tensor::<1, Int>::arange(0..num_classes as i64, options);
    labels
        .unsqueeze_dim::<3>(2)
        .equal(classes.unsqueeze_dims::<3>(&[0, 1]))
}
