//! Lists the devices that this build can compute on.
//!
//! ```sh
//! cargo run --release --example devices
//! cargo run --release --example devices --features wgpu
//! ```

use fcos::{DeviceSpec, FoundDevice};

/// The cargo features that bring devices.
const FEATURES: [&str; 7] = [
    "cuda", "metal", "vulkan", "wgpu", "webgpu", "flex", "ndarray",
];

fn main() {
    let compiled: Vec<String> = names(&DeviceSpec::compiled());
    println!("built with: {}", compiled.join(", "));
    let missing = FEATURES
        .iter()
        .filter(|f| !compiled.iter().any(|c| c == *f));
    for feature in missing {
        println!("not built: {feature}; add `--features {feature}`");
    }
    let found = DeviceSpec::found();
    let best = found.iter().position(|device| device.name.is_ok());
    for (index, device) in found.iter().enumerate() {
        println!("{}", line(device, Some(index) == best));
    }
}

fn names(specs: &[DeviceSpec]) -> Vec<String> {
    specs.iter().map(ToString::to_string).collect()
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
