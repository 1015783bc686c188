//! What a run leaves on disk, and where.

use std::path::{Path, PathBuf};

use crate::TrainError;
use crate::checkpoint::Checkpoints;
use crate::config::{TrainConfig, as_json};
use crate::files::{io_error, write_atomically};
use crate::setting_layers::changes;

/// The settings of a run, in its folder.
pub const CONFIG_FILE: &str = "config.toml";
/// The weights with the best AP so far (without a val set: the last ones).
pub const BEST_WEIGHTS: &str = "best.safetensors";
/// The weights after the last step.
pub const LAST_WEIGHTS: &str = "last.safetensors";
/// Losses by step, `.csv` and `.jsonl`.
pub const METRICS: &str = "metrics";
/// COCO metrics by evaluation, `.csv` and `.jsonl`.
pub const EVALUATIONS: &str = "evaluations";

/// A folder for one run. It holds a run from the moment that its settings are in it.
///
/// ```text
/// config.toml                 the settings
/// best.safetensors            the weights with the best AP so far
/// last.safetensors            the weights after the last step
/// metrics.csv, .jsonl         a row per step
/// evaluations.csv, .jsonl     a row per evaluation
/// checkpoints/                the state to go on from
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// This folder, whether it is there or not.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
        }
    }

    /// The first of `parent/name`, `parent/name-2`, `parent/name-3`, … that holds neither a run nor
    /// checkpoints.
    pub fn next_free(parent: impl AsRef<Path>, name: &str) -> Self {
        let parent = parent.as_ref();
        let is_taken = |folder: &Self| folder.check_free().is_err();
        let taken = numbered(parent, name).take_while(is_taken).count();
        Self::numbered(parent, name, taken + 1)
    }

    /// The last of `parent/name`, `parent/name-2`, … that hold a run without a gap between them.
    pub fn last_taken(parent: impl AsRef<Path>, name: &str) -> Option<Self> {
        let runs = numbered(parent.as_ref(), name);
        runs.take_while(Self::holds_run).last()
    }

    fn numbered(parent: &Path, name: &str, number: usize) -> Self {
        Self::new(match number {
            1 => parent.join(name),
            _ => parent.join(format!("{name}-{number}")),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it, such as [`BEST_WEIGHTS`].
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a run in it.
    pub fn holds_run(&self) -> bool {
        self.file(CONFIG_FILE).exists()
    }

    /// The settings of the run in it.
    ///
    /// # Errors
    /// If there is no run, or its settings can't be read.
    pub fn config(&self) -> Result<TrainConfig, TrainError> {
        if !self.holds_run() {
            return Err(TrainError::NoRun {
                path: self.path.clone(),
            });
        }
        TrainConfig::read(self.file(CONFIG_FILE))
    }

    /// Makes it a run's with these settings.
    ///
    /// # Errors
    /// If it holds a run or checkpoints, or can't be written.
    pub fn create(&self, config: &TrainConfig) -> Result<(), TrainError> {
        self.check_free()?;
        let text = config.to_toml()?;
        std::fs::create_dir_all(&self.path).map_err(|e| io_error(&self.path, e))?;
        write_atomically(&self.file(CONFIG_FILE), &text)
    }

    /// That `given` are the settings of the run in it: one that goes on keeps them.
    ///
    /// # Errors
    /// As [`config`](Self::config), and [`TrainError::SettingsChanged`].
    pub fn check_unchanged(&self, given: &TrainConfig) -> Result<(), TrainError> {
        // As they are written: a setting that is read and not written is in old files alone.
        let (saved, given) = (as_json(&self.config()?)?, as_json(given)?);
        let changed = changes(&saved, &given);
        if changed.is_empty() {
            return Ok(());
        }
        Err(TrainError::SettingsChanged { changed })
    }

    /// That there is no run in it, nor checkpoints, from which a new one would go on.
    pub(crate) fn check_free(&self) -> Result<(), TrainError> {
        if self.holds_run() || self.checkpoints().latest()?.is_some() {
            return Err(TrainError::RunExists {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// The checkpoints of the run.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(&self.path)
    }
}

fn numbered<'a>(parent: &'a Path, name: &'a str) -> impl Iterator<Item = RunFolder> + 'a {
    (1..).map(move |number| RunFolder::numbered(parent, name, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Trainer, with_settings};
    use burn::tensor::Device;

    #[test]
    fn folders_are_numbered() {
        let parent = tempfile::tempdir().expect("a folder");
        let config = TrainConfig::default();
        let parent = parent.path();
        assert_eq!(RunFolder::last_taken(parent, "demo"), None);
        for name in ["demo", "demo-2", "demo-3"] {
            let free = RunFolder::next_free(parent, "demo");
            assert_eq!(free.path(), parent.join(name));
            let error = free.config().expect_err("no run yet");
            assert!(matches!(error, TrainError::NoRun { .. }), "{error}");
            free.create(&config).expect("creates");
            free.create(&config).expect_err("there is one now");
            assert_eq!(free.config().expect("reads"), config);
            assert_eq!(RunFolder::last_taken(parent, "demo"), Some(free));
        }
    }

    #[test]
    fn changed_settings_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::new(dir.path());
        let mut config = TrainConfig::load("r18-320", &[]).expect("a preset");
        folder.check_unchanged(&config).expect_err("no run yet");
        folder.create(&config).expect("creates");
        folder.check_unchanged(&config).expect("the same");
        config.recipe.batch_size = 5;
        config.data.train_images = "elsewhere".into();
        let error = folder.check_unchanged(&config).expect_err("changed");
        let text = error.to_string();
        let named = text.contains("recipe.batch_size = 5") && text.contains("elsewhere");
        assert!(named && !text.contains("seed"), "{text}");
    }

    /// Also where another setting of that name has that value.
    #[test]
    fn a_changed_setting_is_named_with_its_table() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::new(dir.path());
        let mut config = TrainConfig::default();
        config.recipe.iterations = Some(77);
        folder.create(&config).expect("creates");
        config.recipe.warmup.iterations = 77;
        match folder.check_unchanged(&config).expect_err("changed") {
            TrainError::SettingsChanged { changed } => {
                assert_eq!(changed, ["recipe.warmup.iterations = 77"]);
            }
            other => panic!("{other}"),
        }
    }

    /// What older files say of the unit is no setting any more.
    #[test]
    fn an_old_runs_settings_are_unchanged() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::new(dir.path());
        let text = "model.head.box_activation = \"exp\"\nassign.distance_unit = \"pixels\"";
        std::fs::write(folder.file(CONFIG_FILE), text).expect("writes");
        let saved = folder.config().expect("reads");
        assert!(saved.assign.distance_unit.is_some());
        let given = with_settings(&saved, &[]).expect("the same");
        assert_ne!(given, saved);
        folder.check_unchanged(&given).expect("the same");
    }

    /// A new run would go on from them.
    #[test]
    fn checkpoints_without_settings_are_in_the_way() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::new(parent.path().join("demo"));
        let checkpoints = folder.file("checkpoints");
        std::fs::create_dir_all(&checkpoints).expect("made");
        std::fs::write(checkpoints.join("latest"), "step-0000003").expect("writes");
        let config = TrainConfig::default();
        let error = folder.create(&config).expect_err("refused");
        assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
        let device = Device::flex();
        let error = Trainer::start(config, folder.path(), &device).expect_err("refused");
        assert!(matches!(error, TrainError::RunExists { .. }), "{error}");
        let free = RunFolder::next_free(parent.path(), "demo");
        assert_eq!(free.path(), parent.path().join("demo-2"));
    }
}
