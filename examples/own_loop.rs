//! A training loop of one's own, with the parts that the trainer is made of; it finds the same losses.
//!
//! ```sh
//! cargo run --release --example own_loop
//! ```

use std::ops::ControlFlow;

use fcos::model::Fcos;
use fcos::train::{Learner, Observer, RunFolder, RunPlan, StepRow};
use fcos::train::{TrainBatches, Trainer, TrainingData};
use fcos::{Detector, DeviceSpec};
use fcos_examples::{folder, small_run};

const STEPS: u64 = 10;

fn main() -> anyhow::Result<()> {
    let config = small_run(STEPS)?;
    let device = DeviceSpec::Auto.device()?;

    let data = TrainingData::load(&config.data)?;
    let batches = TrainBatches::new(data.dataset.clone(), &config)?;
    let model: Fcos = config.init_model(&data.dataset, &device)?;
    let mut learner = Learner::new(model, &config, STEPS);
    let mut losses = Vec::new();
    for batch in batches.load(0..STEPS)? {
        let batch = batch?;
        // With several parts in a step, the counts of all of them make one normaliser, and
        // `Gradients::sum` adds up what each part gives.
        let normalizer = learner.normalizer(batch.counts);
        let gradients = learner.gradients(batch.upload(learner.device()), &normalizer)?;
        let step = learner.apply(gradients)?; // clips, and changes the weights
        let loss: f64 = step.losses.iter().map(|loss| loss.value).sum();
        println!("loss {loss:.4}, learning rate {:.1e}", step.learning_rate);
        losses.push(loss);
    }
    let file = folder().join("own_loop.safetensors");
    config
        .detector(&data.dataset)
        .save(&file, learner.model())?;
    println!("{}", Detector::load(&file, &device)?.config().provenance);

    let mut theirs = Losses(Vec::new());
    let run = RunFolder::next_free(folder(), "own_loop");
    Trainer::start(config, run.path(), &device)?.run(&mut theirs)?;
    anyhow::ensure!(losses == theirs.0, "{losses:?} are not {:?}", theirs.0);
    println!("the trainer's {STEPS} losses are the same"); // on the CPU to the last bit
    Ok(())
}

struct Losses(Vec<f64>);

impl Observer for Losses {
    fn stepped(&mut self, row: &StepRow, _: &RunPlan) -> ControlFlow<()> {
        self.0.push(row.loss);
        ControlFlow::Continue(())
    }
}
