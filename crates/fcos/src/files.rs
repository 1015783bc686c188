//! Picture files: which there are, the image ids of their names, and where results may go.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// Endings of the files that are taken for pictures in a folder.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Why there are no pictures, or no place for results.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A folder can't be read.
    #[error("can't read folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no picture.
    #[error("no JPEG or PNG file among the arguments")]
    NoPictures,
    /// A result would overwrite a picture.
    #[error("{} is one of the pictures: choose another folder", path.display())]
    WouldOverwrite {
        /// The picture.
        path: PathBuf,
    },
}

/// The files themselves, and of the folders the JPEG and PNG files in them, by name.
///
/// # Errors
/// [`FilesError::Folder`] and [`FilesError::NoPictures`]. Whether a file exists is not looked at.
pub fn image_files(files_and_folders: &[impl AsRef<Path>]) -> Result<Vec<PathBuf>, FilesError> {
    let mut files = Vec::new();
    for path in files_and_folders.iter().map(AsRef::as_ref) {
        if path.is_dir() {
            let of_folder = pictures_in(path);
            files.extend(of_folder.map_err(|source| FilesError::Folder {
                path: path.into(),
                source,
            })?);
        } else {
            files.push(path.to_path_buf());
        }
    }
    if files.is_empty() {
        return Err(FilesError::NoPictures);
    }
    Ok(files)
}

fn pictures_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    let mut files: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| is_picture(file));
    files.sort();
    Ok(files)
}

fn is_picture(file: &Path) -> bool {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    EXTENSIONS.contains(&extension.to_lowercase().as_str())
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// COCO's image ids for these files: the last number in each name without its extension
/// (`COCO_val2014_000000001000.jpg`: 1000), and where there is none the file's position, from 1. If
/// two files would get the same id, it is the position for all.
///
/// ```
/// assert_eq!(fcos::files::image_ids(&["a/000000000139.jpg", "b/7.png"]), [139, 7]);
/// assert_eq!(fcos::files::image_ids(&["a/7.jpg", "b/7.png"]), [1, 2]);
/// ```
pub fn image_ids(files: &[impl AsRef<Path>]) -> Vec<u64> {
    let positions = 1..=files.len() as u64;
    let named = files.iter().zip(positions.clone());
    let ids: Vec<u64> = named
        .map(|(file, position)| last_number(&stem(file.as_ref())).unwrap_or(position))
        .collect();
    if ids.iter().collect::<HashSet<_>>().len() == ids.len() {
        ids
    } else {
        positions.collect()
    }
}

/// `None` also where it is too large.
fn last_number(text: &str) -> Option<u64> {
    let mut runs = text.rsplit(|c: char| !c.is_ascii_digit());
    runs.find(|run| !run.is_empty())?.parse().ok()
}

/// A PNG file in `folder` for each picture, named after it; of equal names all but the first get a
/// number.
///
/// # Errors
/// [`FilesError::WouldOverwrite`] if such a file is one of the pictures.
pub fn output_files(
    pictures: &[impl AsRef<Path>],
    folder: impl AsRef<Path>,
) -> Result<Vec<PathBuf>, FilesError> {
    let pictures = || pictures.iter().map(AsRef::as_ref);
    let inputs: HashSet<PathBuf> = pictures().flat_map(Path::canonicalize).collect();
    let mut taken = HashSet::new();
    let output = |picture: &Path| {
        let name = free_name(&stem(picture), &mut taken);
        let path = folder.as_ref().join(name + ".png");
        if path.canonicalize().is_ok_and(|path| inputs.contains(&path)) {
            return Err(FilesError::WouldOverwrite { path });
        }
        Ok(path)
    };
    pictures().map(output).collect()
}

/// The name itself, or with the first number that makes it a new one; from then on it is taken.
fn free_name(stem: &str, taken: &mut HashSet<String>) -> String {
    let (mut name, mut number) = (stem.to_owned(), 1);
    // Some file systems take upper and lower case for the same.
    while !taken.insert(name.to_lowercase()) {
        number += 1;
        name = format!("{stem}-{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_in_names_or_positions() {
        let cases: [(&[&str], &[u64]); 6] = [
            (&["a/COCO_val2014_000000001000.jpg", "7.png"], &[1000, 7]),
            (&["street.jpg", "img_12_left.jpg"], &[1, 12]),
            (&["99999999999999999999999.png"], &[1]),
            (&["2.jpg", "street.jpg"], &[1, 2]),
            (&["a/5.jpg", "b/5.jpg"], &[1, 2]),
            (&["5.jpg", "5.jpg"], &[1, 2]),
        ];
        for (names, ids) in cases {
            assert_eq!(image_ids(names), ids, "{names:?}");
        }
    }

    #[test]
    fn no_two_pictures_have_one_output() {
        let files = ["a/x.jpg", "b/X.png", "x-2.jpg", "x.v1.jpg", "y.jpg"];
        let outputs = output_files(&files, "out").expect("none is an input");
        let names = ["x.png", "X-2.png", "x-2-2.png", "x.v1.png", "y.png"];
        assert_eq!(outputs, names.map(|name| Path::new("out").join(name)));
    }

    #[test]
    fn inputs_are_never_outputs() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("b.png"), "my only copy").expect("written");
        let elsewhere = dir.path().join("sub");
        std::fs::create_dir(&elsewhere).expect("made");
        let files = [dir.path().join("a.jpg"), elsewhere.join("../b.png")];
        let error = output_files(&files, dir.path()).expect_err("refused");
        assert!(error.to_string().contains("b.png is one of"), "{error}");
        assert!(output_files(&files, &elsewhere).is_ok());
    }

    #[test]
    fn folders_give_their_pictures() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["b.PNG", "a.jpeg", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let files = image_files(&[dir.path(), Path::new("c.bmp")]).expect("some");
        let names = [dir.path().join("a.jpeg"), dir.path().join("b.PNG")];
        assert_eq!(files[..2], names);
        assert_eq!(files[2], Path::new("c.bmp"), "a file is taken as it is");
        std::fs::remove_file(&names[0]).expect("there");
        std::fs::remove_file(&names[1]).expect("there");
        let error = image_files(&[dir.path()]).expect_err("none is left");
        assert!(matches!(error, FilesError::NoPictures));
    }
}
