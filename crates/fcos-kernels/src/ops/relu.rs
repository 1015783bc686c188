//! Rectification, alone or of a sum.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::Tracked;
use crate::buffer::Buffer;
use crate::cpu::planes;
use crate::flex::{Values, dims};

/// `max(x, 0)` of `x [B, C, H, W]`.
pub(crate) fn forward(x: FlexTensor) -> FlexTensor {
    let dims = dims::<4>(&x);
    let x = Values::of(x);
    let mut y = Buffer::new(x.as_slice().len());
    planes::relu(x.as_slice(), &mut y);
    y.into_tensor(dims)
}

/// `max(a + b, 0)` of two tensors `[B, C, H, W]`.
pub(crate) fn add_forward(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let dims = dims::<4>(&a);
    let (a, b) = (Values::of(a), Values::of(b));
    let mut y = Buffer::new(a.as_slice().len());
    planes::add_relu(a.as_slice(), b.as_slice(), &mut y);
    y.into_tensor(dims)
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(x: Tracked<C>) -> Tracked<C> {
    let prep = ReluBackward.prepare::<C>([x.node()]).compute_bound();
    let y = forward(x.into_primitive());
    match prep.stateful() {
        OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

/// [`add_forward`], recorded.
pub(crate) fn tracked_add<C: CheckpointStrategy>(a: Tracked<C>, b: Tracked<C>) -> Tracked<C> {
    let prep = ReluBackward
        .prepare::<C>([a.node(), b.node()])
        .compute_bound();
    let y = add_forward(a.into_primitive(), b.into_primitive());
    match prep.stateful() {
        OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

/// The gradient to every summand is the same: `dy` where the output was positive.
#[derive(Debug)]
struct ReluBackward;

impl<const N: usize> Backward<Flex, N> for ReluBackward {
    /// The output.
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = Values::of(grads.consume::<Flex>(&ops.node));
        let dims = dims::<4>(&ops.state);
        let y = Values::of(ops.state);
        let mut dx = Buffer::new(y.as_slice().len());
        planes::relu_grad(y.as_slice(), dy.as_slice(), &mut dx);
        let dx = dx.into_tensor(dims);
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, dx.clone());
        }
    }
}
