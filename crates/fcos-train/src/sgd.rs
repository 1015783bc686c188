//! Burn's SGD, whose momentum can be loaded on any machine.
//!
//! [`ModuleOptimizer::load_record`] makes what it loads tensors of `Device::default()`, before each is
//! moved to its parameter's device. In a program with several backends that is a GPU, whether the
//! machine has one or not. Here the loaded numbers stay on the host until their device is known.
//!
//! [`ModuleOptimizer::load_record`]: burn::optim::ModuleOptimizer::load_record

use burn::optim::momentum::MomentumState;
use burn::optim::{
    LearningRate, Optimizer, RecordState, SgdState, StateSink, StateSource, join_path,
};
use burn::tensor::{Device, Tensor, TensorData};

/// Stochastic gradient descent with momentum.
#[derive(Clone)]
pub(crate) struct Sgd(pub burn::optim::Sgd);

/// A parameter's momentum.
#[derive(Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are `Ready`, and a box would be allocated at every step"
)]
pub(crate) enum State<const D: usize> {
    /// On the host, as loaded.
    Loaded(TensorData),
    /// On the parameter's device.
    Ready(SgdState<D>),
}

impl<const D: usize> State<D> {
    fn on(self, device: &Device) -> SgdState<D> {
        match self {
            Self::Loaded(velocity) => {
                let velocity = Tensor::from_data(velocity, device);
                SgdState::new(Some(MomentumState::new(velocity)))
            }
            Self::Ready(state) => burn::optim::Sgd::to_device(state, device),
        }
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = State<D>;

    fn step<const D: usize>(
        &self,
        rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<State<D>>,
    ) -> (Tensor<D>, Option<State<D>>) {
        let state = state.map(|state| state.on(&tensor.device()));
        let (tensor, state) = self.0.step(rate, tensor, grad, state);
        (tensor, state.map(State::Ready))
    }

    fn to_device<const D: usize>(state: State<D>, device: &Device) -> State<D> {
        State::Ready(state.on(device))
    }
}

/// Where Burn's state keeps its only tensor.
const MOMENTUM: &str = "momentum";
const VELOCITY: &str = "velocity";

impl<const D: usize> RecordState for State<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match self {
            Self::Loaded(velocity) => {
                out.push_tensor(&join_path(prefix, MOMENTUM), VELOCITY, velocity.clone());
            }
            Self::Ready(state) => state.state_flatten(prefix, out),
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, _: &Device) -> Option<Self> {
        let velocity = source.take_tensor(&join_path(prefix, MOMENTUM), VELOCITY);
        Some(velocity.map_or_else(|| Self::Ready(SgdState::new(None)), Self::Loaded))
    }
}
