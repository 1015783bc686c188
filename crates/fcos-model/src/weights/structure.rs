//! What the tensors' shapes say about a network.

use super::families::{FAMILIES, first};
use super::names::{extent, length};
use crate::backbone::BackboneConfig;
use crate::config::FcosConfig;
use crate::params::NamedTensors;

/// The backbone, if it is a published one.
pub(super) fn backbone(tensors: &NamedTensors) -> Option<BackboneConfig> {
    first(|family| (family.identify)(tensors))
}

/// `config` with the widths and counts of these tensors, as far as they tell.
pub(super) fn fit(mut config: FcosConfig, tensors: &NamedTensors) -> FcosConfig {
    let set = |value: &mut usize, found: Option<usize>| *value = found.unwrap_or(*value);
    let outputs = |name: &str| extent(tensors, name, 0);
    set(&mut config.fpn.channels, outputs("fpn.lateral.0.weight"));
    set(&mut config.num_classes, outputs("head.cls_logits.weight"));
    config.fpn.top_levels = top_levels(tensors);
    config.head.num_convs = length(tensors, "head.cls_tower.");
    let families = FAMILIES.iter();
    config.backbone = families.fold(config.backbone, |backbone, family| {
        (family.fit)(backbone, tensors)
    });
    config
}

/// Levels above P5.
pub(super) fn top_levels(tensors: &NamedTensors) -> usize {
    length(tensors, "fpn.top.")
}
