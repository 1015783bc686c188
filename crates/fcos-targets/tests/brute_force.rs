//! The assigner against a literal reading of the paper: every location against every box.
//!
//! L levels, N locations, G boxes.

use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
use fcos_targets::{AreaRule, AssignConfig, Assigner, RangeBounds, Targets};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    input: Size,
    strides: Vec<usize>,
    rule: LocationRule,
    unit: DistanceUnit,
    config: AssignConfig,
    boxes: Vec<[f32; 4]>,
    labels: Vec<u32>,
}

/// `(x, y, level)` of every location: §3.1's `⌊s/2⌋ + x·s`, torchvision's `x·⌊side / cells⌋`, or `x·s`.
fn locations_of(case: &Case) -> Vec<(f32, f32, usize)> {
    let place = |i: usize, side: usize, cells: usize, stride: usize| match case.rule {
        LocationRule::HalfStride => stride / 2 + i * stride,
        LocationRule::Torchvision => i * (side / cells),
        LocationRule::Corner => i * stride,
        other => panic!("no brute force for {other}"),
    };
    let mut all = vec![];
    for (level, &s) in case.strides.iter().enumerate() {
        let (w, h) = (case.input.width, case.input.height);
        let (columns, rows) = (w.div_ceil(s), h.div_ceil(s));
        for y in 0..rows {
            for x in 0..columns {
                let (x, y) = (place(x, w, columns, s), place(y, h, rows, s));
                all.push((x as f32, y as f32, level));
            }
        }
    }
    all
}

/// Eq. 1, or nothing where the location is not inside, not central or not for this level.
fn regression_target(
    case: &Case,
    (x, y, level): (f32, f32, usize),
    [x0, y0, x1, y1]: [f32; 4],
) -> Option<[f32; 4]> {
    let [l, t, r, b] = [x - x0, y - y0, x1 - x, y1 - y];
    if l <= 0.0 || t <= 0.0 || r <= 0.0 || b <= 0.0 {
        return None;
    }
    if let Some(radius) = case.config.center_sampling_radius {
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let half = radius * case.strides[level] as f32;
        if (x - cx).abs() >= half || (y - cy).abs() >= half {
            return None;
        }
    }
    let largest = [l, t, r, b].into_iter().fold(f32::MIN, f32::max);
    let [low, high] = case.config.size_ranges[level];
    let outside = match case.config.range_bounds {
        RangeBounds::Inclusive => largest > high || largest < low,
        RangeBounds::Exclusive => largest >= high || largest <= low,
    };
    (!outside).then_some([l, t, r, b])
}

/// Larger for smaller boxes.
fn smallness(area: AreaRule, [x0, y0, x1, y1]: [f32; 4]) -> f32 {
    match area {
        AreaRule::Continuous => -((x1 - x0) * (y1 - y0)),
        AreaRule::LegacyPlusOne => -((x1 - x0 + 1.0) * (y1 - y0 + 1.0)),
        AreaRule::Torchvision => 1e8 - (x1 - x0) * (y1 - y0),
        other => panic!("no brute force for {other}"),
    }
}

/// Index of the box and Eq. 1 for the smallest box that the location fits, the first of equals.
fn choose(case: &Case, location: (f32, f32, usize)) -> Option<(usize, [f32; 4])> {
    let mut best: Option<(usize, [f32; 4], f32)> = None;
    for (g, &bbox) in case.boxes.iter().enumerate() {
        let Some(target) = regression_target(case, location, bbox) else {
            continue;
        };
        let smallness = smallness(case.config.area, bbox);
        if best.is_none_or(|(_, _, most)| smallness > most) {
            best = Some((g, target, smallness));
        }
    }
    best.map(|(g, target, _)| (g, target))
}

