//! The presets find what the implementations they are named after find.

mod common;

use common::{Draws, golden};
use fcos_core::{DistanceUnit, LocationRule, Locations, Outputs, Scale, Size};
use fcos_postprocess::{
    Clip, Detection, FilterOn, PostprocessConfig, ScoreRule, TopKKey, postprocess,
    scale_to_original,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    strides: Vec<usize>,
    input: (usize, usize),
    image: (usize, usize),
    original: (usize, usize),
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    preset: String,
    seed: u64,
    classes: usize,
    /// The lowest class logit drawn.
    lowest: f32,
    pre_nms_top_k: usize,
    max_detections: Option<usize>,
    unit: DistanceUnit,
    /// Whether the boxes are in the original image's pixels.
    original: bool,
    detections: Vec<[f32; 6]>,
}

impl Case {
    fn config(&self) -> PostprocessConfig {
        let preset = match self.preset.as_str() {
            "official_orig" | "official_imprv" => PostprocessConfig::official(),
            "atss" => PostprocessConfig::atss(),
            "adelaidet" => PostprocessConfig::adelaidet(),
            "torchvision" => PostprocessConfig::torchvision(),
            "mmdet_plain" => PostprocessConfig::mmdet_plain(),
            "mmdet_tricks" => PostprocessConfig::mmdet_tricks(),
            other => panic!("no preset {other}"),
        };
        PostprocessConfig {
            pre_nms_top_k: self.pre_nms_top_k,
            max_detections: self.max_detections.unwrap_or(preset.max_detections),
            ..preset
        }
    }
}

fn size((width, height): (usize, usize)) -> Size {
    Size { width, height }
}

fn load(file: &str) -> Goldens {
    serde_json::from_slice(&golden(file)).expect("goldens parse")
}

fn detect(
    case: &Case,
    of: &Goldens,
    rule: LocationRule,
    config: &PostprocessConfig,
) -> Vec<Detection> {
    let locations = Locations::new(size(of.input), &of.strides, rule);
    let n = locations.len();
    let draw = |seed: u64, count: usize, scale: f32, shift: f32| -> Vec<f32> {
        let mut draws = Draws::new(seed);
        (0..count).map(|_| draws.draw() * scale + shift).collect()
    };
    let (scale, shift) = match case.unit {
        DistanceUnit::Stride => (1.0, 2.0),
        DistanceUnit::Pixels => (30.0, 3.0),
    };
    let head: Outputs<&[f32]> = Outputs {
        cls_logits: &draw(case.seed, n * case.classes, 8.0, case.lowest),
        ltrb: &draw(case.seed + 1000, n * 4, scale, shift),
        centerness: &draw(case.seed + 2000, n, 6.0, -3.0),
    };
    let image = size(of.image);
    let mut found = postprocess(head, &locations, case.unit, image, config).expect("valid");
    if case.original {
        let ratio = |resized: usize, original: usize| resized as f32 / original as f32;
        let scale = Scale {
            x: ratio(of.image.0, of.original.0),
            y: ratio(of.image.1, of.original.1),
        };
        scale_to_original(&mut found, scale, size(of.original)).expect("valid scale");
    }
    found
}

/// `Err` says where the two part.
fn compare(found: &[Detection], case: &Case) -> Result<(), String> {
    let tolerance = if case.original { 2e-4 } else { 0.0 }; // in pixels; rescaling rounds
    if found.len() != case.detections.len() {
        return Err(format!(
            "{} detections, not {}",
            found.len(),
            case.detections.len()
        ));
    }
    for (i, (d, &[x1, y1, x2, y2, score, label])) in found.iter().zip(&case.detections).enumerate()
    {
        let boxes_agree = <[f32; 4]>::from(d.bbox)
            .iter()
            .zip([x1, y1, x2, y2])
            .all(|(a, b)| (a - b).abs() <= tolerance);
        if !boxes_agree || (d.score - score).abs() > 1e-6 || d.label as f32 != label {
            return Err(format!(
                "detection {i}: {d:?}, not {:?}",
                case.detections[i]
            ));
        }
    }
    Ok(())
}

fn check_all(goldens: &Goldens, rule: LocationRule) {
    for case in &goldens.cases {
        let found = detect(case, goldens, rule, &case.config());
        let result = compare(&found, case);
        assert_eq!(
            result,
            Ok(()),
            "{} with {} classes",
            case.preset,
            case.classes
        );
    }
}

#[test]
fn every_preset_agrees_with_its_implementation() {
    let goldens = load("postprocess/presets.json");
    assert_eq!(goldens.cases.len(), 28);
    check_all(&goldens, LocationRule::HalfStride);
}

#[test]
fn torchvisions_own_postprocessing() {
    let goldens = load("postprocess/torchvision.json");
    assert_eq!(goldens.cases.len(), 3);
    check_all(&goldens, LocationRule::Torchvision);
}

/// A golden that every rule satisfies would prove none: with any one rule changed, each preset
/// misses at least one of its cases.
#[test]
fn the_goldens_tell_the_rules_apart() {
    type Change = (&'static str, fn(&mut PostprocessConfig));
    let changes: [Change; 8] = [
        ("score", |c| {
            c.score_rule = match c.score_rule {
                ScoreRule::SqrtProduct => ScoreRule::Product,
                _ => ScoreRule::SqrtProduct,
            };
        }),
        ("filter", |c| {
            c.pre_filter.on = match c.pre_filter.on {
                FilterOn::Cls => FilterOn::Product,
                _ => FilterOn::Cls,
            };
        }),
        ("top-k key", |c| {
            c.top_k_key = match c.top_k_key {
                TopKKey::Product => TopKKey::Cls,
                _ => TopKKey::Product,
            };
        }),
        ("top-k", |c| c.pre_nms_top_k /= 10),
        ("clip", |c| {
            c.clip = match c.clip {
                Clip::BeforeNms => Clip::LegacyBeforeNms,
                _ => Clip::BeforeNms,
            };
        }),
        ("NMS threshold", |c| c.nms.threshold += 0.1),
        ("class-aware", |c| c.nms.class_aware = false),
        ("plus one", |c| c.nms.legacy_plus_one ^= true),
    ];
    let goldens = load("postprocess/presets.json");
    for preset in goldens.cases.chunk_by(|a, b| a.preset == b.preset) {
        for (name, change) in changes {
            let missed = preset.iter().any(|case| {
                let mut config = case.config();
                change(&mut config);
                compare(
                    &detect(case, &goldens, LocationRule::HalfStride, &config),
                    case,
                )
                .is_err()
            });
            assert!(missed, "{}: {name} changes nothing", preset[0].preset);
        }
    }
}
