//! Group and batch normalisation. Legend: B images, C channels.

use burn::backend::Flex;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;

use super::Tracked;
use crate::buffer::Buffer;
use crate::cpu::norm::{NormParams, NormShape, Sharing, Statistics};
use crate::flex::{Values, dims, tensor};

/// What a normalisation does besides its learnt parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormOptions {
    /// Groups of channels that share statistics within an image; `None` for batch norm.
    pub(crate) groups: Option<usize>,
    pub(crate) epsilon: f64,
    pub(crate) relu: bool,
}

impl NormOptions {
    fn shape_of(&self, x: &FlexTensor) -> NormShape {
        let [batch, channels, height, width] = dims(x);
        NormShape {
            batch,
            channels,
            plane_len: height * width,
            sharing: match self.groups {
                Some(groups) => Sharing::Groups {
                    channels_per_group: channels / groups,
                },
                None => Sharing::Batch,
            },
        }
    }

    fn params<'a>(&self, gamma: &'a Values, beta: &'a Values) -> NormParams<'a> {
        NormParams {
            gamma: gamma.as_slice(),
            beta: beta.as_slice(),
            epsilon: self.epsilon,
            relu: self.relu,
        }
    }
}

/// The normalised `x [B, C, H, W]` and the statistics of every set of planes.
pub(crate) fn forward(
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    options: NormOptions,
) -> (FlexTensor, Vec<Statistics>) {
    let (shape, dims) = (options.shape_of(&x), dims::<4>(&x));
    let (x, gamma, beta) = (Values::of(x), Values::of(gamma), Values::of(beta));
    let statistics = shape.statistics(x.as_slice());
    let mut y = Buffer::new(x.as_slice().len());
    shape.forward(
        x.as_slice(),
        &statistics,
        options.params(&gamma, &beta),
        &mut y,
    );
    (y.into_tensor(dims), statistics)
}

/// [`forward`], recorded.
pub(crate) fn tracked<C: CheckpointStrategy>(
    x: Tracked<C>,
    gamma: Tracked<C>,
    beta: Tracked<C>,
    options: NormOptions,
) -> (Tracked<C>, Vec<Statistics>) {
    let nodes = [x.node(), gamma.node(), beta.node()];
    match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let x_state = prep.checkpoint(&x);
            let (gamma, beta) = (gamma.into_primitive(), beta.into_primitive());
            let (y, statistics) = forward(x.into_primitive(), gamma.clone(), beta.clone(), options);
            let state = NormState {
                x: x_state,
                gamma,
                beta,
                statistics: statistics.clone(),
                options,
            };
            (prep.finish(state, y), statistics)
        }
        OpsKind::UnTracked(prep) => {
            let (gamma, beta) = (gamma.into_primitive(), beta.into_primitive());
            let (y, statistics) = forward(x.into_primitive(), gamma, beta, options);
            (prep.finish(y), statistics)
        }
    }
}

/// Mean and biased variance of every channel of a batch norm, `[C]` each.
pub(crate) fn statistics_tensors(statistics: &[Statistics]) -> (FlexTensor, FlexTensor) {
    let channels = [statistics.len()];
    let mean = statistics.iter().map(|set| set.mean as f32).collect();
    let variance = statistics.iter().map(|set| set.variance as f32).collect();
    (tensor(mean, channels), tensor(variance, channels))
}

#[derive(Clone, Debug)]
struct NormState {
    x: NodeId,
    gamma: FlexTensor,
    beta: FlexTensor,
    statistics: Vec<Statistics>,
    options: NormOptions,
}

#[derive(Debug)]
struct NormBackward;

impl Backward<Flex, 3> for NormBackward {
    type State = NormState;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = Values::of(grads.consume::<Flex>(&ops.node));
        let state = ops.state;
        let x: FlexTensor = checkpointer.retrieve_node_output(state.x);
        let (shape, dims) = (state.options.shape_of(&x), dims::<4>(&x));
        let (x, gamma, beta) = (
            Values::of(x),
            Values::of(state.gamma),
            Values::of(state.beta),
        );
        let params = state.options.params(&gamma, &beta);
        let mut dx = Buffer::new(x.as_slice().len());
        let of_params = shape.backward(
            x.as_slice(),
            &state.statistics,
            params,
            dy.as_slice(),
            &mut dx,
        );
        let results = [
            dx.into_tensor(dims),
            tensor(of_params.gamma, [shape.channels]),
            tensor(of_params.beta, [shape.channels]),
        ];
        for (node, grad) in ops.parents.into_iter().zip(results) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, grad);
            }
        }
    }
}
