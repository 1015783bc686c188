//! What a run shows.

use std::ops::ControlFlow;

use fcos::eval::CocoMetrics;
use fcos::train::{Observer, RunPlan, StepRow};
use indicatif::ProgressBar;

use crate::terminal::{progress_bar, say};

/// Training on a terminal: a bar for the steps, one for each evaluation, a line per result.
#[derive(Debug, Default)]
pub struct TerminalObserver {
    steps: Option<ProgressBar>,
    evaluation: Option<ProgressBar>,
}

impl TerminalObserver {
    fn say(&self, line: &str) {
        match &self.steps {
            Some(bar) => bar.suspend(|| say!("{line}")),
            None => say!("{line}"),
        }
    }
}

impl Observer for TerminalObserver {
    fn started(&mut self, plan: &RunPlan) {
        for file in &plan.health {
            say!("{}:\n{}", file.annotations.display(), file.report);
        }
        say!(
            "{:.2} M parameters; {} training images, {} val images; {} steps",
            plan.parameters as f64 / 1e6,
            plan.train_images,
            plan.val_images,
            plan.total_iterations
        );
        if plan.first_iteration > 0 {
            say!("going on after step {}", plan.first_iteration);
        }
        let bar = progress_bar(plan.total_iterations, "steps");
        bar.set_position(plan.first_iteration);
        bar.reset_eta();
        self.steps = Some(bar);
    }

    fn stepped(&mut self, row: &StepRow, plan: &RunPlan) -> ControlFlow<()> {
        if let Some(bar) = &self.steps {
            bar.set_position(row.iteration);
            bar.set_message(progress_line(row));
            if row.iteration == plan.total_iterations {
                bar.finish();
            }
        }
        ControlFlow::Continue(())
    }

    fn evaluating(&mut self, done: usize, images: usize) {
        let bar = self
            .evaluation
            .get_or_insert_with(|| progress_bar(images as u64, "val images"));
        bar.set_position(done as u64);
        if done == images {
            bar.finish_and_clear();
            self.evaluation = None;
        }
    }

    fn evaluated(&mut self, iteration: u64, metrics: &CocoMetrics) -> ControlFlow<()> {
        let stats = &metrics.stats;
        self.say(&format!(
            "step {iteration}: AP {:.3}  AP50 {:.3}  AP75 {:.3}",
            stats.ap, stats.ap50, stats.ap75
        ));
        ControlFlow::Continue(())
    }
}

/// Speed and losses: `8.1 img/s  loss 1.532 (cls 0.402 bbox 0.512 centerness 0.618)`.
fn progress_line(row: &StepRow) -> String {
    let terms = row.losses.iter();
    let terms: Vec<_> = terms
        .map(|loss| format!("{} {:.3}", loss.name, loss.value))
        .collect();
    format!(
        "{:.1} img/s  loss {:.3} ({})",
        row.images_per_second,
        row.loss,
        terms.join(" ")
    )
}
