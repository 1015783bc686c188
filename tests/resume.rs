//! A run that was killed and resumed ends as one that never stopped.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use burn::tensor::Device;
use fcos::DeviceSpec;
use fcos::Rng;
use fcos::eval::{CocoMetrics, EvalError};
use fcos::model::weights::load;
use fcos::model::{Backbone, DetectorConfig};
use fcos::train::{
    BEST_WEIGHTS, EVALUATIONS, LAST_WEIGHTS, METRICS, Observer, OptimizerKind, RunFolder, RunPlan,
    RunSummary, StepRow, TrainConfig, TrainError, Trainer,
};
use fcos_tests::{tiny_run, worst};

const FOLDER: &str = "FCOS_TEST_RUN_FOLDER";
const ITERATIONS: u64 = 400;
const EVAL_EVERY: u64 = 4;
const KILLS: usize = 20;

/// Goes on with the run in the folder, or starts one where there is none.
fn train(config: TrainConfig, folder: &Path) -> Result<RunSummary, TrainError> {
    let trainer = if RunFolder::new(folder).holds_run() {
        resume(folder)?
    } else {
        start(config, folder)?
    };
    trainer.run(&mut ())
}

fn start(config: TrainConfig, folder: &Path) -> Result<Trainer, TrainError> {
    Trainer::start(config, folder, &flex())
}

fn resume(folder: &Path) -> Result<Trainer, TrainError> {
    Trainer::resume(folder, &flex())
}

fn flex() -> Device {
    DeviceSpec::Flex.device().expect("flex is compiled in")
}

/// No test of its own: the process that the test below starts and kills.
#[test]
fn child_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let mut config = tiny_run(folder.parent().expect("a parent"), ITERATIONS);
    config.recipe.eval_every = Some(EVAL_EVERY);
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

