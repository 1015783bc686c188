#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fcos_core::BBox;
use serde_json::Value;

use super::*;

fn small() -> SyntheticConfig {
    SyntheticConfig {
        train_images: 6,
        val_images: 3,
        width: [60, 90],
        height: [48, 70],
        seed: 3,
        ..SyntheticConfig::default()
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inner = contents(&path).into_iter();
            files.extend(
                inner
                    .map(|(name, bytes)| (path.file_name().unwrap().into(), name, bytes))
                    .map(|(folder, name, bytes): (PathBuf, PathBuf, _)| (folder.join(name), bytes)),
            );
        } else {
            files.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    files
}

fn load(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn list<'a>(json: &'a Value, key: &str) -> &'a [Value] {
    json[key].as_array().unwrap()
}

/// Category id, image id and box of every annotation.
fn annotations(json: &Value) -> Vec<(u64, u64, BBox)> {
    let parse = |a: &Value| {
        let xywh: [f32; 4] = serde_json::from_value(a["bbox"].clone()).unwrap();
        let [_, _, w, h] = xywh;
        assert_eq!(a["area"].as_f64().unwrap() as f32, w * h);
        assert_eq!(a["iscrowd"], 0);
        let id = |key: &str| a[key].as_u64().unwrap();
        (id("category_id"), id("image_id"), BBox::from_xywh(xywh))
    };
    list(json, "annotations").iter().map(parse).collect()
}

#[test]
fn the_seed_decides_every_byte() {
    let root = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| {
        let dir = root.path().join(name);
        generate(&dir, &SyntheticConfig { seed, ..small() }).unwrap();
        contents(&dir)
    };
    let first = make("a", 3);
    assert_eq!(first.len(), 6 + 3 + 2 + 1);
    assert!(first == make("b", 3));

    let other = make("c", 4);
    for name in ["train/000001.png", "val/000002.png", "instances_train.json"] {
        assert_ne!(first[Path::new(name)], other[Path::new(name)], "{name}");
    }
    assert_ne!(
        first[Path::new("train/000001.png")],
        first[Path::new("val/000001.png")]
    );
}

#[test]
fn one_thread_gives_the_same_bytes_as_many() {
    let root = tempfile::tempdir().unwrap();
    let make = |threads: usize| {
        let dir = root.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| generate(&dir, &small())).unwrap();
        contents(&dir)
    };
    assert!(make(1) == make(4));
}

#[test]
fn annotations_are_sound_and_varied() {
    let root = tempfile::tempdir().unwrap();
    let config = SyntheticConfig {
        train_images: 300,
        val_images: 2,
        ..SyntheticConfig::default()
    };
    let dataset = generate(root.path().join("set"), &config).unwrap();
    let json = load(&dataset.train_annotations);
    let images = list(&json, "images");
    let boxes = annotations(&json);

    let names: Vec<&str> = list(&json, "categories")
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, CLASS_NAMES);
    for (_, image_id, bbox) in &boxes {
        let image = &images[*image_id as usize - 1];
        let (w, h) = (
            image["width"].as_u64().unwrap(),
            image["height"].as_u64().unwrap(),
        );
        assert!(
            bbox.is_valid() && bbox.clip(w as f32, h as f32) == *bbox,
            "{bbox:?} in {w} x {h}"
        );
        assert!(bbox.width().min(bbox.height()) >= 2.0, "{bbox:?}");
    }

    let mut classes = [0u32; CLASS_NAMES.len()];
    boxes
        .iter()
        .for_each(|(category, ..)| classes[*category as usize - 1] += 1);
    assert_eq!(classes.to_vec(), dataset.train_summary.objects_per_class);
    let mean = boxes.len() as f32 / classes.len() as f32;
    assert!(
        classes
            .iter()
            .all(|&n| (0.75..1.25).contains(&(n as f32 / mean))),
        "{classes:?}"
    );

    let mut sizes = [0; 4];
    for (.., bbox) in &boxes {
        let side = bbox.width().max(bbox.height());
        sizes[[16.0, 32.0, 64.0]
            .iter()
            .filter(|&&limit| side >= limit)
            .count()] += 1;
    }
    assert!(
        sizes.iter().all(|&n| n * 40 > boxes.len()),
        "of {}: {sizes:?}",
        boxes.len()
    );

    let mut per_image = vec![0; images.len()];
    boxes
        .iter()
        .for_each(|(_, image_id, _)| per_image[*image_id as usize - 1] += 1);
    let empty = per_image.iter().filter(|&&n| n == 0).count();
    assert_eq!(empty as u32, dataset.train_summary.empty_images);
    assert!(
        (3..=30).contains(&empty),
        "{empty} images without an object"
    );
    assert!(per_image.iter().all(|&n| n <= 9) && per_image.iter().any(|&n| n >= 6));
}

