//! What a training run does besides the network: optimiser, schedule, length, intervals.

use fcos_core::{SettingError, serde_names};
use serde::{Deserialize, Serialize};

serde_names!(OptimizerKind, NormShift, WarmupKind);

/// The recipe of a run. Defaults are the FCOS paper's (§4: SGD 0.01, momentum 0.9, weight decay
/// 1e-4, batches of 16, ÷10 after 2/3 and 8/9 of the run) with a linear warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Decides initial weights, order of images and augmentation.
    pub seed: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Passes over the training images; ignored when `iterations` is set.
    pub epochs: u64,
    /// Number of steps.
    pub iterations: Option<u64>,
    /// Learning rate after the warm-up, for this `batch_size`.
    pub learning_rate: f64,
    /// What turns gradients into updates.
    pub optimizer: OptimizerKind,
    /// SGD's momentum (without dampening, as torch).
    pub momentum: f64,
    /// AdamW's own numbers.
    pub adamw: AdamWSettings,
    /// Weight decay of all parameters that the two below don't name.
    pub weight_decay: f64,
    /// Weight decay of the scale and shift of the normalisation layers (detectron2: 0).
    pub norm_weight_decay: f64,
    /// Weight decay of biases (official FCOS: 0).
    pub bias_weight_decay: f64,
    /// Factor on the learning rate of biases (official FCOS: 2).
    pub bias_lr_factor: f64,
    /// Which of these rules a normalisation's shift follows.
    pub norm_shift: NormShift,
    /// How the learning rate starts.
    pub warmup: Warmup,
    /// Where the rate is multiplied by `gamma`, as shares of the run in `(0, 1)`.
    pub milestones: Vec<f64>,
    /// Factor at each milestone.
    pub gamma: f64,
    /// Largest L2 norm of all gradients together; `None` does not clip.
    pub clip_grad_norm: Option<f64>,
    /// Steps between evaluations; `None` evaluates once, at the end.
    pub eval_every: Option<u64>,
    /// Steps between checkpoints; one is also written at the end.
    pub checkpoint_every: u64,
    /// Steps between rows in the metrics files.
    pub log_every: u64,
    /// Threads that load and augment images.
    pub loader_threads: usize,
    /// Finished batches that may wait for the trainer.
    pub loader_queue: usize,
}

/// What turns gradients into updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum, its weight decay an L2 penalty (torch's `SGD`).
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019; torch's `AdamW`).
    AdamW,
}

/// AdamW's own numbers; the defaults are torch's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWSettings {
    /// Share of the old mean of the gradients that each step keeps.
    pub beta1: f64,
    /// Share of the old mean of their squares that each step keeps.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// What the shift of a normalisation layer counts as, which PyTorch calls its bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NormShift {
    /// As both: the learning rate of a bias, and the smaller of the two weight decays. This is
    /// detectron2, which leaves biases without a rule of their own, and official FCOS.
    #[default]
    Both,
    /// As a bias (detectron2 where `WEIGHT_DECAY_BIAS` is set).
    Bias,
    /// As a part of its normalisation (mmengine: `bias_lr_mult` and `bias_decay_mult` leave it out).
    Norm,
}

/// A gentle start of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warmup {
    /// Steps it lasts; 0 for none.
    pub iterations: u64,
    /// Share of the learning rate at the first step.
    pub factor: f64,
    /// How it goes from `factor` to 1.
    pub kind: WarmupKind,
}

