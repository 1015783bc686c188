//! What the formats' tables share. A key is taken apart at its dots.

/// Where one of a checkpoint's tensors belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// To the network's tensor of this name.
    Network(String),
    /// Nowhere: a counter, an anchor, the classifier of a backbone.
    Ignored,
}

/// The entry of a table; `None` where the key is not known.
pub(super) type Entry = Option<Place>;

pub(super) fn network(name: impl Into<String>) -> Entry {
    Some(Place::Network(name.into()))
}

/// A ResNet's tensors as torchvision calls them; the official FCOS and mmdetection do too.
pub(super) fn resnet(parts: &[&str]) -> Entry {
    match *parts {
        ["conv1", "weight"] => network("backbone.stem.conv.weight"),
        ["bn1", field] => norm("backbone.stem", field),
        [layer, block, "downsample", "0", "weight"] => {
            let place = block_of(layer.strip_prefix("layer")?, 1, block)?;
            network(format!("{place}.downsample.conv.weight"))
        }
        [layer, block, "downsample", "1", field] => {
            let place = block_of(layer.strip_prefix("layer")?, 1, block)?;
            norm(&format!("{place}.downsample"), field)
        }
        [layer, block, name, field] => {
            let place = block_of(layer.strip_prefix("layer")?, 1, block)?;
            match (name.strip_prefix("conv"), name.strip_prefix("bn"), field) {
                (Some(k), _, "weight") => network(format!("{place}.conv{}.conv.weight", digit(k)?)),
                (_, Some(k), _) => norm(&format!("{place}.conv{}", digit(k)?), field),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The name of a residual block whose stage is counted from `first`.
pub(super) fn block_of(stage: &str, first: usize, block: &str) -> Option<String> {
    Some(format!(
        "backbone.stages.{}.{}",
        index(stage, first)?,
        digit(block)?
    ))
}

/// A tensor of a batch normalisation.
pub(super) fn norm(of: &str, field: &str) -> Entry {
    match field {
        "weight" | "bias" | "running_mean" | "running_var" => network(format!("{of}.norm.{field}")),
        _ => None,
    }
}

/// Weight or bias of a convolution that has both.
pub(super) fn conv(name: impl std::fmt::Display, field: &str) -> Entry {
    match field {
        "weight" | "bias" => network(format!("{name}.{field}")),
        _ => None,
    }
}

/// A tower as a flat `Sequential` of convolution, group normalisation and ReLU.
pub(super) fn tower(tower: &str, position: &str, field: &str) -> Entry {
    let position: usize = position.parse().ok()?;
    let part = ["conv", "norm"].get(position % 3)?;
    conv(format!("head.{tower}.{}.{part}", position / 3), field)
}

/// A number that is counted from `first` there and from 0 here.
pub(super) fn index(text: &str, first: usize) -> Option<usize> {
    text.parse::<usize>().ok()?.checked_sub(first)
}

/// A number, as it stands.
pub(super) fn digit(text: &str) -> Option<usize> {
    index(text, 0)
}
