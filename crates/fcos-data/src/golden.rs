//! Access to `testdata/preprocess` for this crate's tests.

use std::fs;
use std::path::PathBuf;

use image::RgbImage;
use serde_json::Value;

pub(crate) fn path(name: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(root)
        .join("../../testdata/preprocess")
        .join(name)
}

pub(crate) fn cases() -> Value {
    let bytes = fs::read(path("cases.json")).expect("goldens are there");
    serde_json::from_slice(&bytes).expect("valid JSON")
}

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// An input image by its name.
pub(crate) fn image(cases: &Value, name: &Value) -> RgbImage {
    let entry = &cases["images"][text(name)];
    let bytes = fs::read(path(text(&entry["file"]))).expect("pixels");
    let (width, height) = (number(&entry["width"]), number(&entry["height"]));
    RgbImage::from_raw(width as u32, height as u32, bytes).expect("as many bytes as pixels")
}

pub(crate) fn floats(name: &Value) -> Vec<f32> {
    let bytes = fs::read(path(text(name))).expect("floats");
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
    bytes.chunks_exact(4).map(float).collect()
}
