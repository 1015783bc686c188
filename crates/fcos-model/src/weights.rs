//! Weights files: a safetensors file that needs nothing beside it, and [checkpoints](Checkpoint) of
//! other implementations.
//!
//! A weights file's tensors are `f32`, named and laid out as [`NamedTensors`] says. Its header's `__metadata__`
//! has one entry, `fcos`, a JSON object: `version` (1), `model` (the [`FcosConfig`]) and
//! `metadata` (whatever the writer adds: class names, preprocessing, provenance).
//!
//! Reading is strict: the file gives every tensor of the network and no other, in its shape and of
//! finite numbers, or an error that says what is wrong.
//!
//! ```
//! use burn::tensor::Device;
//! use fcos_model::{Fcos, FcosConfig, weights};
//!
//! let device = Device::flex();
//! let model = FcosConfig::tiny().init(&device)?;
//! let path = std::env::temp_dir().join(format!("fcos-doc-{}.safetensors", std::process::id()));
//! weights::save(&path, &model, &["cat", "dog"])?;
//! let (model, names): (Fcos, Vec<String>) = weights::load(&path, &device)?;
//! assert_eq!((model.config(), names.len()), (&FcosConfig::tiny(), 2));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adelaidet;
mod error;
pub(crate) mod families;
mod foreign;
mod format;
mod import;
mod mmdet;
pub(crate) mod names;
mod official;
mod settings;
mod stem;
mod stream;
mod structure;
mod torchvision;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backbone::BackboneModel;
use crate::config::FcosConfig;
use crate::fcos::Fcos;
use crate::params::NamedTensors;
use stream::Stream;

use error::WeightsErrorKind as Kind;
pub use error::{WeightsError, WeightsErrorKind};
pub use format::Format;
pub use import::Checkpoint;

/// The version of the format that [`save`] writes and [`read`] understands.
pub const VERSION: u64 = 1;

/// The entry of `__metadata__` that holds our JSON.
const ENTRY: &str = "fcos";

/// What a weights file holds.
#[derive(Debug, Clone)]
pub struct WeightsFile {
    /// The network's configuration.
    pub model: FcosConfig,
    /// What the writer added.
    pub metadata: Value,
    /// All tensors.
    pub tensors: NamedTensors,
}

#[derive(Serialize)]
struct HeaderRef<'a, M> {
    version: u64,
    model: &'a FcosConfig,
    metadata: &'a M,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "version")]
    _version: u64,
    model: FcosConfig,
    metadata: Value,
}

/// Only the version, whatever else a later format may hold.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// Writes a network and `metadata`, anything that serde can write as JSON, to `path`. The file
/// appears whole or not at all ([`write_atomically`](fcos_core::write_atomically)).
///
/// # Errors
/// If the file can't be written, or the network is [folded](Fcos::fold_batch_norm).
pub fn save<B: BackboneModel>(
    path: impl AsRef<Path>,
    model: &Fcos<B>,
    metadata: &impl Serialize,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    if model.is_folded() {
        return Err(Kind::Folded.at(path));
    }
    let json = header(path, model.config(), metadata)?;
    let bytes = encode(path, json, &model.tensors())?;
    fcos_core::write_atomically(path, &bytes).map_err(|source| io_error(path, source))
}

