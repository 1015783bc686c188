//! What the network sees of an image, and the rule that is counted.

use std::ops::Range;

use anyhow::Result;
use fcos::data::{AnnotatedImage, ResizeRule};
use fcos::model::FpnConfig;
use fcos::targets::{
    AreaRule, AssignConfig, AssignRule, Assigner, AtssConfig, Candidate, RetinaNetConfig,
    RetinaNetRule, Rule, Scene, SizeGroup,
};
use fcos::{BBox, DistanceUnit, LocationRule, Locations, Size, pyramid_strides};

use super::{Args, RuleName};

/// The network's input is padded to a multiple of this.
const PADDING: usize = 32;
/// Stride of the only level without a pyramid: P4.
const SINGLE_STRIDE: usize = 16;
/// Where the paper's size ranges meet, in pixels.
const RANGES: [f32; 4] = [64.0, 128.0, 256.0, 512.0];

impl Args {
    /// An image as the network sees it.
    pub(super) fn scene(&self, image: &AnnotatedImage) -> Scene {
        let resized = self.resized(image.size);
        let group = |&[_, _, w, h]: &[f32; 4]| SizeGroup::of(w * h);
        Scene {
            input: Size {
                width: resized.width.next_multiple_of(PADDING),
                height: resized.height.next_multiple_of(PADDING),
            },
            boxes: self.boxes(image, resized),
            labels: image.labels.clone(),
            sizes: image.boxes.iter().map(group).collect(),
        }
    }

    /// The size that an image is resized to.
    fn resized(&self, image: Size) -> Size {
        let rule = if self.legacy_pixels {
            ResizeRule::Official
        } else {
            ResizeRule::Detectron2
        };
        rule.output_size(image, self.short.into(), self.long.into())
    }

    /// An image's boxes in pixels of the network input. With legacy pixels they end on their last
    /// pixel, but for ATSS: its IoUs, as RetinaNet's, count that pixel, and it has no other place
    /// where to add it.
    fn boxes(&self, image: &AnnotatedImage, input: Size) -> Vec<BBox> {
        let sx = (input.width as f64 / image.size.width as f64) as f32;
        let sy = (input.height as f64 / image.size.height as f64) as f32;
        let last_pixel = if self.legacy_pixels { 1.0 } else { 0.0 };
        let counted = match self.rule {
            RuleName::Atss => last_pixel,
            RuleName::Fcos | RuleName::Retinanet => 0.0,
        };
        let corners = |&[x, y, w, h]: &[f32; 4]| {
            let (w, h) = ((w - last_pixel).max(0.0), (h - last_pixel).max(0.0));
            let b = BBox::from_xywh([x, y, w, h]).scale(sx, sy);
            BBox::new(b.x1, b.y1, b.x2 + counted, b.y2 + counted)
        };
        image.boxes.iter().map(corners).collect()
    }

    /// The strides of the levels.
    pub(super) fn strides(&self) -> Vec<usize> {
        if self.no_fpn {
            vec![SINGLE_STRIDE]
        } else {
            let first = FpnConfig::default().first_stride;
            pyramid_strides(first, self.ranges().len() + 1)
        }
    }

    /// Where the levels' size ranges meet, in pixels.
    pub(super) fn ranges(&self) -> &[f32] {
        if self.no_fpn {
            &[]
        } else {
            self.ranges.as_deref().unwrap_or(&RANGES)
        }
    }

    pub(super) fn atss(&self) -> AtssConfig {
        let default = AtssConfig::default();
        AtssConfig {
            k: self.k.unwrap_or(default.k),
            anchor_scale: self.anchor_scale.unwrap_or(default.anchor_scale),
        }
    }

    pub(super) fn retinanet(&self) -> RetinaNetConfig {
        let default = RetinaNetConfig::default();
        RetinaNetConfig {
            low_quality_iou: self
                .low_quality
                .map_or(default.low_quality_iou, |low| low.0),
            legacy_pixels: self.legacy_pixels,
            ..default
        }
    }

