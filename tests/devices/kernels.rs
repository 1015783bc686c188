//! Images of many sizes don't make a GPU compile, or time, many kernels.

use std::collections::BTreeSet;
use std::process::Command;

use burn::tensor::Device;
use fcos::Rng;
use fcos::model::FcosConfig;
use fcos::{ClassList, Detector, DetectorConfig, DeviceSpec};
use image::{DynamicImage, RgbImage};

use crate::devices;

const DEVICE: &str = "FCOS_TEST_DEVICE";

/// About a third of COCO's 800 and 1333 pixels.
const SHORT_SIDE: usize = 256;
const LONG_SIDE: usize = 427;
const IMAGES: usize = 200;

/// Compiled for all images, and for the second half of them.
const MOST_KERNELS: usize = 150;
const MOST_LATE_KERNELS: usize = 10;

/// Logs into the working folder.
const SETTINGS: &str = r#"
[autotune.logger]
level = "minimal"
file = "tuned.log"
[compilation.logger]
level = "basic"
file = "compiled.log"
"#;

/// No test of its own: the process whose kernels the test below counts.
#[test]
fn child_process() {
    let Ok(device) = std::env::var(DEVICE) else {
        return;
    };
    let device = device.parse::<DeviceSpec>().expect("a device").device();
    let detector = small_detector(&device.expect("it is there"));
    let mut rng = Rng::from_key(&[5]);
    let (mut sizes, mut early) = (BTreeSet::new(), 0);
    for image in 0..IMAGES {
        let side = |rng: &mut Rng| 60 + rng.below(140) as u32;
        let picture = RgbImage::new(side(&mut rng), side(&mut rng));
        let prepared = detector.config().preprocess.apply(&picture);
        let padded = detector.config().preprocess.padded_size(&[prepared]);
        sizes.insert((padded.width, padded.height));
        let picture = DynamicImage::ImageRgb8(picture);
        detector.predict(&picture).expect("predicts");
        if image == IMAGES / 2 {
            early = kernels();
        }
    }
    let (all, late) = (kernels(), kernels() - early);
    println!(
        "{} padded sizes: {all} kernels, {late} of them for the second half; {} choices by timing",
        sizes.len(),
        lines("tuned.log", "Fastest")
    );
    assert!(early > 0 && all <= MOST_KERNELS && late <= MOST_LATE_KERNELS);
}

fn small_detector(device: &Device) -> Detector {
    let mut network = FcosConfig::tiny();
    network.backbone.as_resnet_mut().expect("a ResNet").width = 8;
    network.fpn.channels = 16;
    (network.head.num_convs, network.head.gn_groups) = (1, 4);
    let classes = ClassList::new(["cat", "dog"]).expect("two names");
    let mut config = DetectorConfig::new(network, classes);
    config.preprocess.short_side = SHORT_SIDE;
    config.preprocess.long_side = LONG_SIDE;
    Detector::new(config.model.init(device).expect("valid"), config).expect("fits")
}

fn kernels() -> usize {
    lines("compiled.log", "[Compiling kernel]")
}

/// Of a log in this process's folder.
fn lines(name: &str, of: &str) -> usize {
    let text = std::fs::read_to_string(name).unwrap_or_default();
    text.lines().filter(|line| line.contains(of)).count()
}

#[test]
fn two_hundred_sizes_compile_few_kernels() {
    let (devices, _guard) = devices();
    let on_cpu = |spec| matches!(spec, DeviceSpec::Flex | DeviceSpec::NdArray);
    for tested in devices.iter().filter(|t| !on_cpu(t.spec)) {
        let temp = tempfile::tempdir().expect("a folder");
        std::fs::write(temp.path().join("cubecl.toml"), SETTINGS).expect("writes");
        let exe = std::env::current_exe().expect("this test's own binary");
        let mut command = Command::new(exe);
        command
            .args(["--exact", "kernels::child_process", "--nocapture"])
            .current_dir(temp.path())
            .env(DEVICE, tested.spec.to_string());
        let status = command.status().expect("runs");
        assert!(status.success(), "{}", tested.spec);
    }
}
