//! The families of backbones, as published files hold them: another one is another entry.

use super::names::Entry;
use crate::backbone::{BackboneConfig, resnet};
use crate::params::NamedTensors;

/// What reading published files takes to know about a family.
pub(crate) struct Family {
    /// A tensor of the backbone by the name that torchvision gives it; the official FCOS and
    /// mmdetection do as torchvision.
    pub torchvision: fn(&[&str]) -> Entry,
    /// A tensor of the backbone by the name that detectron2 gives it.
    pub detectron2: fn(&[&str]) -> Entry,
    /// A tensor of torchvision's ImageNet classifier, whose last layer is left out.
    pub classifier: fn(&[&str]) -> Entry,
    /// Whether a file with these keys is such a classifier.
    pub is_classifier: fn(&NamedTensors) -> bool,
    /// The backbone that tensors of our names are those of, if it is one that somebody published.
    pub identify: fn(&NamedTensors) -> Option<BackboneConfig>,
    /// Settings with the widths that tensors of our names tell.
    pub fit: fn(BackboneConfig, &NamedTensors) -> BackboneConfig,
    /// Its first layer.
    pub stem: Stem,
}

/// The layer that sees the pixels: a convolution without bias, then batch normalisation.
pub(crate) struct Stem {
    /// Our name of the convolution's weights, `[C, 3, KH, KW]`.
    pub weight: &'static str,
    /// Our name of the normalisation's running mean, `[C]`.
    pub mean: &'static str,
}

/// Every family that published files can have.
pub(super) static FAMILIES: [Family; 1] = [resnet::names::FAMILY];

/// The first family's answer to what `ask` asks.
pub(super) fn first<T>(ask: impl Fn(&'static Family) -> Option<T>) -> Option<T> {
    FAMILIES.iter().find_map(ask)
}

/// A backbone's tensor by torchvision's name of it.
pub(super) fn torchvision(parts: &[&str]) -> Entry {
    first(|family| (family.torchvision)(parts))
}

/// A backbone's tensor by detectron2's name of it.
pub(super) fn detectron2(parts: &[&str]) -> Entry {
    first(|family| (family.detectron2)(parts))
}

/// A tensor of one of torchvision's ImageNet classifiers.
pub(super) fn classifier(parts: &[&str]) -> Entry {
    first(|family| (family.classifier)(parts))
}
