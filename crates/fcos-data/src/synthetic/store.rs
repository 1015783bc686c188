//! The data set's folder: written elsewhere, moved into place, recognised later.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use image::ImageFormat;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::coco::{ImageEntry, instances_json};
use super::scene::Scene;
use super::shapes::Shape;
use super::{SyntheticConfig, SyntheticError};
use fcos_core::Rng;

/// Counts up whenever the same configuration would give other files.
const VERSION: u32 = 2;

/// Marks a folder as generated; what it says is written last.
const MANIFEST: &str = "fcos-synthetic.json";

/// A generated data set on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticDataset {
    /// The training split's COCO annotation file.
    pub train_annotations: PathBuf,
    /// The folder of the training split's PNG images.
    pub train_images: PathBuf,
    /// The validation split's COCO annotation file.
    pub val_annotations: PathBuf,
    /// The folder of the validation split's PNG images.
    pub val_images: PathBuf,
    /// What the training split holds.
    pub train_summary: SplitSummary,
    /// What the validation split holds.
    pub val_summary: SplitSummary,
    /// Whether the folder already held this data set, so that nothing was written.
    pub reused: bool,
}

/// Counts of one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSummary {
    /// Images.
    pub images: u32,
    /// Images without an object.
    pub empty_images: u32,
    /// Objects by label, in the order of [`CLASS_NAMES`](super::CLASS_NAMES).
    pub objects_per_class: Vec<u32>,
    /// Size of the annotation file and all images together, in bytes.
    pub bytes: u64,
}

impl SplitSummary {
    /// Objects of all classes.
    pub fn objects(&self) -> u32 {
        self.objects_per_class.iter().sum()
    }
}

/// What was generated, beside the data.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    config: SyntheticConfig,
    train: SplitSummary,
    val: SplitSummary,
}

/// The two parts of a data set; the discriminant keys their random streams.
#[derive(Clone, Copy)]
enum Split {
    Train,
    Val,
}

impl Split {
    const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }

    const fn images(self, config: &SyntheticConfig) -> u32 {
        match self {
            Self::Train => config.train_images,
            Self::Val => config.val_images,
        }
    }

    fn annotations(self, dir: &Path) -> PathBuf {
        dir.join(format!("instances_{}.json", self.name()))
    }

    fn folder(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

/// Generates a data set in `dir`, or finds it there.
///
/// The folder then holds `instances_train.json`, `instances_val.json` (COCO's instances layout), the
/// PNG images under `train/` and `val/`, and a manifest. Everything is written to a neighbouring
/// folder `<dir>.partial` and moved into place at the end, so `dir` never holds half a data set. A
/// data set of the same configuration that is complete is reused; one of another configuration, or
/// with files missing or cut short, is replaced. On one platform the files are the same byte for
/// byte whatever the number of threads. Two processes must not generate the same `dir` at once.
///
/// # Errors
/// [`SyntheticError::Setting`] for a field outside its range,
/// [`SyntheticError::ForeignFolder`] if `dir` would have to be replaced, or a `<dir>.partial` removed,
/// but holds something else beside a data set's entries or has no manifest; then all stays untouched,
/// [`SyntheticError::NoFolderName`] for a path such as `..`, and the kinds for files that cannot be
/// read or written.
pub fn generate(
    dir: impl AsRef<Path>,
    config: &SyntheticConfig,
) -> Result<SyntheticDataset, SyntheticError> {
    let dir = dir.as_ref();
    config.validate()?;
    let existing = read_manifest(dir)?;
    if let Some(manifest) = existing.filter(|m| is_current(m, config) && is_complete(dir, m)) {
        return Ok(describe(dir, manifest, true));
    }
    let partial = partial_folder(dir)?;
    check_ours(dir)?;
    check_ours(&partial)?;
    remove_folder(&partial)?;
    let manifest = write_dataset(&partial, config)?;
    remove_folder(dir)?;
    fs::rename(&partial, dir).map_err(|e| io_error(&partial, e))?;
    Ok(describe(dir, manifest, false))
}

fn describe(dir: &Path, manifest: Manifest, reused: bool) -> SyntheticDataset {
    SyntheticDataset {
        train_annotations: Split::Train.annotations(dir),
        train_images: Split::Train.folder(dir),
        val_annotations: Split::Val.annotations(dir),
        val_images: Split::Val.folder(dir),
        train_summary: manifest.train,
        val_summary: manifest.val,
        reused,
    }
}

/// The manifest of an earlier run; `None` if there's nothing, or nothing readable, to reuse.
fn read_manifest(dir: &Path) -> Result<Option<Manifest>, SyntheticError> {
    let path = dir.join(MANIFEST);
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(&path, e)),
    }
}

/// That a folder is missing or empty, or has a manifest and only what stands beside one, so that no
/// one's files get lost.
fn check_ours(dir: &Path) -> Result<(), SyntheticError> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| io_error(dir, e))?,
    };
    let manifest = dir.join(MANIFEST);
    let generated = manifest.is_file();
    for entry in entries {
        let path = entry.map_err(|e| io_error(dir, e))?.path();
        if !generated || (path != manifest && !split_entries(dir).contains(&path)) {
            return Err(SyntheticError::ForeignFolder { path });
        }
    }
    Ok(())
}

