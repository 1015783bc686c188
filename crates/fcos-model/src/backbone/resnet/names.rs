//! What published files call a ResNet's tensors, and what their shapes tell.

use super::config::{Arch, ResNetConfig, WIDTHS};
use crate::backbone::BackboneConfig;
use crate::params::NamedTensors;
use crate::weights::families::{Family, Stem};
use crate::weights::names::{
    Destination, Entry, counted_from, extent, length, network, norm, number,
};

const STEM: &str = "backbone.stem.conv.weight";

/// ResNets and ResNeXts.
pub(crate) const FAMILY: Family = Family {
    torchvision,
    detectron2,
    classifier,
    is_classifier: |tensors| {
        let has = |key| tensors.contains_key(key);
        has("fc.weight") && has("layer1.0.conv1.weight")
    },
    identify: |tensors| identify(tensors).map(BackboneConfig::ResNet),
    fit,
    stem: Stem {
        weight: STEM,
        mean: "backbone.stem.norm.running_mean",
    },
};

/// `layer1` is the first stage; a normalisation stands beside its convolution.
fn torchvision(parts: &[&str]) -> Entry {
    match *parts {
        ["conv1", "weight"] => network(STEM),
        ["bn1", field] => norm("backbone.stem", field),
        [layer, block, ref rest @ ..] => {
            let block = block_of(layer.strip_prefix("layer")?, 1, block)?;
            torchvision_block(&block, rest)
        }
        _ => None,
    }
}

fn torchvision_block(block: &str, parts: &[&str]) -> Entry {
    match *parts {
        ["downsample", "0", "weight"] => network(format!("{block}.downsample.conv.weight")),
        ["downsample", "1", field] => norm(&format!("{block}.downsample"), field),
        [name, field] => match (name.strip_prefix("conv"), name.strip_prefix("bn"), field) {
            (Some(k), _, "weight") => network(format!("{block}.conv{}.conv.weight", number(k)?)),
            (_, Some(k), _) => norm(&format!("{block}.conv{}", number(k)?), field),
            _ => None,
        },
        _ => None,
    }
}

/// `res2` is the first stage; a normalisation is part of its convolution.
fn detectron2(parts: &[&str]) -> Entry {
    match *parts {
        ["stem", "conv1", ref rest @ ..] => normed_conv("backbone.stem", rest),
        [stage, block, name, ref rest @ ..] => {
            let block = block_of(stage.strip_prefix("res")?, 2, block)?;
            let name = if name == "shortcut" {
                "downsample"
            } else {
                name
            };
            normed_conv(&format!("{block}.{name}"), rest)
        }
        _ => None,
    }
}

fn normed_conv(of: &str, parts: &[&str]) -> Entry {
    match *parts {
        ["weight"] => network(format!("{of}.conv.weight")),
        ["norm", field] => norm(of, field),
        _ => None,
    }
}

/// All but the last layer.
fn classifier(parts: &[&str]) -> Entry {
    match *parts {
        ["fc", "weight" | "bias"] => Some(Destination::Nowhere),
        _ => torchvision(parts),
    }
}

/// The name of a residual block whose stage is counted from `first`.
fn block_of(stage: &str, first: usize, block: &str) -> Option<String> {
    let stage = counted_from(first, stage)?;
    Some(format!("backbone.stages.{stage}.{}", number(block)?))
}

/// The ResNet with as many blocks, and as many groups, as the tensors have.
fn identify(tensors: &NamedTensors) -> Option<ResNetConfig> {
    let bottleneck = tensors.contains_key("backbone.stages.0.0.conv3.conv.weight");
    let depths = [0, 1, 2, 3].map(|stage| length(tensors, &format!("backbone.stages.{stage}.")));
    let width = extent(tensors, STEM, 0).filter(|width| WIDTHS.contains(width))?;
    let inner = |axis| extent(tensors, "backbone.stages.0.0.conv2.conv.weight", axis);
    let (outputs, inputs) = (inner(0)?, inner(1)?);
    let configs = Arch::ALL.into_iter().map(|arch| ResNetConfig {
        width,
        ..ResNetConfig::new(arch)
    });
    configs.into_iter().find(|config| {
        let (arch, expected) = (config.arch, config.inner_channels(0));
        arch.is_bottleneck() == bottleneck
            && arch.depths() == depths
            && outputs == expected
            && inputs == expected / arch.groups().count
    })
}

/// With the stem's width.
fn fit(config: BackboneConfig, tensors: &NamedTensors) -> BackboneConfig {
    match (config, extent(tensors, STEM, 0)) {
        (BackboneConfig::ResNet(config), Some(width)) => {
            BackboneConfig::ResNet(ResNetConfig { width, ..config })
        }
        (other, _) => other,
    }
}
