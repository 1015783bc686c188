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
    let is_test = |f: &Path| f.to_string_lossy().ends_with("tests.rs");
    files.retain(|f| f.components().any(|c| c.as_os_str() == "src") && !is_test(f));
    let lines = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("text");
        let code = text
            .split("#[cfg(test)]\nmod tests")
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

fn homes(is_one: impl Fn(&str) -> bool) -> Vec<String> {
    let found = library_lines().into_iter().filter(|(_, line)| is_one(line));
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
        let homes = homes(|line| line.contains(formula));
        assert!(
            homes.len() == 1 && homes[0].ends_with(home),
            "`{formula}` in {homes:?}"
        );
    }
}

/// Whether a line looks as if it computed an IoU.
fn is_overlap(line: &str) -> bool {
    let code = line.replace(' ', "");
    function_name(line).is_some_and(|name| name.contains("iou"))
        || code.contains("intersection")
        || (code.contains("x2") && code.contains("min("))
}

/// Whether a line looks as if it placed locations on an input.
fn is_grid(line: &str) -> bool {
    let code = line.replace(' ', "");
    let name = function_name(line).unwrap_or_default();
    let parts = [
        "Point{",
        "div_ceil(stride",
        "stride/2",
        "0.5*stride",
        "stride*0.5",
    ];
    name.contains("grid") || name.contains("location") || parts.iter().any(|p| code.contains(p))
}

fn function_name(line: &str) -> Option<&str> {
    line.split_once("fn ")?.1.split(['(', '<']).next()
}

#[test]
fn second_homes_are_recognised() {
    for line in [
        "pub fn box_iou(a: BBox, b: BBox) -> f32 {",
        "fn iou_matrix<'a>(",
        "    let width = a.x2.min(b.x2) - a.x1.max(b.x1);",
        "    let width = f32::min(a.x2, b.x2) - f32::max(a.x1, b.x1);",
    ] {
        assert!(is_overlap(line), "{line}");
    }
    for line in [
        "fn locations(width: usize, height: usize) -> Vec<(f32, f32)> {",
        "    let columns = width.div_ceil(stride);",
        "    points.push(Point { x, y });",
        "    let x = stride / 2 + column * stride;",
    ] {
        assert!(is_grid(line), "{line}");
    }
    for line in ["let previous = 1;", "fn area(self) -> f32 {"] {
        assert!(!is_overlap(line) && !is_grid(line), "{line}");
    }
}

/// The lists are of files that only look as if they were a second home.
#[test]
fn no_formula_has_a_second_home() {
    let outside_core = |is_one: fn(&str) -> bool| {
        let homes = homes(is_one).into_iter();
        let homes = homes.filter_map(|file| Some(file.split_once("/crates/")?.1.to_string()));
        let homes: Vec<_> = homes.filter(|f| !f.starts_with("fcos-core/")).collect();
        homes
    };
    let on_tensors_and_by_lanes = ["fcos-loss/src/iou.rs", "fcos-postprocess/src/nms.rs"];
    assert_eq!(outside_core(is_overlap), on_tensors_and_by_lanes);
    let from_the_axes_of_locations = [
        "fcos-kernels/src/cpu/im2col.rs",     // a convolution's columns
        "fcos-postprocess/src/candidates.rs", // a location's index
        "fcos-targets/src/atss.rs",
        "fcos-targets/src/fcos.rs",
        "fcos-targets/src/grid.rs",
    ];
    assert_eq!(outside_core(is_grid), from_the_axes_of_locations);
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
        for file in homes(|line| line.contains(name)) {
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
        "fcos-eval",
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
