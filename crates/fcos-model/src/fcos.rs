//! The network as a whole.
//!
//! Legend: B images, L levels, N locations of all levels, C classes, H and W rows and columns.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fcos_core::Outputs;

use crate::backbone::resnet::BackboneNorm;
use crate::backbone::{Backbone, BackboneModel, FeatureMap};
use crate::config::{ConfigError, FcosConfig};
use crate::fpn::Fpn;
use crate::head::Head;
use crate::layers::Init;
use crate::ops;
use crate::params;

/// FCOS (Tian et al. 2019): backbone, feature pyramid and head.
///
/// Made by [`FcosConfig::init`] or read from a [weights file](crate::weights). It trains on an
/// autodiff device; for inference take [`Module::valid`] of it, or better
/// [`fold_batch_norm`](Self::fold_batch_norm). `B` is the [built-in backbones](Backbone), or
/// [one of one's own](BackboneModel).
#[derive(Module, Debug)]
pub struct Fcos<B = Backbone> {
    backbone: B,
    fpn: Fpn,
    head: Head,
    #[module(skip)]
    config: FcosConfig,
    /// Whether there are other tensors than those of `config`'s network.
    #[module(skip)]
    folded: bool,
}

/// What [`Fcos::forward`] computes on its way.
#[derive(Debug, Clone)]
pub struct Features {
    /// The backbone's maps that the pyramid stands on, `[B, channels, ⌈H/s⌉, ⌈W/s⌉]`: C3, C4 and C5
    /// with the strides `s` 8, 16 and 32, and C2 if the pyramid begins at stride 4.
    pub backbone: Vec<Tensor<4>>,
    /// The pyramid's levels, the finest first, with the strides that [`FcosConfig::strides`] gives.
    pub pyramid: Vec<Tensor<4>>,
    /// The head's output per level.
    pub levels: Vec<Outputs<Tensor<4>>>,
}

impl FcosConfig {
    /// The network with initial parameters, those of [`init_seeded`](Self::init_seeded) for 0.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init(&self, device: &Device) -> Result<Fcos, ConfigError> {
        self.init_seeded(0, device)
    }

    /// The network with initial parameters, which are a function of the seed alone, the same on
    /// every device. They are drawn when first used, so that a network that gets its weights from
    /// a file never draws them.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> Result<Fcos, ConfigError> {
        Fcos::new(self, seed, device)
    }
}

impl<B: BackboneModel> Fcos<B> {
    /// The network with initial parameters, on the backbone that `B` makes of the settings. For the
    /// built-in ones it is [`FcosConfig::init_seeded`].
    ///
    /// # Errors
    /// If the configuration is invalid, the backbone none that `B` can be, or one with two tensors
    /// of [one name](BackboneModel).
    pub fn new(config: &FcosConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let init = &Init::new(seed, device);
        let backbone = B::init(&config.backbone, init)?;
        let channels = lateral_channels(config, &backbone.features())?;
        let model = Self {
            backbone,
            fpn: Fpn::new(&config.fpn, &channels, init),
            head: Head::new(config, init),
            config: config.clone(),
            folded: false,
        };
        match params::repeated_name(&model) {
            Some(name) => Err(ConfigError::RepeatedName { name }),
            None => Ok(model),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &FcosConfig {
        &self.config
    }

    /// The outputs for preprocessed images `[B, 3, H, W]`, for all locations: class logits
    /// `[B, N, C]`, distances `[B, N, 4]` in the unit that [`FcosConfig::distance_unit`] names, and
    /// centre-ness logits `[B, N, 1]`. The locations are those that [`fcos_core::Locations`] lists
    /// for the same size and [`FcosConfig::strides`].
    ///
    /// # Panics
    /// If the images don't have three channels, or sit on another device than the network; if a
    /// backbone of one's own gives fewer maps than it [says](BackboneModel::features).
    pub fn forward(&self, images: Tensor<4>) -> Outputs<Tensor<3>> {
        join(&self.forward_features(images).levels)
    }

    /// As [`forward`](Self::forward), with every feature map on the way and the outputs still
    /// apart by level.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_features(&self, images: Tensor<4>) -> Features {
        let backbone = self.forward_backbone(images);
        let pyramid = self.forward_pyramid(&backbone);
        Features {
            levels: self.forward_head(&pyramid),
            backbone,
            pyramid,
        }
    }

    /// The first part alone: the backbone's maps that the pyramid stands on.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_backbone(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = self.backbone.forward(images);
        let unused = maps.len().checked_sub(self.fpn.num_inputs());
        maps.split_off(unused.expect("a backbone gives the maps that it says"))
    }

