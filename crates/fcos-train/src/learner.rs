//! One optimisation step in two halves: gradients of its parts, and what is done with their sum.

use std::sync::Arc;

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, Transaction};
use fcos_core::Outputs;
use fcos_loss::{BatchCounts, FcosLoss, LossTargets, LossTerm, LossTerms, Normalizer};
use fcos_model::{Backbone, BackboneModel, Fcos};

use crate::TrainError;
use crate::batch::{DeviceBatch, HostBatch};
use crate::config::TrainConfig;
use crate::gradients::{Gradients, clip_global_norm};
use crate::log::NamedLoss;
use crate::recipe::{Recipe, Schedule};
use crate::state::TrainState;

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The losses, by name: those of all parts together, before the step.
    pub losses: Vec<NamedLoss>,
    /// L2 norm of all gradients together, before clipping.
    pub grad_norm: f32,
    /// Learning rate that was applied.
    pub learning_rate: f64,
}

/// Trains a network step by step: its loss, its recipe and the state of the run. A clone goes its own
/// way.
///
/// A step is a list of parts with one normaliser: the positives of all parts are counted before the
/// first gradient is computed, and the parts' gradients are added up. So the result is that of one
/// batch of all their images, but for batch normalisation that is not frozen, which sees each part
/// by itself. [`step`](Self::step) does all of it; its stages are
///
/// ```no_run
/// # use fcos_train::{Gradients, HostBatch, Learner, Step, TrainError};
/// # fn step(learner: &mut Learner, parts: Vec<HostBatch>) -> Result<Step, TrainError> {
/// let counts = parts.iter().map(|part| part.counts).sum();
/// let normalizer = learner.normalizer(counts);
/// let mut sum = Gradients::default();
/// for part in parts {
///     let gradients = learner.gradients(part.upload(learner.device()), &normalizer)?;
///     sum = sum.sum(gradients, learner.model());
/// }
/// learner.apply(sum)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Learner<B: BackboneModel = Backbone> {
    state: TrainState<B>,
    loss: FcosLoss,
    recipe: Recipe,
    schedule: Schedule,
    device: Device,
    own_terms: Option<OwnTerms>,
}

/// Adds losses of the caller's own to those of a part: see [`Learner::with_terms`].
pub type AddTerms =
    dyn Fn(&Outputs<Tensor<3>>, &LossTargets, &Normalizer, &mut LossTerms) + Send + Sync;

#[derive(Clone)]
struct OwnTerms(Arc<AddTerms>);

impl std::fmt::Debug for OwnTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnTerms")
    }
}

impl<B: BackboneModel> Learner<B> {
    /// At the start of a run of `total` steps with these settings, on the model's device.
    pub fn new(model: Fcos<B>, config: &TrainConfig, total: u64) -> Self {
        let device = model.device().autodiff();
        let optimizer = config.recipe.init_optimizer(&device);
        Self {
            state: TrainState::new(model, optimizer, config.loss.init_normalizer()),
            loss: config.loss.init(),
            schedule: config.recipe.schedule(total),
            recipe: config.recipe.clone(),
            device,
            own_terms: None,
        }
    }

    /// With losses of the caller's own, which `add` computes from a part's outputs and targets and
    /// pushes to the terms. A loss that is divided by what the normaliser says adds up over the
    /// parts of a step. Each is a single number ([`LossTerms::push`] panics otherwise).
    #[must_use]
    pub fn with_terms(mut self, add: Arc<AddTerms>) -> Self {
        self.own_terms = Some(OwnTerms(add));
        self
    }

    /// The weights being trained.
    pub fn model(&self) -> &Fcos<B> {
        self.state.model()
    }

    /// The weights to judge and to publish: those being trained. Weights averaged over the steps
    /// would come in here, and nowhere else.
    pub fn published(&self) -> &Fcos<B> {
        self.model()
    }

    /// Where the steps are computed, with gradients.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the run has to remember.
    pub fn state(&self) -> &TrainState<B> {
        &self.state
    }

    /// What the run has to remember, to load a checkpoint into it.
    pub fn state_mut(&mut self) -> &mut TrainState<B> {
        &mut self.state
    }

    /// One step on a batch that may be divided into parts, uploaded one after the other. Without any
    /// part it counts, and changes no weights.
    ///
    /// # Errors
    /// If a loss or the gradients' norm is not finite. The weights, the optimiser and the number of
    /// steps are those of before then; the normaliser's average and running statistics have moved.
    ///
    /// # Panics
    /// If a part does not fit the network.
    pub fn step(&mut self, parts: Vec<HostBatch>) -> Result<Step, TrainError> {
        let normalizer = self.normalizer(parts.iter().map(|part| part.counts).sum());
        let mut sum = Gradients::default();
        for part in parts {
            let gradients = self.gradients(part.upload(&self.device), &normalizer)?;
            sum = sum.sum(gradients, self.model());
        }
        self.apply(sum)
    }

