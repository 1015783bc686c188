//! The head (FCOS, fig. 2): two towers, and class, box and centre-ness outputs, shared by all
//! levels.
//!
//! Legend: B images, C classes, H and W rows and columns of a level.

use burn::module::{Module, Param};
use burn::nn::{GroupNorm, GroupNormConfig, Initializer};
use burn::tensor::{Device, Tensor};
use fcos_core::Outputs;

use crate::config::{BoxActivation, CenternessOn, FcosConfig, HeadConfig};
use crate::layers::{Activation, Conv, ConvSize, Distribution, Init};
use crate::ops;

/// The largest distance that `exp` may give, in pixels. Larger than any image, so that trained
/// networks never notice; without it one wild location makes the loss infinite.
const LARGEST_DISTANCE: f64 = 1e5;

/// The side, in strides, of the anchor that [`BoxActivation::AnchorDelta`] and
/// [`BoxActivation::LegacyAnchorDelta`] start from: ATSS's.
pub const ANCHOR_SIDE: f64 = 8.0;
/// The weights of its offsets (Faster R-CNN's).
const CENTER_WEIGHT: f64 = 10.0;
const SIZE_WEIGHT: f64 = 5.0;
/// The largest factor by which a box may exceed its anchor, of Detectron's box coder; also by
/// which it may fall short of it in mmdetection's (`task_modules/coders/delta_xywh_bbox_coder.py`).
const LARGEST_GROWTH: f64 = 1000.0 / 16.0;

/// What a box of the old convention falls short of its length, half of it at each side.
const LEGACY_PIXEL: f64 = 1.0;

/// Of every convolution at the start.
const WEIGHTS: Distribution = Distribution::Normal(0.01);

/// Convolution, group normalisation, ReLU.
#[derive(Module, Debug)]
struct TowerLayer {
    conv: Conv,
    norm: GroupNorm,
}

impl TowerLayer {
    fn new(config: &HeadConfig, channels: usize, init: &Init) -> Self {
        let plain = Conv::new(ConvSize::new([channels, channels], 3), WEIGHTS, init);
        Self {
            conv: if config.tower_bias {
                plain.with_bias(0.0, init)
            } else {
                plain
            },
            norm: GroupNormConfig::new(config.gn_groups, channels).init(init.device()),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::group_norm_relu(&self.norm, self.conv.forward(x, Activation::Nothing))
    }
}

/// The towers, the output layers and each level's factor.
#[derive(Module, Debug)]
pub(crate) struct Head {
    cls_tower: Vec<TowerLayer>,
    bbox_tower: Vec<TowerLayer>,
    cls_logits: Conv,
    bbox_pred: Conv,
    centerness: Conv,
    scales: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    strides: Vec<usize>,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// The device that the parameters live on.
    pub fn device(&self) -> Device {
        self.cls_logits.device()
    }

    /// With the initialisation of the focal-loss paper (Lin et al. 2017, §4.1): `N(0, 0.01)`,
    /// biases 0, but the classes' at `−ln((1 − π) / π)` and the boxes' as configured.
    pub fn new(config: &FcosConfig, init: &Init) -> Self {
        let FcosConfig { head, fpn, .. } = config;
        let channels = fpn.channels;
        let tower = || {
            let layer = |_| TowerLayer::new(head, channels, init);
            (0..head.num_convs).map(layer).collect()
        };
        let output = |out, bias| {
            Conv::new(ConvSize::new([channels, out], 3), WEIGHTS, init).with_bias(bias, init)
        };
        let strides = config.strides();
        let num_scales = if head.scales { strides.len() } else { 0 };
        Self {
            cls_tower: tower(),
            bbox_tower: tower(),
            cls_logits: output(config.num_classes, -((1.0 - head.prior) / head.prior).ln()),
            bbox_pred: output(4, head.bbox_bias),
            centerness: output(1, 0.0),
            scales: (0..num_scales)
                .map(|_| Initializer::Ones.init([1], init.device()))
                .collect(),
            strides,
            config: head.clone(),
        }
    }

    /// The outputs for one level's features `[B, channels, H, W]`.
    pub fn forward(&self, level: usize, features: Tensor<4>) -> Outputs<Tensor<4>> {
        let cls = run(&self.cls_tower, features.clone());
        let bbox = run(&self.bbox_tower, features);
        let tower = match self.config.centerness_on {
            CenternessOn::Cls => &cls,
            CenternessOn::Box => &bbox,
        };
        let output = |layer: &Conv, x| layer.forward(x, Activation::Nothing);
        Outputs {
            centerness: output(&self.centerness, tower.clone()),
            cls_logits: output(&self.cls_logits, cls),
            ltrb: self.distances(level, output(&self.bbox_pred, bbox)),
        }
    }

    /// Distances `[B, 4, H, W]` of the box layer's output.
    fn distances(&self, level: usize, x: Tensor<4>) -> Tensor<4> {
        let x = match self.scales.get(level) {
            Some(scale) => ops::scale(x, scale.val()),
            None => x,
        };
        match self.config.box_activation {
            BoxActivation::Exp => x.clamp_max(LARGEST_DISTANCE.ln()).exp(),
            BoxActivation::ReluStride => ops::relu(x),
            BoxActivation::AnchorDelta => from_anchor(x, 1.0 / LARGEST_GROWTH),
            BoxActivation::LegacyAnchorDelta => {
                let stride = self.strides[level] as f64;
                from_anchor(x, 0.0) - LEGACY_PIXEL / 2.0 / stride
            }
        }
    }
}

/// Distances in strides of offsets `(dx, dy, dw, dh)` to an anchor around the location (box coder
/// of sfzhang15/ATSS, `rpn/atss/atss.py`, without its "+1" pixel). A side is at least `smallest`
/// times the anchor's.
fn from_anchor(offsets: Tensor<4>, smallest: f64) -> Tensor<4> {
    let center = offsets.clone().narrow(1, 0, 2) * (ANCHOR_SIDE / CENTER_WEIGHT);
    let growth = (offsets.narrow(1, 2, 2) / SIZE_WEIGHT).clamp_max(LARGEST_GROWTH.ln());
    let half = growth.exp().clamp_min(smallest) * (ANCHOR_SIDE / 2.0);
    Tensor::cat(vec![half.clone() - center.clone(), half + center], 1)
}

fn run(tower: &[TowerLayer], x: Tensor<4>) -> Tensor<4> {
    tower.iter().fold(x, |x, layer| layer.forward(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mmdetection's coder limits both directions (`wh_ratio_clip=16 / 1000`), ATSS's only growth.
    #[test]
    fn sides_of_anchors_are_limited() {
        let offsets =
            Tensor::from_floats([[[[0.0]], [[0.0]], [[-100.0]], [[100.0]]]], &Device::flex());
        for (smallest, width) in [(1.0 / LARGEST_GROWTH, 8.0 * 0.016), (0.0, 0.0)] {
            let sides = from_anchor(offsets.clone(), smallest).into_data();
            let sides = sides.as_slice::<f32>().expect("f32").to_vec();
            let expected = [width / 2.0, 250.0, width / 2.0, 250.0];
            let mut off = sides
                .iter()
                .zip(expected)
                .map(|(a, b): (_, f32)| (a - b).abs());
            assert!(off.all(|off| off < 1e-3), "{sides:?}");
        }
    }
}
