//! Statistics against counting over all slots and boxes, and RetinaNet's matching against the
//! matrix of all IoUs.
//!
//! N locations, G boxes.

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{
    AssignConfig, AssignError, AssignRule, Assigner, Candidate, ImageTally, RetinaNetConfig,
    RetinaNetRule, Rule, SizeGroup, Statistics, Tally,
};
use proptest::prelude::*;

const STRIDES: [usize; 3] = [8, 16, 32];

fn locations(width: usize, height: usize) -> Locations {
    Locations::new(Size { width, height }, &STRIDES, LocationRule::HalfStride)
}

fn assigner(rule: AssignRule, locations: &Locations) -> Assigner {
    let config = AssignConfig {
        rule,
        size_ranges: vec![[-1.0, 32.0], [32.0, 64.0], [64.0, f32::INFINITY]],
        center_sampling_radius: None,
        ..AssignConfig::default()
    };
    Assigner::new(&config, locations, DistanceUnit::Stride).expect("valid")
}

/// Every anchor of every location, by slot.
fn anchors(locations: &Locations, legacy: bool) -> Vec<BBox> {
    let mut all = vec![];
    for (level, &stride) in STRIDES.iter().enumerate() {
        for n in locations.level_range(level) {
            let p = locations.points()[n];
            for ratio in [0.5f32, 1.0, 2.0] {
                for octave in 0..3 {
                    let mut w = ((stride * stride) as f32 / ratio).sqrt();
                    let mut h = w * ratio;
                    if legacy {
                        w = w.round_ties_even();
                        h = (w * ratio).round_ties_even();
                    }
                    let size = 4.0 * 2f32.powf(octave as f32 / 3.0);
                    let (w, h) = (size * w / 2.0, size * h / 2.0);
                    all.push(BBox::new(p.x - w, p.y - h, p.x + w, p.y + h));
                }
            }
        }
    }
    all
}

/// Detectron's matching: thresholds, then the anchors that are some box's best.
fn literal(anchors: &[BBox], boxes: &[BBox], config: RetinaNetConfig) -> Vec<i32> {
    let grow = if config.legacy_pixels { 1.0 } else { 0.0 };
    let boxes: Vec<BBox> = boxes
        .iter()
        .map(|b| BBox::new(b.x1, b.y1, b.x2 + grow, b.y2 + grow))
        .collect();
    let best_of = |a: &BBox| {
        let mut best = (-1, 0.0);
        for (g, b) in boxes.iter().enumerate() {
            if a.iou(*b) > best.1 {
                best = (g as i32, a.iou(*b));
            }
        }
        best
    };
    let tops: Vec<f32> = boxes
        .iter()
        .map(|b| anchors.iter().map(|a| a.iou(*b)).fold(0.0, f32::max))
        .collect();
    let matched = |a: &BBox| {
        let (index, iou) = best_of(a);
        let is_a_best = boxes
            .iter()
            .zip(&tops)
            .any(|(b, &top)| top > 0.0 && a.iou(*b) == top);
        let low = config
            .low_quality_iou
            .is_some_and(|least| is_a_best && iou >= least);
        if iou >= config.positive_iou || low {
            index
        } else {
            -1
        }
    };
    anchors.iter().map(matched).collect()
}

fn boxes() -> impl Strategy<Value = BBox> {
    let sides = prop_oneof![1f32..20.0, 20f32..200.0];
    let free = (-20f32..120.0, -20f32..120.0, sides.clone(), sides)
        .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h]));
    let on_grid = (-4i32..30, -4i32..30, 1i32..40, 1i32..40)
        .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h].map(|v| v as f32 * 4.0)));
    prop_oneof![free, on_grid]
}

fn scenes() -> impl Strategy<Value = Vec<BBox>> {
    (proptest::collection::vec(boxes(), 0..7), 0usize..3).prop_map(|(mut boxes, repeated)| {
        boxes.extend_from_within(..repeated.min(boxes.len()));
        boxes
    })
}

