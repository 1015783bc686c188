//! The layers of which networks are made here, for backbones of one's own too: a convolution, and
//! the pair of convolution and batch normalisation, with [initial weights](Init) that are a
//! function of a seed.
//!
//! A backbone may as well be made of Burn's own layers; these are computed by the kernels that the
//! rest of the network uses, and [fold](ConvNorm::fold) for inference.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fcos_model::layers::{Activation, ConvNorm, ConvSize, Init};
//!
//! let device = Device::flex();
//! let init = Init::new(0, &device);
//! let layer = ConvNorm::new(ConvSize::new([3, 8], 3).stride(2), 1e-5, &init);
//! let y = layer.forward(Tensor::zeros([1, 3, 32, 48], &device), Activation::Relu);
//! assert_eq!(y.dims(), [1, 8, 16, 24]);
//! ```

use burn::module::{Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer};
use burn::tensor::{Device, Tensor};
pub use fcos_kernels::Activation;
use fcos_kernels::Conv2dOptions;

pub use crate::init::{Distribution, Init};
use crate::ops;

/// Sizes of a square convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSize {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

impl ConvSize {
    /// A convolution between so many channels, in and out, with a kernel of this side: of stride 1
    /// in one group, padded by half the kernel.
    pub fn new(channels: [usize; 2], kernel: usize) -> Self {
        Self {
            channels,
            kernel,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
        }
    }

    /// With another step between outputs, in pixels of the input.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// With so many rows and columns of zeros on every side.
    #[must_use]
    pub fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// With another distance between neighbouring taps, and as much more padding.
    #[must_use]
    pub fn dilation(self, dilation: usize) -> Self {
        Self {
            padding: dilation * (self.kernel / 2),
            dilation,
            ..self
        }
    }

    /// In so many groups of channels that don't see each other.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// `N(0, √(2 / fan out))`, where the fan out is torch's: all output channels times the
    /// kernel's area, whatever the groups (He et al. 2015; `kaiming_normal_(mode="fan_out")`).
    pub fn he_normal(self) -> Distribution {
        let fan_out = self.channels[1] * self.kernel * self.kernel;
        Distribution::Normal((2.0 / fan_out as f64).sqrt())
    }

    /// Uniform with the variance `1 / fan in` (torch's `kaiming_uniform_(a=1)`).
    pub fn kaiming_uniform(self) -> Distribution {
        let fan_in = self.channels[0] / self.groups * self.kernel * self.kernel;
        Distribution::Uniform((3.0 / fan_in as f64).sqrt())
    }

    /// The weights' shape, `[Cout, Cin / groups, KH, KW]`.
    fn weights(self) -> [usize; 4] {
        let [channels_in, channels_out] = self.channels;
        assert!(
            [channels_in, channels_out]
                .iter()
                .all(|c| c.is_multiple_of(self.groups)),
            "{channels_in} and {channels_out} channels in {} groups",
            self.groups
        );
        [
            channels_out,
            channels_in / self.groups,
            self.kernel,
            self.kernel,
        ]
    }

    /// As the kernels want them.
    pub(crate) fn options(self, then: Activation) -> Conv2dOptions {
        Conv2dOptions {
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            dilation: [self.dilation; 2],
            groups: self.groups,
            then,
        }
    }
}

/// A convolution: every one of the network is of this type.
#[derive(Module, Debug)]
pub struct Conv {
    pub(crate) weight: Param<Tensor<4>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) size: ConvSize,
}

impl Conv {
    /// Without a bias. The weights are drawn when first used.
    ///
    /// # Panics
    /// Unless the groups divide both numbers of channels.
    pub fn new(size: ConvSize, weights: Distribution, init: &Init) -> Self {
        Self {
            weight: init.weights(size.weights(), weights),
            bias: None,
            size,
        }
    }

