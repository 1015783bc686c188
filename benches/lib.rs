//! Benchmarks of the host-side pieces; see the files named in `Cargo.toml`.
