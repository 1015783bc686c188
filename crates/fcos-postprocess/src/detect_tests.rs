use fcos_core::{LocationRule, SettingError};

use super::*;
use crate::{NmsConfig, NmsKind, PreFilter};

const INPUT: Size = Size {
    width: 32,
    height: 16,
};

/// Two levels, strides 8 and 16: N = 8 + 2.
fn locations() -> Locations {
    Locations::new(INPUT, &[8, 16], LocationRule::HalfStride)
}

/// Head outputs of N locations and C = 2 classes that find nothing until they are changed.
struct Head {
    cls: Vec<f32>,
    ltrb: Vec<f32>,
    ctr: Vec<f32>,
}

impl Head {
    fn silent() -> Self {
        Self {
            cls: vec![-10.0; 20],
            ltrb: vec![0.25; 40],
            ctr: vec![0.0; 10],
        }
    }

    fn run(&self, config: &PostprocessConfig) -> Postprocessed {
        let head: Outputs<&[f32]> = Outputs {
            cls_logits: &self.cls,
            ltrb: &self.ltrb,
            centerness: &self.ctr,
        };
        postprocess_counted(head, &locations(), DistanceUnit::Stride, INPUT, config).expect("valid")
    }
}

fn places(found: &Postprocessed) -> Vec<([f32; 4], u32)> {
    found
        .detections
        .iter()
        .map(|d| (d.bbox.into(), d.label))
        .collect()
}

#[test]
fn each_level_decodes_with_its_stride() {
    let mut head = Head::silent();
    head.cls[2 * 5 + 1] = 2.0; // stride 8, row 1, column 1: (12, 12)
    head.cls[2 * 9] = 3.0; // stride 16, row 0, column 1: (24, 8)
    let found = head.run(&PostprocessConfig::default());
    let expected = [([20.0, 4.0, 28.0, 12.0], 0), ([10.0, 10.0, 14.0, 14.0], 1)];
    assert_eq!((places(&found), found.non_finite), (expected.to_vec(), 0));
    let score = |logit: f32| (0.5 / (1.0 + (-logit).exp())).sqrt();
    assert!((found.detections[0].score - score(3.0)).abs() < 1e-6);
}

#[test]
fn nothing_above_the_threshold() {
    assert_eq!(
        Head::silent().run(&PostprocessConfig::default()),
        Postprocessed::default()
    );
}

#[test]
fn no_location_at_all() {
    let size = Size {
        width: 0,
        height: 0,
    };
    let none = Locations::new(size, &[8], LocationRule::HalfStride);
    let head: Outputs<&[f32]> = Outputs {
        cls_logits: &[],
        ltrb: &[],
        centerness: &[],
    };
    let config = PostprocessConfig::default();
    assert_eq!(
        postprocess(head, &none, DistanceUnit::Pixels, size, &config),
        Ok(vec![])
    );
}

#[test]
fn a_short_head_is_an_error() {
    let head: Outputs<&[f32]> = Outputs {
        cls_logits: &[0.0; 20],
        ltrb: &[0.0; 40],
        centerness: &[0.0; 9],
    };
    let config = PostprocessConfig::default();
    let result = postprocess(head, &locations(), DistanceUnit::Stride, INPUT, &config);
    let what = "centerness";
    assert_eq!(
        result,
        Err(PostprocessError::HeadLength {
            what,
            expected: 10,
            found: 9
        })
    );
}

#[test]
fn an_invalid_configuration_is_an_error() {
    let head: Outputs<&[f32]> = Outputs {
        cls_logits: &[0.0; 20],
        ltrb: &[0.0; 40],
        centerness: &[0.0; 10],
    };
    let config = PostprocessConfig {
        pre_nms_top_k: 0,
        ..PostprocessConfig::default()
    };
    let result = postprocess(head, &locations(), DistanceUnit::Stride, INPUT, &config);
    assert_eq!(
        result,
        Err(SettingError::new("pre_nms_top_k", 0, "at least 1").into())
    );
}

