//! From generated pictures to detections, through the public API alone.

use std::collections::BTreeMap;
use std::path::Path;

use fcos::data::FindingKind;
use fcos::eval::{Validation, evaluate_files};
use fcos::model::weights::load;
use fcos::model::{Backbone, DetectorConfig, Fcos};
use fcos::train::{
    BEST_WEIGHTS, Checkpoints, FileHealth, LAST_WEIGHTS, Learner, Observer, RunPlan, TrainBatches,
    TrainError, Trainer, TrainingData,
};
use fcos::{Detector, DeviceSpec};
use fcos_tests::tiny_run;
use image::{DynamicImage, RgbImage};
use serde_json::{Value, json};

fn trained(folder: &Path) -> Detector {
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let run = folder.join("run");
    let config = tiny_run(folder, 4);
    let summary = Trainer::start(config, &run, &device)
        .expect("starts")
        .run(&mut ());
    assert!(summary.expect("trains").metrics.is_some());
    Detector::load(run.join(BEST_WEIGHTS), &device).expect("loads")
}

#[test]
fn train_save_load_predict_evaluate() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut detector = trained(temp.path());
    detector.postprocess_mut().pre_filter.threshold = 0.0;
    let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(90, 60, |x, y| {
        image::Rgb([x as u8, 3 * y as u8, 80])
    }));
    let found = detector.predict(&picture).expect("predicts");
    assert_eq!(found.len(), 100, "without a threshold the limit is reached");
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    for d in &found {
        assert!(d.bbox.x1 >= 0.0 && d.bbox.x2 <= 90.0 && d.bbox.y1 >= 0.0 && d.bbox.y2 <= 60.0);
        assert_eq!(&*d.name, detector.classes().name(d.label));
    }

    let copy = temp.path().join("copy.safetensors");
    detector.save(&copy).expect("saves");
    let again = Detector::load(&copy, &detector.pipeline().device()).expect("loads");
    assert_eq!(again.predict(&picture).expect("predicts"), found);

    let shapes = temp.path().join("shapes");
    let (annotations, images) = (shapes.join("instances_val.json"), shapes.join("val"));
    let val = Validation::open(&annotations, &images, detector.classes()).expect("opens");
    let metrics = val
        .evaluate(detector.pipeline(), &mut |_| ())
        .expect("evaluates");
    assert!((0.0..=1.0).contains(&metrics.stats.ar100));
}

fn read_json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("reads")).expect("JSON")
}

/// The detector writes the ids of the data set that it was trained on: judged against annotations that
/// say by name what it found, its rows are perfect.
#[test]
fn category_ids_come_back_in_the_results() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 4);
    let annotations = config.data.val_annotations.clone().expect("generated");
    let id = |number: u64| 15 * number - 12; // 3, 18, 33, …
    for file in [&config.data.train_annotations, &annotations] {
        let mut json = read_json(file);
        for (list, key) in [("categories", "id"), ("annotations", "category_id")] {
            for entry in json[list].as_array_mut().expect("a list") {
                entry[key] = id(entry[key].as_u64().expect("an id")).into();
            }
        }
        std::fs::write(file, json.to_string()).expect("writes");
    }
    let run = temp.path().join("run");
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let trainer = Trainer::start(config, &run, &device).expect("starts");
    trainer.run(&mut ()).expect("trains");
    let mut detector = Detector::load(run.join(BEST_WEIGHTS), &device).expect("loads");
    detector.postprocess_mut().pre_filter.threshold = 0.0;
    let ids = detector.config().category_ids.clone();
    assert_eq!(ids, (1..=8).map(id).collect::<Vec<_>>());

    let mut json = read_json(&annotations);
    let categories = json["categories"].as_array().expect("a list").clone();
    let id_of = |name: &str| &categories.iter().find(|c| c["name"] == name).expect(name)["id"];
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for image in json["images"].as_array().expect("a list") {
        let file = image["file_name"].as_str().expect("a name");
        let path = temp.path().join("shapes/val").join(file);
        let found = detector.predict_file(path).expect("predicts").detections;
        rows.extend(found.to_coco(image["id"].as_u64().expect("an id"), file));
        objects.extend(found.iter().map(|d| {
            json!({"image_id": image["id"], "category_id": id_of(&d.name), "bbox": d.bbox.to_xywh()})
        }));
    }
    json["annotations"] = objects.into();
    std::fs::write(&annotations, json.to_string()).expect("writes");
    let results = temp.path().join("results.json");
    let text = serde_json::to_vec(&rows).expect("serialises");
    std::fs::write(&results, text).expect("writes");
    let metrics = evaluate_files(&annotations, &results).expect("evaluates");
    assert!(metrics.stats.ap > 0.99, "{metrics}");
}

#[derive(Default)]
struct Unreadable(Vec<usize>);

