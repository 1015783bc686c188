//! Annotation files as they come: every oddity is reported or refused, none panics.

use std::fs;
use std::path::{Path, PathBuf};

use fcos_core::{BBox, ClassList, error_chain};
use fcos_data::{
    Annotations, Category, DataError, Dataset, Finding, FindingKind, HealthReport, ImageEntry,
    Object,
};
use image::RgbImage;
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder with images `a.png` (40×30) and `b.png` (20×50), the empty file `empty.png`, and an
/// annotation file.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        RgbImage::new(40, 30)
            .save(dir.path().join("a.png"))
            .expect("writes");
        RgbImage::new(20, 50)
            .save(dir.path().join("b.png"))
            .expect("writes");
        fs::write(dir.path().join("empty.png"), b"").expect("writes");
        Self { dir }
    }

    fn annotations(&self) -> PathBuf {
        self.dir.path().join("instances.json")
    }

    fn read(&self, json: impl AsRef<[u8]>) -> Result<(Dataset, HealthReport), DataError> {
        fs::write(self.annotations(), json).expect("writes");
        Dataset::from_coco(self.annotations(), self.dir.path())
    }
}

const IMAGES: &str = r#"{"id": 1, "file_name": "a.png", "width": 40, "height": 30},
    {"id": 2, "file_name": "b.png", "width": 20, "height": 50}"#;
const CATEGORIES: &str = r#"{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}"#;
const BOX_A: &str = r#"{"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 3, 10, 20]}"#;
const BOX_B: &str = r#"{"id": 2, "image_id": 2, "category_id": 18, "bbox": [1, 30, 5, 6]}"#;

fn instances(images: &str, categories: &str, annotations: &str) -> String {
    format!(
        r#"{{"info": {{"year": 2017}}, "images": [{images}], "categories": [{categories}],
        "annotations": [{annotations}]}}"#
    )
}

#[test]
fn a_clean_file() {
    let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {BOX_B}"));
    let (dataset, report) = Files::new().read(json).expect("reads");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.images, report.boxes, report.classes), (2, 2, 2));
    assert_eq!(report.to_string(), "2 images, 2 boxes, 2 classes");

    assert_eq!(
        *dataset.classes(),
        ClassList::new(["car", "dog"]).expect("names")
    );
    assert_eq!(dataset.category_ids(), [3, 18]);
    let [a, b] = dataset.samples() else {
        panic!("two images")
    };
    assert_eq!(
        (a.id, a.file_name.as_str(), a.width, a.height),
        (1, "a.png", 40, 30)
    );
    assert_eq!(
        (&a.boxes[..], &a.labels[..]),
        (&[BBox::new(2.0, 3.0, 12.0, 23.0)][..], &[0][..])
    );
    assert_eq!(
        (&b.boxes[..], &b.labels[..]),
        (&[BBox::new(1.0, 30.0, 6.0, 36.0)][..], &[1][..])
    );
    assert_eq!(dataset.aspect_groups(), [0, 1]);
}

