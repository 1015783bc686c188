//! Arrows that point one way, one home for every formula, no library that chooses a backend, and
//! documents that name files which exist.
//!
//! Homes and backends are looked for in the sources' text. Where that stops what it should not, the
//! message says which list to change, and the tests at the end say what is meant to be found.

use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

/// The crates from the lowest layer to the highest. A crate may use those of lower layers only.
const LAYERS: [&[&str]; 7] = [
    &["fcos-core"],
    &[
        "fcos-targets",
        "fcos-loss",
        "fcos-postprocess",
        "fcos-data",
        "fcos-kernels",
    ],
    &["fcos-model"],
    &["fcos-eval"],
    &["fcos-train"],
    &["fcos"],
    &["fcos-cli"],
];

/// A crate and what it depends on.
struct Manifest {
    name: String,
    dependencies: Vec<String>,
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&name))
}

/// What is wrong with the crates' dependencies on each other.
fn wrong_arrows(manifests: &[Manifest]) -> Vec<String> {
    let wrong = |manifest: &Manifest| -> Vec<String> {
        let name = &manifest.name;
        let Some(own) = layer(name) else {
            return vec![format!("{name} has no place in `LAYERS`: give it one")];
        };
        let ours = manifest.dependencies.iter().filter(|d| is_ours(d));
        let above = ours.filter(|d| layer(d).is_none_or(|other| other >= own));
        above
            .map(|d| format!("{name} depends on {d}, which is not of a lower layer"))
            .collect()
    };
    manifests.iter().flat_map(wrong).collect()
}

fn is_ours(dependency: &str) -> bool {
    dependency == "fcos" || dependency.starts_with("fcos-")
}

fn manifests() -> Vec<Manifest> {
    let folders = std::fs::read_dir(crates()).expect("a folder");
    let paths = folders.map(|entry| entry.expect("an entry").path().join("Cargo.toml"));
    paths.filter(|path| path.is_file()).map(manifest).collect()
}

fn manifest(path: PathBuf) -> Manifest {
    let text = std::fs::read_to_string(path).expect("text");
    let manifest: toml::Table = text.parse().expect("TOML");
    // Those of all systems, and those of one.
    let targets = manifest.get("target").and_then(|t| t.as_table());
    let targets = targets.into_iter().flat_map(|t| t.values());
    let parts = targets.filter_map(|t| t.as_table()).chain([&manifest]);
    let tables = parts.flat_map(|part| {
        let tables = ["dependencies", "build-dependencies"];
        tables.into_iter().filter_map(|t| part.get(t)?.as_table())
    });
    Manifest {
        name: manifest["package"]["name"].as_str().expect("text").into(),
        dependencies: tables.flat_map(|t| t.keys().cloned()).collect(),
    }
}

#[test]
fn arrows_point_one_way() {
    let manifests = manifests();
    assert!(manifests.iter().any(|m| m.name == "fcos-core"));
    let wrong = wrong_arrows(&manifests);
    assert!(
        wrong.is_empty(),
        "{}\nMove what both need into a lower crate (docs/architecture.md).",
        wrong.join("\n")
    );
}

/// A library's source: the file's path below `crates/`, with slashes on every system, and its lines
/// without comments and tests.
struct Source {
    file: String,
    lines: Vec<(usize, String)>,
}

impl Source {
    fn new(file: impl Into<String>, text: &str) -> Self {
        let code = text.split("#[cfg(test)]\nmod tests").next();
        let lines = (1..).zip(code.unwrap_or_default().lines());
        Self {
            file: file.into(),
            lines: lines
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
                .map(|(number, line)| (number, line.to_string()))
                .collect(),
        }
    }
}

