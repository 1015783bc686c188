//! [`fcos_core::write_atomically`] with this crate's errors.

use std::path::Path;

pub(crate) use fcos_core::temporary_name;

use crate::TrainError;

pub(crate) fn io_error(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_path_buf(),
        source,
    }
}

pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<(), TrainError> {
    fcos_core::write_atomically(path, text.as_bytes()).map_err(|e| io_error(path, e))
}
