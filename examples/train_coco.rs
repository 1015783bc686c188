//! Trains a detector; without arguments, on a data set that it generates. The same as `fcos train`.
//!
//! ```sh
//! cargo run --release --example train_coco
//! cargo run --release --example train_coco -- --help
//! ```

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    fcos_cli::exit_code(fcos_cli::train::Args::parse().run())
}