    /// The second part alone: the backbone's maps become the pyramid's levels.
    ///
    /// # Panics
    /// If the maps are not what [`forward_backbone`](Self::forward_backbone) gives.
    pub fn forward_pyramid(&self, backbone: &[Tensor<4>]) -> Vec<Tensor<4>> {
        self.fpn.forward(backbone)
    }

    /// The third part alone: the shared head on every level of the pyramid.
    ///
    /// # Panics
    /// If the maps are not what [`forward_pyramid`](Self::forward_pyramid) gives.
    pub fn forward_head(&self, pyramid: &[Tensor<4>]) -> Vec<Outputs<Tensor<4>>> {
        let levels = pyramid.iter().enumerate();
        levels
            .map(|(level, features)| self.head.forward(level, features.clone()))
            .collect()
    }

    /// The network for inference, with the backbone's batch normalisations as part of its
    /// convolutions: the outputs of [`Module::valid`], up to rounding, in less time.
    #[must_use]
    pub fn fold_batch_norm(self) -> Self {
        let valid = self.valid();
        drop(self); // so that nobody else holds the weights, and they are scaled in their place
        let before = params::shapes(&valid.backbone);
        let backbone = valid.backbone.fold();
        Self {
            folded: valid.folded || params::shapes(&backbone) != before,
            backbone,
            ..valid
        }
    }

    /// The device that its parameters live on.
    pub fn device(&self) -> Device {
        self.head.device()
    }

    /// Whether [`fold_batch_norm`](Self::fold_batch_norm) has left it other tensors than it had: it
    /// can't be saved any more. It leaves a backbone without batch normalisation as it was.
    pub fn is_folded(&self) -> bool {
        self.folded
    }

    /// Number of parameters, trained or not, as the published models count them: running
    /// statistics are none, nor are the scales and shifts of frozen batch normalisation. (Burn's
    /// [`Module::num_params`], which this hides, counts both.)
    pub fn num_params(&self) -> usize {
        let config = self.config.backbone.as_resnet();
        let frozen = config.is_some_and(|config| config.norm == BackboneNorm::Frozen);
        let counts = |name: &str| {
            let fixed = frozen && name.starts_with("backbone.") && name.contains(".norm.");
            !fixed && !params::is_statistic(name)
        };
        let shapes = params::shapes(self).into_iter();
        shapes
            .filter(|(name, _)| counts(name))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// The same network, whose running statistics no clone shares and no pending update changes:
    /// those of [`Module`]'s clones are one and the same, and move with the steps of each. Updates
    /// that this thread's forward passes left pending are taken in first, those of other threads are
    /// left behind ([`Module::valid`], called before, takes in all).
    #[must_use]
    pub fn detach_statistics(self) -> Self {
        Self {
            backbone: self.backbone.detach_statistics(),
            ..self
        }
    }
}

/// Channels of the backbone's maps that the pyramid stands on: its last ones.
fn lateral_channels(
    config: &FcosConfig,
    features: &[FeatureMap],
) -> Result<Vec<usize>, ConfigError> {
    let expected = config.fpn.lateral_strides();
    let found: Vec<usize> = features.iter().map(|map| map.stride).collect();
    if !found.ends_with(&expected) {
        return Err(ConfigError::Features { expected, found });
    }
    let unused = found.len() - expected.len();
    Ok(features[unused..].iter().map(|map| map.channels).collect())
}

/// Joins the levels' outputs along N.
fn join(levels: &[Outputs<Tensor<4>>]) -> Outputs<Tensor<3>> {
    let join = |part: fn(&Outputs<Tensor<4>>) -> &Tensor<4>| {
        let flat = levels.iter().map(|l| ops::flatten(part(l).clone()));
        Tensor::cat(flat.collect(), 1)
    };
    Outputs {
        cls_logits: join(|l| &l.cls_logits),
        ltrb: join(|l| &l.ltrb),
        centerness: join(|l| &l.centerness),
    }
}
