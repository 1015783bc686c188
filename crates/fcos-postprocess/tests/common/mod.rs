//! What the golden tests share.

mod draws;

use std::path::PathBuf;

pub use draws::Draws;

/// The bytes of a file under testdata/.
pub fn golden(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata")
        .join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
