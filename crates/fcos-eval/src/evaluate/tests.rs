#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/eval")
        .join(name)
}

fn expected(case: &str) -> Value {
    let text = fs::read_to_string(golden("expected.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["cases"][case].take()
}

fn judged(case: &str) -> CocoMetrics {
    let file = |kind: &str| golden(&format!("{case}_{kind}.json"));
    evaluate_files(file("annotations"), file("detections")).unwrap()
}

/// Every number of `want` equals the one at the same place in `got`, to 1e-9.
fn assert_close(got: &Value, want: &Value, place: &str) {
    if let Value::Object(fields) = want {
        let keys = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(got), keys(want), "{place}");
        for (key, field) in fields {
            assert_close(&got[key], field, &format!("{place}.{key}"));
        }
    } else {
        let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
        assert!(
            (got - want).abs() < 1e-9,
            "{place}: {got}, pycocotools has {want}"
        );
    }
}

fn assert_golden(case: &str) {
    let (got, want) = (judged(case), expected(case));
    let json = serde_json::to_value(&got).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 2);
    assert_close(&json["stats"], &want["stats"], "stats");
    assert_close(&json["per_class"], &want["per_class"], "per_class");
    let table: Vec<String> = serde_json::from_value(want["table"].clone()).unwrap();
    assert_eq!(got.to_string(), table.join("\n"));
}

#[test]
fn crowds_ties_borders_and_limits_are_judged_as_by_pycocotools() {
    assert_golden("mixed");
}

#[test]
fn missing_areas_are_those_of_the_boxes() {
    assert_golden("missing_area");
}

#[test]
fn annotation_id_zero_can_be_matched() {
    assert_golden("zero_id");
    assert!(
        judged("zero_id")
            .stats
            .to_array()
            .iter()
            .all(|v| (v - 1.0).abs() < 1e-9)
    );
}

#[test]
fn no_detections_score_zero() {
    assert_golden("no_detections");
    assert_eq!(judged("no_detections").stats.to_array(), [0.0; 12]);
}

#[test]
fn nothing_to_find_is_undefined() {
    assert_golden("no_annotations");
    assert_eq!(judged("no_annotations").stats.to_array(), [-1.0; 12]);
}

/// An evaluator of annotations in COCO's layout.
fn evaluator(value: Value) -> CocoEvaluator {
    let json = value.to_string();
    CocoEvaluator::new(&fcos_data::coco::from_json(json.as_bytes(), "a test").unwrap())
}

/// One image (id 7) with one 40 × 50 dog (id 18) on it.
fn one_dog() -> CocoEvaluator {
    let dog = json!({"image_id": 7, "category_id": 18, "bbox": [10, 10, 40, 50]});
    evaluator(json!({
        "images": [{"id": 7}], "categories": [{"id": 18, "name": "dog"}], "annotations": [dog],
    }))
}

const FOUND: ResultRow = ResultRow {
    image_id: 7,
    category_id: 18,
    bbox: [10.0, 10.0, 40.0, 50.0],
    score: 0.5,
    file_name: None,
    category_name: None,
};

#[test]
fn a_better_scored_false_positive_halves_the_precision() {
    let wrong = ResultRow {
        bbox: [200.0, 10.0, 40.0, 50.0],
        score: 0.6,
        ..FOUND
    };
    let stats = one_dog().evaluate(&[FOUND, wrong]).unwrap().stats;
    assert!((stats.ap - 0.5).abs() < 1e-9);
    assert_eq!((stats.ar1, stats.ar10), (0.0, 1.0));
    assert_eq!(
        (stats.ap_small, stats.ap_medium > 0.0, stats.ap_large),
        (-1.0, true, -1.0)
    );
}

#[test]
fn detections_of_unlisted_categories_do_not_count() {
    let unlisted = ResultRow {
        category_id: 19,
        score: 0.9,
        ..FOUND
    };
    let stats = one_dog().evaluate(&[unlisted, FOUND]).unwrap().stats;
    assert!((stats.ap - 1.0).abs() < 1e-9);
}

#[test]
fn unlisted_images_are_refused() {
    let error = one_dog()
        .evaluate(&[
            FOUND,
            ResultRow {
                image_id: 8,
                ..FOUND
            },
        ])
        .unwrap_err();
    assert!(
        matches!(
            error,
            EvalError::UnknownImage {
                row: 1,
                image_id: 8
            }
        ),
        "{error}"
    );
}

