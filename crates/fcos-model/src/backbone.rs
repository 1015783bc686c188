//! The backbones: what the pyramid asks of one, and those that this library has.
//!
//! Another family is a file with its network and settings, a variant of [`Backbone`], with a
//! `pub use` of what users need of it, one of [`BackboneConfig`], and, for published weights, an
//! entry in `weights/families.rs`. The crate shows whatever is public here.

mod config;
pub(crate) mod resnet;

use std::fmt;

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::{Device, Tensor};

pub use config::{BackboneConfig, OwnBackbone};
pub use resnet::{Arch, BackboneNorm, Groups, ResNet, ResNetConfig, StrideIn};

use crate::config::ConfigError;
use crate::layers::{ConvNorm, Init};

/// A feature map that a backbone gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureMap {
    /// Its channels.
    pub channels: usize,
    /// Pixels of the image between its cells: a map has `⌈side / stride⌉` of them along a side.
    pub stride: usize,
}

/// A network that makes feature maps of images, for the pyramid to stand on.
///
/// Implement it for a Burn module to have it trained and used as `Fcos<MyBackbone>`: under this
/// library's pyramid and head, by the same functions as the [built-in ones](Backbone). The module
/// may be made of [this library's layers](crate::layers) or of Burn's. Its float tensors, and no
/// others, are saved by their names in the module, after `backbone.`, where `gamma` is `weight` and
/// `beta` is `bias`: no two may have one name.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Tensor};
/// use fcos_model::layers::{Activation, ConvNorm, ConvSize, Init};
/// use fcos_model::{BackboneConfig, BackboneModel, ConfigError, Fcos, FcosConfig, FeatureMap};
///
/// /// Convolutions of stride 2, each with twice the channels of the one before.
/// #[derive(Module, Debug)]
/// struct Strided {
///     layers: Vec<ConvNorm>,
///     width: usize,
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Settings {
///     width: usize,
/// }
///
/// impl BackboneModel for Strided {
///     fn init(config: &BackboneConfig, init: &Init) -> Result<Self, ConfigError> {
///         let Settings { width } = config.own_settings("strided")?;
///         let layer = |i: usize| {
///             let input = if i == 0 { 3 } else { width << (i - 1) };
///             ConvNorm::new(ConvSize::new([input, width << i], 3).stride(2), 1e-5, init)
///         };
///         Ok(Self { layers: (0..5).map(layer).collect(), width })
///     }
///
///     fn features(&self) -> Vec<FeatureMap> {
///         let map = |i: usize| FeatureMap { channels: self.width << i, stride: 2 << i };
///         (2..5).map(map).collect() // strides 8, 16, 32
///     }
///
///     fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
///         let mut maps = vec![images];
///         for layer in &self.layers {
///             maps.push(layer.forward(maps[maps.len() - 1].clone(), Activation::Relu));
///         }
///         maps.split_off(3)
///     }
///
///     fn map_layers(mut self, f: fn(ConvNorm) -> ConvNorm) -> Self {
///         self.layers = self.layers.into_iter().map(f).collect();
///         self
///     }
/// }
///
/// let config = FcosConfig {
///     backbone: BackboneConfig::own("strided", Settings { width: 4 })?,
///     ..FcosConfig::tiny()
/// };
/// let device = Device::flex();
/// let model: Fcos<Strided> = Fcos::new(&config, 0, &device)?;
/// let output = model.forward(Tensor::zeros([1, 3, 64, 64], &device));
/// assert_eq!(output.cls_logits.dims(), [1, 64 + 16 + 4 + 1 + 1, 80]);
/// // A program that doesn't have it says so.
/// let error = config.init(&device).unwrap_err().to_string();
/// assert!(error.contains("\"strided\""), "{error}");
/// # Ok::<(), ConfigError>(())
/// ```
pub trait BackboneModel: Module + ModuleDisplay {
    /// The network with its initial weights. It trains but for what is
    /// [frozen](Module::freeze) here.
    ///
    /// # Errors
    /// If the settings are another backbone's
    /// ([`own_settings`](BackboneConfig::own_settings) tells), or describe no network.
    fn init(config: &BackboneConfig, init: &Init<'_>) -> Result<Self, ConfigError>;

    /// The maps that [`forward`](Self::forward) gives, the finest first. The strides double from
    /// one to the next and end at 32; they begin at
    /// [`first_stride`](crate::FpnConfig::first_stride) or below it.
    fn features(&self) -> Vec<FeatureMap>;

    /// The maps `[B, channels, ⌈H / stride⌉, ⌈W / stride⌉]` of preprocessed images
    /// `[B, 3, H, W]`.
    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>>;

    /// The same network with every [`ConvNorm`] of it changed by `f`. To be implemented by whatever
    /// is made of such layers: [`fold`](Self::fold) and
    /// [`detach_statistics`](Self::detach_statistics) reach them by it. A network without them has
    /// nothing to do.
    #[must_use]
    fn map_layers(self, _f: fn(ConvNorm) -> ConvNorm) -> Self {
        self
    }

    /// For inference: the same network with batch normalisations as part of its convolutions. A
    /// network whose [layers can't be reached](Self::map_layers) stays as it is, and slower.
    #[must_use]
    fn fold(self) -> Self {
        self.map_layers(ConvNorm::fold)
    }

    /// The same network, whose running statistics no clone shares and no pending update changes. It
    /// is asked for before other tensors are put in. Of batch normalisations that are not in a
    /// [`ConvNorm`] the network has to take care here itself.
    #[must_use]
    fn detach_statistics(self) -> Self {
        self.map_layers(ConvNorm::detach_statistics)
    }
}

/// The backbones that this library has.
///
/// It is a module whose tensors have the names that they have in the network itself: what the
/// variant is called is in no path, so that weights files and checkpoints don't depend on it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Backbone {
    /// A ResNet or ResNeXt.
    ResNet(ResNet),
}

/// What the expression says of the network, whichever it is.
macro_rules! ask {
    ($backbone:expr, $net:ident => $answer:expr) => {
        match $backbone {
            Backbone::ResNet($net) => $answer,
        }
    };
}

/// The backbone with the network that the expression makes of the one that it is.
macro_rules! change {
    ($backbone:expr, $net:ident => $changed:expr) => {
        match $backbone {
            Backbone::ResNet($net) => Backbone::ResNet($changed),
        }
    };
}

impl BackboneModel for Backbone {
    fn init(config: &BackboneConfig, init: &Init<'_>) -> Result<Self, ConfigError> {
        match config {
            BackboneConfig::ResNet(config) => Ok(Self::ResNet(ResNet::new(config, init))),
            BackboneConfig::Own(_) => Err(config.unknown("resnet")),
        }
    }

    fn features(&self) -> Vec<FeatureMap> {
        ask!(self, net => net.features())
    }

    fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        ask!(self, net => net.forward(images))
    }

    fn map_layers(self, f: fn(ConvNorm) -> ConvNorm) -> Self {
        change!(self, net => net.map_layers(f))
    }
}

/// By hand: what Burn derives for an enum puts the variant's name into every path.
impl Module for Backbone {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        ask!(self, net => net.visit(visitor));
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        change!(self, net => net.map(mapper))
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        ask!(self, net => net.collect_devices(devices))
    }

    fn to_device(self, device: &Device) -> Self {
        change!(self, net => net.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        change!(self, net => net.fork(device))
    }

    fn train(self) -> Self {
        change!(self, net => net.train())
    }

    fn valid(&self) -> Self {
        change!(self, net => net.valid())
    }

    fn materialize(self) -> Self {
        change!(self, net => net.materialize())
    }
}

impl ModuleDisplay for Backbone {
    fn format(&self, settings: DisplaySettings) -> String {
        ask!(self, net => net.format(settings))
    }
}

impl ModuleDisplayDefault for Backbone {
    fn content(&self, content: Content) -> Option<Content> {
        ask!(self, net => net.content(content))
    }

    fn num_params(&self) -> usize {
        ask!(self, net => Module::num_params(net))
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ask!(self, net => net.fmt(f))
    }
}
