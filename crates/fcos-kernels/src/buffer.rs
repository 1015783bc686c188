//! Memory of large results, kept for later ones.
//!
//! The allocator gives blocks of megabytes back to the system when they are freed, and gets new
//! ones as zeroed pages, one fault each: a tenth of the time of a forward pass (measured). Dropped
//! buffers wait here instead, [`IDLE_BYTES`] of them at most.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use burn::backend::flex::FlexTensor;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, TensorData};

/// What may lie idle. The largest map of a ResNet at 800 × 1344 has 69 MB.
const IDLE_BYTES: usize = 256 << 20;

/// Smaller blocks are the allocator's own business: it keeps them too.
const MIN_BYTES: usize = 1 << 17;

/// Idle blocks, the longest waiting first.
static IDLE: Mutex<Idle> = Mutex::new(Idle { blocks: Vec::new() });

/// Values of a tensor to be; their memory outlives them.
pub(crate) struct Buffer {
    block: Vec<f32>,
    /// Values in use; the block may be longer.
    len: usize,
}

impl Buffer {
    /// `len` values of **arbitrary content**: whatever an earlier user left there.
    pub(crate) fn new(len: usize) -> Self {
        let kept = with_idle(|idle| idle.take(len));
        let block = kept.unwrap_or_else(|| vec![0.0; len]);
        let mut buffer = Self { block, len };
        if cfg!(debug_assertions) {
            buffer.fill(f32::NAN); // a value that nobody writes shows
        }
        buffer
    }

    /// The tensor of the values in row-major order. Whoever writes to it later writes to a copy.
    pub(crate) fn into_tensor<const D: usize>(self, shape: [usize; D]) -> FlexTensor {
        let bytes = bytes::Bytes::from_owner(self);
        let bytes = Bytes::from_shared(bytes, AllocationProperty::Native);
        FlexTensor::from_data(TensorData::from_bytes(
            bytes,
            Shape::from(shape),
            DType::F32,
        ))
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.block[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.block[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let block = mem::take(&mut self.block);
        drop(with_idle(|idle| idle.put(block)));
    }
}

fn with_idle<R>(f: impl FnOnce(&mut Idle) -> R) -> R {
    f(&mut IDLE.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Idle {
    blocks: Vec<Vec<f32>>,
}

impl Idle {
    /// The smallest block that holds `len` values, unless more than half of it would be wasted.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let fits = |block: &Vec<f32>| (len..=2 * len).contains(&block.len());
        let chosen = (0..self.blocks.len())
            .filter(|&i| fits(&self.blocks[i]))
            .min_by_key(|&i| self.blocks[i].len())?;
        Some(self.blocks.remove(chosen))
    }

    /// Keeps `block`, and returns what there is no room for: the longest idle blocks, or `block`.
    fn put(&mut self, block: Vec<f32>) -> Vec<Vec<f32>> {
        if !(MIN_BYTES..=IDLE_BYTES).contains(&bytes_of(&block)) {
            return vec![block];
        }
        self.blocks.push(block);
        let mut total: usize = self.blocks.iter().map(|block| bytes_of(block)).sum();
        let mut surplus = 0;
        while total > IDLE_BYTES {
            total -= bytes_of(&self.blocks[surplus]);
            surplus += 1;
        }
        self.blocks.drain(..surplus).collect()
    }
}

fn bytes_of(block: &[f32]) -> usize {
    size_of_val(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = (1 << 20) / size_of::<f32>();

    fn idle(mib: &[usize]) -> Idle {
        let mut idle = Idle { blocks: Vec::new() };
        for &mib in mib {
            assert!(idle.put(vec![0.0; mib * MIB]).is_empty());
        }
        idle
    }

    fn sizes(idle: &Idle) -> Vec<usize> {
        idle.blocks.iter().map(|block| block.len() / MIB).collect()
    }

    #[test]
    fn the_smallest_fitting_block_is_taken() {
        let mut idle = idle(&[8, 3, 4]);
        assert_eq!(idle.take(3 * MIB - 1).map(|b| b.len()), Some(3 * MIB));
        assert_eq!(idle.take(3 * MIB).map(|b| b.len()), Some(4 * MIB));
        assert!(idle.take(3 * MIB).is_none(), "8 is more than twice 3");
        assert!(idle.take(9 * MIB).is_none());
        assert_eq!(sizes(&idle), [8]);
    }

    #[test]
    fn what_lies_idle_is_bounded() {
        let mut idle = idle(&[100, 100, 50]);
        let surplus = idle.put(vec![0.0; 10 * MIB]);
        assert_eq!(surplus.len(), 1);
        assert_eq!(sizes(&idle), [100, 50, 10]);
        let huge = idle.put(vec![0.0; 257 * MIB]);
        assert_eq!((huge.len(), sizes(&idle)), (1, vec![100, 50, 10]));
        let small = idle.put(vec![0.0; 10]);
        assert_eq!((small.len(), sizes(&idle)), (1, vec![100, 50, 10]));
    }

    #[test]
    fn a_tensor_of_a_buffer_has_its_values_and_gives_its_memory_back() {
        let len = 3 * MIB + 7;
        let mut buffer = Buffer::new(len);
        buffer.fill(2.5);
        let tensor = buffer.into_tensor([1, 1, 1, len]);
        assert_eq!(
            tensor.as_slice::<f32>().map(|v| (v.len(), v[len - 1])),
            Some((len, 2.5))
        );
        drop(tensor);
        assert!(with_idle(|idle| idle.blocks.iter().any(|b| b.len() == len)));
    }
}
