//! The data set of the commands that get none.

use std::path::PathBuf;

use anyhow::{Context, Result};
use fcos::data::synthetic::{SyntheticConfig, SyntheticDataset, generate};

use crate::terminal::say;

/// Generated images: enough that the small model learns shapes rather than pictures by heart.
const TRAIN_IMAGES: u32 = 5000;
const VAL_IMAGES: u32 = 200;

/// The data set in the [`cache_folder`]; generated if it isn't there.
pub fn generated_dataset(seed: u64) -> Result<SyntheticDataset> {
    let folder = cache_folder().join(format!("shapes-{seed}"));
    say!("data set: {}, generated on the first run", folder.display());
    let config = SyntheticConfig {
        seed,
        train_images: TRAIN_IMAGES,
        val_images: VAL_IMAGES,
        width: [144, 192],
        height: [112, 128],
        ..SyntheticConfig::default()
    };
    generate(&folder, &config).context("can't generate the data set")
}

/// `$XDG_CACHE_HOME/fcos`, else `~/.cache/fcos`, else a folder for temporary files.
fn cache_folder() -> PathBuf {
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
