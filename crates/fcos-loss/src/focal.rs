//! Sigmoid focal loss (Lin et al., ICCV 2017), the classification term of FCOS Eq. 2.
//!
//! B images, N locations, C classes.

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Bool, Int, Tensor};

/// Sum over all locations and classes of `α_t · (1 − p_t)^γ · −ln p_t` (Lin et al., Eq. 5), where
/// `p_t` is the probability given to the truth about one class at one location, and `α_t` is
/// `alpha` for the assigned class and `1 − alpha` for every other.
///
/// - `logits`: `[B, N, C]`, any finite value; values and gradients stay finite.
/// - `labels`: `[B, N]`, the assigned class in `0..C`; anything else, such as −1, is background.
/// - `gamma`: at least 0. The usual 2 costs a multiplication, others a power.
///
/// As `torchvision.ops.sigmoid_focal_loss(…, reduction="sum")` with one-hot targets, and as the
/// CUDA kernel of the original FCOS.
///
/// The gradient is computed along with the value, from its formula: left to autodiff, each step
/// would keep a tensor as large as `logits` for the backward pass. So only one is kept, and second
/// derivatives are not to be had.
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
    let assigned = one_hot(labels, num_classes);
    let wrong = negate_where(logits.clone().without_autodiff(), assigned.clone());
    let weight = wrong
        .full_like(1.0 - alpha)
        .mask_fill(assigned.clone(), alpha);
    let (value, slope) = modulated_cross_entropy(wrong, weight, gamma);
    with_slope(value, logits, negate_where(slope, assigned))
}

/// With `q = σ(wrong)` the probability given to what is not the case:
/// `Σ w · q^γ · −ln(1 − q)`, and its slope `w · q^γ · (q − γ (1 − q) ln(1 − q))` at each logit.
fn modulated_cross_entropy(
    wrong: Tensor<3>,
    weight: Tensor<3>,
    gamma: f64,
) -> (Tensor<1>, Tensor<3>) {
    let q = sigmoid(wrong.clone());
    let log_right = log_sigmoid(wrong.neg());
    let weight = if gamma == 2.0 {
        weight * q.clone() * q.clone()
    } else {
        weight * q.clone().powf_scalar(gamma)
    };
    let value = (weight.clone() * log_right.clone()).sum().neg();
    let right = q.clone().neg() + 1.0;
    let slope = weight * (q - right * log_right * gamma);
    (value, slope)
}

/// `value`, with `slope` for its gradient with respect to `x`. Neither is on `x`'s graph.
fn with_slope(value: Tensor<1>, x: Tensor<3>, slope: Tensor<3>) -> Tensor<1> {
    let linear = (x * slope).sum();
    value + (linear.clone() - linear.without_autodiff()) // the bracket is 0, its gradient is not
}

fn negate_where(x: Tensor<3>, mask: Tensor<3, Bool>) -> Tensor<3> {
    let negated = x.clone().neg();
    x.mask_where(mask, negated)
}

/// Where a class is the location's label: `[B, N, C]`.
fn one_hot(labels: Tensor<2, Int>, num_classes: usize) -> Tensor<3, Bool> {
    let options = (&labels.device(), labels.dtype());
    let classes = Tensor::<1, Int>::arange(0..num_classes as i64, options);
    labels
        .unsqueeze_dim::<3>(2)
        .equal(classes.unsqueeze_dims::<3>(&[0, 1]))
}