    /// The divisors of a step with these counts, those of all its parts together. Ask once per
    /// step: a moving average moves.
    pub fn normalizer(&mut self, counts: BatchCounts) -> Normalizer {
        self.state.normalizer.step(counts)
    }

    /// The first half of a step: losses of a part and their gradients.
    ///
    /// # Errors
    /// If a loss is not finite.
    ///
    /// # Panics
    /// If the batch does not fit the network.
    pub fn gradients(
        &self,
        batch: DeviceBatch,
        normalizer: &Normalizer,
    ) -> Result<Gradients, TrainError> {
        let outputs = self.model().forward(batch.images);
        // Clones keep tensors from being changed in place, so they are made only where needed.
        let own = self.own_terms.as_ref();
        let own = own.map(|own| (own, outputs.clone(), batch.targets.clone()));
        let mut terms = self.loss.forward(outputs, batch.targets, normalizer);
        if let Some((own, outputs, targets)) = own {
            (own.0)(&outputs, &targets, normalizer, &mut terms);
        }
        let losses = read_losses(&terms);
        // Before the backward pass: its gradients would say less about where it comes from.
        for loss in &losses {
            self.check_finite(&loss.name, loss.value, &batch.image_ids)?;
        }
        Ok(Gradients {
            params: GradientsParams::from_grads(terms.total().backward(), self.model()),
            losses,
            image_ids: batch.image_ids,
        })
    }

    /// The second half of a step: clips the gradients of all its parts together, and changes the
    /// weights.
    ///
    /// # Errors
    /// If the gradients' norm is not finite.
    pub fn apply(&mut self, gradients: Gradients) -> Result<Step, TrainError> {
        let max_norm = self.recipe.clip_grad_norm;
        let clipped = clip_global_norm(self.model(), gradients.params, max_norm);
        let norm = f64::from(clipped.norm);
        self.check_finite("gradient norm", norm, &gradients.image_ids)?;
        let learning_rate = self.schedule.at(self.state.iteration);
        let rates = self.recipe.rates(learning_rate);
        let update =
            |model, optimizer: &mut ModuleOptimizer| optimizer.step(rates, model, clipped.params);
        self.state.update_model(update);
        self.state.iteration += 1;
        Ok(Step {
            losses: gradients.losses,
            grad_norm: clipped.norm,
            learning_rate,
        })
    }

    fn check_finite(&self, what: &str, value: f64, image_ids: &[u64]) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        Err(TrainError::NonFinite {
            component: what.to_string(),
            value: value as f32,
            iteration: self.state.iteration,
            image_ids: image_ids.to_vec(),
        })
    }
}

