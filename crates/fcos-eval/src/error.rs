//! What can go wrong in an evaluation.

use std::io;
use std::path::PathBuf;

use fcos_data::{DataError, HealthReport};
use fcos_model::PredictError;

/// Why an evaluation could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The annotations or the images can't be read, or the classes are not those of the model.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There is no image to evaluate on.
    #[error("{}: no val image can be read: {health}", annotations.display())]
    NothingToEvaluate {
        /// The annotations.
        annotations: PathBuf,
        /// What was found instead.
        health: HealthReport,
    },
    /// An image can't be predicted.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The file of detections could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of detections is no JSON array of [`ResultRow`](crate::ResultRow)s; ids are whole
    /// numbers from 0, and NaN is no JSON.
    #[error("{} is not in COCO's format", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A detection on an image that the annotations do not list: most often the annotations are
    /// those of another split.
    #[error("detection {row}: image {image_id} is not among the annotated images")]
    UnknownImage {
        /// Position in the list of detections, from 0.
        row: usize,
        /// The image.
        image_id: u64,
    },
    /// A detection's score is NaN or infinite.
    #[error("detection {row} (image {image_id}): score {score} is not a finite number")]
    BadScore {
        /// Position in the list of detections, from 0.
        row: usize,
        /// Its image.
        image_id: u64,
        /// Its score.
        score: f64,
    },
    /// A detection's box is not finite or has a negative side.
    #[error("detection {row} (image {image_id}): {bbox:?} is not a box")]
    BadBox {
        /// Position in the list of detections, from 0.
        row: usize,
        /// Its image.
        image_id: u64,
        /// Its box, `[x, y, width, height]`.
        bbox: [f64; 4],
    },
    /// hotcoco refused input that had passed all checks above.
    #[error("matching detections to annotations failed")]
    Matching(#[from] hotcoco::Error),
}
