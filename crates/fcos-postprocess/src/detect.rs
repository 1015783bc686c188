//! An image's outputs become its detections.
//!
//! N locations, C classes, L levels.

use fcos_core::{BBox, DistanceUnit, Locations, Ltrb, Outputs, Scale, Size};
use serde::{Deserialize, Serialize};

use crate::candidates::{Candidate, Scan};
use crate::lengths::num_classes;
use crate::nms::nms_scored;
use crate::{Clip, PostprocessConfig, PostprocessError, TieRule};

/// One object found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where, in pixels of the resized image until [`scale_to_original`].
    pub bbox: BBox,
    /// How sure, in `[0, 1]`, by [`ScoreRule`](crate::ScoreRule).
    pub score: f32,
    /// What: the 0-based class.
    pub label: u32,
    /// From where: the index among all N locations, in the order of [`Locations::points`]. What a
    /// network says there beside the box (a mask's coefficients, key points, an embedding) is the
    /// detection's too.
    #[serde(default)]
    pub location: usize,
}

/// The detections of an image, and how many were lost because numbers are not finite.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Postprocessed {
    /// By descending score; of equal scores the earlier level, location and class first.
    pub detections: Vec<Detection>,
    /// How many (location, class) pairs were left out because logit, score or box was NaN, or the
    /// box reached NMS infinite. Not 0 if training diverged or weights are broken.
    pub non_finite: usize,
}

/// The detections of one image, from its outputs of N · C, N · 4 and N values: by descending score, of equal scores the earlier level, location
/// and class first.
///
/// `locations` are those of the padded network input; `unit` is that of `outputs.ltrb`; `image` is the
/// resized image without padding, to which boxes are clipped and in whose pixels they are.
///
/// Infinite distances make a box that ends at the image's edge if boxes are clipped before NMS;
/// otherwise it is dropped.
///
/// # Errors
/// [`HeadLength`](PostprocessError::HeadLength) or [`ClassLogits`](PostprocessError::ClassLogits)
/// if the outputs' lengths don't fit the locations, else as [`PostprocessConfig::validate`].
pub fn postprocess(
    outputs: Outputs<&[f32]>,
    locations: &Locations,
    unit: DistanceUnit,
    image: Size,
    config: &PostprocessConfig,
) -> Result<Vec<Detection>, PostprocessError> {
    Ok(postprocess_counted(outputs, locations, unit, image, config)?.detections)
}

/// As [`postprocess`], with the number of candidates dropped because they were not finite.
///
/// # Errors
/// As [`postprocess`].
pub fn postprocess_counted(
    outputs: Outputs<&[f32]>,
    locations: &Locations,
    unit: DistanceUnit,
    image: Size,
    config: &PostprocessConfig,
) -> Result<Postprocessed, PostprocessError> {
    config.validate()?;
    let classes = num_classes(outputs, locations.len())?;
    let scan = Scan::new(outputs, classes, config);
    let (mut candidates, mut non_finite) = (Vec::new(), 0);
    // Level by level: the limit before NMS is each level's own.
    for (level, stride) in locations.strides().enumerate() {
        let factor = match unit {
            DistanceUnit::Pixels => 1.0,
            DistanceUnit::Stride => stride as f32,
        };
        let found = scan.level(locations.level_range(level), &mut non_finite);
        candidates.extend(found.iter().map(|c| decode(c, outputs, locations, factor)));
    }
    // A box that reaches beyond the image overlaps others less: before or after NMS is not the same.
    if config.clip != Clip::AfterNms {
        clip(&mut candidates, image, config);
    }
    let mut detections = suppress(&candidates, config, &mut non_finite)?;
    limit(&mut detections, config);
    if config.clip == Clip::AfterNms {
        clip(&mut detections, image, config);
    }
    Ok(Postprocessed {
        detections,
        non_finite,
    })
}

/// `factor` turns the outputs' distances into pixels.
fn decode(
    candidate: &Candidate,
    outputs: Outputs<&[f32]>,
    locations: &Locations,
    factor: f32,
) -> Detection {
    let &Candidate {
        location,
        label,
        score,
        ..
    } = candidate;
    let [l, t, r, b] = [0, 1, 2, 3].map(|side| outputs.ltrb[location * 4 + side]);
    let bbox = Ltrb { l, t, r, b }
        .scale(factor)
        .to_box(locations.points()[location]);
    Detection {
        bbox,
        score,
        label,
        location,
    }
}

fn clip(detections: &mut Vec<Detection>, image: Size, config: &PostprocessConfig) {
    let beyond = if config.clip == Clip::LegacyBeforeNms {
        1.0
    } else {
        0.0
    };
    let last = |side: usize| (side as f32 - beyond).max(0.0);
    for detection in detections.iter_mut() {
        detection.bbox = detection.bbox.clip(last(image.width), last(image.height));
    }
    if config.remove_empty {
        detections.retain(|d| !is_empty(d.bbox));
    }
}

/// NaN is not empty: NMS drops and counts it.
fn is_empty(bbox: BBox) -> bool {
    bbox.x2 <= bbox.x1 || bbox.y2 <= bbox.y1
}

fn suppress(
    candidates: &[Detection],
    config: &PostprocessConfig,
    non_finite: &mut usize,
) -> Result<Vec<Detection>, PostprocessError> {
    let boxes: Vec<_> = candidates.iter().map(|c| c.bbox).collect();
    let scores: Vec<_> = candidates.iter().map(|c| c.score).collect();
    let labels: Vec<_> = candidates.iter().map(|c| c.label).collect();
    let output = nms_scored(&boxes, &scores, &labels, &config.nms)?;
    *non_finite += output.non_finite;
    let detection = |kept: &crate::Kept| Detection {
        score: kept.score,
        ..candidates[kept.index]
    };
    Ok(output.kept.iter().map(detection).collect())
}

/// `detections` are sorted by descending score.
fn limit(detections: &mut Vec<Detection>, config: &PostprocessConfig) {
    let Some(last) = detections.get(config.max_detections - 1).map(|d| d.score) else {
        return;
    };
    let len = match config.tie_rule {
        TieRule::Exact => config.max_detections,
        TieRule::KeepTies => detections.partition_point(|d| d.score >= last),
    };
    detections.truncate(len);
}

/// Takes boxes from the resized image back to the original one: divides x by `scale.x` (resized
/// width over original width) and y by `scale.y`, then clips to `original`.
///
/// # Errors
/// [`Scale`](PostprocessError::Scale) if a scale is not finite or not above 0; then nothing has
/// changed.
pub fn scale_to_original(
    detections: &mut [Detection],
    scale: Scale,
    original: Size,
) -> Result<(), PostprocessError> {
    let Scale { x, y } = scale;
    if ![x, y].iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(PostprocessError::Scale(scale));
    }
    let (width, height) = (original.width as f32, original.height as f32);
    for detection in detections {
        detection.bbox = detection
            .bbox
            .scale(x.recip(), y.recip())
            .clip(width, height);
    }
    Ok(())
}

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