#[test]
fn nan_is_dropped_and_counted() {
    let mut head = Head::silent();
    head.cls[0] = f32::NAN; // logit
    (head.cls[2], head.ctr[1]) = (2.0, f32::NAN); // centre-ness
    (head.cls[4], head.ltrb[4 * 2 + 3]) = (2.0, f32::NAN); // box
    head.cls[6] = 2.0;
    for config in [
        PostprocessConfig::default(),
        PostprocessConfig::official(),
        PostprocessConfig::adelaidet(),
        PostprocessConfig::torchvision(),
        PostprocessConfig::mmdet_plain(),
    ] {
        let found = head.run(&config);
        assert_eq!(
            (found.detections.len(), found.non_finite),
            (1, 3),
            "{config:?}"
        );
    }
}

#[test]
fn all_nan_finds_nothing() {
    let nan = |n| vec![f32::NAN; n];
    let head = Head {
        cls: nan(20),
        ltrb: nan(40),
        ctr: nan(10),
    };
    let found = head.run(&PostprocessConfig::default());
    assert_eq!((found.detections, found.non_finite), (vec![], 20));
}

#[test]
fn infinite_distances_end_at_the_image_or_are_dropped() {
    let mut head = Head::silent();
    head.cls[0] = f32::INFINITY;
    head.ltrb[..4].fill(f32::INFINITY);
    let clipped = head.run(&PostprocessConfig::default());
    assert_eq!(places(&clipped), [([0.0, 0.0, 32.0, 16.0], 0)]);
    let unclipped = head.run(&PostprocessConfig::adelaidet());
    assert_eq!((unclipped.detections, unclipped.non_finite), (vec![], 1));
}

/// Two equal boxes reaching beyond the image, and one wholly outside it.
#[test]
fn clip_rules() {
    let mut head = Head::silent();
    (head.cls[0], head.cls[2]) = (2.0, 1.0);
    head.ltrb[..4].copy_from_slice(&[9.0, 0.25, 9.0, 9.0]);
    head.ltrb[4..8].copy_from_slice(&[9.0, 9.0, -8.0, -8.0]); // all left of x = 0
    let boxes = |clip, remove_empty| {
        let config = PostprocessConfig {
            clip,
            remove_empty,
            ..PostprocessConfig::default()
        };
        places(&head.run(&config))
            .iter()
            .map(|p| p.0)
            .collect::<Vec<_>>()
    };
    let (inside, outside) = ([0.0, 2.0, 32.0, 16.0], [0.0, 0.0, 0.0, 0.0]);
    assert_eq!(boxes(Clip::BeforeNms, true), [inside]);
    assert_eq!(boxes(Clip::BeforeNms, false), [inside, outside]);
    assert_eq!(boxes(Clip::AfterNms, true), [inside]);
    assert_eq!(boxes(Clip::LegacyBeforeNms, true), [[0.0, 2.0, 31.0, 15.0]]);
}

/// All ten locations alike, so that both classes of each tie.
fn tied(config: PostprocessConfig) -> Vec<u32> {
    let head = Head {
        cls: vec![1.0; 20],
        ltrb: vec![0.5; 40],
        ctr: vec![0.0; 10],
    };
    let config = PostprocessConfig {
        nms: NmsConfig {
            threshold: 1.0,
            ..config.nms
        },
        ..config
    };
    head.run(&config)
        .detections
        .iter()
        .map(|d| d.label)
        .collect()
}

#[test]
fn ties_at_the_limit() {
    let at_three = PostprocessConfig {
        max_detections: 3,
        ..PostprocessConfig::default()
    };
    assert_eq!(tied(at_three), [0, 1, 0]);
    assert_eq!(
        tied(PostprocessConfig {
            tie_rule: TieRule::KeepTies,
            ..at_three
        })
        .len(),
        20
    );
}

#[test]
fn keeping_ties_still_cuts_what_is_lower() {
    let mut head = Head::silent();
    for (location, logit) in [(0, 3.0), (1, 2.0), (2, 2.0), (3, 1.0)] {
        head.cls[location * 2] = logit;
    }
    let count = |tie_rule| {
        let config = PostprocessConfig {
            max_detections: 2,
            tie_rule,
            ..PostprocessConfig::default()
        };
        head.run(&config).detections.len()
    };
    assert_eq!((count(TieRule::Exact), count(TieRule::KeepTies)), (2, 3));
}

