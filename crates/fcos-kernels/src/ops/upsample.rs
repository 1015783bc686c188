//! Enlargement of a coarse map, added to a fine one. Legend: B images, C channels.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::Tracked;
use crate::buffer::Buffer;
use crate::cpu::upsample::UpsampleShape;
use crate::flex::{Values, dims};

fn shape_of(coarse: [usize; 4], fine: [usize; 4]) -> UpsampleShape {
    UpsampleShape {
        coarse: [coarse[2], coarse[3]],
        fine: [fine[2], fine[3]],
    }
}

/// `fine [B, C, H, W]` plus `coarse [B, C, h, w]` enlarged to its size.
pub(crate) fn forward(coarse: FlexTensor, fine: FlexTensor) -> FlexTensor {
    let dims_fine = dims::<4>(&fine);
    let shape = shape_of(dims(&coarse), dims_fine);
    let (coarse, fine) = (Values::of(coarse), Values::of(fine));
    let mut y = Buffer::new(fine.as_slice().len());
    shape.add(coarse.as_slice(), fine.as_slice(), &mut y);
    y.into_tensor(dims_fine)
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(coarse: Tracked<C>, fine: Tracked<C>) -> Tracked<C> {
    let prep = UpsampleBackward
        .prepare::<C>([coarse.node(), fine.node()])
        .compute_bound();
    let dims_coarse = dims(coarse.primitive());
    let y = forward(coarse.into_primitive(), fine.into_primitive());
    match prep.stateful() {
        OpsKind::Tracked(prep) => prep.finish(dims_coarse, y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

#[derive(Debug)]
struct UpsampleBackward;

impl Backward<Flex, 2> for UpsampleBackward {
    /// Sizes of the coarse map.
    type State = [usize; 4];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [coarse_node, fine_node] = ops.parents;
        let dy = grads.consume::<Flex>(&ops.node);
        if let Some(node) = coarse_node {
            let shape = shape_of(ops.state, dims(&dy));
            let mut dcoarse = Buffer::new(ops.state.iter().product());
            shape.coarse_grad(Values::of(dy.clone()).as_slice(), &mut dcoarse);
            grads.register::<Flex>(node.id, dcoarse.into_tensor(ops.state));
        }
        if let Some(node) = fine_node {
            grads.register::<Flex>(node.id, dy);
        }
    }
}
