//! Files of other implementations: the published models' keys, and files that are not as they
//! should be. `testdata/checkpoints/` has the lists of keys and two small files.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use fcos_core::{LocationRule, error_chain};
use fcos_data::{ChannelOrder, PreprocessConfig, ValueRange};
use fcos_model::weights::{Checkpoint, Format, WeightsError, WeightsErrorKind};
use fcos_model::{Arch, BoxActivation, DetectorConfig, Fcos, FcosConfig, NamedTensors, StrideIn};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{noise, relative_error, values};

fn testdata(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/checkpoints");
    folder.join(name)
}

/// A published model's state dict with values that differ from tensor to tensor.
fn published(name: &str) -> NamedTensors {
    let text = fs::read_to_string(testdata(&format!("{name}.tsv"))).expect(name);
    let tensor = |(i, line): (usize, &str)| {
        let (key, shape) = line.split_once('\t').expect("two columns");
        let shape: Vec<usize> = serde_json::from_str(shape).expect("a shape");
        let data = match key.ends_with("num_batches_tracked") {
            true => TensorData::new(vec![7i64], shape),
            false => TensorData::new(vec![1.0 + i as f32; shape.iter().product()], shape),
        };
        (key.to_string(), data)
    };
    text.lines().enumerate().map(tensor).collect()
}

fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::from_tensors(Path::new(name), published(name)).expect(name)
}

fn load(checkpoint: Checkpoint, preset: Option<&str>) -> (Fcos, DetectorConfig) {
    let config = checkpoint.config(preset).expect("fits");
    let model = checkpoint
        .into_model(&config, &Device::flex())
        .expect("loads");
    (model, config)
}

fn first(tensors: &NamedTensors, name: &str) -> f32 {
    tensors[name].as_slice::<f32>().expect("f32")[0]
}

/// File, preset to name, format, backbone.
#[rustfmt::skip]
const PUBLISHED: [(&str, Option<&str>, Format, Arch); 23] = [
    ("torchvision_r50", None, Format::Torchvision, Arch::ResNet50),
    ("torchvision_r50_bn", None, Format::Torchvision, Arch::ResNet50),
    ("official_r50", Some("official-orig"), Format::Official, Arch::ResNet50),
    ("official_r50", Some("official-imprv-r50"), Format::Official, Arch::ResNet50),
    ("official_r101", Some("official-imprv"), Format::Official, Arch::ResNet101),
    ("official_x101-32x8d", Some("official-imprv"), Format::Official, Arch::ResNeXt101_32x8d),
    ("official_x101-64x4d", Some("official-orig"), Format::Official, Arch::ResNeXt101_64x4d),
    ("atss_r50", Some("atss-anchor"), Format::Atss, Arch::ResNet50),
    ("atss_r101", Some("atss-point"), Format::Atss, Arch::ResNet101),
    ("atss_x101-32x8d", Some("atss-anchor"), Format::Atss, Arch::ResNeXt101_32x8d),
    ("atss_x101-64x4d", Some("atss-anchor"), Format::Atss, Arch::ResNeXt101_64x4d),
    ("adelaidet_r50", None, Format::AdelaiDet, Arch::ResNet50),
    ("adelaidet-rt_r50", None, Format::AdelaiDet, Arch::ResNet50),
    ("adelaidet_r101", None, Format::AdelaiDet, Arch::ResNet101),
    ("adelaidet_x101-32x8d", None, Format::AdelaiDet, Arch::ResNeXt101_32x8d),
    ("adelaidet_x101-64x4d", None, Format::AdelaiDet, Arch::ResNeXt101_64x4d),
    ("mmdet-plain_r50", None, Format::MmdetPlain, Arch::ResNet50),
    ("mmdet-plain_r101", None, Format::MmdetPlain, Arch::ResNet101),
    ("mmdet-plain_x101-64x4d", None, Format::MmdetPlain, Arch::ResNeXt101_64x4d),
    ("mmdet-tricks_r50", Some("mmdet-tricks"), Format::MmdetTricks, Arch::ResNet50),
    ("mmdet-tricks_r50", Some("mmdet-lsj"), Format::MmdetTricks, Arch::ResNet50),
    ("mmdet-tricks_r18", None, Format::MmdetTricks, Arch::ResNet18),
    ("mmdet-atss_r50", None, Format::MmdetAtss, Arch::ResNet50),
];

