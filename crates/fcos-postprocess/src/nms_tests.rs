use proptest::prelude::*;

use super::*;

/// Boxes on a coarse grid, with area or without, and scores that often tie.
fn scene() -> impl Strategy<Value = (Vec<BBox>, Vec<f32>, Vec<u32>)> {
    let one = (0u8..10, 20u8..30, 0u8..8, 0u8..8, 0u8..6, 0u32..3);
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let bbox = |&(x, y, w, h, ..): &(u8, u8, u8, u8, u8, u32)| {
            BBox::from_xywh([x, y, w, h].map(f32::from))
        };
        (
            all.iter().map(bbox).collect(),
            all.iter().map(|b| f32::from(b.4) / 8.0).collect(),
            all.iter().map(|b| b.5).collect(),
        )
    })
}

/// Word for word in `f64`: pick the best that is left, treat all others of its label.
/// `treat(score, iou)` gives the new score, or `None` to remove.
fn literal(
    (boxes, scores, labels): &(Vec<BBox>, Vec<f32>, Vec<u32>),
    config: &NmsConfig,
    treat: impl Fn(f64, f64) -> Option<f64>,
) -> Vec<(usize, f64)> {
    let one = if config.legacy_plus_one { 1.0 } else { 0.0 };
    let overlap = |a: BBox, b: BBox| {
        let [ax1, ay1, ax2, ay2] = <[f32; 4]>::from(a).map(f64::from);
        let [bx1, by1, bx2, by2] = <[f32; 4]>::from(b).map(f64::from);
        let inter = (ax2.min(bx2) - ax1.max(bx1) + one).max(0.0)
            * (ay2.min(by2) - ay1.max(by1) + one).max(0.0);
        let area = |x1, y1, x2, y2| (x2 - x1 + one) * (y2 - y1 + one);
        let union = area(ax1, ay1, ax2, ay2) + area(bx1, by1, bx2, by2) - inter;
        if union == 0.0 { 0.0 } else { inter / union }
    };
    let mut left: Vec<(usize, f64)> = scores.iter().map(|&s| f64::from(s)).enumerate().collect();
    let mut kept = Vec::new();
    while !left.is_empty() {
        let mut best = 0;
        for i in 1..left.len() {
            if (left[i].1, left[best].0) > (left[best].1, left[i].0) {
                best = i;
            }
        }
        let (index, score) = left.remove(best);
        kept.push((index, score));
        left.retain_mut(|(other, score)| {
            if config.class_aware && labels[*other] != labels[index] {
                return true;
            }
            let new = treat(*score, overlap(boxes[index], boxes[*other]));
            *score = new.unwrap_or(*score);
            new.is_some()
        });
    }
    kept
}

