use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

/// Which device to run on, as a user writes it: `auto`, `flex`, …
///
/// Which names work depends on the cargo features that the program was built with;
/// [`DeviceSpec::compiled`] lists them.
///
/// ```
/// use fcos::DeviceSpec;
///
/// let device = "flex".parse::<DeviceSpec>()?.device()?;
/// assert!("tpu".parse::<DeviceSpec>().is_err());
/// # Ok::<(), fcos::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The best device that this build supports.
    #[default]
    Auto,
    /// The pure-Rust CPU backend (feature `flex`).
    Flex,
}

/// Why a device can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name is none that this library knows.
    #[error("unknown device `{name}`; there are: {}", NAMES.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The program was built without the device's cargo feature.
    #[error("compiled without feature `{feature}`; add `--features {feature}`")]
    NotCompiled {
        /// The missing feature.
        feature: &'static str,
    },
}

/// All names that [`DeviceSpec`] understands.
const NAMES: [&str; 2] = ["auto", "flex"];

impl DeviceSpec {
    /// The devices that this build has, best first.
    pub fn compiled() -> Vec<Self> {
        if cfg!(feature = "flex") {
            vec![Self::Flex]
        } else {
            Vec::new()
        }
    }

    /// The device itself.
    ///
    /// # Errors
    /// If this build lacks the device's feature.
    pub fn device(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto => match Self::compiled().first() {
                Some(best) => best.device(),
                None => Err(DeviceError::NotCompiled { feature: "flex" }),
            },
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(not(feature = "flex"))]
            Self::Flex => Err(DeviceError::NotCompiled { feature: "flex" }),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            "auto" => Ok(Self::Auto),
            "flex" => Ok(Self::Flex),
            _ => Err(DeviceError::Unknown { name: name.into() }),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Flex => "flex",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in NAMES {
            assert_eq!(name.parse::<DeviceSpec>().expect(name).to_string(), name);
        }
        let error = "gpu"
            .parse::<DeviceSpec>()
            .expect_err("unknown")
            .to_string();
        assert!(error.contains("`gpu`") && error.contains("flex"), "{error}");
    }

    #[test]
    fn auto_is_a_compiled_device() {
        for spec in DeviceSpec::compiled() {
            assert!(spec.device().is_ok(), "{spec}");
        }
        assert_eq!(
            DeviceSpec::Auto.device().is_ok(),
            !DeviceSpec::compiled().is_empty()
        );
    }
}