/// What the tally must be, from the candidates of each slot as a list.
fn counted(rule: &impl Rule, boxes: &[BBox], labels: &[u32]) -> Result<ImageTally, AssignError> {
    let mut choices = vec![vec![]; rule.slots()];
    rule.candidates(boxes, |c| choices[c.slot].push(c.index));
    let ascending = |c: &Vec<usize>| c.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(choices.iter().all(ascending), "each box once per slot");
    let mut tally = ImageTally {
        per_box: vec![0; boxes.len()],
        ..ImageTally::default()
    };
    let matched = rule.matched(boxes).expect("a sound rule");
    for index in matched.iter().filter(|&&index| index >= 0) {
        tally.per_box[*index as usize] += 1;
    }
    for level in rule.levels() {
        let positives = matched[level.clone()].iter().filter(|&&index| index >= 0);
        tally.per_level.push(positives.count() as u64);
    }
    for choices in choices.iter().filter(|choices| choices.len() > 1) {
        tally.ambiguous += 1;
        let mixed = choices.iter().any(|&c| labels[c] != labels[choices[0]]);
        tally.across_classes += u64::from(mixed);
    }
    Ok(tally)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn retinanet_equals_the_matrix(
        (width, height) in (1usize..130, 1usize..130),
        boxes in scenes(),
        low_quality_iou in prop_oneof![Just(None), Just(Some(0.4f32)), Just(Some(0.0))],
        legacy_pixels: bool,
    ) {
        let locations = locations(width, height);
        let config = RetinaNetConfig { low_quality_iou, legacy_pixels, ..RetinaNetConfig::default() };
        let rule = RetinaNetRule::new(config, &locations).expect("valid");
        let expected = literal(&anchors(&locations, legacy_pixels), &boxes, config);
        prop_assert_eq!(rule.matched(&boxes), Ok(expected));
    }

    /// One tally for several images and rules: nothing of one may remain for the next.
    #[test]
    fn tallies_equal_counting(
        images in proptest::collection::vec((1usize..130, 1usize..130, scenes()), 1..4),
        classes in 1u32..4,
    ) {
        let mut tally = Tally::default();
        for (width, height, boxes) in images {
            let locations = locations(width, height);
            let labels: Vec<u32> = (0..boxes.len() as u32).map(|i| i % classes).collect();
            for rule in [AssignRule::Fcos, AssignRule::Atss] {
                let rule = assigner(rule, &locations);
                let found = tally.image(&rule, &boxes, &labels);
                prop_assert_eq!(found, counted(&rule, &boxes, &labels));
            }
            let rule = RetinaNetRule::new(RetinaNetConfig::default(), &locations).expect("valid");
            prop_assert_eq!(tally.image(&rule, &boxes, &labels), counted(&rule, &boxes, &labels));
        }
    }
}

/// By hand, on one level of stride 16: the locations (8, 8), (24, 8), (8, 24), (24, 24).
#[test]
fn a_scene_worked_by_hand() {
    let locations = Locations::new(
        Size {
            width: 32,
            height: 32,
        },
        &[16],
        LocationRule::HalfStride,
    );
    let config = AssignConfig {
        size_ranges: vec![[-1.0, f32::INFINITY]],
        center_sampling_radius: None,
        ..AssignConfig::default()
    };
    let rule = Assigner::new(&config, &locations, DistanceUnit::Stride).expect("valid");
    let boxes = [
        BBox::new(0.0, 0.0, 32.0, 32.0),   // all four, but loses three
        BBox::new(0.0, 0.0, 32.0, 16.0),   // the upper two, but loses (8, 8)
        BBox::new(0.0, 0.0, 16.0, 15.0),   // (8, 8)
        BBox::new(10.0, 10.0, 20.0, 20.0), // none
        BBox::new(0.0, 17.0, 16.0, 31.0),  // (8, 24)
        BBox::new(5.0, 5.0, 5.0, 9.0),     // of no width: none
    ];
    let labels = [0, 0, 1, 2, 0, 2];
    let tally = Tally::default().image(&rule, &boxes, &labels);
    let tally = tally.expect("a sound rule");
    assert_eq!(tally.per_box, [1, 1, 1, 0, 1, 0]);
    assert_eq!((tally.ambiguous, tally.across_classes), (3, 1));
    assert_eq!(tally.per_level, [4]);

    let sizes: Vec<SizeGroup> = boxes.iter().map(|b| SizeGroup::of(b.area())).collect();
    let mut statistics = Statistics::default();
    statistics.add(&tally, &labels, &sizes);
    let mut twice = statistics.clone();
    twice.merge(statistics.clone());
    let (once, twice) = (statistics.summary(), twice.summary());
    assert_eq!((once.images, once.boxes, once.positives), (1, 6, 4));
    assert!((once.bpr - 400.0 / 6.0).abs() < 1e-12);
    assert_eq!(
        (once.ambiguous, once.ambiguous_across_classes),
        (75.0, 25.0)
    );
    assert_eq!(once.positives_per_level, [4]);
    assert_eq!(
        (once.all.mean, once.all.quantiles),
        (4.0 / 6.0, [0, 0, 1, 1, 1])
    );
    assert_eq!(
        (once.small.boxes, once.medium.boxes, once.large.boxes),
        (5, 1, 0)
    );
    assert_eq!(
        (once.medium.bpr, once.large.bpr, once.large.mean),
        (100.0, 0.0, 0.0)
    );
    assert_eq!(once.boxes_by_label, [3, 1, 2]);
    assert_eq!(once.bpr_by_label, [100.0, 100.0, 0.0]);
    assert_eq!((twice.images, twice.boxes, twice.positives), (2, 12, 8));
    assert_eq!(
        (twice.bpr, twice.all.quantiles),
        (once.bpr, once.all.quantiles)
    );
}

