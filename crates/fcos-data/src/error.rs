//! What can be wrong with a data set or an image.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use fcos_core::{ClassListError, Size};

/// Why a data set, an image or a results file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file can't be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is at a path looks like no known format of annotations.
    #[error("{}: no known format of annotations; there are: {known}", path.display())]
    UnknownFormat {
        /// The file or folder.
        path: PathBuf,
        /// The formats that there are.
        known: String,
    },
    /// The annotations are not laid out as their format wants it.
    #[error("{}:{line}:{column}: no annotations in {format}'s layout", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column in it.
        column: usize,
        /// What is wrong there.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An entry of `images` has no `file_name`.
    #[error("{}: image {id} has no file_name", path.display())]
    NoFileName {
        /// The annotation file.
        path: PathBuf,
        /// The image's id.
        id: u64,
    },
    /// Two entries of `images` have the same id.
    #[error("{}: image id {id} stands twice, for {first:?} and {second:?}", path.display())]
    DuplicateImageId {
        /// The annotation file.
        path: PathBuf,
        /// The id.
        id: u64,
        /// File name of the entry that had it first.
        first: String,
        /// File name of the entry that has it again.
        second: String,
    },
    /// Two entries of `categories` have the same id.
    #[error("{}: category id {id} stands twice, for {first:?} and {second:?}", path.display())]
    DuplicateCategoryId {
        /// The annotation file.
        path: PathBuf,
        /// The id.
        id: u64,
        /// One of the two names.
        first: String,
        /// The other one.
        second: String,
    },
    /// The categories' names make no class list: there is none, or one stands twice.
    #[error("{}: the categories make no class list", path.display())]
    Classes {
        /// The annotation file.
        path: PathBuf,
        /// Which rule they break.
        source: ClassListError,
    },
    /// None of the annotation file's images can be used, most often because the folder is wrong.
    #[error(
        "{}: of the {listed} images listed, none is in {}",
        annotations.display(),
        images.display()
    )]
    NoImages {
        /// The annotation file.
        annotations: PathBuf,
        /// The folder searched.
        images: PathBuf,
        /// How many images the file lists.
        listed: usize,
    },
    /// The data set's class names are not the expected ones.
    #[error("class names differ: missing {missing:?}, unexpected {unexpected:?}")]
    ClassMismatch {
        /// Expected names that the data set lacks.
        missing: Vec<String>,
        /// Names of the data set that were not expected.
        unexpected: Vec<String>,
    },
    /// An image file is damaged or of an unsupported format.
    #[error("cannot decode {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// An image is not as large as its annotations say, so that its boxes can't be trusted. Where
    /// the sides are swapped, the boxes were drawn without regard to the file's EXIF orientation.
    #[error(
        "{} (image {image_id}) is {}x{} upright, its annotations say {}x{}",
        path.display(),
        decoded.width, decoded.height, annotated.width, annotated.height
    )]
    SizeMismatch {
        /// The image file.
        path: PathBuf,
        /// Its id.
        image_id: u64,
        /// Size in the file, EXIF orientation applied.
        decoded: Size,
        /// Size in the annotations.
        annotated: Size,
    },
}

impl DataError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::Read { path, source }
    }

    pub(crate) fn decode(path: &Path, source: image::ImageError) -> Self {
        let path = path.into();
        Self::Decode { path, source }
    }
}
