//! A recipe's optimiser, with a group of its own for each kind of parameter.

use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    AdamW, AdamWConfig, DynOptimizer, DynState, LearningRate, ModuleOptimizer, Optimizer, Sgd,
    SgdConfig, StateSink, StateSource,
};
use burn::tensor::Device;
use burn::tensor::kind::BridgeTensor;

use crate::recipe::{NormShift, OptimizerKind, Recipe};

/// Kinds of parameters that published recipes treat apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParamKind {
    /// What is none of the others: the weights of convolutions, the levels' factors.
    Weight,
    /// A convolution's bias.
    Bias,
    /// A normalisation's scale (γ).
    NormScale,
    /// A normalisation's shift (β), which PyTorch calls its bias.
    NormShift,
}

impl ParamKind {
    /// All of them. A parameter is of the last kind whose group it is in.
    pub const ALL: [Self; 4] = [Self::Weight, Self::Bias, Self::NormScale, Self::NormShift];

    /// The parameters of this kind, by their paths in a Burn module.
    pub fn group(self) -> ParamGroup {
        let name = match self {
            Self::Weight => return ParamGroup::all(),
            Self::Bias => "bias",
            Self::NormScale => "gamma",
            Self::NormShift => "beta",
        };
        let group = ParamGroup::from_regex(format!(r"(^|\.){name}$").as_str());
        group.expect("the four patterns are constants, and every test of a step compiles them")
    }
}

/// What a recipe says of a kind of parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamRule {
    /// Factor on the learning rate.
    pub rate_factor: f64,
    /// The optimiser's weight decay: with SGD an L2 penalty, with AdamW the decoupled decay.
    pub weight_decay: f64,
}

impl Recipe {
    /// How parameters of a kind are trained.
    pub fn rule(&self, kind: ParamKind) -> ParamRule {
        let bias = ParamRule {
            rate_factor: self.bias_lr_factor,
            weight_decay: self.bias_weight_decay,
        };
        let norm = ParamRule {
            rate_factor: 1.0,
            weight_decay: self.norm_weight_decay,
        };
        match (kind, self.norm_shift) {
            (ParamKind::Weight, _) => ParamRule {
                rate_factor: 1.0,
                weight_decay: self.weight_decay,
            },
            (ParamKind::Bias, _) | (ParamKind::NormShift, NormShift::Bias) => bias,
            (ParamKind::NormScale, _) | (ParamKind::NormShift, NormShift::Norm) => norm,
            (ParamKind::NormShift, NormShift::Both) => ParamRule {
                weight_decay: bias.weight_decay.min(norm.weight_decay),
                ..bias
            },
        }
    }

    /// The optimiser, before the first step. What it loads from a checkpoint goes to `device`.
    pub fn init_optimizer(&self, device: &Device) -> ModuleOptimizer {
        match self.optimizer {
            OptimizerKind::Sgd => self.grouped(device, |decay| self.sgd(decay)),
            OptimizerKind::AdamW => self.grouped(device, |decay| self.adamw(decay)),
        }
    }

    /// The learning rates of all kinds, where that of the weights is `rate`.
    pub(crate) fn rates(&self, rate: f64) -> ModuleLearningRate {
        let scheduler =
            ParamKind::ALL
                .into_iter()
                .fold(ModuleLrScheduler::new(rate), |scheduler, kind| {
                    scheduler.with_group(kind.group(), rate * self.rule(kind).rate_factor)
                });
        // The rates are those of one step: there is nothing to schedule.
        { scheduler }.step()
    }

    fn grouped<O: Optimizer>(&self, device: &Device, init: impl Fn(f64) -> O) -> ModuleOptimizer {
        // Burn wants a first optimiser for all parameters; the kinds leave nothing to it.
        let fallback = ModuleOptimizer::from(init(self.weight_decay));
        ParamKind::ALL.into_iter().fold(fallback, |all, kind| {
            let optimizer = LoadedTo {
                device: device.clone().without_autodiff(),
                optimizer: init(self.rule(kind).weight_decay),
            };
            all.with_group(kind.group(), optimizer, None)
        })
    }