/// A candidate of any rank may win: one that is infinite, or no number.
#[test]
fn the_only_candidate_wins() {
    struct Ranks([f32; 2]);
    impl Rule for Ranks {
        fn levels(&self) -> &[std::ops::Range<usize>] {
            &[0..1, 1..1]
        }
        fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
            for (index, rank) in self.0.into_iter().enumerate().take(boxes.len()) {
                let slot = 0;
                visit(Candidate { slot, index, rank });
            }
        }
    }
    let boxes = [BBox::new(0.0, 0.0, 1.0, 1.0); 2];
    for rank in [f32::INFINITY, f32::NAN] {
        let alone = &boxes[..1];
        assert_eq!(Ranks([rank; 2]).matched(alone), Ok(vec![0]), "{rank}");
        let tally = Tally::default().image(&Ranks([rank; 2]), alone, &[0]);
        assert_eq!(tally, counted(&Ranks([rank; 2]), alone, &[0]), "{rank}");
    }
    for ranks in [[f32::INFINITY, 1.0], [1.0, 1.0], [1.0, f32::NAN]] {
        let tally = Tally::default().image(&Ranks(ranks), &boxes, &[0, 0]);
        assert_eq!(tally, counted(&Ranks(ranks), &boxes, &[0, 0]), "{ranks:?}");
    }
}

/// Of eleven boxes with 10, 9, … 0 slots, the 25th percentile is the third in ascending order.
#[test]
fn quantiles_by_nearest_rank() {
    let tally = ImageTally {
        per_box: (0..11).rev().collect(),
        ..ImageTally::default()
    };
    let mut statistics = Statistics::default();
    statistics.add(&tally, &[0; 11], &[SizeGroup::Large; 11]);
    assert_eq!(statistics.summary().large.quantiles, [0, 2, 5, 8, 10]);
}

/// COCO's own limits.
#[test]
fn size_groups() {
    let groups = [1023.0, 1024.0, 9215.0, 9216.0].map(SizeGroup::of);
    use SizeGroup::{Large, Medium, Small};
    assert_eq!(groups, [Small, Medium, Medium, Large]);
}

#[test]
fn thresholds_are_checked() {
    let rule = |positive_iou, low_quality_iou| {
        let config = RetinaNetConfig {
            positive_iou,
            low_quality_iou,
            legacy_pixels: false,
        };
        RetinaNetRule::new(config, &locations(64, 64))
    };
    assert!(rule(1.0, Some(0.0)).is_ok());
    for (positive, low) in [
        (0.0, None),
        (1.5, None),
        (f32::NAN, None),
        (0.5, Some(-0.1)),
    ] {
        assert!(rule(positive, low).is_err(), "{positive} {low:?}");
    }
}

/// Nothing panics on boxes that no data set should have.
#[test]
fn odd_boxes_are_harmless() {
    let locations = locations(100, 60);
    let boxes = [
        BBox::new(f32::NAN, 0.0, 5.0, 5.0),
        BBox::new(0.0, 0.0, f32::INFINITY, 5.0),
        BBox::new(9.0, 9.0, 1.0, 1.0),
        BBox::new(-1e30, -1e30, 1e30, 1e30),
        BBox::new(7.0, 7.0, 7.0, 7.0),
    ];
    let labels = [0; 5];
    let config = RetinaNetConfig {
        low_quality_iou: Some(0.0),
        ..RetinaNetConfig::default()
    };
    let retinanet = RetinaNetRule::new(config, &locations).expect("valid");
    let mut tally = Tally::default();
    tally.image(&retinanet, &boxes, &labels).expect("counts");
    for rule in [AssignRule::Fcos, AssignRule::Atss] {
        let rule = assigner(rule, &locations);
        tally.image(&rule, &boxes, &labels).expect("counts");
    }
}
