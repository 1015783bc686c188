//! A first layer for other pixels than it was trained on.

use burn::tensor::TensorData;
use fcos_data::{PreprocessConfig, ValueRange};

use crate::params::NamedTensors;

const WEIGHT: &str = "backbone.stem.conv.weight";
const MEAN: &str = "backbone.stem.norm.running_mean";
/// Of the kernel, in pixels.
const AREA: usize = 7 * 7;

/// Makes the first layer compute from pixels of `to` what it computed from those of `from`. Where
/// `to` subtracts another mean, that is so but for the outputs that see padding: it is 0, and so
/// of another colour.
///
/// Tensors that are missing or of another shape stay, for the strict comparison to name them.
pub(super) fn adapt(tensors: &mut NamedTensors, from: &PreprocessConfig, to: &PreprocessConfig) {
    let (Some(weight), Some(mean)) = (tensors.get(WEIGHT), tensors.get(MEAN)) else {
        return;
    };
    let (shape, &[_, 3, 7, 7]) = (weight.shape().clone(), weight.shape().as_slice()) else {
        return;
    };
    let (Ok(weights), Ok(means)) = (weight.as_slice::<f32>(), mean.as_slice::<f32>()) else {
        return;
    };
    let inputs = inputs(from, to);
    let (mut scaled, mut moved) = (Vec::with_capacity(weights.len()), means.to_vec());
    for (filter, mean) in weights.chunks_exact(3 * AREA).zip(&mut moved) {
        for input in &inputs {
            let channel = &filter[input.source * AREA..][..AREA];
            scaled.extend(channel.iter().map(|w| w * input.factor));
            *mean -= channel.iter().sum::<f32>() * input.shift;
        }
    }
    if scaled.len() == weights.len() {
        let mean_shape = mean.shape().clone();
        tensors.insert(WEIGHT.into(), TensorData::new(scaled, shape));
        tensors.insert(MEAN.into(), TensorData::new(moved, mean_shape));
    }
}

/// What a channel `x` of the new pixels is in the old ones: `factor · x + shift` of `source`.
struct Input {
    source: usize,
    factor: f32,
    shift: f32,
}

fn inputs(from: &PreprocessConfig, to: &PreprocessConfig) -> [Input; 3] {
    let white = |pixels: &PreprocessConfig| match pixels.range {
        ValueRange::Unit => 1.0,
        ValueRange::Byte => 255.0,
    };
    let ratio = white(from) / white(to);
    [0, 1, 2].map(|c| {
        let source = if from.channels == to.channels {
            c
        } else {
            2 - c
        };
        Input {
            source,
            factor: to.std[c] * ratio / from.std[source],
            shift: (to.mean[c] * ratio - from.mean[source]) / from.std[source],
        }
    })
}