    fn sgd(&self, weight_decay: f64) -> Sgd {
        // Burn's default dampening is 0.1; torch's, and so every published recipe's, is 0.
        let momentum = MomentumConfig {
            momentum: self.momentum,
            dampening: 0.0,
            nesterov: false,
        };
        let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32));
        SgdConfig::new()
            .with_momentum((self.momentum > 0.0).then_some(momentum))
            .with_weight_decay(decay)
            .build()
    }

    fn adamw(&self, weight_decay: f64) -> AdamW {
        AdamWConfig::new()
            .with_beta_1(self.adamw.beta1 as f32)
            .with_beta_2(self.adamw.beta2 as f32)
            .with_epsilon(self.adamw.epsilon as f32)
            .with_weight_decay(weight_decay as f32)
            .build()
    }
}

/// An optimiser whose state is loaded to a device of our choice.
///
/// [`ModuleOptimizer::load_record`] makes what it loads tensors of `Device::default()`, before each is
/// moved to its parameter's device. In a program with several backends that is a GPU, whether the
/// machine has one or not.
struct LoadedTo<O> {
    device: Device,
    optimizer: O,
}

impl<O: Optimizer> DynOptimizer for LoadedTo<O> {
    fn step_dyn(
        &self,
        rank: usize,
        rate: LearningRate,
        tensor: BridgeTensor,
        grad: BridgeTensor,
        state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        self.optimizer.step_dyn(rank, rate, tensor, grad, state)
    }

    fn to_device_dyn(&self, state: DynState, device: &Device) -> DynState {
        self.optimizer.to_device_dyn(state, device)
    }

