//! Images of many sizes don't make a GPU compile, or time, many kernels.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use fcos::data::Rng;
use fcos::model::FcosConfig;
use fcos::{ClassList, Detector, DetectorConfig, DeviceSpec};
use image::{DynamicImage, RgbImage};

use crate::devices;

const DEVICE: &str = "FCOS_TEST_DEVICE";
const IMAGES: &str = "FCOS_TEST_IMAGES";

/// A quarter of COCO's 800 and 1333 pixels, padded to a quarter of 32: as many padded sizes.
const SHORT_SIDE: usize = 200;
const LONG_SIDE: usize = 333;
const PAD_MULTIPLE: usize = 8;

/// All the kernels of the first images and of two hundred.
const FIRST: usize = 25;
const ALL: usize = 200;

/// No test of its own: the process whose kernels the test below counts.
#[test]
fn child_process() {
    let (Ok(device), Ok(images)) = (std::env::var(DEVICE), std::env::var(IMAGES)) else {
        return;
    };
    let device = device.parse::<DeviceSpec>().expect("a device").device();
    let mut config = FcosConfig::tiny();
    (
        config.backbone.width,
        config.fpn.channels,
        config.head.num_convs,
    ) = (8, 16, 1);
    config.head.gn_groups = 4;
    let classes = ClassList::new(["cat", "dog"]).expect("two names");
    let mut config = DetectorConfig::new(config, classes);
    config.preprocess.short_side = SHORT_SIDE;
    config.preprocess.long_side = LONG_SIDE;
    config.preprocess.pad_multiple = PAD_MULTIPLE;
    let model = config
        .model
        .init(&device.expect("it is there"))
        .expect("valid");
    let detector = Detector::new(model, config);
    let mut rng = Rng::from_key(&[5]);
    let mut sizes = BTreeSet::new();
    for _ in 0..images.parse().expect("a number") {
        let side = |rng: &mut Rng| 60 + rng.below(140) as u32;
        let picture = RgbImage::new(side(&mut rng), side(&mut rng));
        let prepared = detector.config().preprocess.apply(&picture);
        let padded = detector.config().preprocess.padded_size(&[prepared]);
        sizes.insert((padded.width, padded.height));
        detector
            .predict(&DynamicImage::ImageRgb8(picture))
            .expect("predicts");
    }
    println!("{} padded sizes", sizes.len());
}

/// How many kernels a process compiled, and how many choices it made by timing.
fn count(spec: DeviceSpec, images: usize) -> (usize, usize) {
    let temp = tempfile::tempdir().expect("a folder");
    let settings = r#"
        [autotune]
        level = "minimal"
        [autotune.logger]
        level = "minimal"
        file = "tuned.log"
        [compilation.logger]
        level = "basic"
        file = "compiled.log"
    "#;
    std::fs::write(temp.path().join("cubecl.toml"), settings).expect("writes");
    let exe = std::env::current_exe().expect("this test's own binary");
    let mut command = Command::new(exe);
    command
        .args(["--exact", "kernels::child_process", "--nocapture"])
        .current_dir(temp.path())
        .env(DEVICE, spec.to_string())
        .env(IMAGES, images.to_string());
    assert!(command.status().expect("runs").success());
    let lines = |name: &str, of: &str| {
        let text = read(&temp.path().join(name));
        text.lines().filter(|line| line.contains(of)).count()
    };
    (
        lines("compiled.log", "[Compiling kernel]"),
        lines("tuned.log", "Fastest"),
    )
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a log")
}

#[test]
fn two_hundred_sizes_compile_few_kernels() {
    let (devices, _guard) = devices();
    let on_cpu = |spec| matches!(spec, DeviceSpec::Flex | DeviceSpec::NdArray);
    for tested in devices.iter().filter(|t| !on_cpu(t.spec)) {
        let (first, all) = (count(tested.spec, FIRST), count(tested.spec, ALL));
        println!(
            "{}: {} kernels, {} choices for {FIRST} images; {} and {} for {ALL}",
            tested.spec, first.0, first.1, all.0, all.1
        );
        assert!(
            all.0 > 0,
            "{}: the log of compilations is empty",
            tested.spec
        );
    }
}
