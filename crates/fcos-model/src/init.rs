//! Initial weights. They are drawn on the host, so that a seed gives the same network on every
//! device.

use std::cell::Cell;
use std::f64::consts::TAU;

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Shape, Tensor, TensorData};
use fcos_core::Rng;

/// Where a network's layers come from: the device they live on, and a stream of draws for each.
///
/// The layers' weights depend on the seed and on the order in which the layers are made.
#[derive(Debug)]
pub struct Init<'a> {
    device: &'a Device,
    seed: u64,
    layers: Cell<u64>,
}

/// How the weights of a convolution are distributed around 0.
#[derive(Debug, Clone, Copy)]
pub enum Distribution {
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform up to this bound on either side.
    Uniform(f64),
}

impl<'a> Init<'a> {
    /// Layers on `device`, drawn by this seed.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            device,
            seed,
            layers: Cell::new(0),
        }
    }

    /// The device that layers are made on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// The next layer's weights `[Cout, Cin / groups, KH, KW]`, drawn when first used.
    pub fn weights(&self, shape: [usize; 4], distribution: Distribution) -> Param<Tensor<4>> {
        let key = [self.seed, self.layers.replace(self.layers.get() + 1)];
        let draw = move |device: &Device, require_grad: bool| {
            let values = distribution.draw(shape.iter().product(), &key);
            let tensor = Tensor::from_data(TensorData::new(values, shape), device);
            if require_grad {
                tensor.require_grad()
            } else {
                tensor
            }
        };
        let device = self.device.clone();
        Param::uninitialized(ParamId::new(), draw, device, true, Shape::from(shape))
    }
}

impl Distribution {
    fn draw(self, count: usize, key: &[u64]) -> Vec<f32> {
        let mut rng = Rng::from_key(key);
        match self {
            Self::Uniform(bound) => {
                let bound = bound as f32;
                (0..count).map(|_| rng.uniform(-bound, bound)).collect()
            }
            Self::Normal(std) => {
                let pairs = (0..count.div_ceil(2)).flat_map(|_| normal_pair(&mut rng));
                pairs.take(count).map(|z| (z * std) as f32).collect()
            }
        }
    }
}

/// Two independent standard normal numbers (Box and Muller 1958).
fn normal_pair(rng: &mut Rng) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - f64::from(rng.unit())).ln()).sqrt();
    let (sin, cos) = (TAU * f64::from(rng.unit())).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> [f64; 3] {
        let mean = |power: i32| {
            let powers = values.iter().map(|&v| f64::from(v).powi(power));
            powers.sum::<f64>() / values.len() as f64
        };
        [mean(1), mean(2), mean(4)]
    }

    /// A normal distribution's fourth moment is 3 σ⁴, a uniform one's b⁴ / 5.
    #[test]
    fn distributions_have_their_moments() {
        let count = 100_001;
        let [mean, square, fourth] = moments(&Distribution::Normal(2.0).draw(count, &[1, 2]));
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((square / 4.0 - 1.0).abs() < 0.02, "{square}");
        assert!((fourth / 48.0 - 1.0).abs() < 0.05, "{fourth}");
        let values = Distribution::Uniform(3.0).draw(count, &[1, 2]);
        let [mean, square, fourth] = moments(&values);
        assert_eq!(values.len(), count);
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((square / 3.0 - 1.0).abs() < 0.02, "{square}");
        assert!((fourth / 16.2 - 1.0).abs() < 0.03, "{fourth}");
    }

    #[test]
    fn layers_and_seeds_draw_apart() {
        let device = Device::flex();
        let draw = |init: &Init| {
            let param = init.weights([2, 3, 1, 1], Distribution::Normal(1.0));
            param.val().into_data()
        };
        let (a, b, c) = (
            Init::new(7, &device),
            Init::new(7, &device),
            Init::new(8, &device),
        );
        let (first, second) = (draw(&a), draw(&a));
        assert_ne!(first, second);
        assert_eq!([first.clone(), second], [draw(&b), draw(&b)]);
        assert_ne!(first, draw(&c));
    }
}