/// Reads a network onto `device`, with the metadata that was written with it.
///
/// # Errors
/// If the file is not a complete and valid weights file, or its metadata are no `M`.
pub fn load<B: BackboneModel, M: DeserializeOwned>(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<(Fcos<B>, M), WeightsError> {
    let path = path.as_ref();
    let file = read(path)?;
    let metadata = parsed(path, file.metadata)?;
    let initial = Fcos::new(&file.model, 0, device);
    let initial = initial.map_err(|e| Kind::Config(e).at(path))?;
    let model = with_tensors(path, initial, file.tensors)?;
    Ok((model, metadata))
}

fn parsed<M: DeserializeOwned>(path: &Path, metadata: Value) -> Result<M, WeightsError> {
    serde_json::from_value(metadata).map_err(|e| Kind::Metadata(e).at(path))
}

fn with_tensors<B: BackboneModel>(
    path: &Path,
    model: Fcos<B>,
    tensors: NamedTensors,
) -> Result<Fcos<B>, WeightsError> {
    let filled = model.with_tensors(tensors);
    filled.map_err(|e| Kind::Tensors(e).at(path))
}

/// The network with the tensors of a weights file, or of a [`Checkpoint`].
///
/// # Errors
/// Unless the file holds exactly the network's tensors; if a weights file's network has other
/// settings than `model`, apart from those that matter only in training.
pub fn load_into<B: BackboneModel>(
    path: impl AsRef<Path>,
    model: Fcos<B>,
) -> Result<Fcos<B>, WeightsError> {
    let path = path.as_ref();
    let file = match read(path) {
        Ok(file) => file,
        Err(error) if error.is_foreign() => return Checkpoint::read(path)?.into_network(model),
        Err(error) => return Err(error),
    };
    let model = with_tensors(path, model, file.tensors)?;
    settings::compare(path, file.model, model.config())?;
    Ok(model)
}

/// Reads a weights file without building its network.
///
/// # Errors
/// If the file is not a valid weights file. Whether its tensors are those of its configuration
/// only [`load`] sees.
pub fn read(path: impl AsRef<Path>) -> Result<WeightsFile, WeightsError> {
    let path = path.as_ref();
    let file = Stream::open(path)?;
    let json = file.entry(ENTRY);
    let json = json.ok_or_else(|| Kind::NoMetadata.at(path))?;
    let Header {
        model, metadata, ..
    } = parse_header(path, json)?;
    Ok(WeightsFile {
        model,
        metadata,
        tensors: file.read()?,
    })
}

fn parse_header(path: &Path, json: &str) -> Result<Header, WeightsError> {
    let invalid = |error| Kind::Metadata(error).at(path);
    // The version first: a later one may have anything else beside it.
    let Version { version } = serde_json::from_str(json).map_err(invalid)?;
    if version != VERSION {
        return Err(Kind::Version { found: version }.at(path));
    }
    serde_json::from_str(json).map_err(invalid)
}

/// The entry [`ENTRY`].
fn header(
    path: &Path,
    model: &FcosConfig,
    metadata: &impl Serialize,
) -> Result<String, WeightsError> {
    let header = HeaderRef {
        version: VERSION,
        model,
        metadata,
    };
    serde_json::to_string(&header).map_err(|e| Kind::Metadata(e).at(path))
}

/// A whole file, with `json` as its [`ENTRY`].
fn encode(path: &Path, json: String, tensors: &NamedTensors) -> Result<Vec<u8>, WeightsError> {
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, data)| Ok((name, view(data)?)))
        .collect();
    let entries = HashMap::from([(ENTRY.to_string(), json)]);
    views
        .and_then(|views| safetensors::serialize(views, Some(entries)))
        .map_err(|e| damaged(path, e))
}

/// That all of a tensor's values are finite: one that is not would silently spoil every prediction.
fn check_finite(path: &Path, name: &str, values: &[f32]) -> Result<(), WeightsError> {
    // Whole blocks, so that the compiler can look at many numbers at a time.
    let is_finite = |block: &[f32]| block.iter().fold(true, |all, v| all & v.is_finite());
    if values.chunks(1024).all(is_finite) {
        return Ok(());
    }
    Err(Kind::NotFinite { name: name.into() }.at(path))
}

fn io_error(path: &Path, source: io::Error) -> WeightsError {
    Kind::Io(source).at(path)
}

/// What the reader of safetensors says of a file, as one of our errors.
fn damaged(path: &Path, error: SafeTensorError) -> WeightsError {
    let kind = match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => Kind::Truncated,
        other => Kind::NotSafetensors {
            reason: other.to_string(),
        },
    };
    kind.at(path)
}

fn view(data: &TensorData) -> Result<TensorView<'_>, SafeTensorError> {
    TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())
}
