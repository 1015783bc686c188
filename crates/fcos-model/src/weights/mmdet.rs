//! mmdetection's FCOS and ATSS.

use super::families::torchvision;
use super::names::{Entry, conv, network, number};

/// A tensor of mmdetection's `FCOS` or `ATSS`.
pub(super) fn detector(parts: &[&str]) -> Entry {
    match *parts {
        ["backbone", ref rest @ ..] => torchvision(rest),
        ["neck", "lateral_convs", level, "conv", field] => {
            conv(format!("fpn.lateral.{}", number(level)?), field)
        }
        ["neck", "fpn_convs", level, "conv", field] => match number(level)? {
            level @ 0..3 => conv(format!("fpn.output.{level}"), field),
            level => conv(format!("fpn.top.{}", level - 3), field),
        },
        ["bbox_head", ref rest @ ..] => head(rest),
        _ => None,
    }
}

/// The output layers were called `fcos_*` before version 2 and are called `atss_*` in ATSS.
fn head(parts: &[&str]) -> Entry {
    match *parts {
        ["cls_convs", n, part, field] => layer("cls_tower", n, part, field),
        ["reg_convs", n, part, field] => layer("bbox_tower", n, part, field),
        ["conv_cls" | "fcos_cls" | "atss_cls", field] => conv("head.cls_logits", field),
        ["conv_reg" | "fcos_reg" | "atss_reg", field] => conv("head.bbox_pred", field),
        [
            "conv_centerness" | "fcos_centerness" | "atss_centerness",
            field,
        ] => conv("head.centerness", field),
        ["scales", level, "scale"] => network(format!("head.scales.{}", number(level)?)),
        _ => None,
    }
}

fn layer(tower: &str, n: &str, part: &str, field: &str) -> Entry {
    let part = match part {
        "conv" => "conv",
        "gn" => "norm",
        _ => return None,
    };
    conv(format!("head.{tower}.{}.{part}", number(n)?), field)
}
