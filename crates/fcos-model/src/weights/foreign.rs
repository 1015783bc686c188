//! Foreign files as tensors by name: `.pth` and `.safetensors`, without what is wrapped around the
//! network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use pytorch_reader::{DType as PytorchType, PytorchError, PytorchReader};
use safetensors::{Dtype, SafeTensors};

use super::{Kind, WeightsError, damaged, io_error};
use crate::params::NamedTensors;

/// The entries under which training scripts put the network's tensors.
const WRAPPERS: [&str; 3] = ["model.", "state_dict.", "model_state_dict."];
/// What they put beside it.
const BESIDE: [&str; 7] = [
    "optimizer.",
    "scheduler.",
    "lr_scheduler.",
    "param_schedulers.",
    "message_hub.",
    "meta.",
    "iteration",
];
/// What `DistributedDataParallel` puts before every name.
const PARALLEL: &str = "module.";
/// How many times its length a file's tensors may take up.
const LARGEST_INFLATION: u64 = 4;
/// Batch normalisation counts its steps; nothing else is counted in a network's tensors.
const COUNTER: &str = "num_batches_tracked";

/// The tensors of a file in PyTorch's or safetensors' format, whichever it is by its first bytes.
/// Without what training scripts wrap around a network, and without counters.
pub(super) fn read(path: &Path) -> Result<NamedTensors, WeightsError> {
    let mut start = [0; 9];
    let mut file = File::open(path).map_err(|e| io_error(path, e))?;
    let is_safetensors = file.read_exact(&mut start).is_ok() && start[8] == b'{';
    if is_safetensors {
        read_safetensors(path)
    } else {
        read_pytorch(path)
    }
}

fn read_safetensors(path: &Path) -> Result<NamedTensors, WeightsError> {
    let bytes = std::fs::read(path).map_err(|e| io_error(path, e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(path, e))?;
    let views: BTreeMap<String, _> = file.iter().map(|(n, view)| (n.to_owned(), view)).collect();
    let read = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let unknown = || Kind::DType {
            name: name.clone(),
            dtype: format!("{:?}", view.dtype()),
        };
        let dtype = safetensors_type(view.dtype()).ok_or_else(|| unknown().at(path))?;
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        Ok((name, in_single_precision(data)))
    };
    network_tensors(views).into_iter().map(read).collect()
}

fn read_pytorch(path: &Path) -> Result<NamedTensors, WeightsError> {
    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(source) if source.kind() == std::io::ErrorKind::NotFound => {
            io_error(path, source)
        }
        other => Kind::NotCheckpoint {
            reason: other.to_string(),
        }
        .at(path),
    })?;
    let tensors = network_tensors(reader.into_tensors().into_iter().collect());
    check_sizes(path, &tensors)?;
    let read = |(name, tensor): (String, pytorch_reader::Tensor)| {
        let bytes = tensor.read().map_err(|e| io_error(path, e))?;
        let dtype = pytorch_type(tensor.dtype());
        let data = TensorData::from_bytes_vec(bytes, tensor.shape().to_vec(), dtype);
        Ok((name, in_single_precision(data)))
    };
    tensors.into_iter().map(read).collect()
}

/// That the file is not much smaller than its tensors: a view can repeat one number as often as it
/// likes, and nothing may be allocated for that. Compression and tensors that share their numbers
/// stay far below the limit.
fn check_sizes(
    path: &Path,
    tensors: &BTreeMap<String, pytorch_reader::Tensor>,
) -> Result<(), WeightsError> {
    let length = std::fs::metadata(path)
        .map_err(|e| io_error(path, e))?
        .len();
    let sizes = tensors.values().map(|tensor| tensor.byte_len() as u64);
    let claimed = sizes.fold(0, u64::saturating_add);
    if claimed <= length.saturating_mul(LARGEST_INFLATION) {
        return Ok(());
    }
    Err(Kind::Inflated { length, claimed }.at(path))
}

/// Half and double precision become `f32`; whole numbers stay what they are.
fn in_single_precision(data: TensorData) -> TensorData {
    match data.dtype() {
        DType::F16 | DType::BF16 | DType::F64 => data.convert::<f32>(),
        _ => data,
    }
}

/// The network's entries under their own names. What belongs to no network stays under its full
/// name, to be complained about.
pub(super) fn network_tensors<T>(mut tensors: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let wrapper = WRAPPERS
        .into_iter()
        .find(|w| tensors.keys().any(|name| name.starts_with(w)));
    if let Some(wrapper) = wrapper {
        tensors.retain(|name, _| !BESIDE.iter().any(|beside| name.starts_with(beside)));
        tensors = without_prefix(tensors, wrapper);
    }
    if tensors.keys().all(|name| name.starts_with(PARALLEL)) {
        tensors = without_prefix(tensors, PARALLEL);
    }
    tensors.retain(|name, _| !name.ends_with(COUNTER));
    tensors
}

/// Without the prefix, where that leaves a name that no other tensor has.
fn without_prefix<T>(tensors: BTreeMap<String, T>, prefix: &str) -> BTreeMap<String, T> {
    let has_prefix = |(name, _): &(String, T)| name.starts_with(prefix);
    let (mut inside, outside): (Vec<_>, Vec<_>) = tensors.into_iter().partition(has_prefix);
    inside.sort_by_key(|(name, _)| name.len()); // a name that stays is there before it is made
    let mut all: BTreeMap<_, _> = outside.into_iter().collect();
    for (name, tensor) in inside {
        let short = name[prefix.len()..].to_owned();
        let name = if all.contains_key(&short) {
            name
        } else {
            short
        };
        all.insert(name, tensor);
    }
    all
}

fn safetensors_type(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::U8 => DType::U8,
        _ => return None,
    })
}

fn pytorch_type(dtype: PytorchType) -> DType {
    match dtype {
        PytorchType::F64 => DType::F64,
        PytorchType::F32 => DType::F32,
        PytorchType::F16 => DType::F16,
        PytorchType::BF16 => DType::BF16,
        PytorchType::I64 => DType::I64,
        PytorchType::I32 => DType::I32,
        PytorchType::I16 => DType::I16,
        PytorchType::I8 => DType::I8,
        PytorchType::U64 => DType::U64,
        PytorchType::U32 => DType::U32,
        PytorchType::U16 => DType::U16,
        PytorchType::U8 | PytorchType::Bool => DType::U8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        let tensors = names.iter().map(|&n| (n.to_owned(), ())).collect();
        network_tensors(tensors).into_keys().collect()
    }

    #[test]
    fn wrapping_and_counters_go() {
        assert_eq!(names(&["a.weight", "bn.num_batches_tracked"]), ["a.weight"]);
        assert_eq!(names(&["module.a", "module.b"]), ["a", "b"]);
        assert_eq!(names(&["module.a", "b"]), ["b", "module.a"]);
        assert_eq!(
            names(&["model.module.a", "optimizer.state.0.momentum_buffer"]),
            ["a"]
        );
        assert_eq!(names(&["state_dict.a", "extra.b"]), ["a", "extra.b"]);
        // Nothing is lost where two names become one.
        assert_eq!(names(&["model.a", "a"]), ["a", "model.a"]);
        assert_eq!(
            names(&["model.model.z", "model.z", "z"]),
            ["model.model.z", "model.z", "z"]
        );
    }
}
