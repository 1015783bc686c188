//! The program itself, from a data set to predictions.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fcos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fcos"));
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    // Without it, graphics drivers complain on standard error.
    command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// Runs a command line in a folder.
fn run(folder: &Path, line: &str) -> Output {
    let words = line.split_whitespace();
    let output = fcos().args(words).current_dir(folder).output();
    output.expect("the program starts")
}

/// What a command that succeeds prints; on standard error it must not say a word.
fn printed(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{line}: {error}");
    assert_eq!(error, "", "{line}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What a command that fails says.
fn refused(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(1), "{line}");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(error.starts_with("error: "), "{line}: {error}");
    error
}

const TRAIN: &str = "train --output run --set recipe.iterations=3 --set recipe.batch_size=2 \
    --set postprocess.pre_filter.threshold=0 \
    --train-annotations shapes/instances_train.json --train-images shapes/train \
    --val-annotations shapes/instances_val.json --val-images shapes/val";

#[test]
fn from_a_data_set_to_predictions() {
    let dir = tempfile::tempdir().expect("a folder");
    let here = dir.path();
    let generated = "data generate --output shapes --train 6 --val 2 --size 96x64";
    assert!(printed(here, generated).contains("training: 6 images"));
    let shapes = "--annotations shapes/instances_val.json --images shapes/val";
    let health = printed(here, &format!("data check {shapes}"));
    assert!(health.starts_with("2 images"), "{health}");
    let statistics = "stats --annotations shapes/instances_val.json --rule atss --json stats.json";
    assert!(printed(here, statistics).contains("best possible recall"));
    assert!(printed(here, &format!("assign {shapes} --panel 64")).contains("boxes"));

    assert!(printed(here, TRAIN).contains("next: fcos predict --weights run"));
    assert!(here.join("run/losses.svg").exists());
    assert!(here.join("run/pictures").read_dir().expect("there").count() > 0);
    let changed = refused(here, &format!("{TRAIN} --resume --seed 7"));
    assert!(
        changed.contains("these differ: recipe.seed = 7"),
        "{changed}"
    );
    let again = refused(here, TRAIN);
    assert!(again.contains("already holds a run"), "{again}");
    let whole = printed(here, &format!("{TRAIN} --resume"));
    assert!(whole.contains("going on after step 3"), "{whole}");

    let weights = "--weights run/best.safetensors";
    assert!(printed(here, "inspect run/best.safetensors").contains("trained by"));
    let of_weights = printed(here, &format!("evaluate {weights} {shapes} --json ap.json"));
    let predict = format!("predict {weights} --score-threshold 0 --json results.json shapes/val");
    assert!(printed(here, &predict).contains("200 objects in 2 pictures; see predictions"));
    assert_eq!(
        here.join("predictions").read_dir().expect("there").count(),
        2
    );
    let detections = "--annotations shapes/instances_val.json --detections results.json";
    let of_detections = printed(here, &format!("evaluate {detections}"));
    assert!(
        of_weights.ends_with(&of_detections),
        "{of_weights}{of_detections}"
    );
    for file in ["stats.json", "ap.json", "results.json"] {
        let text = std::fs::read_to_string(here.join(file)).expect(file);
        serde_json::from_str::<serde_json::Value>(&text).expect(file);
    }
}

#[test]
fn a_published_checkpoint_predicts() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/checkpoints/narrow.pth");
    std::fs::copy(file, dir.path().join("narrow.pth")).expect("copied");
    image::RgbImage::new(60, 40)
        .save(dir.path().join("a.png"))
        .expect("saved");
    assert!(printed(dir.path(), "inspect narrow.pth").contains("torchvision FCOS"));
    let convert = "convert --input narrow.pth --output narrow.safetensors";
    let sets = "--set preprocess.short_side=64 --set preprocess.long_side=96";
    let converted = printed(dir.path(), &format!("{convert} {sets}"));
    assert!(converted.contains("short side 64"), "{converted}");
    printed(dir.path(), "predict --weights narrow.safetensors a.png");
}

#[test]
fn errors_say_why_and_on_what() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.json"), "{").expect("written");
    for (line, expected) in [
        (
            "predict --weights none.safetensors a.png",
            "none.safetensors",
        ),
        (
            "predict --weights w --score-threshold 2 a.png",
            "--score-threshold",
        ),
        (
            "evaluate --annotations a.json --detections a.json",
            "a.json",
        ),
        ("inspect none.pth", "none.pth"),
        ("stats --annotations none.json", "none.json"),
        (
            "stats --annotations a.json --k 9",
            "--k goes with --rule atss",
        ),
        ("train --config none", "no preset `none`"),
        ("train --set recipe.batch_size=0", "batch_size"),
        ("data check --annotations none.json --images .", "none.json"),
    ] {
        let error = refused(dir.path(), line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = fcos();
    command
        .args(["train", "--show-config"])
        .stdout(writer)
        .stderr(Stdio::piped());
    let output = command
        .spawn()
        .expect("starts")
        .wait_with_output()
        .expect("ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let status = fcos()
        .arg("devices")
        .stdout(full)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.expect("starts").code(), Some(1));
}
