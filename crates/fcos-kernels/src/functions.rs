//! The public functions: a kernel where there is one, Burn's own operations elsewhere.
//!
//! Legend: B images, C channels (`Cin`, `Cout`), H, W rows and columns.

use burn::backend::Dispatch;
use burn::tensor::activation;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{FloatDType, Tensor};

use crate::extension::KernelOps;
use crate::flex::supports;
use crate::ops::norm::NormOptions;
use crate::options::{Activation, Conv2dOptions, MaxPool2dOptions};

/// Convolution (cross-correlation) of `x [B, Cin, H, W]` with `weight [Cout, Cin / groups, KH, KW]`
/// plus `bias [Cout]`, giving `[B, Cout, OH, OW]`; then `options.then`.
///
/// On Flex, 3×3 stride-1 convolutions go through Winograd's F(4x4, 3x3) with an error near 2e-6 of
/// the largest output, the others through matrix products.
///
/// # Panics
/// If the sizes do not fit, as [`burn::tensor::module::conv2d`] does.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: Conv2dOptions,
) -> Tensor<4> {
    let Conv2dOptions {
        stride,
        padding,
        dilation,
        groups,
        then,
    } = options;
    if !(supports(&x) && supports(&weight) && bias.as_ref().is_none_or(supports)) {
        let options = ConvOptions::new(stride, padding, dilation, groups);
        return activated(module::conv2d(x, weight, bias, options), then);
    }
    assert_conv(
        x.dims(),
        weight.dims(),
        bias.as_ref().map(Tensor::dims),
        options,
    );
    let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &x.device()));
    Tensor::from_dispatch(Dispatch::kernel_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        options,
    ))
}

fn assert_conv(
    x: [usize; 4],
    weight: [usize; 4],
    bias: Option<[usize; 1]>,
    options: Conv2dOptions,
) {
    let groups = options.groups;
    assert!(
        groups > 0 && x[1] == weight[1] * groups && weight[0].is_multiple_of(groups),
        "conv2d of {x:?} with weight {weight:?} in {groups} groups"
    );
    assert!(
        bias.is_none_or(|bias| bias == [weight[0]]),
        "conv2d with weight {weight:?} and bias {bias:?}"
    );
}

/// Group normalisation of `x [B, C, H, W]`: every one of the `groups` runs of channels of an image
/// is brought to mean 0 and variance 1 (biased, plus `eps`), then scaled by `gamma [C]` and shifted
/// by `beta [C]`; then `then`.
///
/// # Panics
/// If `groups` does not divide C, or `gamma` or `beta` is not `[C]`.
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
    then: Activation,
) -> Tensor<4> {
    let channels = x.dims()[1];
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "group_norm of {channels} channels in {groups} groups"
    );
    assert_per_channel("group_norm", channels, &gamma, &beta);
    if !(supports(&x) && supports(&gamma) && supports(&beta)) {
        return activated(composed_group_norm(x, groups, gamma, beta, eps), then);
    }
    let options = NormOptions {
        groups: Some(groups),
        epsilon: eps,
        relu: then == Activation::Relu,
    };
    Tensor::from_dispatch(Dispatch::kernel_group_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        options,
    ))
}

fn composed_group_norm(
    x: Tensor<4>,
    groups: usize,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let dtype = FloatDType::from(x.dtype());
    // The squares of ordinary features overflow half precision.
    let x = match dtype {
        FloatDType::F16 | FloatDType::BF16 => x.cast(FloatDType::F32),
        _ => x,
    };
    let x = x.reshape([batch, groups, channels / groups * height * width]);
    let (variance, mean) = x.clone().var_mean_bias(2);
    let x = (x - mean) / (variance + eps).sqrt();
    let x = x.reshape([batch, channels, height, width]).cast(dtype);
    composed_affine(x, gamma, beta)
}

/// Result of [`batch_norm`].
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalised input, `[B, C, H, W]`.
    pub output: Tensor<4>,
    /// Mean of every channel over images and pixels, `[C]`; carries no gradient.
    pub mean: Tensor<1>,
    /// Biased variance of every channel, `[C]`; carries no gradient.
    pub variance: Tensor<1>,
}

