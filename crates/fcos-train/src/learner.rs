//! One optimisation step: forward, loss, backward, clip, update.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig};
use burn::tensor::{Tensor, Transaction};
use fcos_loss::{FcosLoss, LossInput, LossOutput, NormalizerState};
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
        let predictions = self.model()?.forward(batch.images);
        let input = LossInput {
            cls_logits: predictions.cls_logits,
            ltrb: predictions.ltrb,
            centerness: predictions.centerness,
        };
        let normalizer = self.normalizer.step(batch.counts);
        let output = self.loss.forward(input, batch.targets, &normalizer);
        let [cls, bbox, centerness] = read_losses(&output)?;
        for (component, value) in [("cls", cls), ("bbox", bbox), ("centerness", centerness)] {
            finite(component, value, iteration, &batch.image_ids)?;
        }
        let model = self.model()?;
        let grads = GradientsParams::from_grads(output.total().backward(), model);
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

fn read_losses(output: &LossOutput) -> Result<[f32; 3], TrainError> {
    let data = Transaction::default()
        .register(output.cls.clone().detach())
        .register(output.bbox.clone().detach())
        .register(output.centerness.clone().detach())
        .execute();
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