proptest! {
    #[test]
    fn hard_equals_brute_force(
        scene in scene(),
        threshold in prop::sample::select(vec![0.0f32, 0.25, 0.5, 0.61, 1.0]),
        class_aware: bool,
        legacy_plus_one: bool,
    ) {
        let config = NmsConfig { threshold, class_aware, legacy_plus_one, ..NmsConfig::default() };
        let treat = |score, iou| (iou <= f64::from(threshold)).then_some(score);
        let expected: Vec<_> = literal(&scene, &config, treat).iter().map(|k| k.0).collect();
        prop_assert_eq!(nms(&scene.0, &scene.1, &scene.2, &config), Ok(expected));
    }

    #[test]
    fn soft_equals_brute_force(scene in distinct(), gaussian: bool, class_aware: bool) {
        let (min_score, threshold, sigma) = (0.05f32, 0.25f32, 0.5f32);
        let kind = if gaussian {
            NmsKind::SoftGaussian { sigma, min_score }
        } else {
            NmsKind::SoftLinear { min_score }
        };
        let config = NmsConfig { kind, threshold, class_aware, ..NmsConfig::default() };
        let treat = |score: f64, iou: f64| Some(if gaussian {
            score * (-iou * iou / f64::from(sigma)).exp()
        } else if iou > f64::from(threshold) {
            score * (1.0 - iou)
        } else {
            score
        });
        let mut expected = literal(&scene, &config, treat);
        // Within rounding of the bound or of each other, either answer is right.
        let bound = f64::from(min_score);
        prop_assume!(expected.iter().all(|k| (k.1 - bound).abs() > 1e-6));
        expected.retain(|k| k.1 > bound);
        let kept = nms_scored(&scene.0, &scene.1, &scene.2, &config).expect("valid").kept;
        prop_assert_eq!(kept.len(), expected.len());
        for kept in kept {
            let same = expected.iter().find(|e| e.0 == kept.index).expect("kept by both");
            prop_assert!((same.1 - f64::from(kept.score)).abs() < 1e-6);
        }
    }

    /// The order of the input decides nothing but ties.
    #[test]
    fn order_of_input_does_not_matter(scene in distinct(), turn in 0usize..40) {
        let (mut boxes, mut scores, mut labels) = scene.clone();
        let n = boxes.len();
        let turn = turn % n.max(1);
        boxes.rotate_left(turn);
        scores.rotate_left(turn);
        labels.rotate_left(turn);
        let config = NmsConfig::default();
        let before = nms(&scene.0, &scene.1, &scene.2, &config).expect("valid");
        let after = nms(&boxes, &scores, &labels, &config).expect("valid");
        prop_assert_eq!(before, after.iter().map(|i| (i + turn) % n).collect::<Vec<_>>());
    }

    /// Arbitrary bits: nothing that isn't finite is kept, and all of it is counted.
    #[test]
    fn any_bits(bits in prop::collection::vec(any::<[u32; 5]>(), 0..20), kind in 0usize..3) {
        let value = |row: &[u32; 5], i: usize| f32::from_bits(row[i]);
        let boxes: Vec<_> = bits.iter().map(|r| BBox::from([0, 1, 2, 3].map(|i| value(r, i)))).collect();
        let scores: Vec<_> = bits.iter().map(|r| value(r, 4)).collect();
        let min_score = 0.0;
        let kind = [
            NmsKind::Hard,
            NmsKind::SoftLinear { min_score },
            NmsKind::SoftGaussian { sigma: 0.5, min_score },
        ][kind];
        let config = NmsConfig { kind, ..NmsConfig::default() };
        let output = nms_scored(&boxes, &scores, &vec![0; bits.len()], &config).expect("valid");
        let finite = |row: &&[u32; 5]| row.iter().all(|&b| f32::from_bits(b).is_finite());
        prop_assert_eq!(output.non_finite, bits.len() - bits.iter().filter(finite).count());
        prop_assert!(output.kept.iter().all(|k| finite(&&bits[k.index])));
    }
}

/// A scene without two equal scores, however they decay: primes apart.
fn distinct() -> impl Strategy<Value = (Vec<BBox>, Vec<f32>, Vec<u32>)> {
    scene().prop_map(|(boxes, scores, labels)| {
        let score = |i: usize| 0.3 + ((i * 7919) % 104_729) as f32 / 150_000.0;
        let scores = (0..scores.len()).map(score).collect();
        (boxes, scores, labels)
    })
}

fn run(boxes: &[[f32; 4]], scores: &[f32], config: &NmsConfig) -> NmsOutput {
    let boxes: Vec<_> = boxes.iter().copied().map(BBox::from).collect();
    nms_scored(&boxes, scores, &vec![0; boxes.len()], config).expect("valid")
}

fn indices(output: &NmsOutput) -> Vec<usize> {
    output.kept.iter().map(|k| k.index).collect()
}

