//! Target assignment: which location of a feature pyramid learns from which box, and what.
//!
//! [`Assigner`] does so by the rule that [`AssignConfig`] names:
//!
//! - [`FcosRule`] (Tian et al., ICCV 2019; Eq. 1, Eq. 3 and §3.2): a location may learn a box if it
//!   lies strictly inside the box, within the sampling square about the box's centre, and if its
//!   largest distance to a side falls into the size range of its pyramid level. Of several such
//!   boxes it learns the smallest. The configuration has the points on which the public
//!   implementations differ.
//! - [`AtssRule`] (Zhang et al., CVPR 2020, Algorithm 1): of the nearest locations on every level,
//!   those learn a box whose anchor overlaps it well, by a threshold that the box itself sets.
//!
//! A [`Rule`] of your own does so too ([`Assigner::with_rule`]), and [`Assigners`] makes the assigner
//! of each size that a training run meets.
//!
//! [`count`] says what a rule does to a data set's boxes before anything is trained ([`Tally`] for
//! one image, [`Statistics`] for many); for comparison they also take [`RetinaNetRule`], matching by
//! IoU thresholds.
//!
//! The crate is plain Rust over slices, without tensors: it runs in data-loader threads and needs
//! memory for the N locations only, never for locations × boxes. All coordinates are pixels of
//! the padded network input.
//!
//! ```
//! use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
//! use fcos_targets::{AssignConfig, Assigner};
//!
//! let input = Size { width: 256, height: 128 };
//! let locations = Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
//! let assigner = Assigner::new(&AssignConfig::default(), &locations, DistanceUnit::Stride)?;
//!
//! let targets = assigner.assign(&[BBox::new(16.0, 8.0, 48.0, 40.0)], &[7])?;
//! assert_eq!(targets.labels.len(), locations.len());
//! assert_eq!(targets.num_positives(), 2 * 2);
//!
//! let location = targets.labels.iter().position(|&label| label == 7).expect("a positive");
//! let point = locations.points()[location];
//! assert_eq!((point.x, point.y), (28.0, 20.0));
//! assert_eq!(targets.matched[location], 0);
//! // Distances in units of the level's stride, here 8 px.
//! assert_eq!(targets.ltrb[location].to_array(), [1.5, 1.5, 2.5, 2.5]);
//!
//! // An image without boxes is all background.
//! assert_eq!(assigner.assign(&[], &[])?.num_positives(), 0);
//! # Ok::<(), fcos_targets::AssignError>(())
//! ```

mod assigner;
mod assigners;
mod atss;
mod config;
mod count;
mod error;
mod fcos;
mod grid;
mod nearest;
mod retinanet;
mod rule;
mod serde_words;
mod statistics;
mod targets;

pub use assigner::Assigner;
pub use assigners::Assigners;
pub use atss::AtssRule;
pub use config::{AreaRule, AssignConfig, AssignRule, AtssConfig, RangeBounds};
pub use count::{Counted, NeverLearnt, Scene, count};
pub use error::AssignError;
pub use fcos::FcosRule;
pub use retinanet::{RetinaNetConfig, RetinaNetRule};
pub use rule::{Candidate, Rule};
pub use statistics::{ImageTally, SizeGroup, SizeSummary, Statistics, Summary, Tally};
pub use targets::Targets;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
