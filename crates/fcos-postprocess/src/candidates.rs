//! The (location, class) pairs that may become detections: pre-filter and top-k.
//!
//! N locations, C classes.

use std::ops::Range;

use fcos_core::Outputs;

use crate::PostprocessConfig;
use crate::rank::descending;
use crate::score::{Rated, logit_bound, sigmoid};

/// A (location, class) pair that passed the pre-filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    /// Among all N locations.
    pub location: usize,
    /// Class.
    pub label: u32,
    /// What the top-k goes by.
    pub key: f32,
    /// Final score.
    pub score: f32,
}

/// Finds one level's best candidates.
pub(crate) struct Scan<'a> {
    outputs: Outputs<&'a [f32]>,
    num_classes: usize,
    config: &'a PostprocessConfig,
    logit_bound: f32,
}

impl<'a> Scan<'a> {
    /// The lengths must fit `num_classes` C.
    pub(crate) fn new(
        outputs: Outputs<&'a [f32]>,
        num_classes: usize,
        config: &'a PostprocessConfig,
    ) -> Self {
        let logit_bound = logit_bound(config);
        Self {
            outputs,
            num_classes,
            config,
            logit_bound,
        }
    }

    /// The level's candidates by location, then class; `non_finite` is raised by one for each
    /// whose score is NaN.
    pub(crate) fn level(&self, locations: Range<usize>, non_finite: &mut usize) -> Vec<Candidate> {
        let mut found = Vec::new();
        for location in locations {
            let start = location * self.num_classes;
            let logits = &self.outputs.cls_logits[start..start + self.num_classes]; // [C]
            if self.any_may_pass(logits) {
                self.location(location, logits, &mut found, non_finite);
            }
        }
        keep_top_k(&mut found, self.config.pre_nms_top_k);
        found
    }

    /// Without branches, for the compiler to vectorise: most locations end here.
    fn any_may_pass(&self, logits: &[f32]) -> bool {
        logits
            .iter()
            .fold(false, |any, &logit| any | self.may_pass(logit))
    }

    /// NaN passes, to be counted.
    #[inline]
    fn may_pass(&self, logit: f32) -> bool {
        (logit > self.logit_bound) | logit.is_nan()
    }

    fn location(
        &self,
        location: usize,
        logits: &[f32],
        found: &mut Vec<Candidate>,
        non_finite: &mut usize,
    ) {
        let centerness = sigmoid(self.outputs.centerness[location]);
        for (label, &logit) in (0..).zip(logits) {
            if !self.may_pass(logit) {
                continue;
            }
            let Rated { filter, key, score } = Rated::new(logit, centerness, self.config);
            if score.is_nan() {
                *non_finite += 1;
            } else if filter > self.config.pre_filter.threshold {
                found.push(Candidate {
                    location,
                    label,
                    key,
                    score,
                });
            }
        }
    }
}

/// Keeps the `k` with the highest keys, of equal ones the earliest, and their order.
fn keep_top_k(found: &mut Vec<Candidate>, k: usize) {
    if found.len() <= k {
        return;
    }
    let place = |c: &Candidate| (c.location, c.label);
    // Selecting is faster than sorting all, and leaves the k best in no order: theirs comes back after.
    found.select_nth_unstable_by_key(k, |c| (descending(c.key), place(c)));
    found.truncate(k);
    found.sort_unstable_by_key(place);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against sorting everything, with keys that often tie.
        #[test]
        fn top_k_equals_a_stable_sort(keys in prop::collection::vec(0u8..6, 0..60), k in 1usize..40) {
            let all: Vec<_> = (0..).zip(&keys).map(|(i, &key)| Candidate {
                location: i / 3,
                label: i as u32 % 3,
                key: f32::from(key),
                score: 0.0,
            }).collect();
            let mut expected = all.clone();
            expected.sort_by(|a, b| b.key.total_cmp(&a.key));
            expected.truncate(k);
            expected.sort_by_key(|c| c.location * 3 + c.label as usize);
            let mut found = all;
            keep_top_k(&mut found, k);
            prop_assert_eq!(found, expected);
        }
    }
}