#[test]
fn a_suppressed_box_suppresses_nothing() {
    // Each overlaps its neighbour with IoU 0.7, the outer two with 0.49.
    let boxes = [
        [0.0, 50.0, 100.0, 60.0],
        [17.65, 50.0, 117.65, 60.0],
        [35.3, 50.0, 135.3, 60.0],
    ];
    let output = run(&boxes, &[0.9, 0.8, 0.7], &NmsConfig::default());
    assert_eq!(indices(&output), [0, 2]);
}

#[test]
fn the_threshold_itself_does_not_suppress() {
    let boxes = [[0.0, 0.0, 4.0, 1.0], [0.0, 0.0, 2.0, 1.0]]; // IoU 0.5 exactly
    let at = |threshold| NmsConfig {
        threshold,
        ..NmsConfig::default()
    };
    assert_eq!(indices(&run(&boxes, &[0.9, 0.8], &at(0.5))), [0, 1]);
    assert_eq!(indices(&run(&boxes, &[0.9, 0.8], &at(0.499))), [0]);
}

#[test]
fn boxes_without_area_overlap_nothing() {
    let boxes = [
        [1.0, 1.0, 1.0, 5.0],
        [1.0, 1.0, 1.0, 5.0],
        [0.0, 0.0, 9.0, 9.0],
        [7.0, 7.0, 3.0, 3.0],
    ];
    let at_zero = NmsConfig {
        threshold: 0.0,
        ..NmsConfig::default()
    };
    assert_eq!(indices(&run(&boxes, &[0.5; 4], &at_zero)), [0, 1, 2, 3]);
    let legacy = NmsConfig {
        legacy_plus_one: true,
        ..NmsConfig::default()
    };
    assert_eq!(indices(&run(&boxes, &[0.5; 4], &legacy)), [0, 2, 3]); // they have a pixel each
}

#[test]
fn not_finite_is_dropped_and_counted() {
    let boxes = [
        [0.0, 0.0, 9.0, 9.0],
        [f32::NAN, 0.0, 9.0, 9.0],
        [0.0, 0.0, f32::INFINITY, 9.0],
        [20.0, 0.0, 29.0, 9.0],
    ];
    let output = run(&boxes, &[f32::NAN, 0.9, 0.8, 0.1], &NmsConfig::default());
    assert_eq!((indices(&output), output.non_finite), (vec![3], 3));
}

#[test]
fn huge_boxes_do_not_panic() {
    let huge = [-f32::MAX, -f32::MAX, f32::MAX, f32::MAX];
    assert_eq!(
        run(&[huge, huge], &[0.5, 0.4], &NmsConfig::default()).non_finite,
        0
    );
}

#[test]
fn soft_scores_by_hand() {
    let boxes = [
        [0.0, 0.0, 4.0, 1.0],
        [0.0, 0.0, 2.0, 1.0],
        [50.0, 0.0, 51.0, 1.0],
    ];
    let scores = [0.9, 0.8, 0.5];
    let with = |kind| NmsConfig {
        kind,
        threshold: 0.3,
        ..NmsConfig::default()
    };
    let linear = run(
        &boxes,
        &scores,
        &with(NmsKind::SoftLinear { min_score: 0.001 }),
    );
    assert_eq!(indices(&linear), [0, 2, 1]);
    assert!((linear.kept[2].score - 0.4).abs() < 1e-6);
    let kind = NmsKind::SoftGaussian {
        sigma: 0.5,
        min_score: 0.5,
    };
    assert_eq!(indices(&run(&boxes, &scores, &with(kind))), [0, 2]); // 0.8·e^−0.5 = 0.485
}

#[test]
fn different_lengths_are_an_error() {
    let error = nms(&[BBox::default()], &[0.5, 0.6], &[0], &NmsConfig::default());
    assert_eq!(
        error,
        Err(PostprocessError::NmsLength {
            boxes: 1,
            scores: 2,
            labels: 1
        })
    );
}

#[test]
fn nothing_in_nothing_out() {
    assert_eq!(nms(&[], &[], &[], &NmsConfig::default()), Ok(vec![]));
}