/// Reads all losses at once: each read waits for the device.
fn read_losses(terms: &LossTerms) -> Vec<NamedLoss> {
    let all = terms.iter().fold(Transaction::default(), |read, term| {
        read.register(term.value.clone().detach())
    });
    let data = all.execute();
    let values = data.iter().flat_map(|data| data.iter::<f32>());
    let named = |(term, value): (&LossTerm, f32)| NamedLoss {
        name: term.name.to_string(),
        value: f64::from(value),
    };
    terms.iter().zip(values).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{batch, config, learner};
    use fcos_model::{BackboneNorm, NamedTensors};

    fn largest_difference(a: &NamedTensors, b: &NamedTensors) -> f32 {
        assert!(a.keys().eq(b.keys()));
        let pairs = a.values().zip(b.values());
        let pairs = pairs.flat_map(|(a, b)| a.iter::<f32>().zip(b.iter::<f32>()));
        let differences = pairs.map(|(a, b)| (a - b).abs());
        differences.max_by(f32::total_cmp).expect("numbers")
    }

    /// Also where one part has all the positives, and so where each part's own count would divide
    /// its losses by another number.
    #[test]
    fn a_step_in_parts_is_the_step_of_the_whole() {
        let mut config = config();
        let resnet = config.model.backbone.as_resnet_mut().expect("a ResNet");
        resnet.norm = BackboneNorm::Frozen;
        let mut whole = learner(&config, 0);
        let mut divided = whole.clone();
        let before = whole.model().tensors();
        for (first, second) in [(12, 5), (9, 0), (3, 3)] {
            let (first, second) = (batch(1, first), batch(2, second));
            let mut both = first.clone();
            both.image_ids.extend(&second.image_ids);
            both.images.pixels.extend(&second.images.pixels);
            both.targets.extend(second.targets.clone());
            both.counts = first.counts + second.counts;
            both.images.shape[0] += second.images.shape[0];
            let one = whole.step(vec![both]).expect("steps");
            let two = divided.step(vec![first, second]).expect("steps");
            for (one, two) in one.losses.iter().zip(&two.losses) {
                assert_eq!(one.name, two.name);
                assert!(
                    (one.value - two.value).abs() <= 1e-5 * one.value,
                    "{one:?} {two:?}"
                );
            }
            assert!((one.grad_norm / two.grad_norm - 1.0).abs() < 1e-4);
        }
        let (whole, divided) = (whole.model().tensors(), divided.model().tensors());
        let moved = largest_difference(&whole, &before);
        assert!(moved > 1e-3, "{moved:e}");
        let difference = largest_difference(&whole, &divided);
        assert!(difference <= 1e-6, "{difference:e}");
    }

    /// One part goes through the sum as it is: today's weights bit for bit.
    #[test]
    fn the_two_halves_are_the_step() {
        let mut learners = [learner(&config(), 0), learner(&config(), 0)];
        let [whole, halves] = &mut learners;
        let step = whole.step(vec![batch(1, 7)]).expect("steps");
        let normalizer = halves.normalizer(batch(1, 7).counts);
        let part = batch(1, 7).upload(halves.device());
        let gradients = halves.gradients(part, &normalizer).expect("finite");
        assert_eq!(gradients.image_ids, [1, 2]);
        assert_eq!(halves.apply(gradients).expect("finite"), step);
        let differences = whole.state().differences(halves.state()).expect("reads");
        assert!(differences.is_empty(), "{differences:?}");
        let total: f64 = step.losses.iter().map(|loss| loss.value).sum();
        assert!(total > 0.5, "{step:?}");
    }

    /// The mean square of what centre-ness logits lack to 1: 1 at the start, as they are near 0.
    #[test]
    fn a_term_of_ones_own_is_trained_and_named() {
        let mut config = config();
        config.loss.weights = fcos_loss::LossWeights {
            cls: 0.0,
            bbox: 0.0,
            centerness: 0.0,
        };
        config.recipe.clip_grad_norm = Some(0.5);
        let mut learner = learner(&config, 0).with_terms(Arc::new(|outputs, _, _, terms| {
            let lack = outputs.centerness.clone() - 1.0;
            terms.push("own", (lack.clone() * lack).mean());
        }));
        let steps: Vec<Step> = (0..4)
            .map(|_| learner.step(vec![batch(1, 4)]).expect("steps"))
            .collect();
        let own = |step: &Step| {
            let names: Vec<_> = step.losses.iter().map(|l| l.name.as_str()).collect();
            assert_eq!(names, ["cls", "bbox", "centerness", "own"]);
            step.losses[3].value
        };
        assert!(own(&steps[3]) < 0.9 * own(&steps[0]), "{steps:?}");
    }

    #[test]
    fn what_is_not_finite_is_named_with_its_images() {
        let mut learner = learner(&config(), 0);
        let mut bad = batch(1, 7);
        bad.targets[0].centerness[0] = f32::NAN;
        match learner.step(vec![batch(2, 7), bad]).expect_err("no number") {
            TrainError::NonFinite { image_ids, .. } => assert_eq!(image_ids, [1, 2]),
            other => panic!("{other}"),
        }
        assert_eq!(learner.state().iteration, 0);
    }

    #[test]
    fn a_step_without_parts_counts_and_changes_no_weights() {
        let mut learner = learner(&config(), 0);
        let before = learner.model().tensors();
        let step = learner.step(vec![]).expect("nothing to be wrong");
        assert!(step.losses.is_empty() && step.grad_norm == 0.0, "{step:?}");
        assert_eq!(learner.state().iteration, 1);
        assert!(learner.model().tensors() == before);
    }

    /// Clones of Burn's share running statistics, and so what a step does to them.
    #[test]
    fn steps_of_a_clone_leave_the_original() {
        let mut config = config();
        let resnet = config.model.backbone.as_resnet_mut().expect("a ResNet");
        resnet.norm = BackboneNorm::Trained;
        let mut original = learner(&config, 0);
        original.step(vec![batch(1, 7)]).expect("steps");
        let before = original.model().tensors();
        let mut clone = original.clone();
        clone.step(vec![batch(2, 7)]).expect("steps");
        assert!(original.model().tensors() == before);
        assert!(clone.model().tensors() != before);
    }

    #[test]
    fn a_clone_has_the_statistics_of_other_threads() {
        let mut config = config();
        let resnet = config.model.backbone.as_resnet_mut().expect("a ResNet");
        resnet.norm = BackboneNorm::Trained;
        let original = learner(&config, 0);
        let before = original.model().tensors();
        let (shared, images) = (original.model().clone(), batch(1, 7));
        let images = images.upload(original.device()).images;
        let forward = std::thread::spawn(move || drop(shared.forward(images)));
        forward.join().expect("no panic");
        let clone = original.clone();
        assert!(clone.model().tensors() == original.model().tensors());
        assert!(clone.model().tensors() != before);
    }
}
