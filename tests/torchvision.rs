//! The whole path against torchvision's own FCOS: from raw pixels to boxes, and 20 steps of training.
//! The goldens and the script that made them are in `testdata/torchvision/`.
//!
//! B images, N locations, C classes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use fcos::DetectorConfig;
use fcos::data::{Prepared, PreprocessConfig};
use fcos::loss::{BatchCounts, BoxWeighting, LossConfig, Normalizer};
use fcos::model::weights::{Checkpoint, Format};
use fcos::model::{Fcos, ParamPath, Pipeline};
use fcos::postprocess::Detection;
use fcos::targets::{AssignConfig, Assigner, Targets};
use fcos::train::{TrainConfig, Trainer, loss_targets};
use fcos::{BBox, LocationRule, Locations, Scale, Size};
use fcos_tests::worst;
use image::RgbImage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// As in the script.
const IMAGES: [(u32, u32); 3] = [(131, 97), (90, 120), (124, 92)];
const PREDICTED: [usize; 2] = [0, 1];
const TRAINED: [usize; 2] = [0, 2];
const SALT: u64 = 5;
const LABELS: [&[u32]; 2] = [&[3, 7, 1], &[11, 0]];
const SAMPLES: usize = 600;
const CLASSES: usize = 12;

fn boxes() -> [Vec<BBox>; 2] {
    [
        vec![
            BBox::new(10.0, 12.0, 70.0, 80.0),
            BBox::new(40.0, 30.0, 120.0, 90.0),
            BBox::new(5.5, 50.25, 25.0, 75.0),
        ],
        vec![
            BBox::new(20.0, 15.0, 80.0, 90.0),
            BBox::new(30.0, 40.0, 50.0, 65.5),
        ],
    ]
}

fn testdata(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/torchvision");
    folder.join(name)
}

/// The script's numbers in `[0, 1)`: the upper 24 bits of SplitMix64.
fn draws(seed: u64, count: usize) -> impl Iterator<Item = f32> {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_mul(STEP).wrapping_add(i.wrapping_mul(STEP));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 24) as f32
    })
}

/// The script's pictures.
fn picture(index: usize) -> RgbImage {
    let (width, height) = IMAGES[index];
    let noise: Vec<u32> = draws(index as u64 + 1, (width * height * 3) as usize)
        .map(|u| (u * 64.0) as u32)
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0, 1, 2].map(|c| {
            let blob = ((x / 16) * 37 + (y / 12) * 53 + c * 29 + (x * y) / 64) % 192;
            (blob + noise[((y * width + x) * 3 + c) as usize]) as u8
        }))
    })
}

/// CRC-32 (zlib's), the seed of a tensor's values by its name.
fn crc32(text: &str) -> u64 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let crc = text
        .bytes()
        .fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step));
    u64::from(!crc)
}

