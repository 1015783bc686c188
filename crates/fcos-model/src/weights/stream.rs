//! A safetensors file of `f32`, read tensor by tensor: the file as a whole is never in memory.

use std::fs::File;
use std::io::{Read, Take};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError};

use super::{WeightsError, broken, io_error};
use crate::params::NamedTensors;

/// The header's length stands in front of it.
const LENGTH: u64 = 8;
/// As in the safetensors crate.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file whose header has been read.
pub(super) struct Stream {
    path: PathBuf,
    metadata: Metadata,
    tensors: Take<File>,
}

impl Stream {
    /// Reads the header, and checks that the file is as long as it says.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |e| io_error(path, e);
        let wrong = |e| broken(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < LENGTH {
            return Err(wrong(SafeTensorError::HeaderTooSmall));
        }
        let mut start = [0; LENGTH as usize];
        file.read_exact(&mut start).map_err(io)?;
        let header = u64::from_le_bytes(start);
        if header > LONGEST_HEADER {
            return Err(wrong(SafeTensorError::HeaderTooLarge));
        }
        if header > length - LENGTH {
            return Err(wrong(SafeTensorError::InvalidHeaderLength));
        }
        let mut json = vec![0; header as usize];
        file.read_exact(&mut json).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|e| wrong(SafeTensorError::InvalidHeaderDeserialization(e)))?;
        let rest = length - LENGTH - header;
        if metadata.data_len() as u64 != rest {
            return Err(wrong(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self {
            path: path.into(),
            metadata,
            tensors: file.take(rest),
        })
    }

    /// An entry of `__metadata__`.
    pub fn entry(&self, name: &str) -> Option<&str> {
        let entries = self.metadata.metadata().as_ref()?;
        entries.get(name).map(String::as_str)
    }

    /// All tensors, which lie in the file one behind the other.
    pub fn read(mut self) -> Result<NamedTensors, WeightsError> {
        let mut bytes = Vec::new();
        let mut all = NamedTensors::new();
        for name in self.metadata.offset_keys() {
            let info = self.metadata.info(&name).cloned();
            let info = info
                .ok_or_else(|| broken(&self.path, SafeTensorError::TensorNotFound(name.clone())))?;
            let data = self.next(&name, &info, &mut bytes)?;
            all.insert(name, data);
        }
        Ok(all)
    }

    fn next(
        &mut self,
        name: &str,
        info: &TensorInfo,
        bytes: &mut Vec<u8>,
    ) -> Result<TensorData, WeightsError> {
        if info.dtype != Dtype::F32 {
            return Err(WeightsError::DType {
                path: self.path.clone(),
                name: name.into(),
                dtype: format!("{:?}", info.dtype),
            });
        }
        let (start, end) = info.data_offsets;
        bytes.resize(end - start, 0);
        self.tensors
            .read_exact(bytes)
            .map_err(|e| io_error(&self.path, e))?;
        let numbers = bytes.chunks_exact(size_of::<f32>());
        let numbers = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(TensorData::new(
            numbers.collect::<Vec<_>>(),
            info.shape.clone(),
        ))
    }
}
