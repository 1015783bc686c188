//! `fcos data …`: data sets, before anything is trained.

pub mod check;
pub mod generate;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Generate a data set, or check one
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos data generate --output data/shapes
  fcos data check --annotations train.json --images photos/")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(generate::Args),
    Check(check::Args),
}

impl Args {
    /// Does what the command says.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Generate(args) => args.run(),
            Command::Check(args) => args.run(),
        }
    }
}
