//! The feature pyramid (Lin et al. 2017), with the levels that FCOS adds on top.
//!
//! Legend: B images, L levels, C channels, H and W rows and columns of a feature map. The backbone's
//! maps are called C2 to C5, the pyramid's levels P2 to P7; both begin with the finest that is used.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::config::{FpnConfig, P6Source};
use crate::layers::{Activation, Conv, ConvSize, Init};
use crate::ops;

/// Lateral 1×1 convolutions, a top-down path, 3×3 output convolutions, and P6 and P7.
#[derive(Module, Debug)]
pub(crate) struct Fpn {
    lateral: Vec<Conv>,
    output: Vec<Conv>,
    top: Vec<Conv>,
    #[module(skip)]
    config: FpnConfig,
}

impl Fpn {
    /// For the backbone's maps with so many channels, the finest first; at least one.
    pub fn new(config: &FpnConfig, channels_in: &[usize], init: &Init) -> Self {
        let width = config.channels;
        let layer =
            |size: ConvSize| Conv::new(size, size.kaiming_uniform(), init).with_bias(0.0, init);
        let maps = channels_in.iter();
        let p6_in = match config.p6_source {
            P6Source::P5 => width,
            P6Source::C5 => *channels_in.last().unwrap_or(&width),
        };
        let top = [p6_in, width].into_iter().take(config.top_levels);
        Self {
            lateral: maps
                .clone()
                .map(|&c| layer(ConvSize::new([c, width], 1)))
                .collect(),
            output: maps
                .map(|_| layer(ConvSize::new([width, width], 3)))
                .collect(),
            top: top
                .map(|c| layer(ConvSize::new([c, width], 3).stride(2)))
                .collect(),
            config: config.clone(),
        }
    }

    /// How many of the backbone's maps it stands on.
    pub fn num_inputs(&self) -> usize {
        self.lateral.len()
    }

    /// All levels, each `[B, C, ⌈H/s⌉, ⌈W/s⌉]` with its stride `s`, of the backbone's maps.
    pub fn forward(&self, maps: &[Tensor<4>]) -> Vec<Tensor<4>> {
        let mut levels = self.top_down(maps);
        let mut source = match self.config.p6_source {
            P6Source::P5 => levels[levels.len() - 1].clone(),
            P6Source::C5 => maps[maps.len() - 1].clone(),
        };
        for (i, layer) in self.top.iter().enumerate() {
            // P6 is handed on as it is; only P7's convolution sees it through a ReLU.
            if i == 1 && self.config.relu_before_p7 {
                source = ops::relu(source);
            }
            source = layer.forward(source, Activation::Nothing);
            levels.push(source.clone());
        }
        levels
    }

    /// The levels that have a map of the backbone under them.
    fn top_down(&self, maps: &[Tensor<4>]) -> Vec<Tensor<4>> {
        let mut above: Option<Tensor<4>> = None;
        let mut levels = Vec::with_capacity(maps.len() + self.top.len());
        for ((map, lateral), output) in maps.iter().zip(&self.lateral).zip(&self.output).rev() {
            let lateral = lateral.forward(map.clone(), Activation::Nothing);
            let inner = match above {
                Some(above) => ops::upsample_add(above, lateral),
                None => lateral,
            };
            levels.push(output.forward(inner.clone(), Activation::Nothing));
            above = Some(inner);
        }
        levels.reverse();
        levels
    }
}