impl Observer for Unreadable {
    fn started(&mut self, plan: &RunPlan) {
        let count = |file: &FileHealth| file.report.count(FindingKind::UnreadableFile);
        self.0 = plan.health.iter().map(count).collect();
    }
}

#[test]
fn unreadable_images_are_left_out_and_reported() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 2);
    let val_images = config.data.val_images.clone().expect("generated");
    for folder in [&config.data.train_images, &val_images] {
        std::fs::write(folder.join("000001.png"), "no image").expect("writes");
    }
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let start = |run: &str| Trainer::start(config.clone(), temp.path().join(run), &device);
    let mut unreadable = Unreadable::default();
    let trainer = start("run").expect("starts");
    trainer.run(&mut unreadable).expect("trains");
    assert_eq!(unreadable.0, [1, 1]);

    for image in std::fs::read_dir(&config.data.train_images).expect("a folder") {
        std::fs::write(image.expect("a file").path(), "no image").expect("writes");
    }
    let error = start("none").map(drop).expect_err("nothing left");
    assert!(
        error.to_string().contains("12  image file unreadable"),
        "{error}"
    );
}

/// An image is found alike alone and in a batch with a larger one, up to rounding: padding stays
/// outside of what the network sees of it, except through GroupNorm's statistics, which is why
/// only a batch of equal sizes is compared.
#[test]
fn a_batch_is_its_images() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut detector = trained(temp.path());
    detector.postprocess_mut().pre_filter.threshold = 0.0;
    let picture = |seed: u32| {
        DynamicImage::ImageRgb8(RgbImage::from_fn(96, 64, |x, y| {
            image::Rgb([(x * seed) as u8, (y * 5 + seed) as u8, (x * y) as u8])
        }))
    };
    let pictures = [picture(1), picture(2), picture(7)];
    let batch = detector.predict_batch(&pictures).expect("predicts");
    for (picture, found) in pictures.iter().zip(batch) {
        let alone = detector.predict(picture).expect("predicts");
        assert_eq!(alone.len(), found.len());
        for (a, b) in alone.iter().zip(&found) {
            assert!((a.score - b.score).abs() < 1e-5, "{a:?} {b:?}");
        }
    }
    assert!(detector.predict_batch(&[]).expect("predicts").is_empty());
}

#[test]
fn tiny_and_odd_pictures_do_not_panic() {
    let temp = tempfile::tempdir().expect("a folder");
    let detector = trained(temp.path());
    for (width, height) in [(1, 1), (1, 300), (300, 1), (33, 65)] {
        let picture = DynamicImage::ImageRgb8(RgbImage::new(width, height));
        detector.predict(&picture).expect("predicts");
    }
}

#[test]
fn losses_that_are_not_finite_name_iteration_and_images() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut config = tiny_run(temp.path(), 30);
    config.recipe.learning_rate = 1e30;
    config.recipe.warmup.iterations = 0;
    config.recipe.clip_grad_norm = None;
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let trainer = Trainer::start(config, temp.path().join("run"), &device).expect("starts");
    match trainer.run(&mut ()).expect_err("diverges") {
        TrainError::NonFinite {
            iteration,
            image_ids,
            ..
        } => {
            assert!((1..30).contains(&iteration));
            assert_eq!(image_ids.len(), 2);
        }
        other => panic!("{other}"),
    }
}

/// The trainer's weights, by its parts alone, from a checkpoint in the middle.
#[test]
fn a_loop_of_ones_own_is_the_trainers() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 6);
    let run = temp.path().join("run");
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let trainer = Trainer::start(config.clone(), &run, &device).expect("starts");
    trainer.run(&mut ()).expect("trains");
    let last = run.join(LAST_WEIGHTS);
    let trained = load::<Backbone, DetectorConfig>(&last, &device).expect("loads");

    let data = TrainingData::load(&config.data).expect("reads").dataset;
    let batches = TrainBatches::new(data.clone(), &config).expect("images");
    let checkpoints = Checkpoints::new(temp.path().join("own"));
    let mut own = BTreeMap::new();
    for steps in [0..4, 4..6] {
        let model: Fcos = config.init_model(&data, &device).expect("valid");
        let mut learner = Learner::new(model, &config, 6);
        let state = learner.state_mut();
        checkpoints.load_latest(state).expect("loads");
        assert_eq!(state.iteration, steps.start);
        for (i, batch) in steps.clone().zip(batches.load(steps).expect("starts")) {
            let batch = batch.expect("made");
            assert!(batch == batches.batch(i).expect("made"), "batch {i}");
            learner.step(vec![batch]).expect("steps");
        }
        checkpoints.save(learner.state()).expect("saves");
        own = learner.model().tensors();
    }
    assert!(own == trained.0.tensors());
}