/// The shape of the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarmupKind {
    /// A straight line (torchvision, AdelaiDet).
    #[default]
    Linear,
    /// `factor` throughout, then 1 (official FCOS).
    Constant,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            iterations: 500,
            factor: 0.001,
            kind: WarmupKind::Linear,
        }
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 0,
            batch_size: 16,
            epochs: 12,
            iterations: None,
            learning_rate: 0.01,
            optimizer: OptimizerKind::default(),
            momentum: 0.9,
            adamw: AdamWSettings::default(),
            weight_decay: 1e-4,
            norm_weight_decay: 1e-4,
            bias_weight_decay: 1e-4,
            bias_lr_factor: 1.0,
            norm_shift: NormShift::default(),
            warmup: Warmup::default(),
            milestones: vec![2.0 / 3.0, 8.0 / 9.0],
            gamma: 0.1,
            clip_grad_norm: None,
            eval_every: None,
            checkpoint_every: 500,
            log_every: 1,
            loader_threads: 2,
            loader_queue: 4,
        }
    }
}

impl Recipe {
    /// Steps of the whole run over this many training images.
    pub fn total_iterations(&self, images: usize) -> u64 {
        let steps_per_epoch = (images / self.batch_size.max(1)).max(1) as u64;
        self.iterations
            .unwrap_or(self.epochs.saturating_mul(steps_per_epoch))
    }

    /// Checks what the types allow but no run can mean.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        self.validate_length()?;
        self.validate_optimizer()?;
        self.validate_schedule()?;
        self.validate_loader()
    }

    fn validate_length(&self) -> Result<(), SettingError> {
        // TOML, in which a run's settings are kept, has no greater number.
        let seed = i64::try_from(self.seed).is_ok();
        SettingError::check(seed, "seed", self.seed, "below 2^63")?;
        integer("batch_size", self.batch_size as u64, 65_536)?;
        match self.iterations {
            Some(iterations) => integer("iterations", iterations, 1_000_000_000)?,
            None => integer("epochs", self.epochs, 1_000_000_000)?,
        }
        if let Some(every) = self.eval_every {
            integer("eval_every", every, u64::MAX)?;
        }
        integer("checkpoint_every", self.checkpoint_every, u64::MAX)?;
        integer("log_every", self.log_every, u64::MAX)
    }

    fn validate_optimizer(&self) -> Result<(), SettingError> {
        positive("learning_rate", self.learning_rate)?;
        share("momentum", self.momentum)?;
        share("adamw.beta1", self.adamw.beta1)?;
        share("adamw.beta2", self.adamw.beta2)?;
        positive("adamw.epsilon", self.adamw.epsilon)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("norm_weight_decay", self.norm_weight_decay)?;
        not_negative("bias_weight_decay", self.bias_weight_decay)?;
        positive("bias_lr_factor", self.bias_lr_factor)?;
        let clip = self.clip_grad_norm;
        clip.map_or(Ok(()), |norm| positive("clip_grad_norm", norm))
    }

    fn validate_schedule(&self) -> Result<(), SettingError> {
        not_negative("warmup.factor", self.warmup.factor)?;
        for &milestone in &self.milestones {
            let ok = (0.0..=1.0).contains(&milestone);
            SettingError::check(ok, "milestones", milestone, "in [0, 1]")?;
        }
        positive("gamma", self.gamma)
    }

    fn validate_loader(&self) -> Result<(), SettingError> {
        integer("loader_threads", self.loader_threads as u64, 1024)?;
        integer("loader_queue", self.loader_queue as u64, 65_536)
    }

    /// The schedule for a run of `total` steps.
    pub fn schedule(&self, total: u64) -> Schedule {
        let milestones = self
            .milestones
            .iter()
            .map(|m| (m * total as f64).round() as u64)
            .collect();
        Schedule {
            base: self.learning_rate,
            warmup: self.warmup,
            milestones,
            gamma: self.gamma,
        }
    }
}

fn integer(setting: &str, found: u64, most: u64) -> Result<(), SettingError> {
    let expected = match most {
        u64::MAX => "at least 1".to_string(),
        _ => format!("in 1..={most}"),
    };
    SettingError::check((1..=most).contains(&found), setting, found, expected)
}

fn positive(setting: &str, found: f64) -> Result<(), SettingError> {
    let ok = found.is_finite() && found > 0.0;
    SettingError::check(ok, setting, found, "finite and above 0")
}

