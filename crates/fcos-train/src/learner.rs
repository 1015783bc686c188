//! One optimisation step: forward, loss, backward, clip, update.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig};
use burn::tensor::{Tensor, Transaction};
use fcos_loss::{FcosLoss, LossTerms, NormalizerState, term};
use fcos_model::Fcos;

use crate::TrainError;
use crate::batch::DeviceBatch;
use crate::recipe::{Recipe, Schedule, ScheduleStepper};
use crate::sgd::Sgd;

/// Parameters called `bias`, and the shifts (`beta`) of normalisation layers.
const BIASES: &str = r"(^|\.)(bias|beta)$";
const NORM_SCALES: &str = r"(^|\.)gamma$";
const NORM_SHIFTS: &str = r"(^|\.)beta$";

/// The losses of a step, read from the device, and the gradients' norm before clipping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLosses {
    /// Focal loss.
    pub cls: f32,
    /// Box regression loss.
    pub bbox: f32,
    /// Centre-ness loss.
    pub centerness: f32,
    /// L2 norm of all gradients together, before clipping.
    pub grad_norm: f32,
    /// Learning rate that was applied.
    pub learning_rate: f64,
}

/// Model, loss and optimiser of a run.
pub(crate) struct Learner {
    /// Always there between steps; the optimiser takes it by value.
    model: Option<Fcos>,
    pub optimizer: ModuleOptimizer,
    pub normalizer: NormalizerState,
    loss: FcosLoss,
    rates: ModuleLrScheduler,
    schedule: Schedule,
    clip_grad_norm: Option<f64>,
}

impl Learner {
    pub fn new(
        model: Fcos,
        optimizer: ModuleOptimizer,
        (loss, normalizer): (FcosLoss, NormalizerState),
        recipe: &Recipe,
        schedule: Schedule,
        iteration: u64,
    ) -> Result<Self, TrainError> {
        let stepper = |factor| ScheduleStepper {
            schedule: schedule.clone(),
            factor,
            iteration,
        };
        let rates = ModuleLrScheduler::new(stepper(1.0))
            .with_group(group(BIASES)?, stepper(recipe.bias_lr_factor));
        let clip_grad_norm = recipe.clip_grad_norm;
        Ok(Self {
            model: Some(model),
            optimizer,
            normalizer,
            loss,
            rates,
            schedule,
            clip_grad_norm,
        })
    }

    pub fn model(&self) -> Result<&Fcos, TrainError> {
        self.model.as_ref().ok_or(TrainError::Internal {
            what: "a failed step left no model",
        })
    }

    /// One step on a batch. `iteration` counts from 0.
    pub fn step(&mut self, batch: DeviceBatch, iteration: u64) -> Result<StepLosses, TrainError> {
        let outputs = self.model()?.forward(batch.images);
        let normalizer = self.normalizer.step(batch.counts);
        let terms = self.loss.forward(outputs, batch.targets, &normalizer);
        let [cls, bbox, centerness] = read_losses(&terms)?;
        for (component, value) in [
            (term::CLS, cls),
            (term::BBOX, bbox),
            (term::CENTERNESS, centerness),
        ] {
            finite(component, value, iteration, &batch.image_ids)?;
        }
        let model = self.model()?;
        let grads = GradientsParams::from_grads(terms.total().backward(), model);
        let (grads, grad_norm) = clip_global_norm(model, grads, self.clip_grad_norm)?;
        finite("gradient norm", grad_norm, iteration, &batch.image_ids)?;

        let learning_rate = self.schedule.at(iteration);
        let rates = self.rates.step();
        self.model = self
            .model
            .take()
            .map(|model| self.optimizer.step(rates, model, grads));
        Ok(StepLosses {
            cls,
            bbox,
            centerness,
            grad_norm,
            learning_rate,
        })
    }
}

