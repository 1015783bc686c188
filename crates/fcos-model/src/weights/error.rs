//! What can be wrong with a weights file.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fcos_core::SettingError;

use super::{Format, VERSION};
use crate::config::ConfigError;
use crate::params::TensorMismatch;

/// Why a weights file can't be read or written: which file, and [what is wrong](Self::kind) with
/// it.
#[derive(Debug)]
pub struct WeightsError {
    path: PathBuf,
    kind: WeightsErrorKind,
}

impl WeightsError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn kind(&self) -> &WeightsErrorKind {
        &self.kind
    }

    /// Whether this is no weights file of this library, but may be another implementation's
    /// [`Checkpoint`](super::Checkpoint).
    pub fn is_foreign(&self) -> bool {
        use WeightsErrorKind::{NoMetadata, NotSafetensors};
        matches!(self.kind, NoMetadata | NotSafetensors { .. })
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.kind)
    }
}

impl Error for WeightsError {
    /// What caused the error, beyond what its message says.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.kind.source()
    }
}

impl WeightsErrorKind {
    /// That this is what is wrong with the file.
    pub(crate) fn at(self, path: &Path) -> WeightsError {
        WeightsError {
            path: path.into(),
            kind: self,
        }
    }
}

/// What is wrong with a weights file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsErrorKind {
    /// The file can't be opened, read, written or renamed.
    #[error("it can't be read or written")]
    Io(#[source] io::Error),
    /// The file is shorter or longer than its header says: cut off, or something was appended.
    #[error("the file's length is not what its header says (truncated?)")]
    Truncated,
    /// The file is no safetensors file.
    #[error("not a safetensors file: {reason}")]
    NotSafetensors {
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file, but not one of ours: there is no `fcos` entry in `__metadata__`.
    #[error("a safetensors file without fcos's metadata")]
    NoMetadata,
    /// The `fcos` entry can't be understood.
    #[error("invalid fcos metadata")]
    Metadata(#[source] serde_json::Error),
    /// A later version of the format.
    #[error("format version {found}, but only {VERSION} can be read")]
    Version {
        /// The file's version.
        found: u64,
    },
    /// The model's configuration is invalid.
    #[error("its network can't be built")]
    Config(#[source] ConfigError),
    /// A tensor's type is none that a network has.
    #[error("{name} is of type {dtype}, not F32")]
    DType {
        /// The tensor's name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor holds NaN or an infinity.
    #[error("{name} holds numbers that are not finite")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// The tensors are not those of the configured network.
    #[error("its tensors are not the network's")]
    Tensors(#[source] TensorMismatch),
    /// The tensors fit, but come from a network that computes something else with them.
    #[error("trained with other settings: {settings}")]
    OtherSettings {
        /// Each with what it was and is.
        settings: String,
    },
    /// The file's tensors would take up much more than the file itself.
    #[error("{length} bytes that claim to hold {claimed} bytes of tensors")]
    Inflated {
        /// Its length.
        length: u64,
        /// The size of its tensors.
        claimed: u64,
    },
    /// The file is no checkpoint that can be read.
    #[error("not a PyTorch or safetensors file: {reason}")]
    NotCheckpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// The tensors' names are those of no implementation that can be imported.
    #[error("tensors of no known detector, such as {}", found.join(", "))]
    UnknownFormat {
        /// A few of its keys.
        found: Vec<String>,
    },
    /// More than one preset fits, and the tensors can't tell which is right.
    #[error("{format} weights; the keys can't tell which preset they were trained with: {fitting}")]
    Ambiguous {
        /// Whose it is.
        format: Format,
        /// The presets that fit.
        fitting: String,
    },
    /// The preset is that of another implementation.
    #[error("{format} weights don't fit preset {preset:?}, but {fitting}")]
    OtherPreset {
        /// The preset asked for.
        preset: String,
        /// Whose the file is.
        format: Format,
        /// The presets that fit.
        fitting: String,
    },
    /// The file holds a backbone only.
    #[error("a backbone to start training from, not a detector")]
    NoDetector,
    /// The first layer is none that can be made to see other pixels than it was trained on.
    #[error("the backbone's first layer can't be adapted to other pixels")]
    UnknownStem,
    /// The classes are not torchvision's 91.
    #[error("the class layer has not the 91 outputs of torchvision's COCO models")]
    NotCoco91,
    /// Images can't be prepared as the file says.
    #[error("its preprocessing is invalid")]
    Preprocess(#[source] SettingError),
    /// Detections can't be made as the file says.
    #[error("its postprocessing is invalid")]
    Postprocess(#[source] SettingError),
    /// Class names or category ids don't fit the network's classes.
    #[error("its classes are not those of its network")]
    Classes(#[source] SettingError),
    /// The network has lost its batch normalisations.
    #[error("a network with folded batch normalisation can't be saved")]
    Folded,
}
