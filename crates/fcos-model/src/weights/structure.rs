//! What the tensors' shapes say about a network.

use crate::config::{Arch, BackboneConfig, FcosConfig, WIDTHS};
use crate::params::NamedTensors;

/// The backbone with as many blocks, and as many groups, as the tensors have.
pub(super) fn backbone(tensors: &NamedTensors) -> Option<Arch> {
    let bottleneck = tensors.contains_key("backbone.stages.0.0.conv3.conv.weight");
    let depths = [0, 1, 2, 3].map(|stage| count(tensors, &format!("backbone.stages.{stage}.")));
    let width = extent(tensors, "backbone.stem.conv.weight", 0)?;
    if !WIDTHS.contains(&width) {
        return None;
    }
    let inner = |axis| extent(tensors, "backbone.stages.0.0.conv2.conv.weight", axis);
    let (outputs, inputs) = (inner(0)?, inner(1)?);
    Arch::ALL.into_iter().find(|&arch| {
        let config = BackboneConfig {
            width,
            ..BackboneConfig::new(arch)
        };
        let expected = config.inner_channels(0);
        arch.is_bottleneck() == bottleneck
            && arch.depths() == depths
            && outputs == expected
            && inputs == expected / arch.groups().0
    })
}

/// `config` with the widths and counts of these tensors, as far as they tell.
pub(super) fn fit(mut config: FcosConfig, tensors: &NamedTensors) -> FcosConfig {
    let set = |value: &mut usize, found: Option<usize>| *value = found.unwrap_or(*value);
    let outputs = |name: &str| extent(tensors, name, 0);
    set(
        &mut config.backbone.width,
        outputs("backbone.stem.conv.weight"),
    );
    set(&mut config.fpn.channels, outputs("fpn.lateral.0.weight"));
    set(&mut config.num_classes, outputs("head.cls_logits.weight"));
    config.fpn.top_levels = top_levels(tensors);
    config.head.num_convs = count(tensors, "head.cls_tower.");
    config
}

/// Levels above P5.
pub(super) fn top_levels(tensors: &NamedTensors) -> usize {
    count(tensors, "fpn.top.")
}

/// One more than the largest number that follows `prefix`.
fn count(tensors: &NamedTensors, prefix: &str) -> usize {
    let number = |name: &String| name.strip_prefix(prefix)?.split('.').next()?.parse().ok();
    let largest: Option<usize> = tensors.keys().filter_map(number).max();
    largest.map_or(0, |n| n.saturating_add(1))
}

fn extent(tensors: &NamedTensors, name: &str, axis: usize) -> Option<usize> {
    tensors.get(name)?.shape().get(axis).copied()
}