fn not_negative(setting: &str, found: f64) -> Result<(), SettingError> {
    let ok = found.is_finite() && found >= 0.0;
    SettingError::check(ok, setting, found, "finite and at least 0")
}

fn share(setting: &str, found: f64) -> Result<(), SettingError> {
    SettingError::check((0.0..1.0).contains(&found), setting, found, "in [0, 1)")
}

/// The learning rate as a function of the step: warm-up, then steps down at the milestones.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    base: f64,
    warmup: Warmup,
    milestones: Vec<u64>,
    gamma: f64,
}

impl Schedule {
    /// Learning rate of a step, counted from 0.
    pub fn at(&self, iteration: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&m| iteration >= m).count();
        self.base * self.warmup_factor(iteration) * self.gamma.powi(passed as i32)
    }

    fn warmup_factor(&self, iteration: u64) -> f64 {
        let Warmup {
            iterations,
            factor,
            kind,
        } = self.warmup;
        if iteration >= iterations {
            return 1.0;
        }
        match kind {
            WarmupKind::Constant => factor,
            WarmupKind::Linear => factor + (1.0 - factor) * iteration as f64 / iterations as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(kind: WarmupKind) -> Recipe {
        Recipe {
            learning_rate: 0.01,
            warmup: Warmup {
                iterations: 4,
                factor: 0.2,
                kind,
            },
            milestones: vec![0.75, 0.92],
            ..Recipe::default()
        }
    }

    #[test]
    fn linear_warmup_then_two_drops() {
        let s = recipe(WarmupKind::Linear).schedule(100);
        let expected = [
            (0, 0.002),
            (1, 0.004),
            (2, 0.006),
            (3, 0.008),
            (4, 0.01),
            (74, 0.01),
            (75, 0.001),
            (91, 0.001),
            (92, 0.0001),
            (99, 0.0001),
        ];
        for (iteration, rate) in expected {
            assert!(
                (s.at(iteration) - rate).abs() < 1e-12,
                "step {iteration}: {}",
                s.at(iteration)
            );
        }
    }

    #[test]
    fn constant_warmup() {
        let s = recipe(WarmupKind::Constant).schedule(100);
        assert_eq!((s.at(0), s.at(3), s.at(4)), (0.002, 0.002, 0.01));
    }

    #[test]
    fn length_of_a_run() {
        let mut r = Recipe {
            batch_size: 4,
            epochs: 24,
            ..Recipe::default()
        };
        assert_eq!(r.total_iterations(205), 24 * 51);
        assert_eq!(r.total_iterations(3), 24);
        r.iterations = Some(7);
        assert_eq!(r.total_iterations(205), 7);
        (r.iterations, r.epochs) = (None, u64::MAX);
        assert_eq!(r.total_iterations(205), u64::MAX);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        type Break = fn(&mut Recipe);
        let broken: [(Break, &str); 12] = [
            (|r| r.seed = 1 << 63, "seed"),
            (|r| r.batch_size = 0, "batch_size"),
            (|r| r.batch_size = 1_000_000_000, "batch_size"),
            (|r| r.epochs = u64::MAX, "epochs"),
            (|r| r.iterations = Some(u64::MAX), "iterations"),
            (|r| r.loader_threads = 100_000, "loader_threads"),
            (|r| r.loader_queue = usize::MAX, "loader_queue"),
            (|r| r.learning_rate = f64::NAN, "learning_rate"),
            (|r| r.momentum = 1.0, "momentum"),
            (|r| r.milestones = vec![1.5], "milestones"),
            (|r| r.clip_grad_norm = Some(0.0), "clip_grad_norm"),
            (|r| r.checkpoint_every = 0, "checkpoint_every"),
        ];
        assert!(Recipe::default().validate().is_ok());
        for (break_it, name) in broken {
            let mut recipe = Recipe::default();
            break_it(&mut recipe);
            let error = recipe.validate().expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
