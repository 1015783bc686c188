//! Scale and shift per channel. Legend: B images, C channels.

use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::Tracked;
use crate::buffer::Buffer;
use crate::cpu::affine::Channels;
use crate::flex::{Values, dims, tensor};

/// `scale * x + shift` of `x [B, C, H, W]` with `[C]` each, rectified at will.
pub(crate) fn forward(
    x: FlexTensor,
    scale: FlexTensor,
    shift: FlexTensor,
    relu: bool,
) -> FlexTensor {
    let dims = dims::<4>(&x);
    let (x, scale, shift) = (Values::of(x), Values::of(scale), Values::of(shift));
    let mut y = Buffer::new(x.as_slice().len());
    channels(&scale, &shift, relu).forward(dims[2] * dims[3], x.as_slice(), &mut y);
    y.into_tensor(dims)
}

fn channels<'a>(scale: &'a Values, shift: &'a Values, relu: bool) -> Channels<'a> {
    Channels {
        scale: scale.as_slice(),
        shift: shift.as_slice(),
        relu,
    }
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(
    x: Tracked<C>,
    scale: Tracked<C>,
    shift: Tracked<C>,
    relu: bool,
) -> Tracked<C> {
    let nodes = [x.node(), scale.node(), shift.node()];
    match AffineBackward
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let x_state = prep.checkpoint(&x);
            let (scale, shift) = (scale.into_primitive(), shift.into_primitive());
            let y = forward(x.into_primitive(), scale.clone(), shift.clone(), relu);
            prep.finish((x_state, scale, shift, relu), y)
        }
        OpsKind::UnTracked(prep) => {
            let (scale, shift) = (scale.into_primitive(), shift.into_primitive());
            prep.finish(forward(x.into_primitive(), scale, shift, relu))
        }
    }
}

#[derive(Debug)]
struct AffineBackward;

impl Backward<Flex, 3> for AffineBackward {
    type State = (NodeId, FlexTensor, FlexTensor, bool);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [x_node, scale_node, shift_node] = ops.parents;
        let dy = Values::of(grads.consume::<Flex>(&ops.node));
        let (x_state, scale, shift, relu) = ops.state;
        let x: FlexTensor = checkpointer.retrieve_node_output(x_state);
        let dims = dims::<4>(&x);
        let (x, scale, shift) = (Values::of(x), Values::of(scale), Values::of(shift));
        let (channels, plane_len) = (channels(&scale, &shift, relu), dims[2] * dims[3]);
        if let Some(node) = x_node {
            let mut dx = Buffer::new(x.as_slice().len());
            channels.input_grad(plane_len, x.as_slice(), dy.as_slice(), &mut dx);
            grads.register::<Flex>(node.id, dx.into_tensor(dims));
        }
        if scale_node.is_some() || shift_node.is_some() {
            let of_params = channels.param_grads(plane_len, x.as_slice(), dy.as_slice());
            for (node, grad) in [(scale_node, of_params.gamma), (shift_node, of_params.beta)] {
                if let Some(node) = node {
                    grads.register::<Flex>(node.id, tensor(grad, [dims[1]]));
                }
            }
        }
    }
}
