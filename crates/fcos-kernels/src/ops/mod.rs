//! Every operation on Flex tensors: forward, and forward with its backward step recorded.

pub(crate) mod affine;
pub(crate) mod conv;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod relu;
pub(crate) mod upsample;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

/// A Flex tensor that may take part in a gradient graph with checkpoint strategy `C`.
pub(crate) type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;
