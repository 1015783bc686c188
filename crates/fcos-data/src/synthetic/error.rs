//! Why nothing was generated.

use std::path::PathBuf;

use fcos_core::SettingError;

/// Why a data set could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyntheticError {
    /// A configuration field is outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The target has no name to derive the temporary folder's from, as with `/` or `..`.
    #[error("{} does not name a folder that can be created", path.display())]
    NoFolderName {
        /// The target.
        path: PathBuf,
    },
    /// A folder that would be replaced holds something that was not generated; all is left alone.
    #[error("{} is no part of a generated data set: choose another folder", path.display())]
    ForeignFolder {
        /// What was found.
        path: PathBuf,
    },
    /// A file or folder cannot be read, written, renamed or removed.
    #[error("cannot write, read or remove {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An image cannot be encoded.
    #[error("cannot encode {}", path.display())]
    Encode {
        /// The image file.
        path: PathBuf,
        /// The encoder's error.
        source: image::ImageError,
    },
    /// A JSON file cannot be written.
    #[error("cannot serialise {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The serialiser's error.
        source: serde_json::Error,
    },
}
