//! What this crate's unit tests share: a tiny network, gradients and batches without any files.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use fcos_core::{Ltrb, Size, pyramid_grids};
use fcos_data::PaddedBatch;
use fcos_model::{Fcos, FcosConfig};
use fcos_targets::Targets;

use crate::{HostBatch, Learner, TrainConfig};

/// Settings of a tiny network of nine classes, with steps that are felt and stay in bounds.
pub fn config() -> TrainConfig {
    let mut config = TrainConfig {
        model: FcosConfig::tiny(),
        ..TrainConfig::default()
    };
    config.model.num_classes = 9;
    let resnet = config.model.backbone.as_resnet_mut();
    resnet.expect("a ResNet").width = 8;
    config.model.fpn.channels = 16;
    config.recipe.learning_rate = 0.02;
    config.recipe.clip_grad_norm = Some(1.0);
    config.recipe.warmup.iterations = 0;
    config
}

/// A run of 100 steps with the initial weights of this seed.
pub fn learner(config: &TrainConfig, seed: u64) -> Learner {
    let device = Device::flex().autodiff();
    let model = config.model.init_seeded(seed, &device).expect("valid");
    Learner::new(model, config, 100)
}

/// The network of [`config`], all of whose numbers are 0.5.
pub fn model() -> Fcos {
    let device = Device::flex().autodiff();
    let model = config().model.init(&device).expect("valid");
    let mut tensors = model.tensors();
    for tensor in tensors.values_mut() {
        *tensor = TensorData::full(tensor.shape().clone(), 0.5f32);
    }
    model.with_tensors(tensors).expect("fits")
}

/// Gradients whose elements are all what `of` says for their parameter's number of elements.
pub fn gradients(model: &Fcos, of: impl FnMut(usize) -> Option<f32>) -> GradientsParams {
    struct Register<F>(GradientsParams, F);
    impl<F: FnMut(usize) -> Option<f32>> ModuleVisitor for Register<F> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape();
            if param.is_require_grad()
                && let Some(value) = (self.1)(shape.num_elements())
            {
                let grad = Tensor::<D>::full(shape, value, &Device::flex());
                self.0.register(param.id, grad);
            }
        }
    }
    let mut register = Register(GradientsParams::new(), of);
    model.visit(&mut register);
    register.0
}

/// Two images of 64 × 64 with patterns that `first_id` decides, the ids from it, and this many
/// positives on each.
pub fn batch(first_id: u64, positives: usize) -> HostBatch {
    const SIDE: usize = 64;
    let size = Size {
        width: SIDE,
        height: SIDE,
    };
    let grids = pyramid_grids(size, &config().model.strides());
    let locations = grids.iter().map(|grid| grid.width * grid.height).sum();
    let pixel = |i: usize| ((i * (first_id as usize + 5)) % 97) as f32 / 48.0 - 1.0;
    let images = PaddedBatch {
        pixels: (0..2 * 3 * SIDE * SIDE).map(pixel).collect(),
        shape: [2, 3, SIDE, SIDE],
    };
    let targets = |_| {
        let learns = |n: usize| n < positives;
        let ltrb = |n: usize| Ltrb {
            l: 1.0 + n as f32 / 8.0,
            t: 2.0,
            r: 1.5,
            b: 0.5,
        };
        let all = 0..locations;
        Targets {
            labels: all
                .clone()
                .map(|n| if learns(n) { n as i32 % 9 } else { -1 })
                .collect(),
            matched: all
                .clone()
                .map(|n| if learns(n) { 0 } else { -1 })
                .collect(),
            ltrb: all.clone().map(ltrb).collect(),
            centerness: all.map(|n| 0.5 + 0.01 * n as f32).collect(),
        }
    };
    let ids = vec![first_id, first_id + 1];
    HostBatch::new(ids, images, (0..2).map(targets).collect())
}
