//! ResNet (He et al. 2016) and ResNeXt (Xie et al. 2017): one implementation for basic and
//! bottleneck blocks.
//!
//! Legend: B images, C channels, H and W rows and columns of a feature map.

use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;

use super::FeatureMap;
use crate::layers::{Activation, ConvNorm, ConvSize, Init};
use crate::ops;

mod config;
pub(crate) mod names;

pub use config::{Arch, BackboneNorm, Groups, ResNetConfig, StrideIn};

/// A residual block: two 3×3 convolutions (basic), or 1×1, 3×3 and 1×1 (bottleneck).
#[derive(Module, Debug)]
struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    conv3: Option<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    /// A block of stage `stage` (0 to 3).
    fn new(config: &ResNetConfig, stage: usize, channels_in: usize, init: &Init) -> Self {
        let out = config.stage_channels(stage);
        // The first block of a stage is known by its channels. It halves the map, but for the first
        // stage, whose map the stem's pooling has halved.
        let changes = channels_in != out;
        let stride = if changes && stage > 0 { 2 } else { 1 };
        let [first, second] = strides(config, stride);
        let inside = config.inner_channels(stage);
        let is_bottleneck = config.arch.is_bottleneck();
        let layer = |size| ConvNorm::new(size, config.norm_eps, init);
        let conv = |from, to, kernel| ConvSize::new([from, to], kernel);
        Self {
            conv1: layer(
                conv(channels_in, inside, if is_bottleneck { 1 } else { 3 }).stride(first),
            ),
            conv2: layer(
                conv(inside, inside, 3)
                    .stride(second)
                    .groups(config.arch.groups().count),
            ),
            conv3: is_bottleneck.then(|| layer(conv(inside, out, 1))),
            downsample: changes.then(|| layer(conv(channels_in, out, 1).stride(stride))),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(x.clone(), Activation::Relu);
        let y = match &self.conv3 {
            Some(conv3) => {
                conv3.forward(self.conv2.forward(y, Activation::Relu), Activation::Nothing)
            }
            None => self.conv2.forward(y, Activation::Nothing),
        };
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(x, Activation::Nothing),
            None => x,
        };
        ops::add_relu(y, shortcut)
    }

    fn map_layers(self, f: fn(ConvNorm) -> ConvNorm) -> Self {
        Self {
            conv1: f(self.conv1),
            conv2: f(self.conv2),
            conv3: self.conv3.map(f),
            downsample: self.downsample.map(f),
        }
    }
}

/// The strides of a block's first and second convolution.
fn strides(config: &ResNetConfig, stride: usize) -> [usize; 2] {
    match config.stride_in {
        StrideIn::Conv3x3 if config.arch.is_bottleneck() => [1, stride],
        _ => [stride, 1],
    }
}

/// The backbone, without the classifier.
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    stages: Vec<Vec<Block>>,
    #[module(skip)]
    features: Vec<FeatureMap>,
}

impl ResNet {
    /// With torchvision's initialisation, frozen as the configuration says.
    pub(super) fn new(config: &ResNetConfig, init: &Init) -> Self {
        let stem = ConvSize::new([3, config.width], 7).stride(2);
        let mut channels = config.width;
        let mut block = |stage| {
            let block = Block::new(config, stage, channels, init);
            channels = config.stage_channels(stage);
            block
        };
        let stages = config.arch.depths().into_iter().enumerate();
        let net = Self {
            stem: ConvNorm::new(stem, config.norm_eps, init),
            stages: stages
                .map(|(stage, depth)| (0..depth).map(|_| block(stage)).collect())
                .collect(),
            features: features(config),
        };
        net.freeze_by(config)
    }

    /// Stops gradients and moving statistics of the frozen parts.
    fn freeze_by(mut self, config: &ResNetConfig) -> Self {
        if matches!(config.norm, BackboneNorm::Frozen) {
            self = self.freeze_group(ParamGroup::from_predicate("norm."));
        }
        if config.frozen_stages > 0 {
            self.stem = self.stem.freeze();
        }
        let freeze = |(stage, blocks): (usize, Vec<Block>)| {
            if stage + 1 < config.frozen_stages {
                blocks.freeze()
            } else {
                blocks
            }
        };
        self.stages = self.stages.into_iter().enumerate().map(freeze).collect();
        self
    }

    /// C2 to C5.
    pub(super) fn features(&self) -> Vec<FeatureMap> {
        self.features.clone()
    }

    /// C2 to C5 of images `[B, 3, H, W]`.
    pub(super) fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = ops::max_pool(self.stem.forward(images, Activation::Relu));
        let mut maps = Vec::with_capacity(self.stages.len());
        for blocks in &self.stages {
            x = blocks.iter().fold(x, |x, block| block.forward(x));
            maps.push(x.clone());
        }
        maps
    }

    /// The same network with every convolution and its normalisation changed by `f`.
    pub(super) fn map_layers(self, f: fn(ConvNorm) -> ConvNorm) -> Self {
        let blocks = |blocks: Vec<Block>| blocks.into_iter().map(|b| b.map_layers(f)).collect();
        Self {
            stem: f(self.stem),
            stages: self.stages.into_iter().map(blocks).collect(),
            features: self.features,
        }
    }
}

/// The maps of the four stages. The stem and its pooling halve the image each, and every stage
/// after the first halves its input.
fn features(config: &ResNetConfig) -> Vec<FeatureMap> {
    let strides = fcos_core::pyramid_strides(4, config.arch.depths().len());
    let maps = strides.into_iter().enumerate();
    maps.map(|(stage, stride)| FeatureMap {
        channels: config.stage_channels(stage),
        stride,
    })
    .collect()
}