    fn state_flatten(&self, prefix: &str, state: &DynState, out: &mut StateSink) {
        self.optimizer.state_flatten(prefix, state, out);
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        source: &mut StateSource,
        _default: &Device,
    ) -> Option<DynState> {
        self.optimizer
            .state_unflatten(rank, prefix, source, &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AdamWSettings;
    use crate::testing::{gradients, model};
    use fcos_model::NamedTensors;

    /// The parameters after steps with these gradients.
    fn stepped(recipe: &Recipe, grads: &[f32]) -> NamedTensors {
        let mut model = model();
        let mut optimizer = recipe.init_optimizer(&model.device());
        let schedule = recipe.schedule(100);
        for (iteration, &grad) in (0..).zip(grads) {
            let grads = gradients(&model, |_| Some(grad));
            let rates = recipe.rates(schedule.at(iteration));
            model = optimizer.step(rates, model, grads);
        }
        model.tensors()
    }

    /// What a parameter is by its PyTorch name; `None` for a running statistic.
    fn kind(name: &str) -> Option<ParamKind> {
        let in_norm = name.contains(".norm.");
        Some(match name.rsplit('.').next()? {
            "running_mean" | "running_var" => return None,
            "weight" if in_norm => ParamKind::NormScale,
            "bias" if in_norm => ParamKind::NormShift,
            "bias" => ParamKind::Bias,
            _ => ParamKind::Weight, // a level's factor, too
        })
    }

    /// That every parameter is what `expected` says for its kind; they were 0.5.
    fn assert_updates(recipe: &Recipe, grads: &[f32], expected: impl Fn(ParamKind) -> f32) {
        let mut seen = [0; 4];
        for (name, data) in stepped(recipe, grads) {
            let value = kind(&name).map_or(0.5, &expected);
            if let Some(kind) = kind(&name) {
                seen[kind as usize] += 1;
            }
            let close = data.iter::<f32>().all(|v| (v - value).abs() < 1e-6);
            let found = data.iter::<f32>().next();
            assert!(close, "{name}: {found:?}, not {value}");
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
    }

    fn recipe() -> Recipe {
        let mut recipe = Recipe {
            learning_rate: 0.1,
            bias_lr_factor: 2.0,
            weight_decay: 0.1,
            norm_weight_decay: 0.2,
            bias_weight_decay: 0.4,
            ..Recipe::default()
        };
        recipe.warmup.iterations = 0;
        recipe
    }

    /// `0.5 − rate · (0.25 + decay · 0.5)`, where biases and shifts have twice the rate.
    #[test]
    fn rates_and_decays_go_by_the_kind_of_parameter() {
        let of = |values: [f32; 4]| move |kind| values[kind as usize];
        let mut recipe = recipe();
        assert_updates(&recipe, &[0.25], of([0.47, 0.41, 0.465, 0.43]));
        (recipe.norm_weight_decay, recipe.bias_weight_decay) = (0.4, 0.2);
        assert_updates(&recipe, &[0.25], of([0.47, 0.43, 0.455, 0.43]));
        // mmengine: the shift is the normalisation's, and no bias.
        recipe.norm_shift = NormShift::Norm;
        assert_updates(&recipe, &[0.25], of([0.47, 0.43, 0.455, 0.455]));
        (recipe.norm_weight_decay, recipe.bias_weight_decay) = (0.2, 0.4);
        recipe.norm_shift = NormShift::Bias;
        assert_updates(&recipe, &[0.25], of([0.47, 0.41, 0.465, 0.41]));
    }

    /// What the projects' own constructors of parameter groups give a bias, a norm's scale and its
    /// shift: factor on the rate, weight decay.
    #[test]
    fn published_groups_can_be_said() {
        let rules = |recipe: &Recipe| {
            [ParamKind::Bias, ParamKind::NormScale, ParamKind::NormShift].map(|kind| {
                let rule = recipe.rule(kind);
                (rule.rate_factor, rule.weight_decay)
            })
        };
        let wd = 1e-4;
        let official = Recipe {
            bias_lr_factor: 2.0,
            bias_weight_decay: 0.0,
            ..Recipe::default()
        };
        assert_eq!(rules(&official), [(2.0, 0.0), (1.0, wd), (2.0, 0.0)]);
        let detectron2 = Recipe {
            norm_weight_decay: 0.0,
            ..Recipe::default()
        };
        assert_eq!(rules(&detectron2), [(1.0, wd), (1.0, 0.0), (1.0, 0.0)]);
        let mmengine = Recipe {
            norm_shift: NormShift::Norm,
            ..official
        };
        assert_eq!(rules(&mmengine), [(2.0, 0.0), (1.0, wd), (1.0, wd)]);
    }

    /// torch's velocity: `v ← 0.9 · v + g`, from the first gradient on.
    #[test]
    fn momentum_is_not_dampened() {
        let recipe = Recipe {
            bias_lr_factor: 1.0,
            weight_decay: 0.0,
            norm_weight_decay: 0.0,
            bias_weight_decay: 0.0,
            ..recipe()
        };
        assert_updates(&recipe, &[0.25; 2], |_| 0.5 - 0.1 * (0.25 + 0.475));
    }

    /// `torch.optim.AdamW`'s single-tensor step, operation by operation, in `f64`.
    fn torch_adamw(grads: &[f32], rate: f64, decay: f64, adamw: AdamWSettings) -> f64 {
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
        } = adamw;
        let (mut param, mut exp_avg, mut exp_avg_sq) = (0.5, 0.0, 0.0);
        for (step, &grad) in (1..).zip(grads) {
            let grad = f64::from(grad);
            param *= 1.0 - rate * decay;
            exp_avg += (grad - exp_avg) * (1.0 - beta1);
            exp_avg_sq = exp_avg_sq * beta2 + (1.0 - beta2) * grad * grad;
            let step_size = rate / (1.0 - beta1.powi(step));
            let root = (1.0 - beta2.powi(step)).sqrt();
            param -= step_size * exp_avg / (exp_avg_sq.sqrt() / root + epsilon);
        }
        param
    }

    #[test]
    fn adamw_is_torchs() {
        let grads = [0.25, -0.5, 0.125, 1e-4, -2.0, 0.75];
        let mut recipe = Recipe {
            optimizer: OptimizerKind::AdamW,
            learning_rate: 0.01,
            ..recipe()
        };
        let other = AdamWSettings {
            beta1: 0.8,
            beta2: 0.95,
            epsilon: 0.1,
        };
        for adamw in [AdamWSettings::default(), other] {
            recipe.adamw = adamw;
            assert_updates(&recipe, &grads, |kind| {
                let rule = recipe.rule(kind);
                let rate = 0.01 * rule.rate_factor;
                torch_adamw(&grads, rate, rule.weight_decay, adamw) as f32
            });
        }
    }
}
