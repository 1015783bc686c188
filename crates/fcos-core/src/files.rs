//! Writing so that a kill at any moment leaves either the old content or the new.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The neighbour under which a file is written before it takes its own name: `<file name>.tmp`.
pub fn temporary_name(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes a file that appears whole or not at all: under its [`temporary_name`], flushed to the
/// disk, renamed, and the folder flushed. What is no file, such as `/dev/stdout`, is written to as
/// it is.
///
/// # Errors
/// The system's; a file that was there before is then as it was, unless only flushing the folder
/// failed.
///
/// ```
/// let path = std::env::temp_dir().join(format!("fcos-doc-{}.json", std::process::id()));
/// fcos_core::write_atomically(&path, b"[]")?;
/// assert_eq!(std::fs::read(&path)?, b"[]");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    let temporary = temporary_name(path);
    let written = write_and_sync(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary); // the error that counts is the first
        return Err(error);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    sync_folder(folder.unwrap_or(Path::new(".")))
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes what was written or renamed in a folder last.
///
/// # Errors
/// The system's.
pub fn sync_folder(folder: impl AsRef<Path>) -> io::Result<()> {
    // Windows can't open a folder for this, and needs no such call.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |e: io::Result<fs::DirEntry>| e.expect("an entry").file_name();
        let mut names: Vec<_> = entries
            .map(|e| name(e).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.json");
        fs::write(dir.path().join("a.json.tmp"), "of a run that was killed").expect("written");
        for text in ["first and long", "second"] {
            write_atomically(&path, text.as_bytes()).expect("writes");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text);
            assert_eq!(names(dir.path()), ["a.json"]);
        }
    }

    /// A file's other name keeps the old content: a new file takes the place, nothing is rewritten.
    #[test]
    fn the_old_file_is_not_touched() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "old").expect("written");
        fs::hard_link(&path, &other).expect("linked");
        write_atomically(&path, b"new").expect("writes");
        assert_eq!(fs::read_to_string(other).expect("reads"), "old");
    }

    #[test]
    fn a_failure_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(write_atomically(dir.path().join("none/a"), b"text").is_err());
        assert!(write_atomically(dir.path().join("a\0"), b"text").is_err());
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).expect("made");
        assert!(write_atomically(&folder, b"text").is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }
}
