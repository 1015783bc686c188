//! What the formats' tables share. A key is taken apart at its dots.

use crate::params::NamedTensors;

/// Where one of a checkpoint's tensors belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To the network's tensor of this name.
    Tensor(String),
    /// Nowhere, and rightly so: a counter, an anchor, the last layer of a classifier.
    Nowhere,
}

/// The entry of a table; `None` where the key is not known.
pub(crate) type Entry = Option<Destination>;

pub(crate) fn network(name: impl Into<String>) -> Entry {
    Some(Destination::Tensor(name.into()))
}

/// A tensor of a batch normalisation.
pub(crate) fn norm(of: &str, field: &str) -> Entry {
    match field {
        "weight" | "bias" | "running_mean" | "running_var" => network(format!("{of}.norm.{field}")),
        _ => None,
    }
}

/// Weight or bias of a convolution that has both.
pub(crate) fn conv(name: impl std::fmt::Display, field: &str) -> Entry {
    match field {
        "weight" | "bias" => network(format!("{name}.{field}")),
        _ => None,
    }
}

/// A tower as a flat `Sequential` of convolution, group normalisation and ReLU.
pub(crate) fn tower(tower: &str, position: &str, field: &str) -> Entry {
    let position: usize = position.parse().ok()?;
    let part = ["conv", "norm"].get(position % 3)?;
    conv(format!("head.{tower}.{}.{part}", position / 3), field)
}

/// A number that is counted from `first` there and from 0 here.
pub(crate) fn counted_from(first: usize, text: &str) -> Option<usize> {
    text.parse::<usize>().ok()?.checked_sub(first)
}

/// A number, as it stands.
pub(crate) fn number(text: &str) -> Option<usize> {
    counted_from(0, text)
}

/// How many entries a list has whose names start with `prefix`: one more than the largest number
/// that follows it.
pub(crate) fn length(tensors: &NamedTensors, prefix: &str) -> usize {
    let number = |name: &String| name.strip_prefix(prefix)?.split('.').next()?.parse().ok();
    let largest: Option<usize> = tensors.keys().filter_map(number).max();
    largest.map_or(0, |n| n.saturating_add(1))
}

/// A tensor's extent along an axis, if it has both.
pub(crate) fn extent(tensors: &NamedTensors, name: &str, axis: usize) -> Option<usize> {
    tensors.get(name)?.shape().get(axis).copied()
}
