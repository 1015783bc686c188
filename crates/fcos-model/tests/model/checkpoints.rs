//! Files of other implementations: the published models' keys, and files that are not as they
//! should be. `testdata/checkpoints/` has the lists of keys and two small files.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use fcos_core::LocationRule;
use fcos_data::{ChannelOrder, PreprocessConfig, ValueRange};
use fcos_model::weights::{Checkpoint, Format, WeightsError};
use fcos_model::{Arch, BoxActivation, DetectorConfig, Fcos, FcosConfig, NamedTensors, StrideIn};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

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
const PUBLISHED: [(&str, Option<&str>, Format, Arch); 22] = [
    ("torchvision_r50", None, Format::Torchvision, Arch::ResNet50),
    ("torchvision_r50_bn", None, Format::Torchvision, Arch::ResNet50),
    ("official_r50", Some("official-orig"), Format::Official, Arch::ResNet50),
    ("official_r50", Some("official-imprv-r50"), Format::Official, Arch::ResNet50),
    ("official_r101", Some("official-imprv"), Format::Official, Arch::ResNet101),
    ("official_x101-32x8d", Some("official-imprv"), Format::Official, Arch::ResNeXt101_32x8d),
    ("official_x101-64x4d", Some("official-orig"), Format::Official, Arch::ResNeXt101_64x4d),
    ("atss_r50", Some("atss"), Format::Atss, Arch::ResNet50),
    ("atss_r101", Some("atss-point"), Format::Atss, Arch::ResNet101),
    ("atss_x101-32x8d", Some("atss"), Format::Atss, Arch::ResNeXt101_32x8d),
    ("atss_x101-64x4d", Some("atss"), Format::Atss, Arch::ResNeXt101_64x4d),
    ("adelaidet_r50", None, Format::AdelaiDet, Arch::ResNet50),
    ("adelaidet-rt_r50", None, Format::AdelaiDet, Arch::ResNet50),
    ("adelaidet_r101", None, Format::AdelaiDet, Arch::ResNet101),
    ("adelaidet_x101-32x8d", None, Format::AdelaiDet, Arch::ResNeXt101_32x8d),
    ("adelaidet_x101-64x4d", None, Format::AdelaiDet, Arch::ResNeXt101_64x4d),
    ("mmdet-plain_r50", None, Format::MmdetPlain, Arch::ResNet50),
    ("mmdet-plain_r101", None, Format::MmdetPlain, Arch::ResNet101),
    ("mmdet-plain_x101-64x4d", None, Format::MmdetPlain, Arch::ResNeXt101_64x4d),
    ("mmdet-tricks_r50", None, Format::MmdetTricks, Arch::ResNet50),
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

/// The values arrive where the reference's table of names says.
#[test]
fn tensors_find_their_places() {
    let places = [
        (
            "torchvision_r50",
            None,
            "head.regression_head.conv.4.bias",
            "head.bbox_tower.1.norm.bias",
        ),
        (
            "torchvision_r50",
            None,
            "backbone.fpn.extra_blocks.p7.bias",
            "fpn.top.1.bias",
        ),
        (
            "official_r50",
            Some("official-imprv"),
            "backbone.fpn.fpn_layer3.bias",
            "fpn.output.1.bias",
        ),
        (
            "official_r50",
            Some("official-imprv"),
            "rpn.head.scales.3.scale",
            "head.scales.3",
        ),
        (
            "official_r50",
            Some("official-imprv"),
            "backbone.body.layer4.0.downsample.1.running_var",
            "backbone.stages.3.0.downsample.norm.running_var",
        ),
        (
            "adelaidet_r50",
            None,
            "backbone.bottom_up.res3.2.conv2.norm.running_mean",
            "backbone.stages.1.2.conv2.norm.running_mean",
        ),
        (
            "adelaidet_r50",
            None,
            "proposal_generator.fcos_head.ctrness.bias",
            "head.centerness.bias",
        ),
        (
            "adelaidet_r50",
            None,
            "backbone.fpn_lateral5.weight",
            "fpn.lateral.2.weight",
        ),
        (
            "mmdet-tricks_r50",
            None,
            "neck.fpn_convs.3.conv.weight",
            "fpn.top.0.weight",
        ),
        (
            "mmdet-tricks_r50",
            None,
            "bbox_head.scales.4.scale",
            "head.scales.4",
        ),
        (
            "mmdet-tricks_r50",
            None,
            "bbox_head.reg_convs.2.gn.weight",
            "head.bbox_tower.2.norm.weight",
        ),
    ];
    for (name, preset, theirs, ours) in places {
        let expected = first(&published(name), theirs);
        let (model, _) = load(checkpoint(name), preset);
        assert_eq!(first(&model.tensors(), ours), expected, "{name}: {theirs}");
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
    for (preset, activation) in [
        ("official-orig", BoxActivation::Exp),
        ("official-imprv", BoxActivation::ReluStride),
    ] {
        let config = checkpoint("official_r50")
            .config(Some(preset))
            .expect("fits");
        assert_eq!(config.model.head.box_activation, activation);
        assert_eq!(config.model.backbone.stride_in, StrideIn::Conv1x1);
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
    assert_eq!(pytorch.model.backbone.stride_in, StrideIn::Conv3x3);
    assert_eq!(pytorch.preprocess, PreprocessConfig::mmdet_pytorch());
    let rt = checkpoint("adelaidet-rt_r50").config(None).expect("fits");
    assert_eq!(
        (rt.model.strides(), rt.preprocess.short_side),
        (vec![8, 16, 32], 512)
    );
}

#[test]
fn wrong_presets_are_refused() {
    for preset in [
        "torchvision",
        "atss",
        "official-orig-r101",
        "official",
        "no-such",
    ] {
        let error = checkpoint("official_r50")
            .config(Some(preset))
            .expect_err(preset);
        let expected = matches!(
            error,
            WeightsError::OtherPreset { .. } | WeightsError::Config { .. }
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
            checkpoint.config(None),
            Err(WeightsError::NoDetector { .. })
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
    let other = stem(&PreprocessConfig::official());
    assert!(
        matches!(other, Err(WeightsError::OtherMean { .. })),
        "{other:?}"
    );
}

/// Both of PyTorch's formats, wrapped and bare, in half precision.
#[test]
fn pytorch_files_are_read() {
    let mut outputs = Vec::new();
    for name in ["narrow.pth", "narrow_legacy.pth"] {
        let checkpoint = Checkpoint::read(&testdata(name)).expect(name);
        assert_eq!(checkpoint.arch(), Some(Arch::ResNet18));
        let (model, config) = load(checkpoint, None);
        let FcosConfig {
            num_classes,
            fpn,
            backbone,
            ..
        } = &config.model;
        assert_eq!((*num_classes, fpn.channels, backbone.width), (3, 32, 4));
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
        .map_err(|error: WeightsError| error.to_string())
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
    check("text", b"not weights at all");
    check("an empty pickle", b"\x80\x02}q\x00.");
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
