//! CPU kernels for Burn: convolution, group norm and batch norm, forward and backward.
//!
//! Every function here computes what Burn's own operations compute and is differentiable. On the
//! Flex backend with `f32` tensors it runs this crate's kernels, several times faster than Flex's
//! own; on any other backend or precision it is composed of Burn's operations. The choice is made
//! at run time from the tensor itself.
//!
//! Results are the same bit for bit from run to run on the same machine.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use fcos_kernels::{Conv2dOptions, conv2d};
//!
//! let device = Device::flex();
//! let x = Tensor::<4>::ones([1, 3, 8, 8], &device);
//! let weight = Tensor::<4>::ones([16, 3, 3, 3], &device);
//! let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
//! assert_eq!(conv2d(x, weight, None, options).dims(), [1, 16, 8, 8]);
//! ```

mod buffer;
mod cpu;
mod extension;
mod flex;
mod functions;
mod ops;
mod options;

pub use functions::{
    BatchNormOutput, add_relu, batch_norm, channel_affine, conv2d, group_norm, max_pool2d, relu,
    upsample_add,
};
pub use options::{Activation, Conv2dOptions, MaxPool2dOptions};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