    /// The same convolution with all its biases at `value`.
    #[must_use]
    pub fn with_bias(self, value: f64, init: &Init) -> Self {
        let channels = [self.size.channels[1]];
        let bias = Initializer::Constant { value }.init(channels, init.device());
        Self {
            bias: Some(bias),
            ..self
        }
    }

    /// `[B, C, H, W]` to `[B, C', H', W']`, then what `then` says.
    pub fn forward(&self, x: Tensor<4>, then: Activation) -> Tensor<4> {
        ops::conv2d(self, x, then)
    }

    /// The device that its parameters live on.
    pub(crate) fn device(&self) -> Device {
        self.weight.device()
    }
}

/// Convolution, then batch normalisation. After [`fold`](Self::fold) the convolution does both.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: Conv,
    norm: Option<BatchNorm>,
}

impl ConvNorm {
    /// He-normal weights, γ = 1, β = 0 (torchvision's ResNet). `epsilon` is added to the variance.
    ///
    /// # Panics
    /// As [`Conv::new`].
    pub fn new(size: ConvSize, epsilon: f64, init: &Init) -> Self {
        let mut norm = BatchNormConfig::new(size.channels[1]).init(init.device());
        norm.epsilon = epsilon; // the builder refuses the 0 of the original implementation
        Self {
            conv: Conv::new(size, size.he_normal(), init),
            norm: Some(norm),
        }
    }

    /// `[B, C, H, W]` to `[B, C', H', W']`, then what `then` says.
    pub fn forward(&self, x: Tensor<4>, then: Activation) -> Tensor<4> {
        match &self.norm {
            Some(norm) => ops::batch_norm(norm, self.conv.forward(x, Activation::Nothing), then),
            None => self.conv.forward(x, then),
        }
    }

    /// One convolution with a bias that computes both, by the running statistics.
    #[must_use]
    pub fn fold(self) -> Self {
        let Self { mut conv, norm } = self;
        if let Some(norm) = norm {
            let (scale, shift) = ops::scale_and_shift(&norm, &conv.device());
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
    #[must_use]
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

/// Max pooling of stride 2: 3×3 with one pixel of padding, as in a ResNet's stem.
pub fn max_pool(x: Tensor<4>) -> Tensor<4> {
    ops::max_pool(x)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution as Random;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;

    use super::*;

    /// A layer's own stride, padding, dilation and groups, against Burn's convolution.
    #[test]
    fn convolutions_are_computed_with_their_own_sizes() {
        let device = Device::flex();
        let init = Init::new(0, &device);
        let x = Tensor::<4>::random([2, 4, 13, 17], Random::Normal(0.0, 1.0), &device);
        let new = |kernel| ConvSize::new([4, 6], kernel);
        // A size, and the stride, padding, dilation and groups that it should have.
        let cases = [
            (new(3), [1, 1, 1, 1]),
            (new(3).padding(0), [1, 0, 1, 1]),
            (new(5).stride(2).padding(1), [2, 1, 1, 1]),
            (new(3).dilation(2), [1, 2, 2, 1]),
            (new(3).dilation(3).padding(1).groups(2), [1, 1, 3, 2]),
        ];
        for (size, [stride, padding, dilation, groups]) in cases {
            let weights = init.weights(size.weights(), size.he_normal());
            let conv = Conv {
                weight: weights.clone(),
                ..Conv::new(size, size.he_normal(), &init).with_bias(0.5, &init)
            };
            let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], groups);
            let bias = Some(Tensor::full([6], 0.5, &device));
            let expected = conv2d(x.clone(), weights.val(), bias, options);
            let found = conv.forward(x.clone(), Activation::Nothing);
            assert_eq!(found.dims(), expected.dims(), "{size:?}");
            let [found, expected] =
                [found, expected].map(|x| x.into_data().try_into_vec::<f32>().expect("f32"));
            let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            assert!(
                off.max_by(f32::total_cmp).is_some_and(|off| off < 1e-4),
                "{size:?}"
            );
        }
    }
}