/// What stands beside the manifest.
fn split_entries(dir: &Path) -> [PathBuf; 4] {
    let [train, val] = [Split::Train, Split::Val];
    [
        train.folder(dir),
        val.folder(dir),
        train.annotations(dir),
        val.annotations(dir),
    ]
}

fn is_current(manifest: &Manifest, config: &SyntheticConfig) -> bool {
    manifest.version == VERSION && manifest.config == *config
}

/// Whether every file is there and all together have the size they were written with.
fn is_complete(dir: &Path, manifest: &Manifest) -> bool {
    [(Split::Train, &manifest.train), (Split::Val, &manifest.val)]
        .into_iter()
        .all(|(split, summary)| {
            let folder = split.folder(dir);
            let images = (0..summary.images).map(|i| folder.join(file_name(i)));
            let files = images.chain([split.annotations(dir)]);
            let sizes = files.map(|path| fs::metadata(path).map(|m| m.len()));
            sizes
                .sum::<io::Result<u64>>()
                .is_ok_and(|bytes| bytes == summary.bytes)
        })
}

/// The number is the image's id.
fn file_name(index: u32) -> String {
    format!("{:06}.png", index + 1)
}

fn partial_folder(dir: &Path) -> Result<PathBuf, SyntheticError> {
    let name = dir.file_name().map(OsStr::to_os_string);
    let mut name = name.ok_or_else(|| SyntheticError::NoFolderName { path: dir.into() })?;
    name.push(".partial");
    Ok(dir.with_file_name(name))
}

/// Removes a folder that is [ours](check_ours); the manifest with the folder, at last, so that a kill
/// leaves one that still is.
fn remove_folder(dir: &Path) -> Result<(), SyntheticError> {
    for path in split_entries(dir).iter().map(PathBuf::as_path).chain([dir]) {
        let removed = if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        match removed {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error(path, e)),
            _ => (),
        }
    }
    Ok(())
}

fn write_dataset(dir: &Path, config: &SyntheticConfig) -> Result<Manifest, SyntheticError> {
    fs::create_dir_all(dir).map_err(|e| io_error(dir, e))?;
    let path = dir.join(MANIFEST);
    write_file(&path, b"")?; // for a later run to see whose the folder is
    let manifest = Manifest {
        version: VERSION,
        config: config.clone(),
        train: write_split(dir, config, Split::Train)?,
        val: write_split(dir, config, Split::Val)?,
    };
    write_json(&path, serde_json::to_vec_pretty(&manifest))?;
    Ok(manifest)
}

fn write_split(
    dir: &Path,
    config: &SyntheticConfig,
    split: Split,
) -> Result<SplitSummary, SyntheticError> {
    let folder = split.folder(dir);
    fs::create_dir_all(&folder).map_err(|e| io_error(&folder, e))?;
    let written: Vec<(ImageEntry, u64)> = (0..split.images(config))
        .into_par_iter()
        .map(|index| write_image(&folder, config, split, index))
        .collect::<Result<_, _>>()?;
    let (entries, sizes): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    let json_size = write_json(&split.annotations(dir), instances_json(VERSION, &entries))?;
    Ok(summarize(&entries, sizes.iter().sum::<u64>() + json_size))
}

/// Writes one image and returns its entry and its size in bytes.
fn write_image(
    folder: &Path,
    config: &SyntheticConfig,
    split: Split,
    index: u32,
) -> Result<(ImageEntry, u64), SyntheticError> {
    let mut rng = Rng::from_key(&[config.seed, split as u64, index.into()]);
    let Scene { image, objects } = Scene::generate(config, &mut rng);
    let path = folder.join(file_name(index));
    let mut png = io::Cursor::new(Vec::new());
    let encoded = image.write_to(&mut png, ImageFormat::Png);
    encoded.map_err(|source| SyntheticError::Encode {
        path: path.clone(),
        source,
    })?;
    let size = write_file(&path, png.get_ref())?;
    let entry = ImageEntry {
        file_name: file_name(index),
        width: image.width(),
        height: image.height(),
        objects,
    };
    Ok((entry, size))
}

fn summarize(entries: &[ImageEntry], bytes: u64) -> SplitSummary {
    let mut objects_per_class = vec![0; Shape::ALL.len()];
    let objects = entries.iter().flat_map(|e| &e.objects);
    objects.for_each(|o| objects_per_class[o.label] += 1);
    SplitSummary {
        images: entries.len() as u32,
        empty_images: entries.iter().filter(|e| e.objects.is_empty()).count() as u32,
        objects_per_class,
        bytes,
    }
}

fn write_json(path: &Path, json: serde_json::Result<Vec<u8>>) -> Result<u64, SyntheticError> {
    let json = json.map_err(|source| SyntheticError::Json {
        path: path.into(),
        source,
    })?;
    write_file(path, &json)
}

/// Writes a file and returns its size.
fn write_file(path: &Path, bytes: &[u8]) -> Result<u64, SyntheticError> {
    fs::write(path, bytes).map_err(|e| io_error(path, e))?;
    Ok(bytes.len() as u64)
}

fn io_error(path: &Path, source: io::Error) -> SyntheticError {
    SyntheticError::Io {
        path: path.into(),
        source,
    }
}
