//! Every numerical operation of the network, in one place: how a layer is computed is decided
//! here and nowhere else. The heavy ones are `fcos-kernels`'.
//!
//! Legend: B images, C channels, H and W rows and columns of a feature map.

use burn::module::RunningState;
use burn::nn::{BatchNorm, GroupNorm};
use burn::tensor::{Device, Tensor};
use fcos_kernels::{Activation, MaxPool2dOptions};

use crate::layers::Conv;

/// Convolution with the layer's own stride, padding, dilation and groups: `[B, C, H, W]` to
/// `[B, C', H', W']`.
pub(crate) fn conv2d(conv: &Conv, x: Tensor<4>, then: Activation) -> Tensor<4> {
    let bias = conv.bias.as_ref().map(|b| b.val());
    fcos_kernels::conv2d(x, conv.weight.val(), bias, conv.size.options(then))
}

/// Group normalisation (Wu & He 2018), then ReLU. The layer is affine.
pub(crate) fn group_norm_relu(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    match (&norm.gamma, &norm.beta) {
        (Some(gamma), Some(beta)) => {
            let (gamma, beta) = (gamma.val(), beta.val());
            fcos_kernels::group_norm(
                x,
                norm.num_groups,
                gamma,
                beta,
                norm.epsilon,
                Activation::Relu,
            )
        }
        _ => relu(norm.forward(x)),
    }
}

/// Batch normalisation: with the running statistics, unless the layer trains on an autodiff
/// device. Then with the batch's own, which move the running ones as `torch.nn.BatchNorm2d` does
/// (biased variance to normalise, unbiased variance to remember).
pub(crate) fn batch_norm(norm: &BatchNorm, x: Tensor<4>, then: Activation) -> Tensor<4> {
    if x.device().is_autodiff() && norm.training.is_enabled() {
        return batch_norm_training(norm, x, then);
    }
    let (scale, shift) = scale_and_shift(norm, &x.device());
    fcos_kernels::channel_affine(x, scale, shift, then)
}

fn batch_norm_training(norm: &BatchNorm, x: Tensor<4>, then: Activation) -> Tensor<4> {
    let [b, _, h, w] = x.dims();
    let n = (b * h * w) as f64;
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let batch = fcos_kernels::batch_norm(x, gamma, beta, norm.epsilon, then);
    let unbiased = batch.variance.mul_scalar(n / (n - 1.0).max(1.0));
    remember(&norm.running_mean, batch.mean, norm.momentum);
    remember(&norm.running_var, unbiased, norm.momentum);
    batch.output
}

/// Moves a running statistic towards the batch's by `momentum`.
fn remember(state: &RunningState<Tensor<1>>, batch: Tensor<1>, momentum: f64) {
    let old = state.value_sync().to_device(&batch.device());
    let new = old.mul_scalar(1.0 - momentum) + batch.mul_scalar(momentum);
    state.update(new.detach());
}

/// `max(a + b, 0)`: the end of a residual block.
pub(crate) fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    fcos_kernels::add_relu(a, b)
}

/// `max(x, 0)`.
pub(crate) fn relu(x: Tensor<4>) -> Tensor<4> {
    fcos_kernels::relu(x)
}

/// The stem's pooling: 3×3, stride 2, padding 1.
pub(crate) fn max_pool(x: Tensor<4>) -> Tensor<4> {
    fcos_kernels::max_pool2d(
        x,
        MaxPool2dOptions {
            kernel_size: 3,
            stride: 2,
            padding: 1,
        },
    )
}

/// `lateral + top`, with the coarser `top` enlarged to `lateral`'s exact size (nearest neighbour).
pub(crate) fn upsample_add(top: Tensor<4>, lateral: Tensor<4>) -> Tensor<4> {
    fcos_kernels::upsample_add(top, lateral)
}

/// `x · scale` with a scale of shape `[1]`.
pub(crate) fn scale(x: Tensor<4>, scale: Tensor<1>) -> Tensor<4> {
    x * scale.reshape([1, 1, 1, 1])
}

/// `[B, C, H, W]` to `[B, H·W, C]`, row by row.
pub(crate) fn flatten(x: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = x.dims();
    x.permute([0, 2, 3, 1]).reshape([b, h * w, c])
}

/// The batch normalisation's scale and shift per channel, with its running statistics:
/// `γ / √(var + ε)` and `β − mean · scale`.
pub(crate) fn scale_and_shift(norm: &BatchNorm, device: &Device) -> (Tensor<1>, Tensor<1>) {
    let mean = norm.running_mean.value().to_device(device);
    let var = norm.running_var.value().to_device(device);
    let scale = norm.gamma.val() / (var + norm.epsilon).sqrt();
    let shift = norm.beta.val() - mean * scale.clone();
    (scale, shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::BatchNormConfig;
    use burn::tensor::{DType, TensorData};
    use safetensors::SafeTensors;

    /// Two training steps of torch's BatchNorm2d: `testdata/model/make_goldens.py`.
    #[test]
    fn batch_norm_learns_as_torchs() {
        let bytes = include_bytes!("../../../testdata/model/golden_batch_norm.safetensors");
        let file = SafeTensors::deserialize(bytes).expect("golden");
        let data = |name: &str| {
            let view = file.tensor(name).expect(name);
            let bytes = view.data().to_vec();
            TensorData::from_bytes_vec(bytes, view.shape().to_vec(), DType::F32)
        };
        let device = Device::flex().autodiff();
        let mut norm = BatchNormConfig::new(3).init(&device);
        norm.gamma = norm
            .gamma
            .map(|_| Tensor::from_data(data("weight"), &device));
        let input = Tensor::<5>::from_data(data("input"), &device);
        let outputs = (0..2).map(|i| {
            batch_norm(
                &norm,
                input.clone().narrow(0, i, 1).squeeze_dim(0),
                Activation::Nothing,
            )
        });
        let output: Tensor<5> = Tensor::stack(outputs.collect(), 0);
        let close = |found: TensorData, name: &str| {
            let pairs = found
                .iter::<f32>()
                .zip(data(name).iter::<f32>().collect::<Vec<_>>());
            let worst = pairs.map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp);
            assert!(worst.is_some_and(|w| w < 1e-5), "{name}: {worst:?}");
        };
        close(output.into_data(), "output");
        close(norm.running_mean.value_sync().into_data(), "running_mean");
        close(norm.running_var.value_sync().into_data(), "running_var");
    }
}