/// Steps that the run's log has.
fn steps_logged(folder: &Path) -> u64 {
    let log = std::fs::read(folder.join(format!("{METRICS}.jsonl"))).unwrap_or_default();
    log.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Steps of the last checkpoint.
fn steps_kept(folder: &Path) -> u64 {
    let latest = std::fs::read_to_string(folder.join("checkpoints/latest"));
    let step = |name: String| name.strip_prefix("step-")?.parse().ok();
    latest.ok().and_then(step).unwrap_or(0)
}

/// Kills a run at a random moment up to `pause` after it has logged this many steps; how many they
/// then are. `Child::kill` is SIGKILL on Unix.
fn kill_after(steps: u64, pause: Duration, folder: &Path, rng: &mut Rng) -> u64 {
    let mut child = start_child(folder);
    while steps_logged(folder) < steps && child.try_wait().expect("asks").is_none() {
        sleep(Duration::from_millis(1));
    }
    sleep(pause.mul_f32(rng.unit()));
    child.kill().expect("killed");
    child.wait().expect("ends");
    steps_logged(folder)
}

/// Every fourth kill is aimed at the start. The others are aimed at steps, checkpoints and evaluations,
/// of which there is one every third and every fourth step: each comes after a step that no process
/// before it has seen. On a loaded machine it may come late, and takes from the steps that are left.
#[test]
fn killed_at_twenty_moments_the_weights_are_the_same() {
    let temp = tempfile::tempdir().expect("a folder");
    let reference = temp.path().join("reference");
    assert!(start_child(&reference).wait().expect("ends").success());

    let folder = temp.path().join("killed");
    let mut rng = Rng::from_key(&[20]);
    let mut killed_at = BTreeSet::new();
    for kill in 0..KILLS {
        let logged = steps_logged(&folder);
        let share = (ITERATIONS - logged) as usize / (KILLS - kill);
        let steps = if kill % 4 == 3 {
            kill_after(0, Duration::from_millis(400), &folder, &mut rng)
        } else {
            let aim = logged + 1 + rng.below(share) as u64;
            let steps = kill_after(aim, Duration::from_millis(20), &folder, &mut rng);
            killed_at.insert(steps);
            steps
        };
        println!("kill {kill}: {steps} steps, {} kept", steps_kept(&folder));
    }
    killed_at.retain(|steps| (1..ITERATIONS).contains(steps));
    assert!(killed_at.len() >= KILLS / 2, "{killed_at:?}");
    assert!(start_child(&folder).wait().expect("ends").success());

    let read = |run: &Path, name: &str| std::fs::read(run.join(name)).expect(name);
    for weights in [LAST_WEIGHTS, BEST_WEIGHTS] {
        assert!(
            read(&reference, weights) == read(&folder, weights),
            "{weights} differ"
        );
    }
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

/// Stops a run after so many of what it hears of.
struct StopAt {
    steps: Option<u64>,
    checkpoints: Option<u64>,
    evaluations: Option<u64>,
}

fn unless(limit: Option<u64>, iteration: u64) -> ControlFlow<()> {
    if limit == Some(iteration) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

impl Observer for StopAt {
    fn stepped(&mut self, row: &StepRow, _: &RunPlan) -> ControlFlow<()> {
        unless(self.steps, row.iteration)
    }

    fn checkpointed(&mut self, iteration: u64) -> ControlFlow<()> {
        unless(self.checkpoints, iteration)
    }

    fn evaluated(&mut self, iteration: u64, _: &CocoMetrics) -> ControlFlow<()> {
        unless(self.evaluations, iteration)
    }
}

/// Between two checkpoints, at one, and after an evaluation: the next process goes on from there.
/// Both optimisers, so that the state of both is resumed.
#[test]
fn stopped_and_resumed_the_weights_are_the_same() {
    for optimizer in [OptimizerKind::Sgd, OptimizerKind::AdamW] {
        let temp = tempfile::tempdir().expect("a folder");
        let mut config = tiny_run(temp.path(), 12);
        config.recipe.optimizer = optimizer;
        config.recipe.eval_every = Some(EVAL_EVERY);
        let reference = temp.path().join("reference");
        let whole = train(config.clone(), &reference).expect("trains");
        assert!(!whole.stopped);

        let folder = temp.path().join("stopped");
        let stops = [
            (Some(2), None, None),
            (None, Some(3), None),
            (None, None, Some(8)),
            (Some(11), None, None),
        ];
        let mut trainer = start(config, &folder).expect("starts");
        let mut done = 0;
        for (steps, checkpoints, evaluations) in stops {
            let mut observer = StopAt {
                steps,
                checkpoints,
                evaluations,
            };
            let summary = trainer.run(&mut observer).expect("stops");
            assert!(summary.stopped);
            done += summary.steps;
            assert_eq!(Some(done), steps.or(checkpoints).or(evaluations));
            assert_eq!(steps_kept(&folder), done);
            assert!(!folder.join(LAST_WEIGHTS).exists());
            trainer = resume(&folder).expect("goes on");
        }
        let summary = trainer.run(&mut ()).expect("ends");
        assert_eq!((summary.stopped, summary.steps), (false, 1));
        assert_eq!(summary.best, whole.best);
        for file in [LAST_WEIGHTS, BEST_WEIGHTS, "evaluations.csv"] {
            let read = |run: &Path| std::fs::read(run.join(file)).expect(file);
            assert!(read(&reference) == read(&folder), "{file} differ");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Losses of each step: the columns of the log from `loss` to the last loss.
fn logged_losses(file: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(file).expect("reads");
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let names = ["loss", "loss_cls", "loss_bbox", "loss_centerness"];
        names.map(|name| row[name].as_f64().expect(name)).to_vec()
    };
    text.lines().map(row).collect()
}

/// The run folder of version 0.1.0 in `testdata/compat`, killed after its seventh step of nine.
#[test]
fn a_run_of_an_earlier_version_goes_on_to_the_same_weights() {
    let temp = tempfile::tempdir().expect("a folder");
    let compat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/compat/0.1.0");
    let run = temp.path().join("run");
    copy_folder(&compat.join("run"), &run);
    let settings = std::fs::read_to_string(run.join("config.toml")).expect("settings");
    let shapes = compat.join("shapes").display().to_string();
    let settings = settings.replace("\"shapes/", &format!("\"{}/", shapes.replace('\\', "/")));
    std::fs::write(run.join("config.toml"), settings).expect("written");

    let summary = resume(&run).expect("resumes").run(&mut ()).expect("trains");
    assert_eq!(summary.steps, 3);

    // The goldens are those of AVX-512; elsewhere sums are rounded in another order.
    let tolerance = if is_avx512() { 0.0 } else { 1e-4 };
    let tensors = |file: PathBuf| {
        let loaded = load::<Backbone, DetectorConfig>(&file, &flex()).expect("loads");
        loaded.0.tensors()
    };
    let expected = tensors(compat.join("after-9-steps.safetensors"));
    let found = tensors(run.join(LAST_WEIGHTS));
    assert!(expected.keys().eq(found.keys()));
    for (name, expected) in &expected {
        let pairs = expected.iter::<f32>().zip(found[name].iter::<f32>());
        let worst = worst(pairs.map(|(a, b)| a - b));
        assert!(worst <= tolerance, "{name}: {worst:e}");
    }
    let expected = logged_losses(&compat.join("after-9-steps.jsonl"));
    let found = logged_losses(&run.join("metrics.jsonl"));
    assert_eq!(expected.len(), found.len());
    for (a, b) in expected.iter().flatten().zip(found.iter().flatten()) {
        assert!((a - b).abs() <= f64::from(tolerance), "{a} {b}");
    }
}

#[cfg(target_arch = "x86_64")]
fn is_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_avx512() -> bool {
    false
}

/// As after a kill between a checkpoint and the end of the evaluation after it.
#[test]
fn an_evaluation_that_is_not_logged_is_made_up() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut config = tiny_run(temp.path(), 6);
    config.recipe.eval_every = Some(3);
    let folder = temp.path().join("run");
    let whole = train(config.clone(), &folder).expect("trains");
    let log = folder.join(format!("{EVALUATIONS}.jsonl"));
    let rows = std::fs::read_to_string(&log).expect("reads");
    let best = std::fs::read(folder.join(BEST_WEIGHTS)).expect("reads");

    let logged = train(config.clone(), &folder).expect("nothing to do");
    assert_eq!((logged.best, logged.steps), (whole.best, 0));
    assert!(logged.metrics.is_none());

    let (first, _) = rows.split_once('\n').expect("two rows");
    std::fs::write(&log, format!("{first}\n{{\"iter")).expect("writes");
    let made_up = train(config, &folder).expect("evaluates");
    assert_eq!((made_up.best, made_up.metrics), (whole.best, whole.metrics));
    assert_eq!(std::fs::read_to_string(&log).expect("reads"), rows);
    let again = std::fs::read(folder.join(BEST_WEIGHTS)).expect("reads");
    assert!(again == best, "the best weights differ");
}

/// What a cut-off download leaves: a header, and not enough pixels.
fn cut_off(image: &Path) {
    let bytes = std::fs::read(image).expect("reads");
    std::fs::write(image, &bytes[..bytes.len() / 2]).expect("writes");
}

/// A val image whose pixels can't be decoded costs its detections, not the run.
#[test]
fn val_images_that_cannot_be_decoded_are_skipped() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 1);
    let images = config.data.val_images.clone().expect("a val set");
    let paths = std::fs::read_dir(images).expect("a folder");
    let mut paths: Vec<_> = paths.map(|entry| entry.expect("a file").path()).collect();
    cut_off(&paths.pop().expect("four images"));
    let summary = train(config.clone(), &temp.path().join("run")).expect("trains");
    assert!(summary.metrics.is_some());

    paths.iter().for_each(|path| cut_off(path));
    let folder = temp.path().join("another");
    let error = train(config, &folder).expect_err("nothing to evaluate");
    let is_decoding = matches!(error, TrainError::Eval(EvalError::Data(_)));
    assert!(is_decoding, "{error}");
    assert_eq!(steps_kept(&folder), 1);
}

/// What is no image at all is found before the first step.
#[test]
fn a_val_set_without_images_is_refused() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 1);
    let images = config.data.val_images.clone().expect("a val set");
    for entry in std::fs::read_dir(images).expect("a folder") {
        std::fs::write(entry.expect("a file").path(), b"no image").expect("writes");
    }
    let error = train(config, &temp.path().join("run")).expect_err("nothing to evaluate");
    assert!(
        matches!(error, TrainError::Eval(EvalError::NothingToEvaluate { .. })),
        "{error}"
    );
}

#[test]
fn a_start_that_fails_is_in_nobodys_way() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 1);
    let folder = temp.path().join("run");
    type Break = fn(&mut TrainConfig);
    let mistakes: [Break; 4] = [
        |c| c.data.train_annotations = "typo.json".into(),
        |c| c.data.val_annotations = Some("typo.json".into()),
        |c| c.start_weights = Some("typo.safetensors".into()),
        |c| c.recipe.seed = u64::MAX,
    ];
    for mistake in mistakes {
        let mut config = config.clone();
        mistake(&mut config);
        start(config, &folder).map(drop).expect_err("a typo");
        assert!(!folder.exists());
    }
    start(config, &folder).map(drop).expect("corrected");
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let temp = tempfile::tempdir().expect("a folder");
    let config = tiny_run(temp.path(), 1);
    let folder = temp.path().join("run");
    train(config.clone(), &folder).expect("trains");
    let error = start(config, &folder).map(drop).expect_err("refused");
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
