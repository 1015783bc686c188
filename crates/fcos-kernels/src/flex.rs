//! Between Flex tensors and slices.

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensorKind, TensorMetadata};
use burn::tensor::{DType, Shape, Tensor, TensorData};

/// A Flex tensor of `f32` whose values lie in row-major order.
pub(crate) struct Values(FlexTensor);

impl Values {
    pub(crate) fn of(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous tensor of f32")
    }
}

/// A Flex tensor of `values` in row-major order.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape)))
}

/// The sizes of a tensor known to have `D` dimensions.
pub(crate) fn dims<const D: usize>(tensor: &impl TensorMetadata) -> [usize; D] {
    tensor.shape().dims()
}

/// Whether the kernels of this crate can compute on `tensor`: single precision, on Flex.
pub(crate) fn supports<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && is_flex(&tensor.clone().into_dispatch().kind)
}

fn is_flex(kind: &DispatchTensorKind) -> bool {
    match kind {
        DispatchTensorKind::Flex(_) => true,
        DispatchTensorKind::Autodiff(inner) => is_flex(inner),
        #[allow(unreachable_patterns)]
        _ => false,
    }
}
