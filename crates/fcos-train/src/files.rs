//! Writing so that a kill at any moment leaves either the old content or the new.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::TrainError;

pub(crate) fn io_error(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// The neighbour under which a file is written before it takes its own name.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes under a temporary name, syncs, and renames.
pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<(), TrainError> {
    let temporary = temporary_name(path);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| io_error(path, e))
}

/// Makes what was written or renamed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    // Windows can't open a folder for this, and needs no such call.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(|e| io_error(folder, e))?;
    }
    Ok(())
}
