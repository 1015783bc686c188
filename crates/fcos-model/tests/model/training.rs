use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use fcos_model::{BackboneNorm, Fcos, FcosConfig, ParamPath};

use crate::{build, noise, relative_error, resnet, small, values};

/// Names of the parameters with and without a gradient, as Burn calls them.
#[derive(Default)]
struct WithGradient {
    path: ParamPath,
    gradients: Option<Gradients>,
    yes: BTreeSet<String>,
    no: BTreeSet<String>,
}

impl ModuleVisitor for WithGradient {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradients = self.gradients.as_ref().expect("set");
        let list = match param.val().grad(gradients) {
            Some(_) => &mut self.yes,
            None => &mut self.no,
        };
        list.insert(self.path.fields());
    }
}

fn autodiff(config: &FcosConfig) -> (Fcos, Device) {
    let device = Device::flex().autodiff();
    (config.init(&device).expect("valid"), device)
}

fn gradients(config: &FcosConfig) -> WithGradient {
    let (model, device) = autodiff(config);
    let output = model.forward(noise([2, 3, 64, 64], &device));
    let loss = output.cls_logits.sum() + output.ltrb.sum() + output.centerness.sum();
    let mut visitor = WithGradient {
        gradients: Some(loss.backward()),
        ..WithGradient::default()
    };
    model.visit(&mut visitor);
    visitor
}

#[test]
fn frozen_parts_get_no_gradient() {
    for norm in [BackboneNorm::Frozen, BackboneNorm::Trained] {
        for frozen_stages in 0..=5 {
            let mut config = small();
            resnet(&mut config).norm = norm;
            resnet(&mut config).frozen_stages = frozen_stages;
            let stage = |name: &str| match name.split('.').collect::<Vec<_>>()[..] {
                ["backbone", "stages", stage, ..] => stage.parse::<usize>().expect("number") + 1,
                ["backbone", ..] => 0,
                _ => usize::MAX,
            };
            let is_frozen = |name: &str| {
                name.contains("running")
                    || stage(name) < frozen_stages
                    || (norm == BackboneNorm::Frozen && stage(name) < 5 && name.contains("norm"))
            };
            let found = gradients(&config);
            assert!(
                found.no.iter().all(|n| is_frozen(n)),
                "{frozen_stages}: {:?}",
                found.no
            );
            assert!(
                found.yes.iter().all(|n| !is_frozen(n)),
                "{frozen_stages}: {:?}",
                found.yes
            );
            assert!(!found.yes.is_empty() && !found.no.is_empty());
        }
    }
}

/// The official R-50: all but stem, first stage and batch normalisation, as its `requires_grad`.
#[test]
fn trainable_parameters_of_the_published_model() {
    #[derive(Default)]
    struct Trainable(usize);
    impl ModuleVisitor for Trainable {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    for (name, count) in [
        ("official-imprv-r50", 32_021_850),
        ("torchvision-r50", 32_047_200),
    ] {
        let (model, _) = autodiff(&FcosConfig::preset(name).expect(name));
        let mut visitor = Trainable::default();
        model.visit(&mut visitor);
        assert_eq!(visitor.0, count, "{name}");
    }
}

#[test]
fn loading_keeps_what_is_frozen() {
    let mut config = small();
    resnet(&mut config).frozen_stages = 2;
    let (model, device) = autodiff(&config);
    let model = model.with_tensors(build(&config).tensors()).expect("same");
    let output = model.forward(noise([1, 3, 64, 64], &device));
    let mut visitor = WithGradient {
        gradients: Some(output.cls_logits.sum().backward()),
        ..WithGradient::default()
    };
    model.visit(&mut visitor);
    assert!(visitor.no.contains("backbone.stem.conv.weight"));
    assert!(visitor.no.contains("backbone.stages.0.1.conv2.norm.gamma"));
    assert!(
        visitor
            .yes
            .contains("backbone.stages.1.0.conv1.conv.weight")
    );
    assert!(visitor.yes.contains("backbone.stages.1.0.conv1.norm.gamma"));
    assert!(visitor.yes.contains("head.cls_tower.0.norm.beta"));
}

fn statistic(model: &Fcos, name: &str) -> Vec<f32> {
    model.tensors()[name].try_to_vec::<f32>().expect("f32")
}

#[test]
fn statistics_move_only_where_trained() {
    let mut config = small();
    resnet(&mut config).frozen_stages = 2;
    let (model, device) = autodiff(&config);
    let names = [
        "backbone.stages.0.0.conv1.norm.running_mean",
        "backbone.stages.2.0.conv1.norm.running_var",
    ];
    let before = names.map(|n| statistic(&model, n));
    let _ = model.forward(noise([2, 3, 64, 64], &device));
    let after = names.map(|n| statistic(&model, n));
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);

    resnet(&mut config).norm = BackboneNorm::Frozen;
    let (model, device) = autodiff(&config);
    let before = names.map(|n| statistic(&model, n));
    let _ = model.forward(noise([2, 3, 64, 64], &device));
    assert_eq!(before, names.map(|n| statistic(&model, n)));
}

/// An evaluation copy leaves the statistics alone, and does not see them change.
#[test]
fn validation_copies_are_apart() {
    let (model, device) = autodiff(&small());
    let name = "backbone.stem.norm.running_mean";
    let valid = model.valid();
    let before = statistic(&valid, name);
    let _ = valid.forward(noise([1, 3, 64, 64], &Device::flex()));
    assert_eq!(statistic(&model, name), before);
    let _ = model.forward(noise([1, 3, 64, 64], &device));
    assert_ne!(statistic(&model, name), before);
    assert_eq!(statistic(&valid, name), before);
}

/// Tensors put into a clone don't reach the original, nor do its pending statistics overwrite
/// them.
#[test]
fn loading_is_final_and_private() {
    let (model, device) = autodiff(&small());
    let initial = model.tensors();
    let _ = model.forward(noise([2, 3, 64, 64], &device));
    let _ = model.forward(noise([2, 3, 96, 64], &device));
    let moved = model.tensors();
    assert_ne!(initial, moved);
    let loaded = model.clone().with_tensors(initial.clone()).expect("same");
    assert_eq!(loaded.tensors(), initial);
    assert_eq!(model.tensors(), moved);
}

#[test]
fn folding_a_trained_network_uses_its_latest_statistics() {
    let (model, device) = autodiff(&small());
    let _ = model.forward(noise([2, 3, 64, 64], &device));
    let images = noise([1, 3, 64, 64], &Device::flex());
    let expected = values(&model.valid().forward(images.clone()).cls_logits);
    let folded = model.fold_batch_norm();
    assert!(relative_error(&values(&folded.forward(images).cls_logits), &expected) < 1e-5);
}