/// One more annotation beside the two good ones: the kinds found, the boxes left in `a.png`.
#[test]
fn odd_annotations() {
    use FindingKind as K;
    let cases: &[(&str, &[FindingKind], usize)] = &[
        (r#""bbox": [5, 5, 0, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [5, 5, 4, -1]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [5, 5, NaN, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [5, Infinity, 4, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [null, 5, 4, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [1e300, 5, 1e300, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [5, 5, 1e-9, 4]"#, &[K::DegenerateBox], 1),
        (r#""bbox": [1, 2, 3]"#, &[K::DegenerateBox], 1),
        (r#""bbox": []"#, &[K::DegenerateBox], 1),
        (r#""bbox": null"#, &[K::DegenerateBox], 1),
        (
            r#""segmentation": [[1, 2, 3, 4, 5, 6]]"#,
            &[K::DegenerateBox],
            1,
        ),
        (r#""bbox": [-5, 5, 10, 4]"#, &[K::BoxOutsideImage], 2),
        (r#""bbox": [30, 5, 10.04, 4]"#, &[], 2),
        (r#""bbox": [30, 5, 10.06, 4]"#, &[K::BoxOutsideImage], 2),
        (r#""bbox": [5, 20, 4, 90]"#, &[K::BoxOutsideImage], 2),
        (r#""bbox": [40, 5, 10, 4]"#, &[K::BoxOutsideImage], 1),
        (r#""bbox": [5, -9, 4, 4]"#, &[K::BoxOutsideImage], 1),
        (r#""bbox": [2, 3, 10, 20]"#, &[K::DuplicateBox], 2),
        (r#""bbox": [5, 5, 4, 4], "iscrowd": 1"#, &[K::Crowd], 1),
        (
            r#""bbox": [5, 5, 4, 0], "iscrowd": true"#,
            &[K::DegenerateBox],
            1,
        ),
        (
            r#""bbox": [5, 5, 4, 4], "iscrowd": false, "area": "large""#,
            &[],
            2,
        ),
        (
            r#""bbox": [5, 5, 4, 4], "category_id": 4"#,
            &[K::UnknownCategory],
            1,
        ),
        (r#""bbox": [5, 5, 4, 4], "category_id": 18.0"#, &[], 2),
        (
            r#""bbox": [5, 5, 4, 4], "image_id": 77"#,
            &[K::UnknownImage],
            1,
        ),
        (
            r#""bbox": [5, 5, 4, 4], "id": 2"#,
            &[K::DuplicateAnnotationId],
            2,
        ),
        (r#""bbox": [5, 5, 4, 4], "id": null"#, &[], 2),
    ];
    let files = Files::new();
    for (fields, kinds, boxes) in cases {
        let mut odd = String::new();
        for (key, value) in [("id", "9"), ("image_id", "1"), ("category_id", "3")] {
            if !fields.contains(&format!("{key:?}")) {
                odd += &format!("{key:?}: {value}, ");
            }
        }
        let json = instances(
            IMAGES,
            CATEGORIES,
            &format!("{BOX_A}, {BOX_B}, {{{odd}{fields}}}"),
        );
        let (dataset, report) = files.read(json).expect(fields);
        let found: Vec<FindingKind> = report.findings().iter().map(|f| f.kind).collect();
        assert_eq!(&found, kinds, "{fields}\n{report}");
        assert_eq!(dataset.sample(0).boxes.len(), *boxes, "{fields}");
        assert!(
            report.findings().iter().all(|f| f.image_id.is_some()),
            "{report}"
        );
        for bbox in dataset.samples().iter().flat_map(|r| &r.boxes) {
            assert!(
                bbox.is_valid() && bbox.x2 <= 40.0 && bbox.y2 <= 50.0,
                "{fields}: {bbox:?}"
            );
        }
    }
}

#[test]
fn findings_name_the_place() {
    let odd = r#"{"id": 5, "image_id": 2, "category_id": 3, "bbox": [15, 1, 10, 2]}"#;
    let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {BOX_B}, {odd}"));
    let (_, report) = Files::new().read(json).expect("reads");
    let expected = "b.png, image 2, annotation 5, bbox [15, 1, 10, 2] in 20x50";
    assert_eq!(report.findings()[0].to_string(), expected);

    let twice = BOX_A.replace(r#""id": 1, "#, r#""id": 6, "#);
    let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {BOX_B}, {twice}"));
    let (_, report) = Files::new().read(json).expect("reads");
    let expected = "a.png, image 1, annotation 6, corners [2.0, 3.0, 12.0, 23.0]";
    assert_eq!(report.findings()[0].to_string(), expected);
}

#[test]
fn odd_images() {
    use FindingKind as K;
    let cases: &[(&str, Option<FindingKind>, usize)] = &[
        (
            r#"{"id": 3, "file_name": "gone.png", "width": 4, "height": 4}"#,
            Some(K::MissingFile),
            2,
        ),
        (
            r#"{"id": 3, "file_name": "", "width": 4, "height": 4}"#,
            Some(K::MissingFile),
            2,
        ),
        (
            r#"{"id": 3, "file_name": "empty.png"}"#,
            Some(K::UnreadableFile),
            2,
        ),
        (
            r#"{"id": 3, "file_name": "empty.png", "width": 20, "height": 50}"#,
            None,
            3,
        ),
        (r#"{"id": 3, "file_name": "b.png"}"#, None, 3),
        (
            r#"{"id": 3.0, "file_name": "b.png", "width": 0, "height": 0}"#,
            None,
            3,
        ),
        (
            r#"{"id": 3, "file_name": "b.png", "width": null, "height": 50}"#,
            None,
            3,
        ),
        (
            r#"{"id": 3, "file_name": "b.png", "width": 20.0, "height": 50.0}"#,
            None,
            3,
        ),
        (
            r#"{"id": 3, "file_name": "b.png", "width": -1, "height": NaN}"#,
            None,
            3,
        ),
        (
            r#"{"id": 3, "file_name": "b.png", "width": 1e300, "height": 50}"#,
            None,
            3,
        ),
    ];
    let files = Files::new();
    let on_third = BOX_B.replace(r#""id": 2, "image_id": 2"#, r#""id": 3, "image_id": 3"#);
    let annotations = format!("{BOX_A}, {BOX_B}, {on_third}");
    for (image, kind, images) in cases {
        let json = instances(&format!("{IMAGES}, {image}"), CATEGORIES, &annotations);
        let (dataset, report) = files.read(json).expect(image);
        assert_eq!(dataset.len(), *images, "{image}\n{report}");
        let found = report.counts().next();
        // The annotation of an image left out is not reported once more.
        assert_eq!(found, kind.map(|k| (k, 1)), "{image}\n{report}");
        if image.contains("b.png") {
            let record = dataset.sample(2);
            assert_eq!((record.width, record.height), (20, 50), "{image}");
        }
    }
}

#[test]
fn refused_files() {
    let files = Files::new();
    let twice = format!("{IMAGES}, {}", r#"{"id": 2, "file_name": "c.png"}"#);
    let gone = r#"{"id": 1, "file_name": "gone.png"}"#;
    let cases = [
        (
            String::new(),
            "instances.json:1:0: no annotations in COCO's layout: EOF",
        ),
        (
            "{\"images\": [\n{]".into(),
            "instances.json:2:2: no annotations in COCO's layout: key must be a string",
        ),
        ("[]".into(), "instances.json:1:"),
        (r#"{"annotations": []}"#.into(), "missing field `images`"),
        (
            instances(r#"{"id": "x", "file_name": "a"}"#, "", ""),
            "expected a number",
        ),
        (
            instances(r#"{"id": 1}"#, CATEGORIES, ""),
            "image 1 has no file_name",
        ),
        (
            instances(r#"{"id": -1, "file_name": "a"}"#, "", ""),
            "id -1 is not a whole number",
        ),
        (
            instances(r#"{"id": NaN, "file_name": 3}"#, "", ""),
            "instances.json:1:",
        ),
        (
            instances(&twice, CATEGORIES, ""),
            r#"image id 2 stands twice, for "b.png" and "c.png""#,
        ),
        (
            instances(
                IMAGES,
                r#"{"id": 1, "name": "a"}, {"id": 1.0, "name": "b"}"#,
                "",
            ),
            r#"category id 1 stands twice, for "a" and "b""#,
        ),
        (
            instances(
                IMAGES,
                r#"{"id": 1, "name": "a"}, {"id": 2, "name": "a"}"#,
                "",
            ),
            r#"class name "a" stands twice"#,
        ),
        (instances(IMAGES, "", ""), "at least one name"),
        (
            instances("", CATEGORIES, ""),
            "of the 0 images listed, none is in",
        ),
        (
            instances(gone, CATEGORIES, ""),
            "of the 1 images listed, none is in",
        ),
    ];
    for (json, expected) in cases {
        let error = error_chain(&files.read(&json).expect_err(&json));
        assert!(error.contains(expected), "{json}\n{error}");
        assert!(error.contains("instances.json"), "{error}");
    }
    let missing = files.dir.path().join("none.json");
    let error = Dataset::from_coco(&missing, files.dir.path()).expect_err("no such file");
    assert!(matches!(error, DataError::Read { .. }), "{error}");
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let json = format!("\u{feff}{}", instances(IMAGES, CATEGORIES, BOX_A));
    assert_eq!(Files::new().read(json).expect("reads").0.len(), 2);
}

#[test]
fn images_without_boxes_stay_until_filtered() {
    let crowd = BOX_B.replace('}', r#", "iscrowd": 1}"#);
    let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {crowd}"));
    let (dataset, report) = Files::new().read(json).expect("reads");
    assert_eq!(report.count(FindingKind::NoBoxes), 1);
    assert_eq!(report.count(FindingKind::UnusedClass), 1);
    assert!(report.to_string().contains("\"dog\""), "{report}");
    assert_eq!(dataset.sample(1).crowd, [BBox::new(1.0, 30.0, 6.0, 36.0)]);
    let filtered = dataset.filter_empty();
    assert_eq!(
        filtered.samples().iter().map(|r| r.id).collect::<Vec<_>>(),
        [1]
    );
}

/// A data set need not come from a file; what its reader found is in the report.
#[test]
fn annotations_of_ones_own() {
    let files = Files::new();
    let row = Finding::unreadable_row(Path::new("labels/a.txt"), 3, "4 numbers instead of 5");
    let mut broken = Object::new(1, 5, [0.0; 4]);
    broken.bbox = Err("no corners".into());
    let entry = |id, file_name: &str| ImageEntry {
        id,
        file_name: Some(file_name.into()),
        size: None,
    };
    let annotations = Annotations {
        source: "labels".into(),
        images: vec![entry(1, "a.png"), entry(2, "b.png")],
        categories: vec![Category {
            id: 5,
            name: "dog".into(),
        }],
        objects: vec![Object::new(2, 5, [1.0, 30.0, 5.0, 6.0]), broken],
        findings: vec![row],
    };
    let (dataset, report) =
        Dataset::from_annotations(annotations.clone(), files.dir.path()).expect("joins");
    assert_eq!(dataset.sample(1).boxes, [BBox::new(1.0, 30.0, 6.0, 36.0)]);
    assert_eq!(dataset.sample(0).size().width, 40);
    let found: Vec<_> = report.findings().iter().map(Finding::to_string).collect();
    assert_eq!(
        found,
        [
            "labels/a.txt:3: 4 numbers instead of 5",
            "a.png, image 1, no corners",
            "a.png, image 1"
        ]
    );

    let mut twice = annotations;
    twice.images[1].id = 1;
    let error = Dataset::from_annotations(twice, files.dir.path()).expect_err("one id");
    let expected = r#"labels: image id 1 stands twice, for "a.png" and "b.png""#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn another_sets_labels() {
    let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {BOX_B}"));
    let (dataset, _) = Files::new().read(json).expect("reads");
    let names = |names: &[&str]| ClassList::new(names.iter().copied()).expect("names");
    let moved = dataset
        .clone()
        .with_classes(&names(&["dog", "car"]))
        .expect("same names");
    assert_eq!(moved.category_ids(), [18, 3]);
    assert_eq!(
        (moved.sample(0).labels[0], moved.sample(1).labels[0]),
        (1, 0)
    );
    assert_eq!(
        moved
            .clone()
            .with_classes(dataset.classes())
            .expect("and back"),
        dataset
    );

    let error = dataset
        .with_classes(&names(&["car", "cat"]))
        .expect_err("other names");
    let expected = r#"class names differ: missing ["cat"], unexpected ["dog"]"#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn images_that_loading_fails_on_are_found_beforehand_and_left_out() {
    let images = r#"{"id": 1, "file_name": "a.png", "width": 30, "height": 40},
        {"id": 2, "file_name": "b.png", "width": 20, "height": 50},
        {"id": 3, "file_name": "empty.png", "width": 20, "height": 50}"#;
    let files = Files::new();
    let annotations = format!("{BOX_A}, {BOX_B}");
    let (mut dataset, mut report) = files
        .read(instances(images, CATEGORIES, &annotations))
        .expect("reads");
    let error = dataset.load(0).expect_err("other size").to_string();
    assert!(
        error.ends_with("(image 1) is 40x30 upright, its annotations say 30x40"),
        "{error}"
    );
    assert_eq!(
        dataset.load(1).expect("as annotated").dimensions(),
        (20, 50)
    );
    assert!(matches!(dataset.load(2), Err(DataError::Decode { .. })));

    dataset.check_images(&mut report);
    assert_eq!(report.count(FindingKind::SizeMismatch), 1);
    assert_eq!(report.count(FindingKind::UnreadableFile), 1);
    let found: Vec<_> = report.findings().iter().map(|f| f.image_id).collect();
    assert_eq!(found[found.len() - 2..], [Some(1), Some(3)]);
    assert_eq!((report.images, report.boxes), (1, 1));
    let left: Vec<_> = dataset.samples().iter().map(|record| record.id).collect();
    assert_eq!(left, [2]);
}

/// A value of any JSON kind, more often of the right one.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-3..60i32).prop_map(|v| v.to_string()),
        2 => any::<f64>().prop_map(|v| format!("{v:e}")),
        1 => prop::sample::select(vec![
            "null", "true", "\"x\"", "\"a.png\"", "[]", "{}", "NaN", "-Infinity", "1e999", "\"",
            "18446744073709551616", "[1,2,3,4]", "[0,0,-0.0,1e-320]", "\\", "é",
        ]).prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Files::new().read(bytes);
    }

    #[test]
    fn mutated_files_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..4),
        cut in any::<prop::sample::Index>(),
        whole in prop::bool::weighted(0.8),
    ) {
        let json = instances(IMAGES, CATEGORIES, &format!("{BOX_A}, {BOX_B}"));
        // A value or name and the delimiter behind it each; a replacement keeps the delimiter.
        let mut tokens: Vec<String> = json.split_inclusive([',', ':', '[', ']', '{', '}'])
            .map(String::from)
            .collect();
        for (index, value) in edits {
            let at = index.index(tokens.len());
            let delimiter = tokens[at].chars().last();
            tokens[at] = value + &delimiter.map(String::from).unwrap_or_default();
        }
        let mut bytes = tokens.concat().into_bytes();
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok((dataset, report)) = Files::new().read(bytes) {
            let _ = report.to_string();
            for record in dataset.samples() {
                prop_assert_eq!(record.boxes.len(), record.labels.len());
                for (bbox, &label) in record.boxes.iter().zip(&record.labels) {
                    prop_assert!(bbox.is_valid(), "{:?}", bbox);
                    let inside = bbox.clip(record.width as f32, record.height as f32);
                    prop_assert_eq!(*bbox, inside);
                    prop_assert!((label as usize) < dataset.classes().len());
                }
            }
        }
    }
}
