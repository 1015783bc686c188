use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use fcos_core::{ClassList, error_chain};
use fcos_model::weights::{self, WeightsError, WeightsErrorKind};
use fcos_model::{BackboneNorm, CenternessOn, DetectorConfig, Fcos, FcosConfig, StrideIn};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{build, noise, resnet, small, values};

struct Saved {
    _folder: tempfile::TempDir,
    path: PathBuf,
    model: Fcos,
    bytes: Vec<u8>,
}

impl Saved {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let mut config = small();
        resnet(&mut config).width = 1;
        config.fpn.channels = 4;
        let model = build(&config);
        weights::save(&path, &model, &metadata()).expect("saves");
        let bytes = fs::read(&path).expect("reads");
        Self {
            _folder: folder,
            path,
            model,
            bytes,
        }
    }

    fn load(&self, bytes: &[u8]) -> Result<(Fcos, Value), WeightsError> {
        fs::write(&self.path, bytes).expect("writes");
        load(&self.path)
    }

    /// The file with its JSON header changed.
    fn edit(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let (mut header, data) = split(&self.bytes);
        change(&mut header);
        join(&header, data)
    }

    /// The file with our own entry of the header changed.
    fn edit_entry(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        self.edit(|header| {
            let entry = &mut header["__metadata__"]["fcos"];
            let mut json = serde_json::from_str(entry.as_str().expect("text")).expect("json");
            change(&mut json);
            *entry = json.to_string().into();
        })
    }

    fn error(&self, bytes: &[u8]) -> WeightsError {
        let error = self.load(bytes).expect_err("broken");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        error
    }
}

fn metadata() -> Value {
    json!({ "classes": ["cat", "dog", "cow"], "nested": { "φ": 1.5 } })
}

fn load(path: &Path) -> Result<(Fcos, Value), WeightsError> {
    weights::load(path, &Device::flex())
}

fn load_detector(path: &Path) -> Result<(Fcos, DetectorConfig), WeightsError> {
    DetectorConfig::load(path, &Device::flex())
}

fn split(bytes: &[u8]) -> (Value, &[u8]) {
    let n = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    (
        serde_json::from_slice(&bytes[8..8 + n]).expect("json"),
        &bytes[8 + n..],
    )
}

