//! A run that was killed and resumed ends as one that never stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use fcos::DeviceSpec;
use fcos::data::Rng;
use fcos::train::{EVALUATIONS, LAST_WEIGHTS, METRICS, TrainConfig, TrainError, Trainer};
use fcos_tests::tiny_run;

const FOLDER: &str = "FCOS_TEST_RUN_FOLDER";
const ITERATIONS: u64 = 400;
const KILLS: usize = 20;

fn train(config: TrainConfig, folder: &Path) -> Result<(), TrainError> {
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    Trainer::new(config, folder, true, &device)?
        .run(&mut ())
        .map(drop)
}

/// No test of its own: the process that the test below starts and kills.
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let config = tiny_run(folder.parent().expect("a parent"), ITERATIONS);
    train(config, &folder).expect("the run goes on");
}

fn start_child(folder: &Path) -> Child {
    let exe = std::env::current_exe().expect("this test's own binary");
    let mut command = Command::new(exe);
    command
        .args(["--exact", "child_process", "--quiet"])
        .env(FOLDER, folder);
    command
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts")
}

/// `Child::kill` is SIGKILL on Unix. The moments are spread over start-up, steps and checkpoints, of
/// which there is one every third step.
#[test]
fn killed_at_twenty_moments_the_weights_are_the_same() {
    let temp = tempfile::tempdir().expect("a folder");
    let reference = temp.path().join("reference");
    assert!(start_child(&reference).wait().expect("ends").success());

    let folder = temp.path().join("killed");
    let mut rng = Rng::from_key(&[20]);
    for kill in 0..KILLS {
        let mut child = start_child(&folder);
        sleep(Duration::from_millis(20 + rng.below(400) as u64));
        child.kill().expect("killed");
        child.wait().expect("ends");
        println!(
            "kill {kill}: {:?}",
            std::fs::read_to_string(folder.join("checkpoints/latest"))
        );
    }
    assert!(start_child(&folder).wait().expect("ends").success());

    let read = |run: &Path, name: &str| std::fs::read(run.join(name)).expect(name);
    assert!(
        read(&reference, LAST_WEIGHTS) == read(&folder, LAST_WEIGHTS),
        "weights differ"
    );
    let evaluations = format!("{EVALUATIONS}.csv");
    assert_eq!(read(&reference, &evaluations), read(&folder, &evaluations));
    let rows = |run: &Path| {
        let text = String::from_utf8(read(run, &format!("{METRICS}.csv"))).expect("text");
        // All but the last column, the speed.
        let row = |line: &str| line.rsplit_once(',').map(|(row, _)| row.to_string());
        text.lines().map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(&reference), rows(&folder));
    assert_eq!(rows(&folder).len(), ITERATIONS as usize + 1);
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 1);
    let folder = temp.path().join("run");
    train(config.clone(), &folder).expect("trains");
    let device = DeviceSpec::Flex.device().expect("flex is compiled in");
    let error = Trainer::new(config, &folder, false, &device)
        .map(drop)
        .expect_err("refused");
    assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 3);
    let folder = temp.path().join("run");
    train(config.clone(), &folder).expect("trains");
    for file in ["state.json", "model.bpk", "optimizer.bpk"] {
        let path = folder.join("checkpoints/step-0000003").join(file);
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
        let error = train(config.clone(), &folder)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(file), "{error}");
        std::fs::write(&path, bytes).expect("writes");
    }
    train(config, &folder).expect("whole again");
}
