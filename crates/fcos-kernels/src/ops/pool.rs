//! Max pooling. Legend: B images, C channels.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::Tracked;
use crate::buffer::Buffer;
use crate::cpu::pool::PoolShape;
use crate::flex::{Values, dims};
use crate::options::MaxPool2dOptions;

/// The largest value of every window of `x [B, C, H, W]`.
pub(crate) fn forward(x: FlexTensor, options: MaxPool2dOptions) -> FlexTensor {
    let (shape, [batch, channels, ..]) = shape_of(&x, options);
    let [height, width] = shape.output();
    let mut y = Buffer::new(batch * channels * height * width);
    shape.forward(Values::of(x).as_slice(), &mut y);
    y.into_tensor([batch, channels, height, width])
}

fn shape_of(x: &FlexTensor, options: MaxPool2dOptions) -> (PoolShape, [usize; 4]) {
    let dims = dims(x);
    let shape = PoolShape {
        input: [dims[2], dims[3]],
        kernel: options.kernel_size,
        stride: options.stride,
        padding: options.padding,
    };
    (shape, dims)
}

/// The output, and for every output the index of its source in the input plane.
fn with_winners(x: FlexTensor, options: MaxPool2dOptions) -> (FlexTensor, Vec<u32>) {
    let (shape, [batch, channels, ..]) = shape_of(&x, options);
    let [out_height, out_width] = shape.output();
    let len = batch * channels * out_height * out_width;
    let (mut y, mut winners) = (Buffer::new(len), vec![0; len]);
    shape.forward_winners(Values::of(x).as_slice(), &mut y, &mut winners);
    let y = y.into_tensor([batch, channels, out_height, out_width]);
    (y, winners)
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(
    x: Tracked<C>,
    options: MaxPool2dOptions,
) -> Tracked<C> {
    let prep = PoolBackward.prepare::<C>([x.node()]).compute_bound();
    let input = dims(x.primitive());
    let (y, winners) = with_winners(x.into_primitive(), options);
    match prep.stateful() {
        OpsKind::Tracked(prep) => prep.finish((winners.into(), input, options), y),
        OpsKind::UnTracked(prep) => prep.finish(y),
    }
}

#[derive(Debug)]
struct PoolBackward;

impl Backward<Flex, 1> for PoolBackward {
    type State = (Arc<[u32]>, [usize; 4], MaxPool2dOptions);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = Values::of(grads.consume::<Flex>(&ops.node));
        let (winners, input, options) = ops.state;
        let shape = PoolShape {
            input: [input[2], input[3]],
            kernel: options.kernel_size,
            stride: options.stride,
            padding: options.padding,
        };
        let mut dx = Buffer::new(input.iter().product());
        shape.backward(&winners, dy.as_slice(), &mut dx);
        let dx = dx.into_tensor(input);
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, dx.clone());
        }
    }
}