#[test]
fn every_published_model_loads_strictly() {
    for (name, preset, format, arch) in PUBLISHED {
        let checkpoint = checkpoint(name);
        assert_eq!(
            (checkpoint.format(), checkpoint.arch()),
            (format, Some(arch)),
            "{name}"
        );
        let (model, config) = load(checkpoint, preset);
        assert_eq!(config.classes.len(), config.model.num_classes, "{name}");
        assert_eq!(model.config(), &config.model, "{name}");
    }
}

/// Every tensor of the four projects' ResNet-50 arrives where the reference's table of names says:
/// the names of a row, each from another project, at one place.
#[test]
fn tensors_find_their_places() {
    let text = fs::read_to_string(testdata("key_map_r50.tsv")).expect("readable");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|l| l.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 324);
    let files = [
        ("official_r50", Some("official-imprv")),
        ("torchvision_r50", None),
        ("adelaidet_r50", None),
        ("mmdet-tricks_r50", Some("mmdet-tricks")),
    ];
    for (column, (file, preset)) in files.into_iter().enumerate() {
        let theirs = published(file);
        let ours = load(checkpoint(file), preset).0.tensors();
        let keys = rows.iter().map(|row| (row[0], row[column]));
        for (official, key) in keys.filter(|(_, key)| !key.is_empty()) {
            let name = place(official);
            assert_eq!(
                first(&ours, &name),
                first(&theirs, key),
                "{file}: {key} as {name}"
            );
        }
    }
}

/// Where a tensor of the official code belongs.
fn place(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    let minus = |n: &str, k: usize| n.parse::<usize>().expect("a number") - k;
    match *parts.as_slice() {
        ["backbone", "body", "stem", "conv1", field] => format!("backbone.stem.conv.{field}"),
        ["backbone", "body", "stem", "bn1", field] => format!("backbone.stem.norm.{field}"),
        ["backbone", "body", layer, block, ref rest @ ..] => {
            let stage = minus(layer.trim_start_matches("layer"), 1);
            let layer = match *rest {
                ["downsample", "0", field] => format!("downsample.conv.{field}"),
                ["downsample", "1", field] => format!("downsample.norm.{field}"),
                [conv, field] if conv.starts_with("conv") => format!("{conv}.conv.{field}"),
                [bn, field] => format!("conv{}.norm.{field}", bn.trim_start_matches("bn")),
                _ => panic!("{key}"),
            };
            format!("backbone.stages.{stage}.{block}.{layer}")
        }
        ["backbone", "fpn", "top_blocks", level, field] => {
            format!(
                "fpn.top.{}.{field}",
                minus(level.trim_start_matches('p'), 6)
            )
        }
        ["backbone", "fpn", name, field] => {
            let name = name
                .replace("fpn_inner", "lateral.")
                .replace("fpn_layer", "output.");
            let (part, level) = name.split_once('.').expect("a level");
            format!("fpn.{part}.{}.{field}", minus(level, 2))
        }
        ["rpn", "head", "scales", level, "scale"] => format!("head.scales.{level}"),
        [
            "rpn",
            "head",
            tower @ ("cls_tower" | "bbox_tower"),
            n,
            field,
        ] => {
            let part = if minus(n, 0) % 3 == 0 { "conv" } else { "norm" };
            format!("head.{tower}.{}.{part}.{field}", minus(n, 0) / 3)
        }
        ["rpn", "head", output, field] => format!("head.{output}.{field}"),
        _ => panic!("{key}"),
    }
}

