//! Data for the examples that show something else. A program of your own has `TrainConfig::load` and four
//! paths instead, as `train.rs` shows.

use std::path::PathBuf;

use fcos::data::synthetic::{SyntheticConfig, generate};
use fcos::train::{DataPaths, TrainConfig};

/// Where the examples write: among the temporary files.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join("fcos-examples")
}

/// Settings of a run of a few seconds: a small network and generated pictures.
///
/// # Errors
/// If the pictures can't be written.
pub fn small_run(iterations: u64) -> anyhow::Result<TrainConfig> {
    let shapes = SyntheticConfig {
        train_images: 40,
        val_images: 8,
        width: [144, 192],
        height: [112, 128],
        ..SyntheticConfig::default()
    };
    let data = generate(folder().join("shapes"), &shapes)?;
    let mut config = TrainConfig::load("demo", &[])?;
    config.recipe.iterations = Some(iterations);
    config.data = DataPaths {
        train_annotations: data.train_annotations,
        train_images: data.train_images,
        val_annotations: Some(data.val_annotations),
        val_images: Some(data.val_images),
    };
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Of a program, without blank lines and comments.
    fn lines_of_code(path: &Path) -> usize {
        let text = std::fs::read_to_string(path).expect("text");
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count()
    }

    #[test]
    fn examples_are_short_enough_to_copy() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let entries = std::fs::read_dir(folder).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let programs: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|e| e == "rs") && !path.ends_with("lib.rs"))
            .collect();
        assert!(programs.len() >= 8, "{programs:?}");
        for program in programs {
            let lines = lines_of_code(&program);
            assert!(lines < 45, "{}: {lines} lines of code", program.display());
        }
    }
}