    /// The rule's settings, but for RetinaNet's.
    fn assign(&self) -> AssignConfig {
        let inner = self.ranges();
        let lower = std::iter::once(-1.0).chain(inner.iter().copied());
        let upper = inner.iter().copied().chain([f32::INFINITY]);
        AssignConfig {
            rule: match self.rule {
                RuleName::Atss => AssignRule::Atss,
                RuleName::Fcos | RuleName::Retinanet => AssignRule::Fcos,
            },
            size_ranges: lower
                .zip(upper)
                .map(|(lower, upper)| [lower, upper])
                .collect(),
            center_sampling_radius: self.center_sampling,
            area: if self.legacy_pixels {
                AreaRule::LegacyPlusOne
            } else {
                AreaRule::Continuous
            },
            atss: self.atss(),
            ..AssignConfig::default()
        }
    }
}

/// The rule at work on one size of input.
pub enum Matcher {
    Locations(Assigner),
    Anchors(RetinaNetRule),
}

impl Matcher {
    /// Prepares the rule for an input of this size.
    pub fn new(args: &Args, input: Size) -> Result<Self> {
        let locations = Locations::new(input, &args.strides(), LocationRule::HalfStride);
        Ok(match args.rule {
            RuleName::Fcos | RuleName::Atss => {
                let unit = DistanceUnit::default(); // counts have none
                Self::Locations(Assigner::new(&args.assign(), &locations, unit)?)
            }
            RuleName::Retinanet => Self::Anchors(RetinaNetRule::new(args.retinanet(), &locations)?),
        })
    }
}

impl Rule for Matcher {
    fn levels(&self) -> &[Range<usize>] {
        match self {
            Self::Locations(rule) => rule.levels(),
            Self::Anchors(rule) => rule.levels(),
        }
    }

    fn candidates(&self, boxes: &[BBox], visit: impl FnMut(Candidate)) {
        match self {
            Self::Locations(rule) => rule.candidates(boxes, visit),
            Self::Anchors(rule) => rule.candidates(boxes, visit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(more: &[&str]) -> Args {
        let all = [&["stats", "--annotations", "a.json"], more].concat();
        Args::try_parse_from(all).expect("valid")
    }

    #[test]
    fn legacy_boxes_end_on_their_last_pixel() {
        let image = AnnotatedImage {
            id: 1,
            size: Size {
                width: 640,
                height: 427,
            },
            boxes: vec![[10.0, 20.0, 30.0, 0.5]],
            labels: vec![0],
            annotation_ids: vec![None],
        };
        let legacy = args(&["--legacy-pixels"]);
        let input = legacy.resized(image.size);
        assert_eq!((input.width, input.height), (1199, 800)); // 1199.06
        let found = legacy.boxes(&image, input)[0];
        let (sx, sy) = (1199.0f32 / 640.0, 800.0f32 / 427.0);
        assert_eq!(found, BBox::new(10.0 * sx, 20.0 * sy, 39.0 * sx, 20.0 * sy));
        let atss = args(&["--legacy-pixels", "--rule", "atss"]);
        let (x2, y2) = (39.0 * sx + 1.0, 20.0 * sy + 1.0);
        let found = atss.boxes(&image, input)[0];
        assert_eq!(found, BBox::new(10.0 * sx, 20.0 * sy, x2, y2));
        let found = args(&[]).boxes(&image, input)[0];
        assert_eq!(found, BBox::new(10.0 * sx, 20.0 * sy, 40.0 * sx, 20.5 * sy));
    }

    #[test]
    fn levels() {
        let fpn = args(&[]);
        assert_eq!(fpn.strides(), [8, 16, 32, 64, 128]);
        let ranges = fpn.assign().size_ranges;
        assert_eq!(
            (ranges[0], ranges[4]),
            ([-1.0, 64.0], [512.0, f32::INFINITY])
        );
        let single = args(&["--no-fpn"]);
        assert_eq!(single.strides(), [16]);
        assert_eq!(single.assign().size_ranges, [[-1.0, f32::INFINITY]]);
        assert_eq!(args(&["--ranges", "32,64"]).strides(), [8, 16, 32]);
    }
}
