//! What the examples share: progress bars, cache folder, generated data set, tables.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use fcos::data::synthetic::{SyntheticConfig, SyntheticDataset, SyntheticError, generate};
use fcos::eval::CocoMetrics;
use fcos::train::{Observer, RunPlan, StepRow};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows the library's warnings on standard error; `RUST_LOG` chooses otherwise.
pub fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// `$XDG_CACHE_HOME/fcos`, else `~/.cache/fcos`, else a folder for temporary files.
pub fn cache_folder() -> PathBuf {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("fcos")
}

/// Generated images: enough that the small model learns shapes rather than pictures by heart.
const TRAIN_IMAGES: u32 = 5000;
const VAL_IMAGES: u32 = 200;

/// The data set of the examples that get none, in the [`cache_folder`]; generated if it isn't there.
///
/// # Errors
/// If it can't be written.
pub fn generated_dataset(seed: u64) -> Result<SyntheticDataset, SyntheticError> {
    let folder = cache_folder().join(format!("shapes-{seed}"));
    println!("data set: {}, generated on the first run", folder.display());
    let config = SyntheticConfig {
        seed,
        train_images: TRAIN_IMAGES,
        val_images: VAL_IMAGES,
        width: [144, 192],
        height: [112, 128],
        ..SyntheticConfig::default()
    };
    generate(&folder, &config)
}

/// A bar with count, rate and time left; hidden where standard error is no terminal.
pub fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{elapsed}} < {{eta}}  {{msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// Seconds as `1 h 02 min`, `3 min 04 s` or `5.6 s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        3600.. => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        60.. => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{seconds:.1} s"),
    }
}

/// A stage's time in milliseconds, for timing lines.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Training on a terminal: a bar for the steps, one for each evaluation, a line per result.
#[derive(Default)]
pub struct TerminalObserver {
    steps: Option<ProgressBar>,
    evaluation: Option<ProgressBar>,
}

impl TerminalObserver {
    fn say(&self, line: &str) {
        match &self.steps {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }
}

impl Observer for TerminalObserver {
    fn started(&mut self, plan: &RunPlan) {
        for file in &plan.health {
            println!("{}:\n{}", file.annotations.display(), file.report);
        }
        println!(
            "{:.2} M parameters; {} training images, {} val images; {} steps",
            plan.parameters as f64 / 1e6,
            plan.train_images,
            plan.val_images,
            plan.total_iterations
        );
        if plan.first_iteration > 0 {
            println!("going on after step {}", plan.first_iteration);
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

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        let cases = [
            (5.64, "5.6 s"),
            (184.0, "3 min 04 s"),
            (3720.0, "1 h 02 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