/// At most k of each level: of 16 pairs on the first, all 4 on the second.
#[test]
fn top_k_is_per_level() {
    let config = PostprocessConfig {
        pre_nms_top_k: 5,
        ..PostprocessConfig::default()
    };
    assert_eq!(tied(config).len(), 5 + 4);
}

#[test]
fn a_threshold_of_one_passes_nothing_and_of_zero_everything() {
    let count = |threshold| {
        let pre_filter = PreFilter {
            threshold,
            ..PreFilter::default()
        };
        tied(PostprocessConfig {
            pre_filter,
            ..PostprocessConfig::default()
        })
        .len()
    };
    assert_eq!((count(1.0), count(0.0)), (0, 20));
}

#[test]
fn back_to_the_original() {
    let detection = |bbox: [f32; 4]| Detection {
        bbox: bbox.into(),
        score: 0.5,
        label: 1,
        location: 0,
    };
    let original = Size {
        width: 100,
        height: 50,
    };
    let mut found = [
        detection([10.0, 200.0, 30.0, 240.0]),
        detection([-4.0, 0.0, 999.0, 999.0]),
    ];
    scale_to_original(&mut found, Scale { x: 0.5, y: 8.0 }, original).expect("valid");
    assert_eq!(<[f32; 4]>::from(found[0].bbox), [20.0, 25.0, 60.0, 30.0]);
    assert_eq!(<[f32; 4]>::from(found[1].bbox), [0.0, 0.0, 100.0, 50.0]);
    for (x, y) in [
        (0.0, 1.0),
        (1.0, -1.0),
        (f32::NAN, 1.0),
        (1.0, f32::INFINITY),
    ] {
        let before = found;
        assert!(matches!(
            scale_to_original(&mut found, Scale { x, y }, original),
            Err(PostprocessError::Scale(_))
        ));
        assert_eq!(found, before);
    }
}

/// The location whose own box this is, looked up among all of them.
fn location_of(detection: &Detection, head: &Head, strides: [f32; 2], image: Size) -> Vec<usize> {
    let (locations, mut found) = (locations(), vec![]);
    for (n, point) in locations.points().iter().enumerate() {
        let stride = strides[usize::from(n >= locations.level_range(1).start)];
        let [l, t, r, b] = [0, 1, 2, 3].map(|side| head.ltrb[4 * n + side] * stride);
        let bbox = BBox::new(point.x - l, point.y - t, point.x + r, point.y + b);
        if bbox.clip(image.width as f32, image.height as f32) == detection.bbox {
            found.push(n);
        }
    }
    found
}

/// Through top-k, NMS and soft-NMS, on both levels, whatever order the scores bring them in.
#[test]
fn detections_know_their_location() {
    let gaussian = NmsKind::SoftGaussian {
        sigma: 0.5,
        min_score: 0.01,
    };
    let hard = PostprocessConfig {
        nms: NmsConfig {
            threshold: 0.3,
            ..NmsConfig::default()
        },
        pre_nms_top_k: 6,
        ..PostprocessConfig::default()
    };
    let mut soft = hard;
    soft.nms.kind = gaussian;
    let (mut levels, mut suppressed) = ([0; 2], 0);
    for seed in 0..20 {
        let mut rng = fcos_core::Rng::from_key(&[seed]);
        let mut draw = |n, low, high| (0..n).map(|_| rng.uniform(low, high)).collect::<Vec<_>>();
        let head = Head {
            cls: draw(20, -3.0, 3.0),
            ltrb: draw(40, 0.3, 1.5),
            ctr: draw(10, -1.0, 3.0),
        };
        for config in [hard, soft] {
            let found = head.run(&config).detections;
            suppressed += usize::from(found.len() < 10);
            for detection in &found {
                let expected = location_of(detection, &head, [8.0, 16.0], INPUT);
                assert_eq!(expected, [detection.location], "{detection:?}");
                levels[usize::from(detection.location >= 8)] += 1;
            }
        }
    }
    assert!(
        levels.iter().all(|&n| n > 40) && suppressed > 10,
        "{levels:?} {suppressed}"
    );
}
