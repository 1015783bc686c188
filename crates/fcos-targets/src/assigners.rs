//! The assigner of every input size that a run meets.

use std::fmt;
use std::sync::Arc;

use fcos_core::{DistanceUnit, Locations};

use crate::{AssignConfig, AssignError, Assigner, Rule};

type Make = dyn Fn(&Locations, DistanceUnit) -> Result<Assigner, AssignError> + Send + Sync;

/// How a run assigns, whatever the size of its batches: [`make`](Self::make) gives the [`Assigner`]
/// for a batch's locations. By the [configured](Self::new) rule or [one's own](Self::with_rule);
/// cheap to clone, and used from any thread.
///
/// ```
/// use fcos_core::{DistanceUnit, LocationRule, Locations, Size};
/// use fcos_targets::{AssignConfig, Assigners, AtssConfig, AtssRule};
///
/// let configured = Assigners::new(AssignConfig::default());
/// // A rule that is made anew for the locations of each size:
/// let own = Assigners::with_rule(|locations| Ok(AtssRule::new(AtssConfig::default(), locations)?));
///
/// let locations = Locations::new(Size { width: 96, height: 64 }, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
/// for assigners in [configured, own] {
///     let assigner = assigners.make(&locations, DistanceUnit::Stride)?;
///     assert_eq!(assigner.assign(&[], &[])?.num_positives(), 0);
/// }
/// # Ok::<(), fcos_targets::AssignError>(())
/// ```
#[derive(Clone)]
pub struct Assigners(Arc<Make>);

impl Assigners {
    /// By the rule that the settings name. They are checked when an assigner is made.
    pub fn new(config: AssignConfig) -> Self {
        Self(Arc::new(move |locations, unit| {
            Assigner::new(&config, locations, unit)
        }))
    }

    /// By a rule of one's own, which `rule` makes for the locations of an input size.
    pub fn with_rule<R: Rule + Send + Sync + 'static>(
        rule: impl Fn(&Locations) -> Result<R, AssignError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |locations, unit| {
            Assigner::with_rule(rule(locations)?, locations, unit)
        }))
    }

    /// The assigner for these locations; `unit` is that of the network's distances.
    ///
    /// # Errors
    /// As [`Assigner::new`]; or as [`Assigner::with_rule`] and whatever makes the rule.
    pub fn make(&self, locations: &Locations, unit: DistanceUnit) -> Result<Assigner, AssignError> {
        (self.0)(locations, unit)
    }
}

impl From<AssignConfig> for Assigners {
    fn from(config: AssignConfig) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for Assigners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assigners")
    }
}