/// The sources of all crates in the folder `crates`, without files that are compiled for tests only.
fn sources(crates: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    read_folder(crates, crates, &mut files);
    files.sort();
    let tests: Vec<_> = files
        .iter()
        .flat_map(|(f, text)| test_files(f, text))
        .collect();
    let is_test = |file: &String| file.ends_with("tests.rs") || tests.contains(file);
    files.retain(|(file, _)| !is_test(file));
    files.iter().map(|(f, text)| Source::new(f, text)).collect()
}

/// Adds the Rust files of all folders `src` in and below a folder: path below `root`, and text.
fn read_folder(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let below = path.strip_prefix(root).expect("below it");
        let names: Vec<_> = below.iter().map(|n| n.to_string_lossy()).collect();
        let file = names.join("/");
        if path.is_dir() {
            read_folder(&path, root, files);
        } else if names.iter().any(|n| n == "src") && file.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            files.push((file, text.replace("\r\n", "\n")));
        }
    }
}

/// The files beside this one that it declares as modules for tests.
fn test_files(file: &str, text: &str) -> Vec<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let parts = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = parts.filter_map(|part| part.lines().next()?.strip_suffix(';'));
    names.map(|name| format!("{folder}/{name}.rs")).collect()
}

/// Something that is done in one place only.
struct Home {
    /// What it is: completes "… has one home".
    what: &'static str,
    /// The file or folder that it lives in, below `crates/`.
    home: &'static str,
    /// What to do instead of doing it elsewhere.
    instead: &'static str,
    /// Other files whose lines only look like it.
    alike: &'static [&'static str],
    /// Whether a line looks as if it did it.
    does: fn(&str) -> bool,
}

impl Home {
    /// The lines elsewhere that look as if they did it, with their places.
    fn strays(&self, sources: &[Source]) -> Vec<String> {
        let elsewhere = |s: &&Source| {
            !s.file.starts_with(self.home) && !self.alike.iter().any(|a| s.file == *a)
        };
        let lines = sources
            .iter()
            .filter(elsewhere)
            .flat_map(|s| s.lines.iter().map(move |line| (&s.file, line)));
        lines
            .filter(|(_, (_, line))| (self.does)(line))
            .map(|(file, (number, line))| format!("crates/{file}:{number}: {}", line.trim()))
            .collect()
    }

    fn assert(&self, sources: &[Source]) {
        let strays = self.strays(sources);
        assert!(
            strays.is_empty(),
            "{} has one home, crates/{}, but\n{}\nlooks like a second one. {}. If it only looks like \
             it, add the file to `alike` in tests/architecture.rs.",
            self.what,
            self.home,
            strays.join("\n"),
            self.instead,
        );
    }
}

/// Whether a line looks as if it computed how far two boxes overlap.
fn is_overlap(line: &str) -> bool {
    const MEASURES: [&str; 4] = ["iou", "giou", "diou", "ciou"];
    let code = line.replace(' ', "");
    let name = function_name(line).unwrap_or_default();
    let last = name.rsplit('_').next().unwrap_or_default();
    MEASURES.contains(&last)
        || name.ends_with("iou_matrix")
        || name.contains("intersection")
        || (code.contains("x2") && code.contains("min("))
}

/// Whether a line looks as if it placed locations on an input.
fn is_grid(line: &str) -> bool {
    const PARTS: [&str; 5] = [
        "div_ceil(stride",
        "stride/2",
        "0.5*stride",
        "stride*0.5",
        "0.5)*stride",
    ];
    let code = line.replace(' ', "");
    PARTS.iter().any(|part| code.contains(part))
}

/// Whether a line chooses a backend.
fn is_backend(line: &str) -> bool {
    const CHOICES: [&str; 6] = ["flex", "default", "cuda", "wgpu", "ndarray", "enumerate"];
    CHOICES
        .iter()
        .any(|name| line.contains(&format!("Device::{name}")))
}

fn function_name(line: &str) -> Option<&str> {
    line.split_once("fn ")?.1.split(['(', '<']).next()
}

