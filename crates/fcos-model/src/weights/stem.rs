//! A first layer for other pixels than it was trained on.

use burn::tensor::TensorData;
use fcos_data::{PreprocessConfig, ValueRange};

use super::families::FAMILIES;
use crate::params::NamedTensors;

/// Makes the first layer compute from pixels of `to` what it computed from those of `from`. Where
/// `to` subtracts another mean, that is so but for the outputs that see padding: it is 0, and so
/// of another colour.
///
/// Nothing, if a first layer is needed that is none of the families' and so can't be adapted.
pub(super) fn adapt(
    tensors: &mut NamedTensors,
    from: &PreprocessConfig,
    to: &PreprocessConfig,
) -> Option<()> {
    let inputs = inputs(from, to);
    if inputs
        .iter()
        .enumerate()
        .all(|(c, input)| input.is_channel(c))
    {
        return Some(());
    }
    let mut stems = FAMILIES.iter().map(|family| &family.stem);
    let stem = stems.find(|stem| tensors.contains_key(stem.weight))?;
    let (weight, mean) = (tensors.get(stem.weight)?, tensors.get(stem.mean)?);
    let [weight, mean] = adapted(weight, mean, &inputs)?;
    tensors.insert(stem.weight.into(), weight);
    tensors.insert(stem.mean.into(), mean);
    Some(())
}

/// The convolution's weights and the normalisation's running mean for the new pixels, if they are
/// `f32` of the shapes that a stem has.
fn adapted(weight: &TensorData, mean: &TensorData, inputs: &[Input; 3]) -> Option<[TensorData; 2]> {
    let (weights, means) = (weight.as_slice::<f32>().ok()?, mean.as_slice::<f32>().ok()?);
    let &[filters, 3, rows, columns] = weight.shape().as_slice() else {
        return None;
    };
    // Where there are no filters, the extents may be any.
    let area = rows.checked_mul(columns)?;
    let expected = area.checked_mul(3)?.checked_mul(filters)?;
    if area == 0 || means.len() != filters || weights.len() != expected {
        return None;
    }
    let (mut scaled, mut moved) = (Vec::with_capacity(weights.len()), means.to_vec());
    for (filter, mean) in weights.chunks_exact(3 * area).zip(&mut moved) {
        for input in inputs {
            let channel = &filter[input.source * area..][..area];
            scaled.extend(channel.iter().map(|w| w * input.factor));
            // What the convolution sums up less, the normalisation subtracts less.
            *mean -= channel.iter().sum::<f32>() * input.shift;
        }
    }
    Some([
        TensorData::new(scaled, weight.shape().clone()),
        TensorData::new(moved, mean.shape().clone()),
    ])
}

/// What a channel `x` of the new pixels is in the old ones: `factor · x + shift` of `source`.
struct Input {
    source: usize,
    factor: f32,
    shift: f32,
}

impl Input {
    /// Whether it is channel `c` as it was.
    fn is_channel(&self, c: usize) -> bool {
        self.source == c && self.factor == 1.0 && self.shift == 0.0
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes whose product is 0 need no numbers, however large the rest is.
    #[test]
    fn stems_of_any_extents_are_refused() {
        let [rgb, bgr] = [PreprocessConfig::default(), PreprocessConfig::adelaidet()];
        let inputs = inputs(&rgb, &bgr);
        let mean = TensorData::new(Vec::<f32>::new(), [0_usize]);
        for shape in [
            [0_usize, 3, 1 << 40, 1 << 40],
            [0, 3, usize::MAX, 1],
            [0, 3, 0, usize::MAX],
        ] {
            let weight = TensorData::new(Vec::<f32>::new(), shape);
            assert!(adapted(&weight, &mean, &inputs).is_none(), "{shape:?}");
        }
    }
}