#[test]
fn scores_that_are_not_finite_are_refused() {
    for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = one_dog()
            .evaluate(&[ResultRow { score, ..FOUND }])
            .unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::BadScore {
                    row: 0,
                    image_id: 7,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn broken_boxes_are_refused() {
    for bbox in [
        [f64::NAN, 0.0, 1.0, 1.0],
        [0.0, 0.0, -1.0, 1.0],
        [0.0, 0.0, 1.0, f64::INFINITY],
    ] {
        let error = one_dog()
            .evaluate(&[ResultRow { bbox, ..FOUND }])
            .unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::BadBox {
                    row: 0,
                    image_id: 7,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn broken_annotations_are_left_out() {
    let object = |bbox: Value| json!({"image_id": 7, "category_id": 18, "bbox": bbox});
    let evaluator = evaluator(json!({
        "images": [{"id": 7}], "categories": [{"id": 18.0, "name": "dog"}],
        "annotations": [
            object(json!([10, 10, 40, 50])), object(json!([10, 10, 40])),
            object(json!([10, 10, 40, null])), object(json!(null)),
        ],
    }));
    assert_eq!(evaluator.evaluate(&[FOUND]).unwrap().stats.ar100, 1.0);
}

#[test]
fn nothing_at_all_is_judged_without_a_panic() {
    let metrics = CocoEvaluator::new(&Annotations::default())
        .evaluate(&[])
        .unwrap();
    assert_eq!(metrics.stats.to_array(), [-1.0; 12]);
    assert!(metrics.per_class.is_empty());
}

#[test]
fn annotations_of_unlisted_images_and_categories_do_not_count() {
    let object = |image_id: u64, category_id: u64| json!({"image_id": image_id, "category_id": category_id, "bbox": [10, 10, 40, 50]});
    let evaluator = evaluator(json!({
        "images": [{"id": 7}], "categories": [{"id": 18, "name": "dog"}],
        "annotations": [object(7, 18), object(8, 18), object(7, 19)],
    }));
    assert!((evaluator.evaluate(&[FOUND]).unwrap().stats.ar100 - 1.0).abs() < 1e-9);
}

#[test]
fn repeated_ids_and_names_keep_their_figures_apart() {
    let object = |id: u64, category: u64, x: u32| json!({"id": id, "image_id": 7, "category_id": category, "bbox": [x, 10, 40, 50]});
    let evaluator = evaluator(json!({
        "images": [{"id": 7}, {"id": 7}],
        "categories": [
            {"id": 19, "name": "dog"}, {"id": 18, "name": "hound"}, {"id": 18, "name": "dog"},
        ],
        // Two objects with one id: each is to be found.
        "annotations": [object(1, 18, 10), object(1, 18, 100), object(2, 19, 300)],
    }));
    let metrics = evaluator.evaluate(&[FOUND]).unwrap();
    let json = serde_json::to_value(&metrics).unwrap();
    assert_eq!(metrics.per_class.len(), 2);
    assert_eq!(json["per_class"]["dog (18)"]["AR100"], 0.5);
    assert_eq!(json["per_class"]["dog (19)"]["AR100"], 0.0);
    assert_eq!(metrics.stats.ar100, 0.25);
}

#[test]
fn files_that_are_missing_or_malformed_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results.json");
    let error = read_results(&path).unwrap_err();
    assert!(matches!(error, EvalError::Read { .. }) && error.to_string().contains("results.json"));
    let nan = r#"[{"image_id": 7, "category_id": 18, "bbox": [0, 0, 1, 1], "score": NaN}]"#;
    for text in [
        nan,
        r#"{"annotations": []}"#,
        r#"[{"image_id": -1}]"#,
        "[",
        "",
    ] {
        fs::write(&path, text).unwrap();
        let error = read_results(&path).unwrap_err();
        assert!(matches!(error, EvalError::Parse { .. }) && error.to_string().contains("results"));
    }
}

#[test]
fn rows_and_figures_survive_json() {
    let rows = [ResultRow {
        bbox: [0.1, 1.0 / 3.0, 1e-7, 32.0 * 32.0],
        ..FOUND
    }];
    let text = serde_json::to_string(&rows).unwrap();
    assert!(!text.contains("name"));
    assert_eq!(serde_json::from_str::<Vec<ResultRow>>(&text).unwrap(), rows);
    let stats = judged("mixed").stats;
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<CocoStats>(&text).unwrap(), stats);
}