const OVERLAP: Home = Home {
    what: "the overlap of boxes",
    home: "fcos-core/src/",
    instead: "Use `BBox::iou` and its like, or `iou_from_areas`",
    alike: &[
        "fcos-loss/src/iou.rs",        // on tensors
        "fcos-postprocess/src/nms.rs", // many boxes at a time
    ],
    does: is_overlap,
};

const GRID: Home = Home {
    what: "the grid of locations",
    home: "fcos-core/src/",
    instead: "Use `Locations` or `pyramid_grids`",
    alike: &["fcos-kernels/src/cpu/im2col.rs"], // a convolution's columns
    does: is_grid,
};

const BACKENDS: Home = Home {
    what: "the choice of a backend",
    home: "fcos/src/device/",
    instead: "Take a `&Device` as an argument",
    alike: &[],
    does: is_backend,
};

#[test]
fn boxes_overlap_in_one_home() {
    OVERLAP.assert(&sources(&crates()));
}

#[test]
fn locations_have_one_home() {
    GRID.assert(&sources(&crates()));
}

#[test]
fn libraries_choose_no_backend() {
    BACKENDS.assert(&sources(&crates()));
}

/// What is wrong with the home of a formula that a piece of text betrays.
fn misplaced(text: &str, home: &str, sources: &[Source]) -> Option<String> {
    let has = |s: &&Source| s.lines.iter().any(|(_, line)| line.contains(text));
    let files: Vec<_> = sources
        .iter()
        .filter(has)
        .map(|s| s.file.as_str())
        .collect();
    match files[..] {
        [file] if file == home => None,
        [] => Some(format!(
            "`{text}` is nowhere: if it has another name now, say so in tests/architecture.rs"
        )),
        _ => Some(format!(
            "`{text}` has one home, {home}, but stands in {files:?}: call what is there; if it moved, \
             say so in tests/architecture.rs"
        )),
    }
}

#[test]
fn every_formula_has_one_home() {
    let cases = [
        ("fn iou(self, other", "fcos-core/src/iou.rs"),
        ("fn giou(self, other", "fcos-core/src/iou.rs"),
        ("fn diou(self, other", "fcos-core/src/iou.rs"),
        ("fn intersection(self, other", "fcos-core/src/iou.rs"),
        ("fn write_and_sync(", "fcos-core/src/files.rs"),
        ("fn centerness(self", "fcos-core/src/ltrb.rs"),
        ("fn pyramid_grids(", "fcos-core/src/locations.rs"),
        ("fn pyramid_strides(", "fcos-core/src/locations.rs"),
        ("fn clip_global_norm(", "fcos-train/src/gradients.rs"),
        ("fn sigmoid_focal_loss(", "fcos-loss/src/focal.rs"),
    ];
    let sources = sources(&crates());
    let wrong = cases.map(|(text, home)| misplaced(text, home, &sources));
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files that a document names in backticks, with their folder, and that are neither below
/// `root` nor below its `crates`.
fn missing_files(document: &str, root: &Path) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_file = |name: &&str| {
        let ends = [".rs", ".toml", ".md"].iter().any(|e| name.ends_with(e));
        ends && name.contains('/') && name.chars().all(is_path)
    };
    let quoted = document.split('`').skip(1).step_by(2).filter(is_file);
    let missing =
        quoted.filter(|n| !root.join(n).exists() && !root.join("crates").join(n).exists());
    missing.map(String::from).collect()
}

#[test]
fn the_files_that_documents_name_exist() {
    let root = crates().join("..");
    for name in ["docs/architecture.md", "CONTRIBUTING.md"] {
        let document = std::fs::read_to_string(root.join(name)).expect("text");
        let missing = missing_files(&document, &root);
        assert!(
            missing.is_empty(),
            "{name} names {missing:?}: are they elsewhere now?"
        );
    }
    let document =
        "`fcos/src/lib.rs`, `tests/lib.rs`, ```\na/b.rs c\n``` `fcos/src/gone.rs` `<x>/y.rs`";
    assert_eq!(missing_files(document, &root), ["fcos/src/gone.rs"]);
}