fn assigned(case: &Case) -> Targets {
    let locations = Locations::new(case.input, &case.strides, case.rule);
    let boxes: Vec<BBox> = case.boxes.iter().map(|&b| BBox::from(b)).collect();
    Assigner::new(&case.config, &locations, case.unit)
        .expect("valid config")
        .assign(&boxes, &case.labels)
        .expect("valid boxes")
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let targets = assigned(case);
    let locations = locations_of(case);
    prop_assert_eq!(targets.matched.len(), locations.len());
    for (n, &location) in locations.iter().enumerate() {
        let Some((g, [l, t, r, b])) = choose(case, location) else {
            prop_assert_eq!((targets.matched[n], targets.labels[n]), (-1, -1));
            prop_assert_eq!(targets.ltrb[n].to_array(), [0.0; 4]);
            prop_assert_eq!(targets.centerness[n], 0.0);
            continue;
        };
        prop_assert_eq!(
            targets.matched[n],
            g as i32,
            "location {} {:?}",
            n,
            location
        );
        prop_assert_eq!(targets.labels[n], case.labels[g] as i32);
        let stride = case.strides[location.2] as f32;
        for (have, want) in targets.ltrb[n].to_array().into_iter().zip([l, t, r, b]) {
            let want = match case.unit {
                DistanceUnit::Pixels => want,
                DistanceUnit::Stride => want / stride,
            };
            prop_assert!((have - want).abs() <= want * f32::EPSILON, "{have} {want}");
        }
        let centerness = (l.min(r) / l.max(r) * (t.min(b) / t.max(b))).sqrt();
        prop_assert!((targets.centerness[n] - centerness).abs() <= 1e-6);
    }
    Ok(())
}

/// Strides and size ranges: the paper's, a shallow pyramid, odd strides, one level without limit.
fn pyramids() -> impl Strategy<Value = (Vec<usize>, Vec<[f32; 2]>)> {
    const INF: f32 = f32::INFINITY;
    let paper = AssignConfig::default().size_ranges;
    prop_oneof![
        Just((vec![8, 16, 32, 64, 128], paper)),
        Just((
            vec![8, 16, 32],
            vec![[-1.0, 32.0], [32.0, 64.0], [64.0, INF]]
        )),
        Just((vec![5, 12], vec![[0.0, 20.0], [10.0, 60.0]])),
        Just((vec![16], vec![[0.0, INF]])),
    ]
}

prop_compose! {
    fn configs(size_ranges: Vec<[f32; 2]>)(
        range_bounds in prop_oneof![Just(RangeBounds::Inclusive), Just(RangeBounds::Exclusive)],
        center_sampling_radius in proptest::option::of(prop_oneof![
            Just(0.5f32), Just(0.75), Just(1.5), Just(2.5)
        ]),
        area in prop_oneof![
            Just(AreaRule::Continuous), Just(AreaRule::LegacyPlusOne), Just(AreaRule::Torchvision)
        ],
    ) -> AssignConfig {
        AssignConfig {
            size_ranges: size_ranges.clone(), range_bounds, center_sampling_radius,
            area, ..AssignConfig::default()
        }
    }
}

/// Boxes in steps of `step` pixels, also beyond the image. On a coarse step sides run through
/// locations, distances hit the bounds of ranges, and areas tie.
fn boxes_on_grid(step: f32) -> impl Strategy<Value = [f32; 4]> {
    let cells = |pixels: f32| (pixels / step) as i32;
    let corner = cells(-40.0)..cells(260.0);
    let side = prop_oneof![1..cells(40.0), 1..cells(300.0)];
    (corner.clone(), corner, side.clone(), side)
        .prop_map(move |(x, y, w, h)| [x, y, x + w, y + h].map(|v| v as f32 * step))
}

fn any_boxes() -> impl Strategy<Value = [f32; 4]> {
    (-40f32..260.0, -40f32..260.0, 0.01f32..300.0, 0.01f32..300.0)
        .prop_map(|(x, y, w, h)| [x, y, x + w, y + h])
}

/// Some boxes, and some of them again.
fn scenes() -> impl Strategy<Value = Vec<[f32; 4]>> {
    let boxes = prop_oneof![boxes_on_grid(4.0), boxes_on_grid(0.25), any_boxes()];
    (proptest::collection::vec(boxes, 0..10), 0usize..3).prop_map(|(mut boxes, repeated)| {
        boxes.extend_from_within(..repeated.min(boxes.len()));
        boxes
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let rules = prop_oneof![
        Just(LocationRule::HalfStride),
        Just(LocationRule::Torchvision),
        Just(LocationRule::Corner)
    ];
    let units = prop_oneof![Just(DistanceUnit::Pixels), Just(DistanceUnit::Stride)];
    let sides = (0usize..250, 0usize..250);
    (pyramids(), sides, rules, units, scenes()).prop_flat_map(
        |((strides, size_ranges), (width, height), rule, unit, boxes)| {
            let labels = proptest::collection::vec(0u32..80, boxes.len());
            (configs(size_ranges), labels).prop_map(move |(config, labels)| Case {
                input: Size { width, height },
                strides: strides.clone(),
                rule,
                unit,
                config,
                boxes: boxes.clone(),
                labels,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn equals_brute_force(case in cases()) {
        check(&case)?;
    }
}