/// SGD with the recipe's weight decays by kind of parameter. A normalisation layer's shift is
/// both a bias and a part of a norm: it gets the smaller of the two decays.
pub(crate) fn optimizer(recipe: &Recipe) -> Result<ModuleOptimizer, TrainError> {
    let shift = recipe.bias_weight_decay.min(recipe.norm_weight_decay);
    Ok(ModuleOptimizer::from(sgd(recipe, recipe.weight_decay))
        .with_group(group(BIASES)?, sgd(recipe, recipe.bias_weight_decay), None)
        .with_group(
            group(NORM_SCALES)?,
            sgd(recipe, recipe.norm_weight_decay),
            None,
        )
        .with_group(group(NORM_SHIFTS)?, sgd(recipe, shift), None))
}

fn sgd(recipe: &Recipe, weight_decay: f64) -> Sgd {
    // Burn's default dampening is 0.1; torch's, and so every published recipe's, is 0.
    let momentum = MomentumConfig {
        momentum: recipe.momentum,
        dampening: 0.0,
        nesterov: false,
    };
    let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32));
    let config = SgdConfig::new()
        .with_momentum((recipe.momentum > 0.0).then_some(momentum))
        .with_weight_decay(decay);
    Sgd(config.build())
}

fn group(regex: &str) -> Result<ParamGroup, TrainError> {
    ParamGroup::from_regex(regex).map_err(|_| TrainError::Internal {
        what: "a parameter group's pattern does not compile",
    })
}

fn read_losses(terms: &LossTerms) -> Result<[f32; 3], TrainError> {
    let all = terms.iter().fold(Transaction::default(), |read, term| {
        read.register(term.value.clone().detach())
    });
    let data = all.execute();
    let values: Vec<f32> = data.iter().flat_map(|d| d.iter::<f32>()).collect();
    values.try_into().map_err(|_| TrainError::Internal {
        what: "a loss is not one number",
    })
}

fn finite(
    component: &'static str,
    value: f32,
    iteration: u64,
    image_ids: &[u64],
) -> Result<(), TrainError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(TrainError::NonFinite {
        component,
        value,
        iteration,
        image_ids: image_ids.to_vec(),
    })
}

