//! Convolutions as the network initialises them, and the pair of convolution and batch
//! normalisation of which the backbone is made.

use burn::module::{Module, Param, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d};
use burn::tensor::Tensor;

use crate::init::{Distribution, Init};
use crate::ops::{self, Then};

/// Sizes of a square convolution; the padding is half the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvSize {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

impl ConvSize {
    /// A convolution of stride 1 in one group.
    pub fn new(channels: [usize; 2], kernel: usize) -> Self {
        Self {
            channels,
            kernel,
            stride: 1,
            groups: 1,
        }
    }

    /// With another stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With another number of groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// `N(0, √(2 / fan out))`, where the fan out is torch's: all output channels times the
    /// kernel's area, whatever the groups (He et al. 2015; `kaiming_normal_(mode="fan_out")`).
    fn he_normal(self) -> Distribution {
        let fan_out = self.channels[1] * self.kernel * self.kernel;
        Distribution::Normal((2.0 / fan_out as f64).sqrt())
    }

    /// Uniform with the variance `1 / fan in` (torch's `kaiming_uniform_(a=1)`).
    pub fn kaiming_uniform(self) -> Distribution {
        let fan_in = self.channels[0] / self.groups * self.kernel * self.kernel;
        Distribution::Uniform((3.0 / fan_in as f64).sqrt())
    }
}

/// A convolution without bias.
pub(crate) fn conv(size: ConvSize, weights: Distribution, init: &Init) -> Conv2d {
    let pad = size.kernel / 2;
    let mut conv = Conv2dConfig::new(size.channels, [size.kernel; 2])
        .with_stride([size.stride; 2])
        .with_groups(size.groups)
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(false)
        .init(init.device);
    conv.weight = init.weights(conv.weight.lazy_shape().dims(), weights);
    conv
}

/// The same convolution with all its biases at `value`.
pub(crate) fn with_bias(mut conv: Conv2d, value: f64, init: &Init) -> Conv2d {
    let [channels_out, ..] = conv.weight.lazy_shape().dims::<4>();
    conv.bias = Some(Initializer::Constant { value }.init([channels_out], init.device));
    conv
}

/// Convolution, then batch normalisation. After [`fold`](Self::fold) the convolution does both.
#[derive(Module, Debug)]
pub(crate) struct ConvNorm {
    conv: Conv2d,
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// He-normal weights, γ = 1, β = 0 (torchvision's ResNet).
    pub fn new(size: ConvSize, epsilon: f64, init: &Init) -> Self {
        let mut norm = BatchNormConfig::new(size.channels[1]).init(init.device);
        norm.epsilon = epsilon; // the builder refuses the 0 of the original implementation
        Self {
            conv: conv(size, size.he_normal(), init),
            norm: Some(norm),
        }
    }

    /// `[B, C, H, W]` to `[B, C', H', W']`.
    pub fn forward(&self, x: Tensor<4>, then: Then) -> Tensor<4> {
        match &self.norm {
            Some(norm) => ops::batch_norm(norm, ops::conv2d(&self.conv, x, Then::Nothing), then),
            None => ops::conv2d(&self.conv, x, then),
        }
    }

    /// One convolution with a bias that computes both, by the running statistics.
    pub fn fold(self) -> Self {
        let Self { mut conv, norm } = self;
        if let Some(norm) = norm {
            let (scale, shift) = ops::scale_and_shift(&norm, &conv.weight.device());
            let weight = conv.weight.into_value(); // alone, so that it is scaled in its place
            conv.weight = Param::from_tensor(weight * scale.reshape([-1, 1, 1, 1]));
            conv.bias = Some(Param::from_tensor(shift));
        }
        Self { conv, norm: None }
    }

    /// Whether there is no batch normalisation any more.
    pub fn is_folded(&self) -> bool {
        self.norm.is_none()
    }

    /// The same layer, whose running statistics no clone shares and no pending update changes.
    pub fn detach_statistics(mut self) -> Self {
        let fresh = |s: RunningState<Tensor<1>>| RunningState::new(s.value_sync());
        self.norm = self.norm.map(|mut norm| {
            norm.running_mean = fresh(norm.running_mean);
            norm.running_var = fresh(norm.running_var);
            norm
        });
        self
    }
}
