//! What can be wrong with a weights file.

use std::io;
use std::path::PathBuf;

use fcos_core::SettingError;
use fcos_postprocess::PostprocessError;

use super::{Format, VERSION};
use crate::config::ConfigError;
use crate::params::TensorMismatch;

/// Why a weights file can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file can't be opened, read, written or renamed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is shorter or longer than its header says: cut off, or something was appended.
    #[error("{}: the file's length is not what its header says (truncated?)", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The file is no safetensors file.
    #[error("{}: not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file, but not one of ours: there is no `fcos` entry in `__metadata__`.
    #[error("{}: a safetensors file without fcos's metadata", path.display())]
    NoMetadata {
        /// The file.
        path: PathBuf,
    },
    /// The `fcos` entry can't be understood.
    #[error("{}: invalid fcos metadata: {source}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A later version of the format.
    #[error("{}: format version {found}, but only {VERSION} can be read", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: u64,
    },
    /// The model's configuration is invalid.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A tensor's type is none that a network has.
    #[error("{}: {name} is of type {dtype}, not F32", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor holds NaN or an infinity.
    #[error("{}: {name} holds numbers that are not finite", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// The tensors are not those of the configured network.
    #[error("{}: {source}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Which, and what is wrong with them.
        source: TensorMismatch,
    },
    /// The tensors fit, but come from a network that computes something else with them.
    #[error("{}: trained with other settings: {settings}", path.display())]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// Each with what it was and is.
        settings: String,
    },
    /// The file's tensors would take up much more than the file itself.
    #[error("{}: {length} bytes that claim to hold {claimed} bytes of tensors", path.display())]
    Inflated {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// The size of its tensors.
        claimed: u64,
    },
    /// The file is no checkpoint that can be read.
    #[error("{}: not a PyTorch or safetensors file: {reason}", path.display())]
    NotCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors' names are those of no implementation that can be imported.
    #[error(
        "{}: tensors of no known detector, such as {}",
        path.display(),
        found.join(", ")
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// A few of its keys.
        found: Vec<String>,
    },
    /// More than one preset fits, and the tensors can't tell which is right.
    #[error(
        "{}: {format} weights; the keys can't tell which preset they were trained with: {fitting}",
        path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        format: Format,
        /// The presets that fit.
        fitting: String,
    },
    /// The preset is that of another implementation.
    #[error("{}: {format} weights don't fit preset {preset:?}, but {fitting}", path.display())]
    OtherPreset {
        /// The file.
        path: PathBuf,
        /// The preset asked for.
        preset: String,
        /// Whose the file is.
        format: Format,
        /// The presets that fit.
        fitting: String,
    },
    /// The file holds a backbone only.
    #[error("{}: a backbone to start training from, not a detector", path.display())]
    NoDetector {
        /// The file.
        path: PathBuf,
    },
    /// The first layer is none that can be made to see other pixels than it was trained on.
    #[error("{}: the backbone's first layer can't be adapted to other pixels", path.display())]
    UnknownStem {
        /// The file.
        path: PathBuf,
    },
    /// The classes are not torchvision's 91.
    #[error("{}: the class layer has not the 91 outputs of torchvision's COCO models", path.display())]
    NotCoco91 {
        /// The file.
        path: PathBuf,
    },
    /// Images can't be prepared as the file says.
    #[error("{}: {source}", path.display())]
    Preprocess {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SettingError,
    },
    /// Detections can't be made as the file says.
    #[error("{}: {source}", path.display())]
    Postprocess {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PostprocessError,
    },
    /// There are not as many class names as the network has classes.
    #[error("{}: {names} class names for {classes} classes", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// Number of names.
        names: usize,
        /// Number of classes.
        classes: usize,
    },
    /// There is not one category id for each class, different from the others.
    #[error(
        "{}: {ids} category ids, {distinct} of them distinct, for {classes} classes",
        path.display()
    )]
    CategoryIds {
        /// The file.
        path: PathBuf,
        /// Number of ids.
        ids: usize,
        /// Number of different ids.
        distinct: usize,
        /// Number of classes.
        classes: usize,
    },
    /// The network has lost its batch normalisations.
    #[error("{}: a network with folded batch normalisation can't be saved", path.display())]
    Folded {
        /// The file that was to be written.
        path: PathBuf,
    },
}