/// What the keys can't tell comes from the preset.
#[test]
fn presets_complete_what_keys_leave_open() {
    let ambiguous = checkpoint("official_r50")
        .config(None)
        .expect_err("ambiguous");
    let text = ambiguous.to_string();
    assert!(text.contains("official-orig, official-imprv"), "{text}");
    let ambiguous = checkpoint("mmdet-tricks_r50")
        .config(None)
        .expect_err("ambiguous");
    let text = ambiguous.to_string();
    assert!(text.contains("mmdet-tricks, mmdet-lsj"), "{text}");
    for (preset, activation) in [
        ("official-orig", BoxActivation::Exp),
        ("official-imprv", BoxActivation::ReluStride),
    ] {
        let config = checkpoint("official_r50")
            .config(Some(preset))
            .expect("fits");
        assert_eq!(config.model.head.box_activation, activation);
        assert_eq!(stride_in(&config), StrideIn::Conv1x1);
        assert_eq!(config.preprocess.channels, ChannelOrder::Bgr);
        assert!(config.postprocess.nms.legacy_plus_one);
        assert_eq!((config.category_ids[11], config.category_ids[79]), (13, 90));
    }
    let torchvision = checkpoint("torchvision_r50").config(None).expect("fits");
    assert_eq!(torchvision.location_rule, LocationRule::Torchvision);
    assert_eq!(torchvision.preprocess.range, ValueRange::Unit);
    assert_eq!(
        (torchvision.classes.len(), torchvision.classes.name(90)),
        (91, "toothbrush")
    );
    assert_eq!(torchvision.category_ids[90], 90);
    let pytorch = checkpoint("mmdet-plain_x101-64x4d")
        .config(None)
        .expect("fits");
    assert_eq!(stride_in(&pytorch), StrideIn::Conv3x3);
    assert_eq!(pytorch.preprocess, PreprocessConfig::mmdet_pytorch());
    let rt = checkpoint("adelaidet-rt_r50").config(None).expect("fits");
    assert_eq!(
        (rt.model.strides(), rt.preprocess.short_side),
        (vec![8, 16, 32], 512)
    );
}

fn stride_in(config: &DetectorConfig) -> StrideIn {
    config
        .model
        .backbone
        .as_resnet()
        .expect("a ResNet")
        .stride_in
}

#[test]
fn wrong_presets_are_refused() {
    for preset in [
        "torchvision",
        "atss",
        "atss-anchor",
        "official-orig-r101",
        "official",
        "no-such",
    ] {
        let error = checkpoint("official_r50")
            .config(Some(preset))
            .expect_err(preset);
        let expected = matches!(
            error.kind(),
            WeightsErrorKind::OtherPreset { .. } | WeightsErrorKind::Config { .. }
        );
        assert!(expected, "{preset}: {error}");
    }
}

#[test]
fn rows_of_unused_categories_can_go() {
    let mut tensors = published("torchvision_r50");
    let bias = TensorData::new((0..91).map(|i| i as f32).collect(), [91]);
    tensors.insert("head.classification_head.cls_logits.bias".into(), bias);
    let mut checkpoint = Checkpoint::from_tensors(Path::new("tv"), tensors).expect("known");
    checkpoint.keep_coco80().expect("91 rows");
    assert!(checkpoint.clone().keep_coco80().is_err());
    let (model, config) = load(checkpoint, None);
    assert_eq!(
        (config.classes.len(), config.classes.name(0)),
        (80, "person")
    );
    assert_eq!((config.category_ids[11], config.category_ids[79]), (13, 90));
    let bias = &model.tensors()["head.cls_logits.bias"];
    let rows = bias.as_slice::<f32>().expect("f32");
    assert_eq!((rows[0], rows[11], rows[79]), (1.0, 13.0, 90.0));
}

