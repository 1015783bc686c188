//! `fcos devices`: the devices that this build can compute on.

use anyhow::Result;
use clap::Parser;
use fcos::{DeviceSpec, FoundDevice};

use crate::terminal::say;

/// List the devices that this build can compute on
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos devices
  cargo run --release --bin fcos --features wgpu -- devices")]
pub struct Args {}

impl Args {
    /// Lists what was built in, what was not, and what the machine has; `auto` takes the first that
    /// works.
    ///
    /// # Errors
    /// None so far.
    pub fn run(self) -> Result<()> {
        let compiled = DeviceSpec::compiled();
        let names: Vec<_> = compiled.iter().map(ToString::to_string).collect();
        say!("built with: {}", names.join(", "));
        for kind in DeviceSpec::KINDS {
            if !compiled.contains(&kind) {
                say!("not built: {kind}; add `--features {kind}`");
            }
        }
        let found = DeviceSpec::found();
        let best = found.iter().position(|device| device.name.is_ok());
        for (index, device) in found.iter().enumerate() {
            say!("{}", line(device, Some(index) == best));
        }
        Ok(())
    }
}

fn line(device: &FoundDevice, best: bool) -> String {
    let mut line = match &device.name {
        Ok(name) => format!("--device {:<10} {name}", device.spec.to_string()),
        Err(error) => format!("{error}"),
    };
    if device.software {
        line += " (a GPU simulated on the CPU)";
    }
    if best {
        line += " <- auto";
    }
    line
}
