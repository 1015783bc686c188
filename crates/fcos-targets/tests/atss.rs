//! ATSS against `testdata/assign/make_atss.py`, an independent literal reading in numpy, and
//! against one in Rust on random scenes.
//!
//! L levels, N locations, G boxes.

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{AssignConfig, AssignRule, Assigner, AtssConfig, Targets};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
struct Scene {
    /// Width and height.
    input: [usize; 2],
    strides: Vec<usize>,
    k: usize,
    boxes: Vec<BBox>,
}

impl Scene {
    fn locations(&self, rule: LocationRule) -> Locations {
        let [width, height] = self.input;
        Locations::new(Size { width, height }, &self.strides, rule)
    }

    fn assign(&self, rule: LocationRule) -> Targets {
        let config = AssignConfig {
            rule: AssignRule::Atss,
            atss: AtssConfig {
                k: self.k,
                ..AtssConfig::default()
            },
            ..AssignConfig::default()
        };
        let labels: Vec<u32> = (0..self.boxes.len() as u32).collect();
        Assigner::new(&config, &self.locations(rule), DistanceUnit::Stride)
            .expect("valid config")
            .assign(&self.boxes, &labels)
            .expect("valid boxes")
    }
}

/// `(gap, length, index)`, as the script explains.
fn expected(runs: &[usize], len: usize) -> Vec<i32> {
    let mut matched = vec![-1; len];
    let mut at = 0;
    for run in runs.chunks(3) {
        at += run[0];
        matched[at..at + run[1]].fill(run[2] as i32);
        at += run[1];
    }
    matched
}

#[test]
fn equals_numpy_on_a_thousand_scenes() {
    #[derive(Deserialize)]
    struct Scenes {
        scenes: Vec<Scene>,
    }
    #[derive(Deserialize)]
    struct Matched {
        matched: Vec<Vec<usize>>,
    }
    let scenes = include_str!("../../../testdata/assign/atss_scenes.json");
    let Scenes { scenes } = serde_json::from_str(scenes).expect("scenes parse");
    let matched = include_str!("../../../testdata/assign/atss_matched.json");
    let Matched { matched } = serde_json::from_str(matched).expect("goldens parse");
    assert_eq!((scenes.len(), matched.len()), (1000, 1000));
    let mut positives = 0;
    for (i, (scene, runs)) in scenes.iter().zip(&matched).enumerate() {
        let targets = scene.assign(LocationRule::HalfStride);
        let expected = expected(runs, targets.matched.len());
        assert_eq!(targets.matched, expected, "scene {i}: {scene:?}");
        positives += targets.num_positives();
    }
    assert!(positives > 10_000, "only {positives}");
}

/// Algorithm 1 line by line: all anchors, all distances, a stable sort.
fn literal(scene: &Scene, locations: &Locations) -> Vec<i32> {
    let mut matched = vec![-1; locations.len()];
    let mut best = vec![f32::NEG_INFINITY; locations.len()];
    for (g, &bbox) in scene.boxes.iter().enumerate() {
        let mut candidates = vec![];
        for (level, &stride) in scene.strides.iter().enumerate() {
            let mut of_level: Vec<_> = locations.level_range(level).collect();
            of_level.sort_by(|&a, &b| {
                squared(locations, a, bbox).total_cmp(&squared(locations, b, bbox))
            });
            of_level.truncate(scene.k);
            let iou = |&n: &usize| {
                let (p, half) = (locations.points()[n], 4.0 * stride as f32);
                let anchor = BBox::new(p.x - half, p.y - half, p.x + half, p.y + half);
                (n, anchor.iou(bbox))
            };
            candidates.extend(of_level.iter().map(iou));
        }
        let n = candidates.len() as f64;
        let mean = candidates.iter().map(|c| f64::from(c.1)).sum::<f64>() / n;
        let squares: f64 = candidates
            .iter()
            .map(|c| (f64::from(c.1) - mean).powi(2))
            .sum();
        let deviation = if n > 1.0 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        for (n, iou) in candidates {
            let p = locations.points()[n];
            let margins = [p.x - bbox.x1, p.y - bbox.y1, bbox.x2 - p.x, bbox.y2 - p.y];
            let inside = margins.iter().all(|&m| m > 0.01);
            if f64::from(iou) >= mean + deviation && inside && iou > best[n] {
                best[n] = iou;
                matched[n] = g as i32;
            }
        }
    }
    matched
}