/// An ImageNet classifier sees the same through either kind of pixels.
#[test]
fn backbones_start_from_imagenet_weights() {
    for name in [
        "imagenet_r50",
        "imagenet_r101",
        "imagenet_x101-32x8d",
        "imagenet_x101-64x4d",
    ] {
        let checkpoint = checkpoint(name);
        assert_eq!(checkpoint.format(), Format::ImageNet);
        assert!(matches!(
            checkpoint.config(None).as_ref().map_err(WeightsError::kind),
            Err(WeightsErrorKind::NoDetector)
        ));
        let arch = checkpoint.arch().expect("known");
        let config = FcosConfig::torchvision(arch);
        let model = config.init(&Device::flex()).expect("valid");
        let before = model.tensors();
        let rgb = PreprocessConfig::imagenet_rgb(800, 1333);
        let model = checkpoint
            .into_backbone(model, &rgb)
            .expect("loads")
            .tensors();
        assert_eq!(first(&model, "backbone.stem.conv.weight"), 1.0, "{name}");
        assert_eq!(
            model["head.cls_logits.weight"],
            before["head.cls_logits.weight"]
        );
    }
}

#[test]
fn stems_are_adapted_to_the_pixels() {
    let mut tensors = published("imagenet_r50");
    let channels = |c: [f32; 3]| {
        let filter: Vec<f32> = c.into_iter().flat_map(|v| [v; 49]).collect();
        TensorData::new(filter.repeat(64), [64, 3, 7, 7])
    };
    tensors.insert("conv1.weight".into(), channels([1.0, 2.0, 3.0]));
    let stem = |preprocess: &PreprocessConfig| {
        let checkpoint =
            Checkpoint::from_tensors(Path::new("r50"), tensors.clone()).expect("known");
        let model = FcosConfig::default().init(&Device::flex()).expect("valid");
        let model = checkpoint.into_backbone(model, preprocess)?;
        let stem = model.tensors()["backbone.stem.conv.weight"].clone();
        let values = stem.as_slice::<f32>().expect("f32").to_vec();
        Ok::<_, WeightsError>([values[0], values[49], values[98]])
    };
    assert_eq!(
        stem(&PreprocessConfig::default()).expect("loads"),
        [1.0, 2.0, 3.0]
    );
    // BGR from 0 to 255 without division: the filters in the other order, as much smaller.
    let bytes = stem(&PreprocessConfig::adelaidet()).expect("loads");
    let expected = [3.0 / 57.375, 2.0 / 57.12, 1.0 / 58.395];
    for (found, expected) in bytes.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < 1e-5, "{bytes:?}");
    }
}

#[test]
fn a_stem_that_is_not_known_is_not_taken_for_adapted() {
    let start = |preprocess: &PreprocessConfig, tensors: NamedTensors| {
        let model = FcosConfig::default().init(&Device::flex()).expect("valid");
        let checkpoint = Checkpoint::from_tensors("file", tensors).expect("known");
        checkpoint
            .into_backbone(model, preprocess)
            .expect_err("no stem")
    };
    let [rgb, bgr] = [PreprocessConfig::default(), PreprocessConfig::adelaidet()];
    let without = |key: &str| {
        let mut tensors = published("imagenet_r50");
        tensors.remove(key).expect("there before");
        tensors
    };
    for key in ["conv1.weight", "bn1.running_mean"] {
        let error = start(&bgr, without(key));
        assert!(
            matches!(error.kind(), WeightsErrorKind::UnknownStem),
            "{key}: {error}"
        );
        let error = start(&rgb, without(key));
        assert!(
            matches!(error.kind(), WeightsErrorKind::Tensors { .. }),
            "{key}: {error}"
        );
    }
    let mut grey = published("imagenet_r50");
    grey.insert(
        "conv1.weight".into(),
        TensorData::new(vec![1f32; 64 * 49], [64, 1, 7, 7]),
    );
    let error = start(&bgr, grey);
    assert!(
        matches!(error.kind(), WeightsErrorKind::UnknownStem),
        "{error}"
    );
}

