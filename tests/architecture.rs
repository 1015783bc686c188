//! One home for every formula, and arrows that point one way.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All lines of the library crates' sources with their file, without tests and comments.
fn library_lines() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.retain(|f| f.components().any(|c| c.as_os_str() == "src"));
    let lines = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("text");
        let code = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_string();
        let code: Vec<_> = code
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect();
        code.into_iter()
            .map(|l| (file.clone(), l.to_string()))
            .collect::<Vec<_>>()
    };
    files.into_iter().flat_map(lines).collect()
}

fn homes(of: &str) -> Vec<String> {
    let found = library_lines()
        .into_iter()
        .filter(|(_, line)| line.contains(of));
    let mut homes: Vec<_> = found.map(|(file, _)| file.display().to_string()).collect();
    homes.sort();
    homes.dedup();
    homes
}

#[test]
fn every_formula_has_one_home() {
    let cases = [
        ("fn iou(self, other", "fcos-core/src/iou.rs"),
        ("fn giou(self, other", "fcos-core/src/iou.rs"),
        ("fn diou(self, other", "fcos-core/src/iou.rs"),
        ("fn intersection(self, other", "fcos-core/src/iou.rs"),
        ("x2.max(", "fcos-core/src/iou.rs"),
        ("fs::rename(&temporary, path)", "fcos-core/src/files.rs"),
        ("fn centerness(self", "fcos-core/src/ltrb.rs"),
        ("fn pyramid_grids(", "fcos-core/src/locations.rs"),
        ("stride / 2", "fcos-core/src/locations.rs"),
        ("fn clip_global_norm(", "fcos-train/src/learner.rs"),
        ("fn sigmoid_focal_loss(", "fcos-loss/src/focal.rs"),
    ];
    for (formula, home) in cases {
        let homes = homes(formula);
        assert!(
            homes.len() == 1 && homes[0].ends_with(home),
            "`{formula}` in {homes:?}"
        );
    }
}

/// Only the facade and the kernels name a backend; tests may.
#[test]
fn library_crates_name_no_backend() {
    for name in [
        "Device::flex",
        "Device::default",
        "Device::cuda",
        "Device::wgpu",
        "Device::ndarray",
        "Device::enumerate",
    ] {
        for file in homes(name) {
            assert!(file.contains("/fcos/src/device/"), "{name} in {file}");
        }
    }
}

#[test]
fn arrows_point_one_way() {
    let order = [
        "fcos-core",
        "fcos-kernels",
        "fcos-loss",
        "fcos-targets",
        "fcos-postprocess",
        "fcos-data",
        "fcos-model",
        "fcos-train",
        "fcos",
    ];
    // These may know core, and nothing else of ours.
    let leaves = [
        "fcos-targets",
        "fcos-loss",
        "fcos-postprocess",
        "fcos-data",
        "fcos-kernels",
    ];
    for (rank, name) in order.iter().enumerate() {
        let manifest = root().join("crates").join(name).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        let dependencies = manifest["dependencies"].as_table().expect("a table");
        for dependency in dependencies.keys().filter(|d| d.starts_with("fcos")) {
            let allowed = order[..rank].contains(&dependency.as_str())
                && (!leaves.contains(name) || dependency == "fcos-core");
            assert!(allowed, "{name} must not depend on {dependency}");
        }
    }
}
