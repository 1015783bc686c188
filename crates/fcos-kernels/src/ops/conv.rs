//! Convolution. Legend: B images, C channels.

use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::{Tracked, relu};
use crate::buffer::Buffer;
use crate::cpu::conv::{self, Epilogue};
use crate::cpu::shape::ConvShape;
use crate::flex::{Values, dims, tensor};
use crate::options::{Activation, Conv2dOptions};

/// The sizes of the convolution of `x [B, Cin, H, W]` with `weight [Cout, Cin / groups, KH, KW]`.
fn shape_of(x: &FlexTensor, weight: &FlexTensor, options: Conv2dOptions) -> ConvShape {
    let [batch, in_channels, height, width] = dims(x);
    let [out_channels, _, kernel_height, kernel_width] = dims(weight);
    ConvShape {
        batch,
        in_channels,
        out_channels,
        input: [height, width],
        kernel: [kernel_height, kernel_width],
        stride: options.stride,
        padding: options.padding,
        dilation: options.dilation,
        groups: options.groups,
    }
}

/// The convolution plus `bias [Cout]`, then `options.then`.
pub(crate) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    options: Conv2dOptions,
) -> FlexTensor {
    let shape = shape_of(&x, &weight, options);
    let [height, width] = shape.output();
    let (x, weight, bias) = (Values::of(x), Values::of(weight), Values::of(bias));
    let mut y = Buffer::new(shape.output_len());
    let epilogue = Epilogue {
        bias: Some(bias.as_slice()),
        relu: options.then == Activation::Relu,
    };
    conv::forward(&shape, x.as_slice(), weight.as_slice(), epilogue, &mut y);
    y.into_tensor([shape.batch, shape.out_channels, height, width])
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(
    x: Tracked<C>,
    weight: Tracked<C>,
    bias: Tracked<C>,
    options: Conv2dOptions,
) -> Tracked<C> {
    if options.then == Activation::Relu {
        let linear = Conv2dOptions {
            then: Activation::Nothing,
            ..options
        };
        return relu::tracked::<C>(tracked::<C>(x, weight, bias, linear));
    }
    let nodes = [x.node(), weight.node(), bias.node()];
    match Conv2dBackward
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let x_state = prep.checkpoint(&x);
            let weight = weight.into_primitive();
            let y = forward(
                x.into_primitive(),
                weight.clone(),
                bias.into_primitive(),
                options,
            );
            prep.finish((x_state, weight, options), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            options,
        )),
    }
}

#[derive(Debug)]
struct Conv2dBackward;

impl Backward<Flex, 3> for Conv2dBackward {
    type State = (NodeId, FlexTensor, Conv2dOptions);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [x_node, weight_node, bias_node] = ops.parents;
        let dy = Values::of(grads.consume::<Flex>(&ops.node));
        let (x_state, weight, options) = ops.state;
        let x: FlexTensor = checkpointer.retrieve_node_output(x_state);
        let shape = shape_of(&x, &weight, options);
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, input_grad(&shape, &weight, &dy));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, weight_grad(&shape, x, &dy));
        }
        if let Some(node) = bias_node {
            grads.register::<Flex>(node.id, bias_grad(&shape, &dy));
        }
    }
}

fn input_grad(shape: &ConvShape, weight: &FlexTensor, dy: &Values) -> FlexTensor {
    let weight = Values::of(weight.clone());
    let mut dx = Buffer::new(shape.input_len());
    conv::input_grad(shape, weight.as_slice(), dy.as_slice(), &mut dx);
    let [height, width] = shape.input;
    dx.into_tensor([shape.batch, shape.in_channels, height, width])
}

fn weight_grad(shape: &ConvShape, x: FlexTensor, dy: &Values) -> FlexTensor {
    let mut dw = vec![0.0; shape.weight_len()];
    conv::weight_grad(shape, Values::of(x).as_slice(), dy.as_slice(), &mut dw);
    let [height, width] = shape.kernel;
    let per_group = shape.in_channels / shape.groups;
    tensor(dw, [shape.out_channels, per_group, height, width])
}

fn bias_grad(shape: &ConvShape, dy: &Values) -> FlexTensor {
    let mut db = vec![0.0; shape.out_channels];
    conv::bias_grad(
        shape.out_channels,
        shape.out_plane(),
        dy.as_slice(),
        &mut db,
    );
    tensor(db, [shape.out_channels])
}