fn join(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

#[test]
fn round_trip() {
    let saved = Saved::new();
    let (model, found) = load(&saved.path).expect("loads");
    assert_eq!(found, metadata());
    assert_eq!(model.config(), saved.model.config());
    assert_eq!(model.tensors(), saved.model.tensors());
    let images = noise([1, 3, 64, 64], &Device::flex());
    let (a, b) = (saved.model.forward(images.clone()), model.forward(images));
    assert_eq!(values(&a.cls_logits), values(&b.cls_logits));

    weights::save(&saved.path, &model, &metadata()).expect("overwrites");
    assert_eq!(fs::read(&saved.path).expect("reads"), saved.bytes);
    let files = fs::read_dir(saved.path.parent().expect("folder"))
        .expect("lists")
        .count();
    assert_eq!(files, 1, "no temporary file stays");
}

#[test]
fn names_are_pytorchs() {
    let tensors = Saved::new().model.tensors();
    for name in [
        "backbone.stem.conv.weight",
        "backbone.stem.norm.weight",
        "backbone.stages.1.0.downsample.norm.running_var",
        "fpn.lateral.2.bias",
        "fpn.top.1.weight",
        "head.cls_tower.1.norm.bias",
        "head.cls_logits.bias",
        "head.scales.4",
    ] {
        assert!(tensors.contains_key(name), "{name}");
    }
    assert_eq!(
        tensors["head.cls_logits.weight"].shape().to_vec(),
        [3, 4, 3, 3]
    );
}

#[test]
fn a_folded_network_is_not_saved() {
    let saved = Saved::new();
    let error = weights::save(
        &saved.path,
        &saved.model.clone().fold_batch_norm(),
        &metadata(),
    );
    assert!(matches!(
        error.as_ref().map_err(WeightsError::kind),
        Err(WeightsErrorKind::Folded)
    ));
    assert_eq!(
        fs::read(&saved.path).expect("reads"),
        saved.bytes,
        "the old file stays"
    );
}

#[test]
fn what_is_no_file() {
    let saved = Saved::new();
    let folder = saved.path.parent().expect("folder");
    assert!(matches!(
        load(folder).as_ref().map_err(WeightsError::kind),
        Err(WeightsErrorKind::Io { .. })
    ));
    assert!(matches!(
        load(&folder.join("none"))
            .as_ref()
            .map_err(WeightsError::kind),
        Err(WeightsErrorKind::Io { .. })
    ));
    for path in [
        folder.to_path_buf(),
        folder.join("none/model"),
        PathBuf::from("/"),
    ] {
        let error = weights::save(&path, &saved.model, &metadata());
        assert!(
            matches!(
                error.as_ref().map_err(WeightsError::kind),
                Err(WeightsErrorKind::Io { .. })
            ),
            "{}",
            path.display()
        );
    }
    assert_eq!(fs::read_dir(folder).expect("lists").count(), 1);
}

#[test]
fn every_truncation_is_seen() {
    let saved = Saved::new();
    let header = 8 + u64::from_le_bytes(saved.bytes[..8].try_into().expect("8 bytes")) as usize;
    let n = saved.bytes.len();
    let mut lengths = vec![0, 1, 7, 8, 9, header - 1, header, header + 1, n - 4, n - 1];
    lengths.extend((1..40).map(|i| i * n / 40));
    for length in lengths {
        let error = saved.error(&saved.bytes[..length]);
        assert!(
            matches!(error.kind(), WeightsErrorKind::Truncated),
            "{length}: {error}"
        );
    }
    let longer = [saved.bytes.as_slice(), &[0]].concat();
    assert!(matches!(
        saved.error(&longer).kind(),
        WeightsErrorKind::Truncated
    ));
}

#[test]
fn what_is_no_safetensors_file() {
    let saved = Saved::new();
    let mut huge = saved.bytes.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut not_json = saved.bytes.clone();
    not_json[8] = b'[';
    let mut not_utf8 = saved.bytes.clone();
    not_utf8[20] = 0xff;
    let text = b"this is a text file, not a safetensors file".to_vec();
    let gap = saved.edit(|h| h["head.scales.0"]["data_offsets"] = json!([0, 4]));
    let long_offset = saved.edit(|h| h["head.scales.0"]["data_offsets"] = json!([0, u64::MAX]));
    let long_shape = saved.edit(|h| h["head.scales.0"]["shape"] = json!([u64::MAX, u64::MAX]));
    let strange_dtype = saved.edit(|h| h["head.scales.0"]["dtype"] = "F33".into());
    for bytes in [
        huge,
        not_json,
        not_utf8,
        text,
        gap,
        long_offset,
        long_shape,
        strange_dtype,
    ] {
        let error = saved.error(&bytes);
        assert!(
            matches!(error.kind(), WeightsErrorKind::NotSafetensors { .. }),
            "{error}"
        );
    }
}

#[test]
fn other_metadata() {
    let saved = Saved::new();
    let none = saved.edit(|h| drop(h.as_object_mut().expect("map").remove("__metadata__")));
    let other = saved.edit(|h| h["__metadata__"] = json!({ "format": "pt" }));
    for bytes in [none, other] {
        assert!(matches!(
            saved.error(&bytes).kind(),
            WeightsErrorKind::NoMetadata
        ));
    }
    let text = saved.edit(|h| h["__metadata__"]["fcos"] = "yes".into());
    let no_version = saved.edit_entry(|e| drop(e.as_object_mut().expect("map").remove("version")));
    let no_model = saved.edit_entry(|e| drop(e.as_object_mut().expect("map").remove("model")));
    let unknown = saved.edit_entry(|e| e["model"]["backbone"]["depth"] = json!(50));
    let wrong_type = saved.edit_entry(|e| e["model"]["num_classes"] = json!(-1));
    for bytes in [text, no_version, no_model, unknown, wrong_type] {
        let error = saved.error(&bytes);
        assert!(
            matches!(error.kind(), WeightsErrorKind::Metadata { .. }),
            "{error}"
        );
    }
    let later = saved.edit_entry(|e| *e = json!({ "version": 2, "anything": "else" }));
    assert!(matches!(
        saved.error(&later).kind(),
        WeightsErrorKind::Version { found: 2, .. }
    ));
    let invalid = saved.edit_entry(|e| e["model"]["backbone"]["width"] = json!(1u64 << 50));
    assert!(matches!(
        saved.error(&invalid).kind(),
        WeightsErrorKind::Config { .. }
    ));
    fs::write(&saved.path, &saved.bytes).expect("writes");
    let typed: Result<(Fcos, Vec<String>), _> = weights::load(&saved.path, &Device::flex());
    assert!(
        matches!(
            typed.as_ref().map_err(WeightsError::kind),
            Err(WeightsErrorKind::Metadata { .. })
        ),
        "not a list of names"
    );
}

#[test]
fn wrong_types_are_named() {
    let saved = Saved::new();
    let bytes = saved.edit(|h| h["head.scales.2"]["dtype"] = "I32".into());
    match saved.error(&bytes).kind() {
        WeightsErrorKind::DType { name, dtype, .. } => {
            assert_eq!((name.as_str(), dtype.as_str()), ("head.scales.2", "I32"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn numbers_have_to_be_finite() {
    let saved = Saved::new();
    let first = 8 + u64::from_le_bytes(saved.bytes[..8].try_into().expect("8 bytes")) as usize;
    for (at, value) in [
        (first, f32::NAN),
        (saved.bytes.len() - 4, f32::NEG_INFINITY),
    ] {
        let mut bytes = saved.bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let error = saved.error(&bytes);
        assert!(
            matches!(error.kind(), WeightsErrorKind::NotFinite { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_start_has_to_be_the_same_network() {
    let saved = Saved::new();
    let into = |change: &dyn Fn(&mut FcosConfig)| {
        let mut config = saved.model.config().clone();
        change(&mut config);
        weights::load_into(&saved.path, build(&config))
    };
    let trained = into(&|c| {
        resnet(c).norm = BackboneNorm::Frozen;
        resnet(c).frozen_stages = 2;
        resnet(c).stride_in = StrideIn::Conv1x1; // basic blocks don't care
        c.head.prior = 0.1;
    });
    let tensors = trained.expect("the same network").tensors();
    assert_eq!(tensors, saved.model.tensors());
    let error = into(&|c| c.head.centerness_on = CenternessOn::Cls).expect_err("another head");
    let text = error.to_string();
    let setting =
        "trained with other settings: model.head.centerness_on was \"box\" and is \"cls\"";
    assert!(text.ends_with(setting), "{text}");
    // What is wrong with a file of our own is not hidden behind another format's error.
    fs::write(&saved.path, saved.edit_entry(|e| e["version"] = json!(2))).expect("writes");
    let error = into(&|_| ()).expect_err("a later version");
    assert!(
        matches!(error.kind(), WeightsErrorKind::Version { .. }),
        "{error}"
    );
}

#[test]
fn wrong_names_and_shapes_are_listed() {
    let saved = Saved::new();
    let rename = |h: &mut Value, from: &str, to: &str| {
        let map = h.as_object_mut().expect("map");
        let value = map.remove(from).expect("there");
        map.insert(to.into(), value);
    };
    let bytes = saved.edit(|h| {
        rename(h, "head.scales.1", "head.scales.9");
        h["fpn.lateral.0.bias"]["shape"] = json!([2, 2]);
    });
    let error = saved.error(&bytes);
    let WeightsErrorKind::Tensors(source) = error.kind() else {
        panic!("another kind");
    };
    let named = |name: &str| [(name.to_string(), vec![1])];
    assert_eq!(source.missing, named("head.scales.1"));
    assert_eq!(source.unexpected, named("head.scales.9"));
    let different = &source.different[0];
    assert_eq!(
        (different.name.as_str(), source.different.len()),
        ("fpn.lateral.0.bias", 1)
    );
    assert_eq!(
        (&different.expected, &different.found),
        (&vec![4], &vec![2, 2])
    );
    let text = source.to_string();
    assert!(
        text.contains("1 missing: head.scales.1 [1]; 1 unexpected: head.scales.9 [1]"),
        "{text}"
    );
    assert!(
        text.contains("fpn.lateral.0.bias is F32 [2, 2] instead of F32 [4]"),
        "{text}"
    );
}

#[test]
fn tensors_of_another_network() {
    let saved = Saved::new();
    let more_classes = saved.edit_entry(|e| e["model"]["num_classes"] = json!(4));
    let no_scales = saved.edit_entry(|e| e["model"]["head"]["scales"] = json!(false));
    let deeper = saved.edit_entry(|e| e["model"]["backbone"]["arch"] = json!("r34"));
    let sizes = [more_classes, no_scales, deeper].map(|bytes| match saved.error(&bytes).kind() {
        WeightsErrorKind::Tensors(s) => {
            (s.missing.is_empty(), s.unexpected.len(), s.different.len())
        }
        other => panic!("{other}"),
    });
    assert_eq!(sizes, [(true, 0, 2), (true, 5, 0), (false, 0, 0)]);
}

#[test]
fn extra_and_absent_tensors() {
    let model = Saved::new().model;
    let mut extra = model.tensors();
    extra.insert("head.extra".into(), TensorData::from([1.0f32]));
    let error = model.clone().with_tensors(extra).expect_err("one too many");
    assert_eq!(error.unexpected, [("head.extra".into(), vec![1])]);

    let mut absent = model.tensors();
    absent.remove("backbone.stem.norm.running_var");
    let error = model.clone().with_tensors(absent).expect_err("one too few");
    let variance = "backbone.stem.norm.running_var".to_string();
    assert_eq!(error.missing, [(variance, vec![1])]);

    let mut half = model.tensors();
    let data = half["fpn.top.0.bias"].clone().convert::<f64>();
    half.insert("fpn.top.0.bias".into(), data);
    let error = model.clone().with_tensors(half).expect_err("f64");
    assert_eq!(error.different[0].dtype, "F64");

    let none = model
        .clone()
        .with_tensors(Default::default())
        .expect_err("nothing");
    assert_eq!(none.missing.len(), model.tensors().len());
    assert!(none.to_string().len() < 1000, "a long list is cut short");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever byte of the header changes: an error, or a file that differs in nothing that the
    /// format protects. Never a panic.
    #[test]
    fn flipped_bytes_never_panic(position in 0.0..1.0f64, flip in 1u8..=255) {
        thread_local!(static SAVED: Saved = Saved::new());
        SAVED.with(|saved| {
            let (_, data) = split(&saved.bytes);
            let header = saved.bytes.len() - data.len();
            let mut bytes = saved.bytes.clone();
            bytes[(position * header as f64) as usize] ^= flip;
            if let Ok((model, _)) = saved.load(&bytes) {
                assert_eq!(model.tensors().len(), saved.model.tensors().len());
            }
        });
    }
}

/// The configuration alone would need terabytes; nothing of that is allocated.
#[test]
fn a_lying_configuration_costs_nothing() {
    let saved = Saved::new();
    let bytes = saved.edit_entry(|e| {
        let largest = FcosConfig {
            num_classes: 65_536,
            ..FcosConfig::default()
        };
        e["model"] = serde_json::to_value(largest).expect("json");
        e["model"]["fpn"]["channels"] = json!(8192);
        e["model"]["backbone"]["width"] = json!(1024);
    });
    assert!(matches!(
        saved.error(&bytes).kind(),
        WeightsErrorKind::Tensors { .. }
    ));
}

#[test]
fn detector_settings_come_back_and_fit_the_network() {
    let saved = Saved::new();
    let config = saved.model.config().clone();
    let classes = ClassList::new(["cat", "dog", "cow"]).expect("names");
    let mut detector = DetectorConfig::new(config.clone(), classes);
    assert_eq!(detector.category_ids, [1, 2, 3]);
    detector.category_ids = vec![18, 3, 90];
    detector.preprocess.short_side = 123;
    detector.save(&saved.path, &saved.model).expect("saves");
    let (model, found) = load_detector(&saved.path).expect("loads");
    assert_eq!((model.config(), &found), (&config, &detector));

    detector.classes = ClassList::new(["cat", "dog"]).expect("names");
    detector.save(&saved.path, &saved.model).expect("saves");
    let error = error_chain(&load_detector(&saved.path).expect_err("two names"));
    assert!(
        error.contains("classes is 2 names, but must be 3"),
        "{error}"
    );

    let invalid: [fn(&mut DetectorConfig); 2] = [
        |c| c.preprocess.std[1] = 0.0,
        |c| c.postprocess.pre_nms_top_k = 0,
    ];
    for change in invalid {
        let mut detector = detector.clone();
        change(&mut detector);
        detector.save(&saved.path, &saved.model).expect("saves");
        let error = load_detector(&saved.path).expect_err("no sense");
        let kind = matches!(
            error.kind(),
            WeightsErrorKind::Preprocess { .. } | WeightsErrorKind::Postprocess { .. }
        );
        assert!(kind, "{error}");
    }

    fs::write(&saved.path, &saved.bytes).expect("writes");
    let error = load_detector(&saved.path).expect_err("no settings");
    assert!(matches!(error.kind(), WeightsErrorKind::Metadata { .. }));
}

#[test]
fn category_ids_are_one_per_class_or_left_to_the_names() {
    let saved = Saved::new();
    let classes = ClassList::new(["cat", "dog", "cow"]).expect("names");
    let mut detector = DetectorConfig::new(saved.model.config().clone(), classes);
    let mut load = |ids: &[u64]| {
        detector.category_ids = ids.to_vec();
        detector.save(&saved.path, &saved.model).expect("saves");
        load_detector(&saved.path).map(|(_, found)| found.category_ids)
    };
    assert_eq!(load(&[]).expect("of an older file"), [1, 2, 3]);
    for ids in [&[3, 18][..], &[3, 18, 3], &[3, 18, 3, 4]] {
        let error = load(ids).expect_err("not one per class");
        assert!(
            matches!(error.kind(), WeightsErrorKind::Classes(_)),
            "{error}"
        );
    }
}
