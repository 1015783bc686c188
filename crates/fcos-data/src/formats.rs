//! The formats of annotations that can be read. A new one is a file in `formats/`, which turns its
//! format into [`Annotations`], and an entry in [`FORMATS`].

use std::fs;
use std::path::Path;

use crate::{Annotations, DataError};

pub mod coco;

/// A format of annotations.
pub(crate) struct Format {
    /// The name that people know it by.
    pub name: &'static str,
    /// Whether what is at a path, which exists, looks like it.
    pub recognises: fn(&Path) -> bool,
    /// Reads what is at a path.
    pub read: fn(&Path) -> Result<Annotations, DataError>,
}

/// The first that recognises a path reads it. COCO takes every file, to say where it is none of its
/// own; so it comes last.
const FORMATS: &[Format] = &[coco::FORMAT];

/// Reads annotations of whichever format is at a path. There is one so far: [COCO's](coco), a file.
///
/// # Errors
/// [`DataError::Read`] if there is nothing, [`DataError::UnknownFormat`] if no format looks like it, and
/// those of the format's own reader.
pub fn read_annotations(path: impl AsRef<Path>) -> Result<Annotations, DataError> {
    let path = path.as_ref();
    fs::metadata(path).map_err(|e| DataError::read(path, e))?;
    let format = FORMATS.iter().find(|format| (format.recognises)(path));
    let format = format.ok_or_else(|| DataError::UnknownFormat {
        path: path.into(),
        known: FORMATS
            .iter()
            .map(|f| f.name)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    (format.read)(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("any name");
        fs::write(&file, r#"{"images": [{"id": 7}]}"#).expect("written");
        let read = read_annotations(&file).expect("COCO's");
        assert_eq!((read.source, read.images[0].id), (file, 7));

        let error = read_annotations(dir.path()).expect_err("a folder");
        assert!(error.to_string().ends_with("there are: COCO"), "{error}");
        let error = read_annotations(dir.path().join("none")).expect_err("nothing");
        assert!(matches!(error, DataError::Read { .. }), "{error}");
    }
}