/// Scales all gradients by `max_norm / norm` where their common L2 norm is larger; returns the
/// norm before. (Burn's own clipping is per tensor; torch's `clip_grad_norm_` is this.)
pub(crate) fn clip_global_norm(
    model: &Fcos,
    mut grads: GradientsParams,
    max_norm: Option<f64>,
) -> Result<(GradientsParams, f32), TrainError> {
    let mut squares = SumOfSquares {
        grads: &grads,
        sum: None,
    };
    model.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return Ok((grads, 0.0));
    };
    let norm: f32 = sum.sqrt().into_scalar();
    if let Some(max_norm) = max_norm
        && f64::from(norm) > max_norm
    {
        // torch adds 1e-6 to the norm.
        let factor = max_norm / (f64::from(norm) + 1e-6);
        model.visit(&mut ScaleGradients {
            grads: &mut grads,
            factor,
        });
    }
    Ok((grads, norm))
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
    use burn::tensor::{Device, TensorData};
    use fcos_loss::LossConfig;
    use fcos_model::{FcosConfig, NamedTensors};

    /// A network of nine classes, all of whose numbers are 0.5.
    fn model() -> Fcos {
        let mut config = FcosConfig::tiny();
        config.num_classes = 9;
        config.backbone.as_resnet_mut().expect("a ResNet").width = 8;
        config.fpn.channels = 16;
        let model = config.init(&Device::flex().autodiff()).expect("valid");
        let mut tensors = model.tensors();
        for tensor in tensors.values_mut() {
            *tensor = TensorData::full(tensor.shape().clone(), 0.5f32);
        }
        model.with_tensors(tensors).expect("fits")
    }

    /// Gradients whose elements are all what `of` says for their parameter's number of elements.
    fn gradients(model: &Fcos, of: impl FnMut(usize) -> Option<f32>) -> GradientsParams {
        struct Register<F>(GradientsParams, F);
        impl<F: FnMut(usize) -> Option<f32>> ModuleVisitor for Register<F> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let shape = param.lazy_shape();
                if param.is_require_grad()
                    && let Some(value) = (self.1)(shape.num_elements())
                {
                    let grad = Tensor::<D>::full(shape, value, &Device::flex());
                    self.0.register(param.id, grad);
                }
            }
        }
        let mut register = Register(GradientsParams::new(), of);
        model.visit(&mut register);
        register.0
    }

    fn elements(model: &Fcos, grads: &GradientsParams) -> Vec<f32> {
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
            let (grads, norm) = clip_global_norm(&model, grads, max_norm).expect("clips");
            assert!((norm - 10.0).abs() < 1e-5, "{norm}");
            for (before, after) in before.iter().zip(elements(&model, &grads)) {
                assert!((before * scale - after).abs() < 1e-6, "{before} {after}");
            }
        }
        let none = clip_global_norm(&model, GradientsParams::new(), Some(1.0));
        assert_eq!(none.expect("clips").1, 0.0);
    }

    /// The parameters after so many steps with gradients of 0.25.
    fn stepped(recipe: &Recipe, steps: usize) -> NamedTensors {
        let mut model = model();
        let loss = LossConfig::default();
        let loss = (loss.init(), loss.init_normalizer());
        let optimizer = optimizer(recipe).expect("patterns compile");
        let schedule = recipe.schedule(100);
        let mut learner = Learner::new(model.clone(), optimizer, loss, recipe, schedule, 0)
            .expect("patterns compile");
        for _ in 0..steps {
            let grads = gradients(&model, |_| Some(0.25));
            let rates = learner.rates.step();
            model = learner.optimizer.step(rates, model, grads);
        }
        model.tensors()
    }

    /// Weight, norm's scale, bias, norm's shift.
    fn kind(name: &str) -> Option<usize> {
        let in_norm = name.contains(".norm.");
        match name.rsplit('.').next()? {
            "running_mean" | "running_var" => None,
            "weight" => Some(usize::from(in_norm)),
            "bias" => Some(if in_norm { 3 } else { 2 }),
            _ => Some(0), // a level's factor
        }
    }

    fn assert_updates(recipe: &Recipe, steps: usize, expected: [f32; 4]) {
        let mut seen = [0; 4];
        for (name, data) in stepped(recipe, steps) {
            let value = kind(&name).map_or(0.5, |kind| expected[kind]);
            kind(&name).into_iter().for_each(|kind| seen[kind] += 1);
            let close = data.iter::<f32>().all(|v| (v - value).abs() < 1e-6);
            assert!(
                close,
                "{name}: {:?}, not {value}",
                data.iter::<f32>().next()
            );
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
    }

    /// `0.5 − rate · (0.25 + decay · 0.5)`, where biases and shifts have twice the rate.
    #[test]
    fn rates_and_decays_go_by_the_kind_of_parameter() {
        let mut recipe = Recipe {
            learning_rate: 0.1,
            bias_lr_factor: 2.0,
            weight_decay: 0.1,
            norm_weight_decay: 0.2,
            bias_weight_decay: 0.4,
            ..Recipe::default()
        };
        recipe.warmup.iterations = 0;
        assert_updates(&recipe, 1, [0.47, 0.465, 0.41, 0.43]);
        (recipe.norm_weight_decay, recipe.bias_weight_decay) = (0.4, 0.2);
        assert_updates(&recipe, 1, [0.47, 0.455, 0.43, 0.43]);
    }

    /// torch's velocity: `v ← 0.9 · v + g`, from the first gradient on.
    #[test]
    fn momentum_is_not_dampened() {
        let mut recipe = Recipe {
            learning_rate: 0.1,
            weight_decay: 0.0,
            norm_weight_decay: 0.0,
            bias_weight_decay: 0.0,
            ..Recipe::default()
        };
        recipe.warmup.iterations = 0;
        assert_updates(&recipe, 2, [0.5 - 0.1 * (0.25 + 0.475); 4]);
    }
}
