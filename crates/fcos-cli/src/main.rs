//! The program `fcos`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    fcos_cli::exit_code(fcos_cli::Cli::parse().run())
}
