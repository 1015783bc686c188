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
//! use fcos_model::{FcosConfig, weights};
//!
//! let device = Device::flex();
//! let model = FcosConfig::tiny().init(&device)?;
//! let path = std::env::temp_dir().join(format!("fcos-doc-{}.safetensors", std::process::id()));
//! weights::save(&path, &model, &["cat", "dog"])?;
//! let (model, names): (_, Vec<String>) = weights::load(&path, &device)?;
//! assert_eq!((model.config(), names.len()), (&FcosConfig::tiny(), 2));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adelaidet;
mod checkpoint;
mod error;
mod format;
mod import;
mod mmdet;
mod names;
mod official;
mod settings;
mod stem;
mod stream;
mod structure;
mod torchvision;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::FcosConfig;
use crate::fcos::Fcos;
use crate::params::NamedTensors;
use stream::Stream;

pub use error::WeightsError;
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
pub fn save(path: &Path, model: &Fcos, metadata: &impl Serialize) -> Result<(), WeightsError> {
    if model.is_folded() {
        return Err(WeightsError::Folded { path: path.into() });
    }
    let bytes = encode(path, model, metadata)?;
    fcos_core::write_atomically(path, &bytes).map_err(|source| io_error(path, source))
}

/// Reads a network onto `device`, with the metadata that was written with it.
///
/// # Errors
/// If the file is not a complete and valid weights file, or its metadata are no `M`.
pub fn load<M: DeserializeOwned>(path: &Path, device: &Device) -> Result<(Fcos, M), WeightsError> {
    let file = read(path)?;
    let of = || PathBuf::from(path);
    let metadata = serde_json::from_value(file.metadata)
        .map_err(|source| WeightsError::Metadata { path: of(), source })?;
    let model = file.model.init(device);
    let model = model.map_err(|source| WeightsError::Config { path: of(), source })?;
    let model = model.with_tensors(file.tensors);
    let model = model.map_err(|source| WeightsError::Tensors { path: of(), source })?;
    Ok((model, metadata))
}

/// The network with the tensors of a weights file, or of a [`Checkpoint`].
///
/// # Errors
/// Unless the file holds exactly the network's tensors; if a weights file's network has other
/// settings than `model`, apart from those that matter only in training.
pub fn load_into(path: &Path, model: Fcos) -> Result<Fcos, WeightsError> {
    let file = match read(path) {
        Ok(file) => file,
        Err(WeightsError::NoMetadata { .. } | WeightsError::NotSafetensors { .. }) => {
            return Checkpoint::read(path)?.into_network(model);
        }
        Err(error) => return Err(error),
    };
    let model = model.with_tensors(file.tensors);
    let model = model.map_err(|source| WeightsError::Tensors {
        path: path.into(),
        source,
    })?;
    settings::compare(path, file.model, model.config())?;
    Ok(model)
}

/// Reads a weights file without building its network.
///
/// # Errors
/// If the file is not a valid weights file. Whether its tensors are those of its configuration
/// only [`load`] sees.
pub fn read(path: &Path) -> Result<WeightsFile, WeightsError> {
    let file = Stream::open(path)?;
    let json = file.entry(ENTRY);
    let json = json.ok_or_else(|| WeightsError::NoMetadata { path: path.into() })?;
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
    let invalid = |source| WeightsError::Metadata {
        path: path.into(),
        source,
    };
    let Version { version } = serde_json::from_str(json).map_err(invalid)?;
    if version != VERSION {
        let path = path.into();
        return Err(WeightsError::Version {
            path,
            found: version,
        });
    }
    serde_json::from_str(json).map_err(invalid)
}

fn encode(path: &Path, model: &Fcos, metadata: &impl Serialize) -> Result<Vec<u8>, WeightsError> {
    let header = HeaderRef {
        version: VERSION,
        model: model.config(),
        metadata,
    };
    let json = serde_json::to_string(&header).map_err(|source| WeightsError::Metadata {
        path: path.into(),
        source,
    })?;
    let tensors = model.tensors();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, data)| {
            Ok((
                name,
                TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes())?,
            ))
        })
        .collect();
    let entries = HashMap::from([(ENTRY.to_string(), json)]);
    views
        .and_then(|views| safetensors::serialize(views, Some(entries)))
        .map_err(|e| broken(path, e))
}

/// That a tensor holds numbers only: one that is none would silently spoil every prediction.
fn finite(path: &Path, name: &str, values: &[f32]) -> Result<(), WeightsError> {
    // Whole blocks, so that the compiler can look at many numbers at a time.
    let block = |block: &[f32]| block.iter().fold(true, |all, v| all & v.is_finite());
    match values.chunks(1024).all(block) {
        true => Ok(()),
        false => Err(WeightsError::NotFinite {
            path: path.into(),
            name: name.into(),
        }),
    }
}

fn io_error(path: &Path, source: io::Error) -> WeightsError {
    WeightsError::Io {
        path: path.into(),
        source,
    }
}

fn broken(path: &Path, error: SafeTensorError) -> WeightsError {
    let path = path.into();
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => WeightsError::Truncated { path },
        other => WeightsError::NotSafetensors {
            path,
            reason: other.to_string(),
        },
    }
}