/// torchvision's state dict as a safetensors file.
fn checkpoint(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(testdata("keys.tsv")).expect("readable");
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = text
        .lines()
        .map(|line| {
            let [name, shape, low, extent] = line.split('\t').collect::<Vec<_>>()[..]
                .try_into()
                .expect("four columns");
            let shape: Vec<usize> = serde_json::from_str(shape).expect("a shape");
            let (low, extent): (f32, f32) = (
                low.parse().expect("a number"),
                extent.parse().expect("a number"),
            );
            let values = draws(crc32(name) + SALT, shape.iter().product());
            let bytes = values
                .flat_map(|u| (low + u * extent).to_le_bytes())
                .collect();
            (name.to_string(), shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view");
        (name, view)
    });
    let path = folder.join("torchvision.safetensors");
    fs::write(
        &path,
        safetensors::serialize(views, None).expect("serialises"),
    )
    .expect("written");
    path
}

fn detector_config(checkpoint: &Checkpoint) -> DetectorConfig {
    let mut config = checkpoint.config(None).expect("torchvision's preset");
    config.preprocess.short_side = 120;
    config.preprocess.long_side = 160;
    config
}

/// Tensors as floats (whole numbers too) by name.
struct Golden(BTreeMap<String, Vec<f32>>);

impl Golden {
    fn read(name: &str) -> Self {
        let bytes = fs::read(testdata(name)).expect("readable");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let values = |view: &TensorView| match view.dtype() {
            Dtype::I64 => {
                let chunks = view.data().chunks_exact(8);
                chunks
                    .map(|b| i64::from_le_bytes(b.try_into().expect("8")) as f32)
                    .collect()
            }
            _ => {
                let chunks = view.data().chunks_exact(4);
                chunks
                    .map(|b| f32::from_le_bytes(b.try_into().expect("4")))
                    .collect()
            }
        };
        Self(
            file.iter()
                .map(|(name, view)| (name.to_string(), values(&view)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &[f32] {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no golden {name}"))
    }

    /// The largest difference to the golden's samples of a whole tensor, relative to its largest
    /// value.
    fn difference(&self, name: &str, values: &[f32]) -> f32 {
        let samples = self.get(name);
        let step = values.len().div_ceil(SAMPLES).max(1);
        let ours: Vec<f32> = values.iter().copied().step_by(step).collect();
        assert_eq!(ours.len(), samples.len(), "{name}");
        let differences = ours.iter().zip(samples).map(|(a, b)| a - b);
        worst(differences) / self.get(&format!("{name}.largest"))[0]
    }
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_into_vec_as::<f32>().expect("floats")
}

fn prepare(
    which: [usize; 2],
    preprocess: &PreprocessConfig,
) -> (Vec<Prepared>, Vec<f32>, [usize; 4]) {
    let prepared: Vec<_> = which.map(|i| preprocess.apply(&picture(i))).into();
    let batch = preprocess.pad_batch(&prepared);
    (prepared, batch.pixels, batch.shape)
}

#[test]
fn every_intermediate_equals_torchvisions() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Golden::read("inference.safetensors");
    let checkpoint = Checkpoint::read(checkpoint(folder.path())).expect("reads");
    assert_eq!(checkpoint.format(), Format::Torchvision);
    let config = detector_config(&checkpoint);
    assert_eq!(config.classes.len(), CLASSES);
    let device = Device::flex();
    let model = checkpoint.into_model(&config, &device).expect("loads");

    let (_, pixels, shape) = prepare(PREDICTED, &config.preprocess);
    let same_shape = |name: &str, dims: &[usize]| {
        let expected = golden.get(&format!("{name}.shape"));
        let dims: Vec<f32> = dims.iter().map(|&d| d as f32).collect();
        assert_eq!(dims, expected, "{name}");
    };
    let close = |name: &str, dims: &[usize], values: &[f32]| {
        same_shape(name, dims);
        let difference = golden.difference(name, values);
        assert!(difference <= 1e-4, "{name}: {difference:e}");
    };
    close("input", &shape, &pixels);
    let [_, _, height, width] = shape;
    let locations = Locations::new(
        Size { width, height },
        &config.model.strides(),
        LocationRule::Torchvision,
    );
    let points: Vec<f32> = locations.points().iter().flat_map(|p| [p.x, p.y]).collect();
    close("anchor_centers", &[locations.len(), 2], &points);

    let input: Tensor<4> = Tensor::from_data(TensorData::new(pixels, shape), &device);
    // With batch normalisation as it is, and folded as in a prediction.
    for model in [model.clone(), model.fold_batch_norm()] {
        let features = model.forward_features(input.clone());
        for (name, map) in ["c3", "c4", "c5"].into_iter().zip(&features.backbone) {
            close(name, &map.dims(), &values(map));
        }
        for (name, map) in ["p3", "p4", "p5", "p6", "p7"]
            .into_iter()
            .zip(&features.pyramid)
        {
            close(name, &map.dims(), &values(map));
        }
        let output = model.forward(input.clone());
        close(
            "cls_logits",
            &output.cls_logits.dims(),
            &values(&output.cls_logits),
        );
        close(
            "bbox_regression",
            &output.ltrb.dims(),
            &values(&output.ltrb),
        );
        let centerness = &output.centerness;
        close("bbox_ctrness", &centerness.dims(), &values(centerness));
    }
}

#[test]
fn detections_equal_torchvisions() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Golden::read("inference.safetensors");
    let checkpoint = Checkpoint::read(checkpoint(folder.path())).expect("reads");
    let config = detector_config(&checkpoint);
    let model = checkpoint
        .into_model(&config, &Device::flex())
        .expect("loads");
    // Through a file of our own: nothing may be lost on the way.
    let file = folder.path().join("converted.safetensors");
    config.save(&file, &model).expect("saves");
    let loaded = DetectorConfig::load(&file, &Device::flex());
    let (model, config): (Fcos, _) = loaded.expect("loads");

    let mut pipeline = Pipeline::new(model, config);
    let images = PREDICTED.map(picture);
    let found = pipeline
        .predict(&[&images[0], &images[1]])
        .expect("predicts")
        .detections;
    for (i, detections) in found.iter().enumerate() {
        assert_same(&golden, i, detections);
    }

    let postprocess = pipeline.postprocess_mut();
    postprocess.nms.threshold = 1.0;
    postprocess.max_detections = usize::MAX;
    let all = pipeline
        .predict(&[&images[0], &images[1]])
        .expect("predicts")
        .detections;
    for (i, candidates) in all.iter().enumerate() {
        assert_same_set(&golden, i, candidates);
    }
}

/// The same set; scores of candidates are so close that rounding may exchange neighbours.
fn assert_same_set(golden: &Golden, image: usize, candidates: &[Detection]) {
    let expected = |what: &str| golden.get(&format!("candidates.{image}.{what}"));
    let [labels, scores, boxes] = ["labels", "scores", "boxes"].map(expected);
    let mut left: Vec<usize> = (0..labels.len()).collect();
    assert_eq!(candidates.len(), left.len(), "candidates of image {image}");
    for ours in candidates {
        let corners = <[f32; 4]>::from(ours.bbox);
        let same = |&i: &usize| {
            let theirs = &boxes[4 * i..][..4];
            let mut off = corners.iter().zip(theirs).map(|(a, b)| (a - b).abs());
            labels[i] == ours.label as f32
                && (scores[i] - ours.score).abs() <= 1e-4
                && off.all(|off| off <= 1e-2)
        };
        let found = left.iter().position(same);
        left.remove(
            found.unwrap_or_else(|| panic!("image {image}: {ours:?} is not torchvision's")),
        );
    }
}

/// The same set in the same order.
fn assert_same(golden: &Golden, image: usize, detections: &[Detection]) {
    let expected = |what: &str| golden.get(&format!("detections.{image}.{what}"));
    let labels: Vec<f32> = detections.iter().map(|d| d.label as f32).collect();
    assert_eq!(labels, expected("labels"), "labels of image {image}");
    for (i, (detection, corners)) in detections
        .iter()
        .zip(expected("boxes").chunks_exact(4))
        .enumerate()
    {
        let ours = <[f32; 4]>::from(detection.bbox);
        let off = worst(ours.iter().zip(corners).map(|(a, b)| a - b));
        assert!(
            off <= 1e-2,
            "image {image}, detection {i}: {ours:?} for {corners:?}"
        );
        let score = (detection.score - expected("scores")[i]).abs();
        assert!(
            score <= 1e-4,
            "image {image}, detection {i}: score off by {score}"
        );
    }
}

/// Gradients by the network's names.
struct ByName {
    path: ParamPath,
    gradients: Gradients,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for ByName {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(&self.gradients) {
            self.found.insert(self.path.fields(), values(&gradient));
        }
    }
}

/// torchvision's names of the gradients compared, and ours.
const PROBES: [(&str, &str); 12] = [
    ("backbone.body.conv1.weight", "backbone.stem.conv.weight"),
    (
        "backbone.body.layer1.0.conv1.weight",
        "backbone.stages.0.0.conv1.conv.weight",
    ),
    (
        "backbone.body.layer4.1.conv2.weight",
        "backbone.stages.3.1.conv2.conv.weight",
    ),
    (
        "backbone.fpn.inner_blocks.0.0.weight",
        "fpn.lateral.0.weight",
    ),
    ("backbone.fpn.layer_blocks.2.0.bias", "fpn.output.2.bias"),
    ("backbone.fpn.extra_blocks.p7.weight", "fpn.top.1.weight"),
    (
        "head.classification_head.conv.0.weight",
        "head.cls_tower.0.conv.weight",
    ),
    (
        "head.classification_head.conv.10.weight",
        "head.cls_tower.3.norm.gamma",
    ),
    (
        "head.classification_head.cls_logits.weight",
        "head.cls_logits.weight",
    ),
    (
        "head.regression_head.conv.9.weight",
        "head.bbox_tower.3.conv.weight",
    ),
    ("head.regression_head.bbox_reg.bias", "head.bbox_pred.bias"),
    (
        "head.regression_head.bbox_ctrness.weight",
        "head.centerness.weight",
    ),
];

#[test]
fn targets_losses_and_gradients_equal_torchvisions() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Golden::read("training.safetensors");
    let checkpoint = Checkpoint::read(checkpoint(folder.path())).expect("reads");
    let mut config = detector_config(&checkpoint);
    config
        .model
        .backbone
        .as_resnet_mut()
        .expect("a ResNet")
        .frozen_stages = 0;
    let device = Device::flex().autodiff();
    let model: Fcos = checkpoint.into_model(&config, &device).expect("loads");
    let (prepared, pixels, shape) = prepare(TRAINED, &config.preprocess);

    let [_, _, height, width] = shape;
    let strides = config.model.strides();
    let locations = Locations::new(Size { width, height }, &strides, config.location_rule);
    let (assign, unit) = (
        AssignConfig::torchvision(&strides),
        config.model.distance_unit(),
    );
    let assigner = Assigner::new(&assign, &locations, unit).expect("valid");
    let targets: Vec<Targets> = (0..2)
        .map(|i| {
            let Scale { x, y } = prepared[i].scale;
            let scaled: Vec<BBox> = boxes()[i].iter().map(|b| b.scale(x, y)).collect();
            assigner.assign(&scaled, LABELS[i]).expect("valid")
        })
        .collect();
    let matched: Vec<f32> = targets
        .iter()
        .flat_map(|t| &t.matched)
        .map(|&m| m as f32)
        .collect();
    assert_eq!(matched, golden.get("matched"), "assigned targets");
    assert!(matched.iter().filter(|&&m| m >= 0.0).count() > 30);

    let input = Tensor::from_data(TensorData::new(pixels, shape), &device);
    let output = model.forward(input);
    let loss = LossConfig {
        box_weighting: BoxWeighting::Uniform,
        ..LossConfig::default()
    };
    let counts = targets
        .iter()
        .map(|t| BatchCounts::from_targets(&t.labels, &t.centerness))
        .sum();
    let targets = loss_targets(&targets, &device);
    let losses = loss
        .init()
        .forward(output, targets, &Normalizer::new(counts));
    let ours: Vec<f32> = losses.iter().map(|term| values(&term.value)[0]).collect();
    assert_eq!(ours.len(), 3);
    for (ours, theirs) in ours.iter().zip(golden.get("losses")) {
        assert!(
            (ours - theirs).abs() <= 1e-5 * theirs,
            "{ours} for {theirs}"
        );
    }

    let mut visitor = ByName {
        path: ParamPath::default(),
        gradients: losses.total().backward(),
        found: BTreeMap::new(),
    };
    model.visit(&mut visitor);
    for (theirs, ours) in PROBES {
        let gradient = visitor
            .found
            .get(ours)
            .unwrap_or_else(|| panic!("no gradient {ours}"));
        let difference = golden.difference(&format!("grad.{theirs}"), gradient);
        assert!(difference <= 1e-3, "{theirs}: {difference:e}");
    }
}

/// The trainer itself, on the two pictures as a data set on disk.
#[test]
fn twenty_steps_of_training_follow_torchvision() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = Golden::read("training.safetensors");
    let weights = checkpoint(folder.path());
    let detector = detector_config(&Checkpoint::read(&weights).expect("reads"));
    let images = folder.path().join("images");
    fs::create_dir(&images).expect("made");
    let annotations = write_dataset(folder.path(), &images);

    let sets = [
        "recipe.batch_size=2",
        "recipe.iterations=20",
        "recipe.learning_rate=0.0005",
        "recipe.momentum=0.9",
        "recipe.weight_decay=0.0001",
        "recipe.bias_weight_decay=0.0001",
        "recipe.norm_weight_decay=0.0001",
        "recipe.bias_lr_factor=1",
        "recipe.clip_grad_norm=none",
        "recipe.warmup.iterations=0",
        "recipe.milestones=[]",
        "recipe.eval_every=none",
        "recipe.log_every=1",
        "augment.horizontal_flip=0",
        "loss.box_weighting=uniform",
    ];
    let mut config = TrainConfig::load("r50-1x", &sets.map(String::from)).expect("settings");
    config.model = detector.model;
    config
        .model
        .backbone
        .as_resnet_mut()
        .expect("a ResNet")
        .frozen_stages = 0;
    config.preprocess = detector.preprocess;
    config.location_rule = detector.location_rule;
    config.assign = AssignConfig::torchvision(&config.model.strides());
    config.start_weights = Some(weights);
    config.data.train_annotations = annotations;
    config.data.train_images = images;
    let run = folder.path().join("run");
    let trainer = Trainer::start(config, &run, &Device::flex()).expect("starts");
    trainer.run(&mut Quiet).expect("trains");

    let csv = fs::read_to_string(run.join("metrics.csv")).expect("written");
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let place = |name: &str| columns.iter().position(|c| *c == name).expect(name);
    let places = ["loss_cls", "loss_bbox", "loss_centerness"].map(place);
    let rows: Vec<Vec<f32>> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            places
                .iter()
                .map(|&p| cells[p].parse().expect("a number"))
                .collect()
        })
        .collect();
    assert_eq!(rows.len(), 20);
    for (step, (ours, theirs)) in rows
        .iter()
        .zip(golden.get("losses").chunks_exact(3))
        .enumerate()
    {
        for (a, b) in ours.iter().zip(theirs) {
            assert!(
                (a - b).abs() <= 0.01 * b,
                "step {step}: {ours:?} for {theirs:?}"
            );
        }
    }
}

struct Quiet;

impl fcos::train::Observer for Quiet {}

/// The pictures as PNG, and their annotations.
fn write_dataset(folder: &Path, images: &Path) -> PathBuf {
    let all = boxes();
    let mut annotations = Vec::new();
    let mut listed = Vec::new();
    for i in 0..2 {
        let name = format!("{i}.png");
        picture(TRAINED[i]).save(images.join(&name)).expect("saved");
        let (width, height) = IMAGES[TRAINED[i]];
        listed.push(
            serde_json::json!({"id": i, "file_name": name, "width": width, "height": height}),
        );
        for (bbox, label) in all[i].iter().zip(LABELS[i]) {
            annotations.push(serde_json::json!({
                "id": annotations.len() + 1, "image_id": i, "category_id": label, "bbox": bbox.to_xywh(),
            }));
        }
    }
    let categories: Vec<_> = (0..CLASSES)
        .map(|id| serde_json::json!({"id": id, "name": format!("class_{id}")}))
        .collect();
    let json =
        serde_json::json!({"images": listed, "annotations": annotations, "categories": categories});
    let path = folder.join("instances.json");
    fs::write(&path, json.to_string()).expect("written");
    path
}
