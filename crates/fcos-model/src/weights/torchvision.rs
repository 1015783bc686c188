//! torchvision's `FCOS` over any of its backbones (`models/detection/fcos.py`).

use super::families;
use super::names::{Entry, conv, number, tower};

/// A tensor of `FCOS`. FPN blocks are `inner_blocks.0.0.weight`; before version 2 of the module
/// they were `inner_blocks.0.weight`.
pub(super) fn detector(parts: &[&str]) -> Entry {
    match *parts {
        ["backbone", "body", ref rest @ ..] => families::torchvision(rest),
        ["backbone", "fpn", block, level, "0", field]
        | ["backbone", "fpn", block, level, field] => pyramid(block, level, field),
        ["head", "classification_head", "conv", n, field] => tower("cls_tower", n, field),
        ["head", "regression_head", "conv", n, field] => tower("bbox_tower", n, field),
        ["head", "classification_head", "cls_logits", field] => conv("head.cls_logits", field),
        ["head", "regression_head", "bbox_reg", field] => conv("head.bbox_pred", field),
        ["head", "regression_head", "bbox_ctrness", field] => conv("head.centerness", field),
        _ => None,
    }
}

fn pyramid(block: &str, level: &str, field: &str) -> Entry {
    match (block, level) {
        ("inner_blocks", _) => conv(format!("fpn.lateral.{}", number(level)?), field),
        ("layer_blocks", _) => conv(format!("fpn.output.{}", number(level)?), field),
        ("extra_blocks", "p6") => conv("fpn.top.0", field),
        ("extra_blocks", "p7") => conv("fpn.top.1", field),
        _ => None,
    }
}