#[test]
fn wrong_arrows_are_found() {
    let manifest = |name: &str, dependencies: &[&str]| Manifest {
        name: name.into(),
        dependencies: dependencies.iter().map(ToString::to_string).collect(),
    };
    let good = [
        manifest("fcos-core", &["thiserror"]),
        manifest("fcos-loss", &["burn", "fcos-core"]),
        manifest("fcos", &["fcos-train", "fcos-data", "image"]),
    ];
    assert!(wrong_arrows(&good).is_empty());
    let bad = [
        manifest("fcos-data", &["fcos-core", "fcos-targets"]), // a neighbour
        manifest("fcos-model", &["fcos"]),
        manifest("fcos-loss", &["fcos-new"]),
        manifest("fcos-new", &[]),
    ];
    let wrong = wrong_arrows(&bad);
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(wrong[0].contains("fcos-data depends on fcos-targets"));
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
        "    let columns = width.div_ceil(stride);",
        "    let x = stride / 2 + column * stride;",
        "    let x = (column as f32 + 0.5) * stride as f32;",
    ] {
        assert!(is_grid(line), "{line}");
    }
    for line in ["let device = Device::default();", "Device::cuda(0)"] {
        assert!(is_backend(line), "{line}");
    }
}

#[test]
fn innocent_lines_are_left_alone() {
    for line in [
        "let previous = 1;",
        "fn area(self) -> f32 {",
        "fn iou_weights(scores: &[f32]) -> Vec<f32> {",
        "fn with_iou_threshold(self, threshold: f32) -> Self {",
        "fn sampling_grid(offsets: Tensor<4>) -> Tensor<4> {",
        "let common: Vec<_> = names.intersection(&others).collect();",
        "pub fn grid(&self) -> Grid {",
        "pub fn locations(&self) -> &Locations {",
        "    let corner = Point { x, y };",
        "    let side = length / 2;",
        "fn run(device: &Device) {",
        "let device = pipeline.device();",
    ] {
        let found = is_overlap(line) || is_grid(line) || is_backend(line);
        assert!(!found, "{line}");
    }
}

/// Only code in libraries counts, wherever the checkout lies and whatever a system calls it.
#[test]
fn sources_are_read_in_any_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().join("src/crates/fcos/crates");
    let write = |file: &str, text: &str| {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let call = "let grid = width.div_ceil(stride);";
    write("fcos-new/src/deep/a.rs", &format!("// {call}\n  {call}\n"));
    write(
        "fcos-new/src/b.rs",
        &format!("#[cfg(test)]\r\nmod tests {{\r\n{call}\r\n}}"),
    );
    write("fcos-new/src/deep/tests.rs", call);
    write("fcos-new/tests/c.rs", call);
    write(
        "fcos-new/src/lib.rs",
        "mod b;\n#[cfg(test)]\nmod testing;\n",
    );
    write("fcos-new/src/testing.rs", call);
    write("fcos-core/src/locations.rs", call);
    write("fcos-kernels/src/cpu/im2col.rs", call);
    let sources = sources(&root);
    assert_eq!(
        GRID.strays(&sources),
        [format!("crates/fcos-new/src/deep/a.rs:2: {call}")]
    );
    assert!(OVERLAP.strays(&sources).is_empty());

    let home = "fcos-core/src/locations.rs";
    let wrong = misplaced("div_ceil(stride", home, &sources).expect("three homes");
    assert!(wrong.contains("fcos-new/src/deep/a.rs"), "{wrong}");
    assert!(misplaced("no such text", home, &sources).is_some_and(|w| w.contains("nowhere")));
    let source = Source::new("a/src/b.rs", "one\ntwo");
    assert_eq!(misplaced("two", "a/src/b.rs", &[source]), None);
}