#[test]
fn files_match_their_entries() {
    let root = tempfile::tempdir().unwrap();
    let dataset = generate(root.path().join("set"), &small()).unwrap();
    let splits = [
        (&dataset.train_annotations, &dataset.train_images),
        (&dataset.val_annotations, &dataset.val_images),
    ];
    for (annotations, images) in splits {
        for entry in list(&load(annotations), "images") {
            let path = images.join(entry["file_name"].as_str().unwrap());
            let (width, height) = image::image_dimensions(&path).unwrap();
            assert_eq!(entry["width"], width);
            assert_eq!(entry["height"], height);
        }
    }
}

/// Fails if what a configuration gives has changed: then the generator's version must count up, or
/// old folders would be taken for new ones. Boxes are at quarters of a pixel, so they hardly depend
/// on the platform's mathematics.
#[test]
fn this_version_still_gives_the_same_objects() {
    let root = tempfile::tempdir().unwrap();
    let dataset = generate(root.path().join("set"), &small()).unwrap();
    let json = load(&dataset.train_annotations);
    let objects: Vec<_> = annotations(&json).into_iter().take(3).collect();
    assert_eq!(json["info"]["version"], "2");
    let expected = [
        (2, 3, BBox::new(16.5, 0.0, 51.25, 33.25)),
        (5, 3, BBox::new(9.0, 32.5, 20.0, 41.75)),
        (2, 3, BBox::new(27.75, 8.75, 66.0, 47.75)),
    ];
    assert_eq!(objects, expected);
}

#[test]
fn a_complete_data_set_is_reused_and_another_configuration_replaces_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("nested/set");
    let first = generate(&dir, &small()).unwrap();
    assert!(!first.reused);
    let again = generate(&dir, &small()).unwrap();
    assert!(again.reused);
    assert_eq!(
        SyntheticDataset {
            reused: false,
            ..again
        },
        first
    );

    let fewer = generate(
        &dir,
        &SyntheticConfig {
            train_images: 2,
            ..small()
        },
    )
    .unwrap();
    assert!(!fewer.reused);
    assert_eq!(fs::read_dir(&fewer.train_images).unwrap().count(), 2);
}

#[test]
fn half_written_folders_are_regenerated() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("set");
    let dataset = generate(&dir, &small()).unwrap();
    let intact = contents(&dir);
    let image = dataset.train_images.join("000004.png");
    let damages: [&dyn Fn(); 5] = [
        &|| fs::remove_file(&image).unwrap(),
        &|| fs::write(&image, b"cut").unwrap(),
        &|| fs::remove_file(&dataset.val_annotations).unwrap(),
        &|| fs::write(dir.join("fcos-synthetic.json"), b"{\"version\":").unwrap(),
        &|| fs::remove_dir_all(&dir).unwrap(),
    ];
    for damage in damages {
        damage();
        // What a run that was stopped leaves behind.
        fs::create_dir_all(root.path().join("set.partial/train")).unwrap();
        fs::write(root.path().join("set.partial/train/junk.png"), b"junk").unwrap();
        fs::write(root.path().join("set.partial/fcos-synthetic.json"), b"").unwrap();
        assert!(!generate(&dir, &small()).unwrap().reused);
        assert!(contents(&dir) == intact);
        assert!(!root.path().join("set.partial").exists());
    }
}

#[test]
fn other_files_are_never_removed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("thesis.tex"), b"years of work").unwrap();
    let refused = generate(root.path(), &small());
    assert!(
        matches!(refused, Err(SyntheticError::ForeignFolder { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);

    let file = root.path().join("thesis.tex");
    assert!(matches!(
        generate(&file, &small()),
        Err(SyntheticError::Io { .. })
    ));
    assert!(matches!(
        generate(Path::new(""), &small()),
        Err(SyntheticError::NoFolderName { .. })
    ));
}

/// Neither with a data set of another configuration, nor with a damaged manifest, nor where a
/// temporary folder would be.
#[test]
fn files_beside_a_data_set_are_never_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("set");
    generate(&dir, &small()).unwrap();
    let other = SyntheticConfig { seed: 4, ..small() };
    let refuse = |config: &SyntheticConfig| {
        let before = contents(root.path());
        let refused = generate(&dir, config);
        assert!(
            matches!(refused, Err(SyntheticError::ForeignFolder { .. })),
            "{refused:?}"
        );
        assert!(contents(root.path()) == before);
    };
    fs::write(dir.join("notes.md"), b"years of work").unwrap();
    refuse(&other);
    assert!(generate(&dir, &small()).unwrap().reused);
    fs::write(dir.join("fcos-synthetic.json"), b"{").unwrap();
    refuse(&small());

    fs::remove_file(dir.join("notes.md")).unwrap();
    fs::create_dir_all(root.path().join("set.partial/train")).unwrap();
    refuse(&small()); // no manifest says that it is ours
    fs::write(root.path().join("set.partial/fcos-synthetic.json"), b"").unwrap();
    assert!(!generate(&dir, &small()).unwrap().reused);
}

#[test]
fn an_empty_folder_is_filled() {
    let root = tempfile::tempdir().unwrap();
    let dataset = generate(root.path(), &small()).unwrap();
    assert_eq!(dataset.train_summary.images, 6);
    assert!(dataset.train_annotations.starts_with(root.path()));
}
