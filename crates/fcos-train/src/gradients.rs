//! The gradients of a step, or of a part of it: their sum, their norm, clipping.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;

use crate::log::NamedLoss;

/// What [`Learner::gradients`](crate::Learner::gradients) found on a part of a step.
#[derive(Debug, Default)]
pub struct Gradients {
    /// By parameter.
    pub params: GradientsParams,
    /// The losses that they are the gradients of, divided by the step's normaliser.
    pub losses: Vec<NamedLoss>,
    /// The images that they come from.
    pub image_ids: Vec<u64>,
}

impl Gradients {
    /// The gradients and losses of two parts of a step together. `model` is the one whose gradients
    /// they are.
    #[must_use]
    pub fn sum(mut self, other: Self, model: &impl Module) -> Self {
        let mut params = GradientsAccumulator::new();
        params.accumulate(model, self.params);
        params.accumulate(model, other.params);
        self.params = params.grads();
        for loss in other.losses {
            match self.losses.iter_mut().find(|l| l.name == loss.name) {
                Some(sum) => sum.value += loss.value,
                None => self.losses.push(loss),
            }
        }
        self.image_ids.extend(other.image_ids);
        self
    }
}

/// The gradients after clipping, and their norm before it.
pub(crate) struct Clipped {
    pub params: GradientsParams,
    pub norm: f32,
}

/// Scales all gradients by `max_norm / norm` where their common L2 norm is larger. (Burn's own
/// clipping is per tensor; torch's `clip_grad_norm_` is this.)
pub(crate) fn clip_global_norm(
    model: &impl Module,
    mut params: GradientsParams,
    max_norm: Option<f64>,
) -> Clipped {
    let mut squares = SumOfSquares {
        grads: &params,
        sum: None,
    };
    model.visit(&mut squares);
    let norm: f32 = squares.sum.map_or(0.0, |sum| sum.sqrt().into_scalar());
    if let Some(max_norm) = max_norm
        && f64::from(norm) > max_norm
    {
        // torch adds 1e-6 to the norm.
        let factor = max_norm / (f64::from(norm) + 1e-6);
        model.visit(&mut ScaleGradients {
            grads: &mut params,
            factor,
        });
    }
    Clipped { params, norm }
}

struct SumOfSquares<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let square = (grad.clone() * grad).sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + square,
            None => square,
        });
    }
}

struct ScaleGradients<'a> {
    grads: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for ScaleGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradients, model};

    fn elements(model: &impl Module, grads: &GradientsParams) -> Vec<f32> {
        struct Read<'a>(&'a GradientsParams, Vec<f32>);
        impl ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(grad) = self.0.get::<D>(param.id) {
                    self.1.extend(grad.into_data().iter::<f32>());
                }
            }
        }
        let mut read = Read(grads, Vec::new());
        model.visit(&mut read);
        read.1
    }

    /// Nine classes' biases, the centre-ness layer's and five levels' factors:
    /// √(9·1² + 9² + 3² + 1²) = 10.
    #[test]
    fn gradients_are_clipped_by_their_common_norm() {
        let model = model();
        for (max_norm, scale) in [(None, 1.0), (Some(10.5), 1.0), (Some(2.5), 0.25)] {
            let mut single = [9.0, 3.0, 1.0, 0.0, 0.0, 0.0].into_iter();
            let grads = gradients(&model, |elements| match elements {
                1 => single.next(),
                9 => Some(1.0),
                _ => None,
            });
            let before = elements(&model, &grads);
            assert_eq!(before.len(), 15);
            let clipped = clip_global_norm(&model, grads, max_norm);
            assert!((clipped.norm - 10.0).abs() < 1e-5, "{}", clipped.norm);
            for (before, after) in before.iter().zip(elements(&model, &clipped.params)) {
                assert!((before * scale - after).abs() < 1e-6, "{before} {after}");
            }
        }
        let none = clip_global_norm(&model, GradientsParams::new(), Some(1.0));
        assert_eq!(none.norm, 0.0);
    }

    #[test]
    fn parts_add_up() {
        let model = model();
        let part = |value: f32, names: &[(&str, f64)], id| Gradients {
            params: gradients(&model, |elements| (elements == 9).then_some(value)),
            losses: names
                .iter()
                .map(|&(name, value)| NamedLoss {
                    name: name.into(),
                    value,
                })
                .collect(),
            image_ids: vec![id],
        };
        let sum = part(0.25, &[("cls", 1.0), ("bbox", 2.0)], 3);
        let sum = sum.sum(part(0.5, &[("bbox", 0.5), ("mask", 4.0)], 5), &model);
        assert_eq!(elements(&model, &sum.params), [0.75; 9]);
        assert_eq!(sum.image_ids, [3, 5]);
        let losses = sum.losses.iter().map(|l| (l.name.as_str(), l.value));
        let expected = [("cls", 1.0), ("bbox", 2.5), ("mask", 4.0)];
        assert!(losses.eq(expected), "{:?}", sum.losses);
    }
}
