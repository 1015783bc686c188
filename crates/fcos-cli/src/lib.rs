//! The program `fcos`, as a library: a module per command, each with its arguments and what it does.
//!
//! ```
//! use clap::Parser;
//!
//! fcos_cli::devices::Args::parse_from(["devices"]).run()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

pub mod assign;
pub mod convert;
pub mod data;
pub mod devices;
pub mod evaluate;
mod generated;
pub mod inspect;
pub mod predict;
pub mod stats;
mod terminal;
pub mod train;

/// Train, evaluate and run FCOS object detectors.
#[derive(Debug, Parser)]
#[command(
    name = "fcos",
    version,
    after_help = "Examples:
  fcos train
  fcos predict --weights runs/demo/best.safetensors street.jpg
  fcos evaluate --weights runs/demo/best.safetensors --annotations val.json --images photos/
  fcos help train

RUST_LOG=info shows more on standard error."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Predict(predict::Args),
    Evaluate(evaluate::Args),
    Convert(convert::Args),
    Inspect(inspect::Args),
    Stats(stats::Args),
    Assign(assign::Args),
    Data(data::Args),
    Devices(devices::Args),
}

impl Cli {
    /// Does what the command says.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Train(args) => args.run(),
            Command::Predict(args) => args.run(),
            Command::Evaluate(args) => args.run(),
            Command::Convert(args) => args.run(),
            Command::Inspect(args) => args.run(),
            Command::Stats(args) => args.run(),
            Command::Assign(args) => args.run(),
            Command::Data(args) => args.run(),
            Command::Devices(args) => args.run(),
        }
    }
}

/// Tells an error with all its causes on standard error: 0 without one, else 1. Also 1 if standard
/// output could not be written, unless its reader had seen enough.
pub fn exit_code(result: Result<()>) -> ExitCode {
    let result = result.and_then(|()| terminal::check_output());
    if let Err(error) = &result {
        terminal::warn(&format!("error: {error:#}"));
    }
    ExitCode::from(u8::from(result.is_err()))
}
