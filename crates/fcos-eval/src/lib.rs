//! Evaluation: COCO's twelve metrics, equal to pycocotools', of [files of detections](evaluate_files)
//! or of a [val set that is predicted](Validation); and `curves` as SVG files. Needs no trainer.
//!
//! ```no_run
//! let metrics = fcos_eval::evaluate_files("instances_val.json", "results.json")?;
//! println!("{metrics}");
//! # Ok::<(), fcos_eval::EvalError>(())
//! ```
//!
//! # COCO's metrics
//! They are those of Lin et al., ECCV 2014. Matching and precision-recall curves are [`hotcoco`]'s;
//! reading, checking and averaging are done here. Boxes are `[x, y, width, height]` in pixels of the
//! original image, as in COCO's files.
//!
//! Where pycocotools and hotcoco differ from each other, or from the definition of the metric:
//! - An annotation's own id is not used. (pycocotools takes a match to id 0 for "no match", and
//!   both count an annotation twice whose id another one has.)
//! - An annotation without four finite numbers as its box is left out with a warning.
//! - An annotation without `area` gets that of its box. (pycocotools fails; hotcoco draws the
//!   mask, if there is one.)
//! - No detections at all is a list like any other: 0 where there is something to find.
//!   (pycocotools fails.)
//! - Detections of categories that the annotations do not list are left out with a warning, as
//!   pycocotools does silently. Detections on images that they do not list are an error, as in
//!   pycocotools; hotcoco leaves them out.
//! - Scores and boxes that are not finite are errors. (pycocotools sorts NaN last; hotcoco leaves
//!   its order undefined.) So is a negative side, which both accept.
//! - A category listed twice is one category, with the later name. (hotcoco gives it two places.)

#[cfg(feature = "curves")]
pub mod curves;
mod error;
mod evaluate;
mod metrics;
mod results;
mod validation;

pub use error::EvalError;
pub use evaluate::{CocoEvaluator, evaluate_files};
pub use fcos_data::ResultRow;
pub use metrics::{ClassMetrics, CocoMetrics, CocoStats};
pub use results::read_results;
pub use validation::Validation;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
