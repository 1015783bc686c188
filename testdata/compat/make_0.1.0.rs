//! Writes what the version before wrote: `compat FOLDER`.
use std::path::Path;
use fcos::data::synthetic::{SyntheticConfig, generate};
use fcos::train::{Observer, RunPlan, StepRow, TrainConfig, Trainer};
use fcos::{Detector, DeviceSpec};

/// Copies the run's folder after step 7: its last checkpoint is then that of step 6.
struct CopyAt7<'a>(&'a Path, &'a Path);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copies")),
        }
    }
}

impl Observer for CopyAt7<'_> {
    fn stepped(&mut self, row: &StepRow, _: &RunPlan) {
        if row.iteration == 7 {
            copy(self.0, self.1);
        }
    }
}

fn main() {
    let out = std::env::args().nth(1).expect("a folder");
    let out = Path::new(&out);
    let synthetic = SyntheticConfig {
        train_images: 8,
        val_images: 2,
        width: [64, 80],
        height: [48, 56],
        objects: [1, 3],
        ..SyntheticConfig::default()
    };
    let data = generate(&out.join("shapes"), &synthetic).expect("generates");
    let sets = [
        "model.backbone.width=4",
        "model.backbone.frozen_stages=1",
        "model.fpn.channels=16",
        "model.head.num_convs=1",
        "model.head.gn_groups=4",
        "preprocess.short_side=64",
        "preprocess.long_side=96",
        "loss.normalizer.moving_positives={momentum=0.9, initial=20.0, scope='all'}",
        "recipe.batch_size=2",
        "recipe.log_every=1",
        "recipe.loader_threads=1",
        "recipe.checkpoint_every=3",
        "recipe.eval_every=none",
        "recipe.iterations=9",
        "recipe.warmup.iterations=2",
        "postprocess.pre_filter.threshold=0.001",
    ];
    let sets = sets.map(String::from);
    let mut config = TrainConfig::load("demo", &sets).expect("settings");
    config.data.train_annotations = data.train_annotations.clone();
    config.data.train_images = data.train_images.clone();
    let device = DeviceSpec::Flex.device().expect("flex");
    let run = out.join("whole");
    let kept = out.join("run");
    let trainer = Trainer::new(config, &run, false, &device).expect("starts");
    trainer.run(&mut CopyAt7(&run, &kept)).expect("runs");
    std::fs::rename(run.join("last.safetensors"), out.join("after-9-steps.safetensors")).expect("moves");
    std::fs::rename(run.join("metrics.jsonl"), out.join("after-9-steps.jsonl")).expect("moves");
    std::fs::remove_dir_all(&run).expect("removes");
    let detector = Detector::load(out.join("after-9-steps.safetensors"), &device).expect("loads");
    let mut rows = Vec::new();
    let mut images: Vec<_> = std::fs::read_dir(&data.val_images).expect("reads").map(|e| e.expect("e").path()).collect();
    images.sort();
    for path in images {
        let image = image::open(&path).expect("opens");
        for d in detector.predict(&image).expect("predicts").iter() {
            rows.push(format!(
                "{{\"file\": {:?}, \"label\": {}, \"score\": {:?}, \"bbox\": {:?}}}",
                path.file_name().expect("name"), d.label, d.score, <[f32; 4]>::from(d.bbox)
            ));
        }
    }
    std::fs::write(out.join("detections.json"), format!("[\n{}\n]\n", rows.join(",\n"))).expect("writes");
}
