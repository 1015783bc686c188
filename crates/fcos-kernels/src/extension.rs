//! The operations Burn dispatches to Flex, with and without gradients.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Flex, backend_extension};

use crate::ops::norm::{self, NormOptions};
use crate::ops::{affine, conv, pool, relu, upsample};
use crate::options::{Conv2dOptions, MaxPool2dOptions};

/// Operations with a kernel of their own. Tensors are `f32` of the shapes the crate's
/// functions document.
#[backend_extension(Flex, Autodiff)]
pub trait KernelOps: Backend {
    /// Convolution; `bias [Cout]`.
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self>;

    /// Group normalisation with `groups` groups.
    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// Batch normalisation by the batch's own statistics; output, mean and biased variance.
    fn kernel_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `scale * x + shift` per channel.
    fn kernel_channel_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self>;

    /// `max(x, 0)`
    fn kernel_relu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `max(a + b, 0)`
    fn kernel_add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Max pooling.
    fn kernel_max_pool2d(x: FloatTensor<Self>, options: MaxPool2dOptions) -> FloatTensor<Self>;

    /// `fine` plus `coarse` enlarged to its size.
    fn kernel_upsample_add(coarse: FloatTensor<Self>, fine: FloatTensor<Self>)
    -> FloatTensor<Self>;
}

impl KernelOps for Flex {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self> {
        conv::forward(x, weight, bias, options)
    }

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        norm::forward(x, gamma, beta, options).0
    }

    fn kernel_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (y, statistics) = norm::forward(x, gamma, beta, options);
        let (mean, variance) = norm::statistics_tensors(&statistics);
        (y, mean, variance)
    }

    fn kernel_channel_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        affine::forward(x, scale, shift, relu)
    }

    fn kernel_relu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        relu::forward(x)
    }

    fn kernel_add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        relu::add_forward(a, b)
    }

    fn kernel_max_pool2d(x: FloatTensor<Self>, options: MaxPool2dOptions) -> FloatTensor<Self> {
        pool::forward(x, options)
    }

    fn kernel_upsample_add(
        coarse: FloatTensor<Self>,
        fine: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        upsample::forward(coarse, fine)
    }
}

impl<C: CheckpointStrategy> KernelOps for Autodiff<Flex, C> {
    fn kernel_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: Conv2dOptions,
    ) -> FloatTensor<Self> {
        conv::tracked::<C>(x, weight, bias, options)
    }

    fn kernel_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        norm::tracked::<C>(x, gamma, beta, options).0
    }

    fn kernel_batch_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (y, statistics) = norm::tracked::<C>(x, gamma, beta, options);
        let (mean, variance) = norm::statistics_tensors(&statistics);
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn kernel_channel_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        relu: bool,
    ) -> FloatTensor<Self> {
        affine::tracked::<C>(x, scale, shift, relu)
    }

    fn kernel_relu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        relu::tracked::<C>(x)
    }

    fn kernel_add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        relu::tracked_add::<C>(a, b)
    }

    fn kernel_max_pool2d(x: FloatTensor<Self>, options: MaxPool2dOptions) -> FloatTensor<Self> {
        pool::tracked::<C>(x, options)
    }

    fn kernel_upsample_add(
        coarse: FloatTensor<Self>,
        fine: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        upsample::tracked::<C>(coarse, fine)
    }
}