/// The first layer's outputs that see no padding, of this picture as `preprocess` gives it.
fn stem_outputs(tensors: &NamedTensors, preprocess: &PreprocessConfig, eps: f64) -> Vec<f32> {
    const SIDE: usize = 15;
    let mut state = 7u32;
    let picture = image::RgbImage::from_fn(SIDE as u32, SIDE as u32, |_, _| {
        image::Rgb([0; 3].map(|_: u8| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    });
    let preprocess = PreprocessConfig {
        short_side: SIDE,
        long_side: SIDE,
        ..preprocess.clone()
    };
    let pixels = preprocess.apply(&picture).pixels;
    let get = |name: &str| {
        let data = &tensors[&format!("backbone.stem.{name}")];
        data.as_slice::<f32>().expect("f32").to_vec()
    };
    let (weights, mean, var) = (
        get("conv.weight"),
        get("norm.running_mean"),
        get("norm.running_var"),
    );
    let mut outputs = Vec::new();
    for (o, filter) in weights.chunks_exact(3 * 49).enumerate() {
        for (y, x) in (0..=SIDE - 7).flat_map(|y| (0..=SIDE - 7).map(move |x| (y, x))) {
            let pixel =
                |i: usize| pixels[i / 49 * SIDE * SIDE + (y + i % 49 / 7) * SIDE + x + i % 7];
            let products = filter
                .iter()
                .enumerate()
                .map(|(i, w)| f64::from(w * pixel(i)));
            let deviation = (f64::from(var[o]) + eps).sqrt();
            outputs.push(((products.sum::<f64>() - f64::from(mean[o])) / deviation) as f32);
        }
    }
    outputs
}

/// Whatever pixels a backbone was trained on, it computes the same from those of the settings.
#[test]
fn stems_compute_the_same_from_other_pixels() {
    let (device, folder) = (Device::flex(), Path::new("file"));
    let official = FcosConfig::official_imprv(Arch::ResNet50);
    let cases = [
        (
            "imagenet_r50",
            FcosConfig::default(),
            PreprocessConfig::default(),
            1e-5,
            "conv1",
            "bn1",
        ),
        (
            "official_r50",
            official,
            PreprocessConfig::official(),
            0.0,
            "backbone.body.stem.conv1",
            "backbone.body.stem.bn1",
        ),
    ];
    for (file, config, original, eps, conv, bn) in cases {
        let mut tensors = published(file);
        let random = values(&noise::<4>([64, 3, 7, 7], &device));
        tensors.insert(
            format!("{conv}.weight"),
            TensorData::new(random, [64, 3, 7, 7]),
        );
        let statistics = values(&noise::<1>([64], &device));
        tensors.insert(
            format!("{bn}.running_mean"),
            TensorData::new(statistics, [64]),
        );
        let start = |preprocess: &PreprocessConfig| {
            let model = config.init(&device).expect("valid");
            let checkpoint = Checkpoint::from_tensors(folder, tensors.clone()).expect("known");
            let model = checkpoint.into_backbone(model, preprocess).expect("loads");
            stem_outputs(&model.tensors(), preprocess, eps)
        };
        let expected = start(&original);
        for other in [
            PreprocessConfig::default(),
            PreprocessConfig::official(),
            PreprocessConfig::adelaidet(),
            PreprocessConfig::mmdet_pytorch(),
        ] {
            let error = relative_error(&start(&other), &expected);
            assert!(error < 1e-5, "{file}, {other:?}: {error}");
        }
    }
}

/// A backbone computes what it was trained to, or is refused.
#[test]
fn backbones_of_other_settings_are_refused() {
    let start = |file: &str, config: FcosConfig| {
        let model = config.init(&Device::flex()).expect("valid");
        let started = checkpoint(file).into_backbone(model, &PreprocessConfig::default());
        started.map(drop).map_err(|error| error_chain(&error))
    };
    let official = start("official_r50", FcosConfig::default()).expect_err("another backbone");
    for setting in [
        "model.backbone.stride_in was \"1x1\" and is \"3x3\"",
        "model.backbone.norm_eps was 0.0 and is",
    ] {
        assert!(official.contains(setting), "{official}");
    }
    let imagenet = start("imagenet_r50", FcosConfig::official_orig(Arch::ResNet50));
    assert!(imagenet.expect_err("another").contains("norm_eps"));
    let mmdet = start("mmdet-tricks_r50", FcosConfig::default());
    assert!(mmdet.expect_err("ambiguous").contains("mmdet-lsj"));
    // Two presets that differ in the head alone, and basic blocks, in which no 1×1 has a stride.
    assert_eq!(
        start("atss_r50", FcosConfig::atss_anchor(Arch::ResNet50)),
        Ok(())
    );
    let basic = FcosConfig::torchvision(Arch::ResNet18);
    assert_eq!(start("mmdet-tricks_r18", basic), Ok(()));
}

/// Old files of AdelaiDet say what pixels they want.
#[test]
fn pixel_statistics_in_the_file_count() {
    let with = |values: &[f32]| {
        let mut tensors = published("adelaidet_r50");
        let data = TensorData::new(values.to_vec(), [values.len(), 1, 1]);
        tensors.insert("pixel_mean".into(), data);
        Checkpoint::from_tensors(Path::new("old"), tensors).expect("known")
    };
    let (_, config) = load(with(&[102.0, 115.0, 122.0]), None);
    assert_eq!(config.preprocess.mean, [102.0, 115.0, 122.0]);
    assert_eq!(config.preprocess.std, PreprocessConfig::adelaidet().std);
    let four = with(&[1.0; 4]);
    let config = four.config(None).expect("a preset");
    let error = four.into_model(&config, &Device::flex()).expect_err("four");
    assert!(
        error_chain(&error).contains("pixel_mean [4, 1, 1]"),
        "{error}"
    );
}

/// Shapes whose product is 0 need no numbers, however large the rest is.
#[test]
fn extreme_shapes_are_refused() {
    for (key, shape) in [
        ("backbone.body.conv1.weight", [1_usize << 58, 0, 7, 7]),
        (
            "head.classification_head.cls_logits.weight",
            [1_usize << 58, 0, 3, 3],
        ),
        (
            "backbone.fpn.inner_blocks.0.0.weight",
            [1_usize << 58, 0, 1, 1],
        ),
    ] {
        let mut tensors = published("torchvision_r50");
        tensors.insert(key.into(), TensorData::new(Vec::<f32>::new(), shape));
        let checkpoint = Checkpoint::from_tensors(Path::new("huge"), tensors).expect("known");
        let error = checkpoint.config(None).expect_err(key);
        assert!(
            matches!(error.kind(), WeightsErrorKind::Config { .. }),
            "{error}"
        );
    }
}

/// Both of PyTorch's formats, wrapped and bare, in half precision.
#[test]
fn pytorch_files_are_read() {
    let mut outputs = Vec::new();
    for name in ["narrow.pth", "narrow_legacy.pth"] {
        let checkpoint = Checkpoint::read(testdata(name)).expect(name);
        assert_eq!(checkpoint.arch(), Some(Arch::ResNet18));
        let (model, config) = load(checkpoint, None);
        let FcosConfig {
            num_classes,
            fpn,
            backbone,
            ..
        } = &config.model;
        let width = backbone.as_resnet().expect("a ResNet").width;
        assert_eq!((*num_classes, fpn.channels, width), (3, 32, 4));
        assert_eq!(config.classes.name(2), "class_2");
        outputs.push(model.tensors());
    }
    assert_eq!(outputs[0], outputs[1]);
}

/// Name, shape, type and bytes of a tensor.
type Entry = (String, Vec<usize>, Dtype, Vec<u8>);

/// The narrow model's tensors under torchvision's names, as a safetensors file.
fn safetensors_file(change: impl FnOnce(&mut Vec<Entry>)) -> Vec<u8> {
    let text = fs::read_to_string(testdata("../torchvision/keys.tsv")).expect("readable");
    let narrow = |n: usize, name: &str, axis: usize| match (n, axis) {
        _ if name.contains("cls_logits") && axis == 0 => 3,
        (64, _) if !name.starts_with("backbone.body") => 32,
        (1 | 3 | 4 | 7, _) => n,
        (32 | 12, _) => n,
        _ => n / 16,
    };
    let mut tensors: Vec<_> = text
        .lines()
        .map(|line| {
            let [name, shape, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let shape: Vec<usize> = serde_json::from_str(shape).expect("a shape");
            let shape: Vec<usize> = shape
                .iter()
                .enumerate()
                .map(|(axis, &n)| narrow(n, name, axis))
                .collect();
            let bytes = [0, 0, 0, 63].repeat(shape.iter().product()); // 0.5
            (name.to_string(), shape, Dtype::F32, bytes)
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).expect("a view");
        (name, view)
    });
    safetensors::serialize(views, None).expect("serialises")
}

/// Reads and builds; `Err` is the error's text. A panic is a failure of the test.
fn outcome(path: &Path) -> Result<(), String> {
    let path = path.to_path_buf();
    let read = move || {
        let checkpoint = Checkpoint::read(&path)?;
        let config = checkpoint.config(None)?;
        checkpoint.into_model(&config, &Device::flex()).map(drop)
    };
    catch_unwind(read)
        .expect("no panic")
        .map_err(|error: WeightsError| error_chain(&error))
}

#[test]
fn damaged_files_are_refused_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weights");
    let check = |what: &str, bytes: &[u8]| {
        fs::write(&file, bytes).expect("written");
        outcome(&file)
            .err()
            .unwrap_or_else(|| panic!("{what} was loaded"))
    };
    let good = safetensors_file(|_| ());
    fs::write(&file, &good).expect("written");
    assert_eq!(outcome(&file), Ok(()));

    for name in ["narrow.pth", "narrow_legacy.pth"] {
        let bytes = fs::read(testdata(name)).expect("readable");
        for part in [0, 1, 7, 64, 1000, 20_000, bytes.len() / 2, bytes.len() - 30] {
            check(&format!("{name} cut at {part}"), &bytes[..part]);
        }
        // The start of the file, of the pickle, and its middle.
        for at in [0, 2, 70, 100, 300] {
            let mut changed = bytes.clone();
            changed[at..at + 8].fill(0xFF);
            check(&format!("{name} overwritten at {at}"), &changed);
        }
    }
    for part in [0, 7, 8, 9, 500, good.len() / 2, good.len() - 1] {
        check(&format!("safetensors cut at {part}"), &good[..part]);
    }
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    check("a header longer than any memory", &huge);
    let mut longer = good.clone();
    longer.push(0);
    check("a byte too many", &longer);
    let expanded = fs::read(testdata("expanded.pth")).expect("readable");
    let error = check("a view that repeats a number", &expanded);
    assert!(error.contains("8589934592 bytes of tensors"), "{error}");
    check("text", b"not weights at all");
    check("an empty pickle", b"\x80\x02}q\x00.");
}

/// Single bytes of PyTorch's files, anywhere and in the pickle at their start: an error, or a
/// network that has all its tensors.
#[test]
fn flipped_bytes_neither_panic_nor_load_in_part() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weights");
    let mut state = 1u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for name in ["narrow.pth", "narrow_legacy.pth"] {
        let bytes = fs::read(testdata(name)).expect("readable");
        let mut loaded = 0;
        for i in 0..200 {
            let mut changed = bytes.clone();
            let at = draw(if i % 2 == 0 { bytes.len() } else { 20_000 });
            changed[at] ^= 1 << draw(8);
            fs::write(&file, &changed).expect("written");
            loaded += usize::from(outcome(&file).is_ok());
        }
        assert!((1..200).contains(&loaded), "{name}: {loaded}");
    }
}

