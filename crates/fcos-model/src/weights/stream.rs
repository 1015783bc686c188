//! A safetensors file of `f32`, read straight into its tensors.

use std::fs::File;
#[cfg(not(unix))]
use std::io::Seek;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use rayon::prelude::*;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError};

use super::{Kind, WeightsError, check_finite, damaged, io_error};
use crate::params::NamedTensors;

/// The header's length stands in front of it.
const LENGTH: u64 = 8;
/// As in the safetensors crate.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file whose header has been read.
pub(super) struct Stream {
    path: PathBuf,
    metadata: Metadata,
    #[cfg(unix)]
    file: File,
    /// Where the tensors start.
    start: u64,
}

impl Stream {
    /// Reads the header, and checks that the file is as long as it says.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |e| io_error(path, e);
        let wrong = |e| damaged(path, e);
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
            #[cfg(unix)]
            file,
            start: LENGTH + header,
        })
    }

    /// An entry of `__metadata__`.
    pub fn entry(&self, name: &str) -> Option<&str> {
        let entries = self.metadata.metadata().as_ref()?;
        entries.get(name).map(String::as_str)
    }

    /// All tensors, by as many threads as there are.
    pub fn read(&self) -> Result<NamedTensors, WeightsError> {
        let names = self.metadata.offset_keys();
        let read = names.into_par_iter().map(|name| {
            let data = self.tensor(&name)?;
            Ok((name, data))
        });
        // In order first: of several errors it is always the same that is reported.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn tensor(&self, name: &str) -> Result<TensorData, WeightsError> {
        let info = self.metadata.info(name);
        let info =
            info.ok_or_else(|| damaged(&self.path, SafeTensorError::TensorNotFound(name.into())))?;
        if info.dtype != Dtype::F32 {
            let kind = Kind::DType {
                name: name.into(),
                dtype: format!("{:?}", info.dtype),
            };
            return Err(kind.at(&self.path));
        }
        let (start, end) = info.data_offsets;
        let mut values = vec![0f32; (end - start) / size_of::<f32>()];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        self.read_at(bytes, self.start + start as u64)
            .map_err(|e| io_error(&self.path, e))?;
        for value in values.iter_mut().filter(|_| cfg!(target_endian = "big")) {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
        }
        check_finite(&self.path, name, &values)?;
        Ok(TensorData::new(values, info.shape.clone()))
    }

    #[cfg(unix)]
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, position)
    }

    /// Opened again, since threads would move a common position.
    #[cfg(not(unix))]
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(position))?;
        file.read_exact(bytes)
    }
}