fn squared(locations: &Locations, n: usize, bbox: BBox) -> f64 {
    let (p, c) = (locations.points()[n], bbox.center());
    let (dx, dy) = (
        f64::from(p.x) - f64::from(c.x),
        f64::from(p.y) - f64::from(c.y),
    );
    dx * dx + dy * dy
}

fn boxes() -> impl Strategy<Value = BBox> {
    let on_grid = (-10i32..60, -10i32..60, 1i32..70, 1i32..70)
        .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h].map(|v| v as f32 * 4.0)));
    let small = (-5f32..250.0, -5f32..250.0, 0.1f32..20.0, 0.1f32..20.0);
    let any = (-300f32..260.0, -300f32..260.0, 0.1f32..900.0, 0.1f32..900.0);
    let free = prop_oneof![small, any].prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h]));
    prop_oneof![on_grid, free]
}

prop_compose! {
    fn scenes()(
        input in prop_oneof![[1usize..250, 1usize..250], [0usize..20, 0usize..20]],
        strides in prop_oneof![
            Just(vec![8, 16, 32, 64, 128]), Just(vec![8, 16, 32]), Just(vec![16]), Just(vec![5, 12])
        ],
        k in prop_oneof![Just(9usize), 1usize..20],
        boxes in proptest::collection::vec(boxes(), 0..6),
        repeated in 0usize..3,
    ) -> Scene {
        let mut boxes = boxes;
        boxes.extend_from_within(..repeated.min(boxes.len()));
        Scene { input, strides, k, boxes }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn equals_the_literal_algorithm(
        scene in scenes(),
        rule in prop_oneof![
            Just(LocationRule::HalfStride),
            Just(LocationRule::Torchvision),
            Just(LocationRule::Corner)
        ],
    ) {
        let locations = scene.locations(rule);
        prop_assert_eq!(scene.assign(rule).matched, literal(&scene, &locations));
    }
}

/// The paper's claim that every object has about 0.2·k·L = 9 positives, whatever its size; counted
/// with `atss` of the script.
#[test]
fn objects_of_all_sizes_have_as_many_positives() {
    for side in [20.0, 60.0, 150.0, 400.0] {
        let scene = Scene {
            input: [832, 832],
            strides: vec![8, 16, 32, 64, 128],
            k: 9,
            boxes: vec![BBox::from_xywh([
                411.0 - side / 2.0,
                405.0 - side / 2.0,
                side,
                side,
            ])],
        };
        let positives = scene.assign(LocationRule::HalfStride).num_positives();
        assert_eq!(positives, 9, "of side {side}");
    }
}

/// By hand: one level of one cell, so that the single candidate is its own threshold; a box that
/// holds its centre by exactly 0.01 px is not learnt.
#[test]
fn a_single_candidate_is_positive() {
    let positives = |bbox| {
        let scene = Scene {
            input: [8, 8],
            strides: vec![8],
            k: 9,
            boxes: vec![bbox],
        };
        scene.assign(LocationRule::HalfStride).num_positives()
    };
    assert_eq!(positives(BBox::new(2.0, 2.0, 7.0, 7.0)), 1);
    assert_eq!(positives(BBox::new(3.98, 2.0, 7.0, 7.0)), 1);
    assert_eq!(positives(BBox::new(3.995, 2.0, 7.0, 7.0)), 0);
    assert_eq!(positives(BBox::new(5.0, 5.0, 7.0, 7.0)), 0);
}
