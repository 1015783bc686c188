//! What a (location, class) pair is filtered, ranked and scored by.

use crate::{FilterOn, PostprocessConfig, ScoreRule, TopKKey};

/// `1 / (1 + e^−x)`.
#[inline]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// One (location, class) pair by the configuration's rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rated {
    /// What the pre-filter compares.
    pub filter: f32,
    /// What the top-k goes by.
    pub key: f32,
    /// The final score.
    pub score: f32,
}

impl Rated {
    /// From the class logit and the location's centre-ness, which is a probability already.
    pub(crate) fn new(cls_logit: f32, centerness: f32, config: &PostprocessConfig) -> Self {
        let cls = sigmoid(cls_logit);
        let product = cls * centerness;
        let score = match config.score_rule {
            ScoreRule::SqrtProduct => product.sqrt(),
            ScoreRule::Product => product,
        };
        let filter = match config.pre_filter.on {
            FilterOn::Cls => cls,
            FilterOn::Score => score,
            FilterOn::Product => product,
        };
        let key = match config.top_k_key {
            TopKKey::Product => product,
            TopKKey::Cls => cls,
        };
        Self { filter, key, score }
    }
}

/// A class logit that every pair passing the pre-filter exceeds, whatever its centre-ness.
///
/// Since centre-ness ≤ 1, `cls · ctr > t` implies `cls > t`. The logit is taken a little low, more
/// than the rounding of the sigmoid amounts to, because the exact comparison follows.
pub(crate) fn logit_bound(config: &PostprocessConfig) -> f32 {
    const MARGIN: f64 = 1e-3;
    let threshold = f64::from(config.pre_filter.threshold);
    let cls = match (config.pre_filter.on, config.score_rule) {
        (FilterOn::Score, ScoreRule::SqrtProduct) => threshold * threshold,
        _ => threshold,
    };
    ((cls / (1.0 - cls)).ln() - MARGIN) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PreFilter;

    #[test]
    fn sigmoid_is_right_to_the_last_bits_and_at_the_ends() {
        for i in -800..=800 {
            let x = i as f32 / 10.0;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() <= 2e-7 * exact, "{x}");
        }
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn rules() {
        let mut config = PostprocessConfig::default();
        let (cls, ctr) = (sigmoid(1.5), 0.25);
        let rated = Rated::new(1.5, ctr, &config);
        assert_eq!((rated.filter, rated.key), (cls, cls * ctr));
        assert!((rated.score - (cls * ctr).sqrt()).abs() < 1e-7);
        config.score_rule = ScoreRule::Product;
        config.top_k_key = TopKKey::Cls;
        config.pre_filter.on = FilterOn::Score;
        let rated = Rated::new(1.5, ctr, &config);
        assert_eq!(
            (rated.filter, rated.key, rated.score),
            (cls * ctr, cls, cls * ctr)
        );
    }

    /// No logit at or below the bound passes, however the last bit of the sigmoid falls.
    #[test]
    fn the_bound_loses_nothing() {
        for on in [FilterOn::Cls, FilterOn::Score, FilterOn::Product] {
            for threshold in [0.0, 1e-30, 1e-6, 0.05, 0.2, 0.5, 0.95, 0.999_999, 1.0] {
                let config = PostprocessConfig {
                    pre_filter: PreFilter { on, threshold },
                    ..PostprocessConfig::default()
                };
                let bound = logit_bound(&config);
                for below in [bound, bound - 1e-4, bound - 1.0, f32::NEG_INFINITY] {
                    let filter = Rated::new(below, 1.0, &config).filter;
                    assert!(
                        filter.is_nan() || filter <= threshold,
                        "{on:?} {threshold} {below}"
                    );
                }
            }
        }
    }
}
