//! What the summed losses are divided by.
//!
//! A step is parts and one normaliser. Its counts are those of all parts: add up the images of all
//! devices and of all accumulated batches, before the first of them is differentiated (whoever
//! assigned the targets knows them), then divide by the number of devices if their gradients are
//! averaged and not summed. Every part's losses are divided by that one normaliser, and the parts'
//! gradients add up to those of the step.

use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Floor of the sum of centre-ness (AdelaiDet).
const MIN_CENTERNESS_SUM: f32 = 1e-6;

/// What the assigner knows about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Locations that learn from a box.
    pub positives: f32,
    /// Sum of their centre-ness targets.
    pub centerness_sum: f32,
}

impl BatchCounts {
    /// Counts of one image, or of any other stretch of locations: `labels` (negative is background)
    /// and `centerness` (looked at where positive) run over the same locations.
    pub fn from_targets(labels: &[i32], centerness: &[f32]) -> Self {
        let positive = labels
            .iter()
            .zip(centerness)
            .filter(|(label, _)| **label >= 0);
        let (count, sum) = positive.fold((0usize, 0.0f64), |(count, sum), (_, &value)| {
            (count + 1, sum + f64::from(value))
        });
        Self {
            positives: count as f32,
            centerness_sum: sum as f32,
        }
    }
}

impl Add for BatchCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            positives: self.positives + other.positives,
            centerness_sum: self.centerness_sum + other.centerness_sum,
        }
    }
}

impl Sum for BatchCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// The divisors of one step, all above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalizer {
    /// Positives of the step, as counted.
    pub num_positives: f32,
    /// Divides the classification loss.
    pub classification: f32,
    /// Divides the centre-ness loss and a box loss that is not weighted.
    pub regression: f32,
    /// Divides a box loss weighted by centre-ness.
    pub centerness_sum: f32,
}

impl Normalizer {
    /// The positives of the step, at least 1, and the sum of their centre-ness, at least 1e-6
    /// (original FCOS, AdelaiDet, mmdetection).
    pub fn new(counts: BatchCounts) -> Self {
        let positives = counts.positives.max(1.0);
        Self {
            num_positives: counts.positives,
            classification: positives,
            regression: positives,
            centerness_sum: counts.centerness_sum.max(MIN_CENTERNESS_SUM),
        }
    }
}

/// Where the number of positives that divides the losses comes from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NormalizerRule {
    /// From the step itself (the paper's `N_pos`).
    #[default]
    Positives,
    /// A moving average, steadier when steps hold few images.
    MovingPositives {
        /// Share of the old average that each step keeps, in `[0, 1)`; 0.9 in both implementations.
        momentum: f32,
        /// The average before the first step, above 0: 100 in AdelaiDet and in detectron2's
        /// RetinaNet, 300 in detectron2's FCOS.
        initial: f32,
        /// Which losses it divides.
        scope: MovingScope,
    },
}

/// Which losses a moving average of the positives divides. A box loss weighted by centre-ness is
/// never among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MovingScope {
    /// Classification alone (AdelaiDet's `moving_fg`).
    Classification,
    /// Every loss that is divided by the positives (detectron2's `loss_normalizer`).
    All,
}

/// A [`NormalizerRule`] at work. Part of a training checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormalizerState {
    rule: NormalizerRule,
    average: f32,
}

impl NormalizerState {
    /// Before the first step.
    pub fn new(rule: NormalizerRule) -> Self {
        let average = match rule {
            NormalizerRule::Positives => 0.0,
            NormalizerRule::MovingPositives { initial, .. } => initial,
        };
        Self { rule, average }
    }

    /// The divisors of a step, for each of its parts. `counts` are those of all parts together, on
    /// all devices. Call once per step: a moving average moves.
    pub fn step(&mut self, counts: BatchCounts) -> Normalizer {
        let mut normalizer = Normalizer::new(counts);
        if let NormalizerRule::MovingPositives {
            momentum, scope, ..
        } = self.rule
        {
            // No positive counts as one, as it does for the step's own divisor.
            self.average = momentum * self.average + (1.0 - momentum) * counts.positives.max(1.0);
            normalizer.classification = self.average;
            if scope == MovingScope::All {
                normalizer.regression = self.average;
            }
        }
        normalizer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn counts(positives: f32, centerness_sum: f32) -> BatchCounts {
        BatchCounts {
            positives,
            centerness_sum,
        }
    }

    #[test]
    fn counts_positives_only_and_adds_up() {
        let image = BatchCounts::from_targets(&[3, -1, 0], &[0.5, 9.0, 0.25]);
        assert_eq!(image, counts(2.0, 0.75));
        assert_eq!(
            [image; 4].into_iter().sum::<BatchCounts>(),
            counts(8.0, 3.0)
        );
        assert_eq!(BatchCounts::from_targets(&[], &[]), BatchCounts::default());
    }

    #[test]
    fn divisors_have_floors() {
        let empty = Normalizer::new(BatchCounts::default());
        assert_eq!(
            (empty.num_positives, empty.classification, empty.regression),
            (0.0, 1.0, 1.0)
        );
        assert_eq!(empty.centerness_sum, 1e-6);
        let full = Normalizer::new(counts(7.0, 0.5));
        assert_eq!(
            (full.classification, full.regression, full.centerness_sum),
            (7.0, 7.0, 0.5)
        );
    }

    fn moving(scope: MovingScope) -> NormalizerState {
        NormalizerState::new(NormalizerRule::MovingPositives {
            momentum: 0.9,
            initial: 100.0,
            scope,
        })
    }

    /// By hand: 0.9·100 + 0.1·200 = 110, then 0.9·110 + 0.1·1 = 99.1 (an empty step counts as 1).
    #[test]
    fn average_moves() {
        let mut state = moving(MovingScope::Classification);
        let first = state.step(counts(200.0, 60.0));
        assert!((first.classification - 110.0).abs() < 1e-4);
        assert_eq!((first.regression, first.centerness_sum), (200.0, 60.0));
        let second = state.step(counts(0.0, 0.0));
        assert!((second.classification - 99.1).abs() < 1e-4);
        assert_eq!((second.regression, second.num_positives), (1.0, 0.0));

        let all = moving(MovingScope::All).step(counts(200.0, 60.0));
        assert_eq!(
            (all.classification, all.regression),
            (first.classification, first.classification)
        );
        assert_eq!(all.centerness_sum, 60.0);
    }

    #[test]
    fn resumes_where_it_stopped() {
        let mut state = moving(MovingScope::All);
        state.step(counts(33.0, 3.0));
        let text = serde_json::to_string(&state).unwrap();
        let mut resumed: NormalizerState = serde_json::from_str(&text).unwrap();
        assert_eq!(resumed.step(counts(5.0, 1.0)), state.step(counts(5.0, 1.0)));
    }
}
