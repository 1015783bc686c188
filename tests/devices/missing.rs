//! A machine without a GPU, or without its driver: errors that say so, and a CPU that does not
//! mind. Such a machine is made here by hiding the graphics drivers from a child process.

use std::path::{Path, PathBuf};
use std::process::Command;

use fcos::train::{RunFolder, TrainConfig, Trainer};
use fcos::{DeviceError, DeviceSpec};
use fcos_tests::tiny_run;

const FOLDER: &str = "FCOS_TEST_RUN_FOLDER";

fn without_drivers(test: &str, folder: &Path) -> bool {
    let exe = std::env::current_exe().expect("this test's own binary");
    let mut command = Command::new(exe);
    command
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        .env("CUDA_VISIBLE_DEVICES", "")
        .env("VK_DRIVER_FILES", "/nowhere")
        .env("VK_ICD_FILENAMES", "/nowhere")
        .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere");
    command.status().expect("runs").success()
}

fn train(config: TrainConfig, folder: &Path) {
    let device = DeviceSpec::Auto.device().expect("a CPU");
    let run = RunFolder::new(folder.join("run"));
    let trainer = if run.holds_run() {
        Trainer::resume(run.path(), &device)
    } else {
        Trainer::start(config, run.path(), &device)
    };
    trainer.expect("starts").run(&mut ()).expect("trains");
}

/// No test of its own: the process that the one below starts.
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    for kind in DeviceSpec::compiled() {
        match (kind, kind.device()) {
            (DeviceSpec::Flex | DeviceSpec::NdArray, Ok(_)) => (),
            (_, Err(DeviceError::NoAdapter { found: 0, .. })) => (),
            (_, other) => panic!("{kind}: {:?}", other.map(drop)),
        }
    }
    train(tiny_run(&folder, 6), &folder);
}

/// A run goes on where the GPU that the build prefers is not there.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "elsewhere drivers can't be hidden")]
fn without_a_gpu_the_cpu_resumes() {
    if !DeviceSpec::compiled().contains(&DeviceSpec::Flex) {
        println!("NOT RUN: no CPU in this build");
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    train(tiny_run(temp.path(), 3), temp.path());
    let config = temp.path().join("run/config.toml");
    let longer = std::fs::read_to_string(&config).expect("settings");
    std::fs::write(&config, longer.replace("iterations = 3", "iterations = 6")).expect("writes");
    assert!(without_drivers("missing::child_process", temp.path()));
}
