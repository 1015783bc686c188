//! aim-uofa/AdelaiDet, on detectron2's module names.

use super::families::detectron2;
use super::names::{Entry, conv, counted_from, network, number, tower};

pub(super) const PIXEL_MEAN: &str = "pixel_mean";
pub(super) const PIXEL_STD: &str = "pixel_std";

/// A tensor of AdelaiDet's FCOS.
pub(super) fn detector(parts: &[&str]) -> Entry {
    match *parts {
        ["backbone", "bottom_up", ref rest @ ..] => detectron2(rest),
        ["backbone", "top_block", "p6", field] => conv("fpn.top.0", field),
        ["backbone", "top_block", "p7", field] => conv("fpn.top.1", field),
        ["backbone", name, field] => pyramid(name, field),
        ["proposal_generator", "fcos_head", ref rest @ ..] => head(rest),
        // The pixels' statistics, in old files.
        [name @ (PIXEL_MEAN | PIXEL_STD)] => network(name),
        _ => None,
    }
}

fn pyramid(name: &str, field: &str) -> Entry {
    let lateral = name.strip_prefix("fpn_lateral").map(|n| ("lateral", n));
    let output = name.strip_prefix("fpn_output").map(|n| ("output", n));
    let (part, level) = lateral.or(output)?;
    conv(format!("fpn.{part}.{}", counted_from(3, level)?), field)
}

fn head(parts: &[&str]) -> Entry {
    match *parts {
        [name @ ("cls_tower" | "bbox_tower"), n, field] => tower(name, n, field),
        [name @ ("cls_logits" | "bbox_pred"), field] => conv(format!("head.{name}"), field),
        // The files converted from the official ones kept its name.
        ["ctrness" | "centerness", field] => conv("head.centerness", field),
        ["scales", level, "scale"] => network(format!("head.scales.{}", number(level)?)),
        _ => None,
    }
}
