//! Files that earlier versions wrote: `testdata/compat/` says what they are.

use std::path::PathBuf;

use burn::tensor::Device;
use fcos_model::{Arch, BackboneNorm, DetectorConfig, Fcos, Pipeline};
use serde::Deserialize;

/// What the first version found.
#[derive(Debug, Deserialize)]
struct Found {
    file: String,
    label: u32,
    score: f32,
    bbox: [f32; 4],
}

fn first_version(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/compat/0.1.0");
    PathBuf::from(folder).join(name)
}

fn load() -> (Fcos, DetectorConfig) {
    let file = first_version("after-9-steps.safetensors");
    DetectorConfig::load(file, &Device::flex()).expect("an older file loads")
}

/// Its table of the backbone knows no families, and its pyramid no first stride.
#[test]
fn settings_of_the_first_version_are_read() {
    let (model, config) = load();
    let resnet = config.model.backbone.as_resnet().expect("a ResNet");
    assert_eq!((resnet.arch, resnet.width), (Arch::ResNet18, 4));
    assert_eq!(
        (resnet.norm, resnet.frozen_stages),
        (BackboneNorm::Trained, 1)
    );
    assert_eq!(config.model.strides(), [8, 16, 32, 64, 128]);
    assert_eq!(config.preprocess.short_side, 64);
    assert_eq!(config.postprocess.pre_filter.threshold, 0.001);
    assert_eq!((config.classes.len(), config.category_ids[7]), (8, 8));
    // Written again it is a file of today, with the same content.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("today.safetensors");
    config.save(&file, &model).expect("saves");
    let (again, settings): (Fcos, _) = DetectorConfig::load(&file, &Device::flex()).expect("loads");
    assert_eq!((again.tensors(), settings), (model.tensors(), config));
}

/// On a CPU with other instructions the last bits may differ.
#[test]
fn weights_of_the_first_version_find_the_same() {
    let (model, config) = load();
    let pipeline = Pipeline::new(model, config);
    let text = std::fs::read_to_string(first_version("detections.json")).expect("readable");
    let expected: Vec<Found> = serde_json::from_str(&text).expect("a list");
    let mut files: Vec<_> = expected.iter().map(|found| found.file.clone()).collect();
    files.dedup();
    let mut number = 0;
    for file in files {
        let path = first_version("shapes/val").join(&file);
        let image = image::open(path).expect("a picture").to_rgb8();
        let found = pipeline.predict(&[&image]).expect("predicts").detections;
        let expected: Vec<_> = expected.iter().filter(|f| f.file == file).collect();
        assert_eq!(found[0].len(), expected.len(), "{file}");
        for (found, expected) in found[0].iter().zip(expected) {
            assert_eq!(found.label, expected.label, "{expected:?}");
            assert!((found.score - expected.score).abs() < 1e-5, "{expected:?}");
            let sides = <[f32; 4]>::from(found.bbox).into_iter().zip(expected.bbox);
            assert!(
                sides.map(|(a, b)| (a - b).abs()).all(|off| off < 1e-3),
                "{expected:?}"
            );
            number += 1;
        }
    }
    assert_eq!(number, expected.len());
}
