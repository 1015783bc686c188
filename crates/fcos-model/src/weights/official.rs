//! tianzhi0549/FCOS and its fork sfzhang15/ATSS, both on maskrcnn-benchmark's module names.

use super::families::torchvision;
use super::names::{Destination, Entry, conv, counted_from, network, number, tower};

/// A tensor of the official FCOS, or of ATSS.
pub(super) fn detector(parts: &[&str]) -> Entry {
    match *parts {
        ["backbone", "body", "stem", ref rest @ ..] => torchvision(rest),
        ["backbone", "body", ref rest @ ..] => torchvision(rest),
        ["backbone", "fpn", "top_blocks", "p6", field] => conv("fpn.top.0", field),
        ["backbone", "fpn", "top_blocks", "p7", field] => conv("fpn.top.1", field),
        ["backbone", "fpn", name, field] => pyramid(name, field),
        ["rpn", "head", ref rest @ ..] => head(rest),
        ["rpn", "anchor_generator", "cell_anchors", _] => Some(Destination::Nowhere),
        _ => None,
    }
}

/// `fpn_inner2` to `4` belong to C3 to C5: counted from the stem's map, C1.
fn pyramid(name: &str, field: &str) -> Entry {
    let lateral = name.strip_prefix("fpn_inner").map(|n| ("lateral", n));
    let output = name.strip_prefix("fpn_layer").map(|n| ("output", n));
    let (part, level) = lateral.or(output)?;
    conv(format!("fpn.{part}.{}", counted_from(2, level)?), field)
}

fn head(parts: &[&str]) -> Entry {
    match *parts {
        [name @ ("cls_tower" | "bbox_tower"), n, field] => tower(name, n, field),
        [name @ ("cls_logits" | "bbox_pred" | "centerness"), field] => {
            conv(format!("head.{name}"), field)
        }
        ["scales", level, "scale"] => network(format!("head.scales.{}", number(level)?)),
        _ => None,
    }
}