#[test]
fn other_precisions_become_single() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weights.safetensors");
    let convert = |dtype: Dtype, number: &[u8]| {
        let bytes = safetensors_file(|tensors| {
            for (_, shape, kind, bytes) in tensors {
                *kind = dtype;
                *bytes = number.repeat(shape.iter().product());
            }
        });
        fs::write(&file, bytes).expect("written");
        load(Checkpoint::read(&file).expect("reads"), None)
            .0
            .tensors()
    };
    for (dtype, number) in [
        (Dtype::BF16, 0x3FC0u16.to_le_bytes().as_slice()),
        (Dtype::F16, &0x3E00u16.to_le_bytes()),
        (Dtype::F64, &1.5f64.to_le_bytes()),
    ] {
        for (name, data) in convert(dtype, number) {
            let values = data.as_slice::<f32>().expect("f32");
            assert!(values.iter().all(|&v| v == 1.5), "{dtype:?}: {name}");
        }
    }
}

#[test]
fn other_tensors_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("weights.safetensors");
    let check = |change: &dyn Fn(&mut Vec<Entry>)| {
        fs::write(&file, safetensors_file(|tensors| change(tensors))).expect("written");
        outcome(&file).expect_err("refused")
    };
    let position =
        |tensors: &[Entry], name: &str| tensors.iter().position(|t| t.0 == name).expect(name);
    for name in [
        "backbone.body.conv1.weight",
        "backbone.body.layer2.0.downsample.1.running_var",
        "backbone.fpn.extra_blocks.p6.bias",
        "head.regression_head.bbox_ctrness.weight",
    ] {
        let missing = check(&|t| drop(t.remove(position(t, name))));
        assert!(missing.contains("missing"), "{missing}");
        let renamed = check(&|t| {
            let at = position(t, name);
            t[at].0 = name.replace("weight", "wieght").replace("bias", "bais") + "_";
        });
        assert!(
            renamed.contains("missing") && renamed.contains("unexpected"),
            "{renamed}"
        );
        let reshaped = check(&|t| {
            let at = position(t, name);
            t[at].1 = vec![t[at].1.iter().product()];
            t[at].1.insert(0, 1);
        });
        assert!(reshaped.contains("instead of"), "{reshaped}");
        let counted = check(&|t| {
            let at = position(t, name);
            t[at].2 = Dtype::I32;
        });
        assert!(counted.contains("I32"), "{counted}");
    }
    let extra = check(&|t| {
        let mut more = t[0].clone();
        more.0 = "head.mask_head.weight".into();
        t.push(more);
    });
    assert!(extra.contains("head.mask_head.weight"), "{extra}");
    let twice = check(&|t| {
        let mut again = t[position(t, "backbone.fpn.inner_blocks.0.0.bias")].clone();
        again.0 = "backbone.fpn.inner_blocks.0.bias".into();
        t.push(again);
    });
    assert!(twice.contains("inner_blocks.0"), "{twice}");
    let not_finite = check(&|t| {
        let at = position(t, "head.regression_head.bbox_reg.bias");
        t[at].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(
        not_finite.contains("head.bbox_pred.bias holds numbers that are not finite"),
        "{not_finite}"
    );
    let foreign = check(&|t| t.iter_mut().for_each(|t| t.0 = format!("yolo.{}", t.0)));
    assert!(foreign.contains("no known detector"), "{foreign}");
    let deformable = check(&|t| {
        let mut more = t[0].clone();
        more.0 = "backbone.body.layer2.0.conv2.offset.weight".into();
        t.push(more);
    });
    assert!(deformable.contains("conv2.offset.weight"), "{deformable}");
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().join("none.pth"), folder.path().to_path_buf()] {
        let error = outcome(&path).expect_err("no file");
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
    }
    // Our own file is not a checkpoint, and says so.
    let ours = folder.path().join("ours.safetensors");
    let config = FcosConfig::tiny();
    let model = config.init(&Device::flex()).expect("valid");
    fcos_model::weights::save(&ours, &model, &()).expect("saves");
    assert!(SafeTensors::deserialize(&fs::read(&ours).expect("readable")).is_ok());
    assert!(
        outcome(&ours)
            .expect_err("ours")
            .contains("no known detector")
    );
}