/// Batch normalisation of `x [B, C, H, W]` in training: every channel is brought to mean 0 and
/// variance 1 (biased, plus `eps`) over the batch, then scaled by `gamma [C]` and shifted by `beta
/// [C]`; then `then`. The caller keeps the running statistics.
///
/// # Panics
/// If `gamma` or `beta` is not `[C]`.
pub fn batch_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
    then: Activation,
) -> BatchNormOutput {
    assert_per_channel("batch_norm", x.dims()[1], &gamma, &beta);
    if !(supports(&x) && supports(&gamma) && supports(&beta)) {
        let result = module::batch_norm_train(x, gamma, beta, eps);
        return BatchNormOutput {
            output: activated(result.output, then),
            mean: result.mean.detach(),
            variance: result.variance.detach(),
        };
    }
    let options = NormOptions {
        groups: None,
        epsilon: eps,
        relu: then == Activation::Relu,
    };
    let (output, mean, variance) = Dispatch::kernel_batch_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        options,
    );
    BatchNormOutput {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// `scale * x + shift` per channel of `x [B, C, H, W]`, with `scale` and `shift` `[C]`; then
/// `then`. This is batch norm with fixed statistics: `scale = gamma / √(variance + eps)`, `shift
/// = beta - mean · scale`.
///
/// # Panics
/// If `scale` or `shift` is not `[C]`.
pub fn channel_affine(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    then: Activation,
) -> Tensor<4> {
    assert_per_channel("channel_affine", x.dims()[1], &scale, &shift);
    if !(supports(&x) && supports(&scale) && supports(&shift)) {
        return activated(composed_affine(x, scale, shift), then);
    }
    Tensor::from_dispatch(Dispatch::kernel_channel_affine(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        then == Activation::Relu,
    ))
}

fn composed_affine(x: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<4> {
    let channels = x.dims()[1];
    let per_channel = [1, channels, 1, 1];
    x * scale.reshape(per_channel) + shift.reshape(per_channel)
}

fn activated(x: Tensor<4>, then: Activation) -> Tensor<4> {
    match then {
        Activation::Nothing => x,
        Activation::Relu => activation::relu(x),
    }
}

fn assert_per_channel(name: &str, channels: usize, scale: &Tensor<1>, shift: &Tensor<1>) {
    assert!(
        scale.dims() == [channels] && shift.dims() == [channels],
        "{name} of {channels} channels with {:?} and {:?}",
        scale.dims(),
        shift.dims()
    );
}

/// `max(x, 0)` of `x [B, C, H, W]`.
pub fn relu(x: Tensor<4>) -> Tensor<4> {
    if !supports(&x) {
        return activation::relu(x);
    }
    Tensor::from_dispatch(Dispatch::kernel_relu(x.into_dispatch()))
}

/// `max(a + b, 0)` of two tensors `[B, C, H, W]`: the end of a residual block.
///
/// # Panics
/// If the sizes differ.
pub fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    assert_eq!(a.dims(), b.dims(), "add_relu of different sizes");
    if !(supports(&a) && supports(&b)) {
        return activation::relu(a + b);
    }
    Tensor::from_dispatch(Dispatch::kernel_add_relu(
        a.into_dispatch(),
        b.into_dispatch(),
    ))
}

/// The largest value of every window of `x [B, C, H, W]`; the output has `⌊(H + 2 padding -
/// kernel_size) / stride⌋ + 1` rows, and columns likewise.
///
/// # Panics
/// If the padding exceeds half of the window or the window the padded input.
pub fn max_pool2d(x: Tensor<4>, options: MaxPool2dOptions) -> Tensor<4> {
    let MaxPool2dOptions {
        kernel_size,
        stride,
        padding,
    } = options;
    let [_, _, height, width] = x.dims();
    assert!(
        stride > 0 && 2 * padding <= kernel_size && kernel_size <= height.min(width) + 2 * padding,
        "max_pool2d of {height}x{width} with {options:?}"
    );
    if !supports(&x) {
        let options = MaxPoolOptions::new([kernel_size; 2])
            .with_stride([stride; 2])
            .with_padding([padding; 2]);
        return module::max_pool2d(x, options);
    }
    Tensor::from_dispatch(Dispatch::kernel_max_pool2d(x.into_dispatch(), options))
}

/// `fine [B, C, H, W]` plus `coarse [B, C, h, w]` enlarged to its size by nearest neighbours: output
/// pixel `i` reads `⌊i · h / H⌋`. The top-down step of a feature pyramid (Lin et al., CVPR 2017).
///
/// # Panics
/// If images or channels differ.
pub fn upsample_add(coarse: Tensor<4>, fine: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = fine.dims();
    assert_eq!(
        coarse.dims()[..2],
        [batch, channels],
        "upsample_add of different sizes"
    );
    if !(supports(&coarse) && supports(&fine)) {
        return composed_upsample(coarse, [height, width]) + fine;
    }
    let result = Dispatch::kernel_upsample_add(coarse.into_dispatch(), fine.into_dispatch());
    Tensor::from_dispatch(result)
}

/// A GPU compiles Burn's interpolation anew for every size. Doubling, which is what a pyramid does
/// whose input's sides are multiples of 32, needs no such kernel.
fn composed_upsample(coarse: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [b, c, h, w] = coarse.dims();
    if size == [2 * h, 2 * w] {
        let pairs = coarse
            .reshape([b, c, h, 1, w, 1])
            .expand([b, c, h, 2, w, 2]);
        return pairs.reshape([b, c, 2 * h, 2 * w]);
    }
    let options = InterpolateOptions::new(InterpolateMode::Nearest)
        .with_output_size(size)
        .with_align_corners(false);
    module::interpolate(coarse, options)
}
