//! The feature pyramid (Lin et al. 2017), with the levels that FCOS adds on top.
//!
//! Legend: B images, L levels, C channels, H and W rows and columns of a feature map.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use crate::config::{FpnConfig, P6Source};
use crate::init::Init;
use crate::layers::{ConvSize, conv, with_bias};
use crate::ops::{self, Then};

/// Lateral 1×1 convolutions, a top-down path, 3×3 output convolutions, and P6 and P7.
#[derive(Module, Debug)]
pub(crate) struct Fpn {
    lateral: Vec<Conv2d>,
    output: Vec<Conv2d>,
    top: Vec<Conv2d>,
    #[module(skip)]
    config: FpnConfig,
}

impl Fpn {
    /// For C3, C4 and C5 with so many channels.
    pub fn new(config: &FpnConfig, channels_in: [usize; 3], init: &Init) -> Self {
        let width = config.channels;
        let layer = |size: ConvSize| with_bias(conv(size, size.kaiming_uniform(), init), 0.0, init);
        let p6_in = match config.p6_source {
            P6Source::P5 => width,
            P6Source::C5 => channels_in[2],
        };
        let top = [p6_in, width].into_iter().take(config.top_levels);
        Self {
            lateral: channels_in
                .map(|c| layer(ConvSize::new([c, width], 1)))
                .into(),
            output: channels_in
                .map(|_| layer(ConvSize::new([width, width], 3)))
                .into(),
            top: top
                .map(|c| layer(ConvSize::new([c, width], 3).stride(2)))
                .collect(),
            config: config.clone(),
        }
    }

    /// P3 to P5, P6 or P7, each `[B, C, ⌈H/s⌉, ⌈W/s⌉]` with its stride `s`, of C3, C4 and C5.
    pub fn forward(&self, maps: &[Tensor<4>]) -> Vec<Tensor<4>> {
        let mut levels = self.top_down(maps);
        let mut source = match self.config.p6_source {
            P6Source::P5 => levels[levels.len() - 1].clone(),
            P6Source::C5 => maps[maps.len() - 1].clone(),
        };
        for (i, layer) in self.top.iter().enumerate() {
            if i == 1 && self.config.relu_before_p7 {
                source = ops::relu(source);
            }
            source = ops::conv2d(layer, source, Then::Nothing);
            levels.push(source.clone());
        }
        levels
    }

    /// P3, P4 and P5.
    fn top_down(&self, maps: &[Tensor<4>]) -> Vec<Tensor<4>> {
        let mut above: Option<Tensor<4>> = None;
        let mut levels = Vec::with_capacity(maps.len() + self.top.len());
        for ((map, lateral), output) in maps.iter().zip(&self.lateral).zip(&self.output).rev() {
            let lateral = ops::conv2d(lateral, map.clone(), Then::Nothing);
            let inner = match above {
                Some(above) => ops::upsample_add(above, lateral),
                None => lateral,
            };
            levels.push(ops::conv2d(output, inner.clone(), Then::Nothing));
            above = Some(inner);
        }
        levels.reverse();
        levels
    }
}
