//! From a device's name to the device.

mod adapters;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use adapters::Adapter;

/// Which device to run on, as a user writes it: `auto`, `flex`, `wgpu`, `cuda:1`, …
///
/// Which of them can be had depends on the cargo features that the program was built with
/// ([`compiled`](Self::compiled)) and on the machine ([`found`](Self::found)). The number after the
/// colon counts the machine's adapters from 0, graphics cards before integrated graphics before
/// software.
///
/// ```
/// use fcos::DeviceSpec;
///
/// let device = "flex".parse::<DeviceSpec>()?.device()?;
/// assert_eq!("cuda:1".parse(), Ok(DeviceSpec::Cuda(1)));
/// assert_eq!("wgpu".parse(), Ok(DeviceSpec::Wgpu(0)));
/// assert!("tpu".parse::<DeviceSpec>().is_err());
/// # Ok::<(), fcos::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// The best device that works: a GPU (CUDA, Metal, Vulkan, then wgpu's choice), else the CPU.
    #[default]
    Auto,
    /// The CPU, with the pure-Rust backend and this library's kernels (feature `flex`).
    Flex,
    /// The CPU, with the older backend that Burn 0.23 no longer has (feature `ndarray`).
    NdArray,
    /// A GPU through wgpu with the graphics API that suits the machine (feature `wgpu`).
    Wgpu(usize),
    /// A GPU through Vulkan (feature `vulkan`).
    Vulkan(usize),
    /// A GPU through Apple's Metal (feature `metal`).
    Metal(usize),
    /// A browser's GPU (feature `webgpu`).
    WebGpu(usize),
    /// An NVIDIA GPU through CUDA (feature `cuda`).
    Cuda(usize),
}

/// Why a device can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// This library knows no device of that name.
    #[error(
        "unknown device `{name}`; there are: auto, flex, ndarray, and with `:0`, `:1`, … for one of \
         several: wgpu, vulkan, metal, webgpu, cuda"
    )]
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
    /// The machine, or its driver, does not offer the device.
    #[error("no such adapter: `{spec}`; this machine has {found} for `{}`", .spec.feature())]
    NoAdapter {
        /// The device asked for.
        spec: DeviceSpec,
        /// Adapters of this kind that the machine has.
        found: usize,
    },
    /// The device is there, but can't be used.
    #[error("`{spec}` does not work: {reason}")]
    Broken {
        /// The device asked for.
        spec: DeviceSpec,
        /// What its driver said.
        reason: String,
    },
    /// [`DeviceSpec::Auto`] found nothing.
    #[error("no device works here; compiled with: {compiled}; `--features flex` adds the CPU")]
    NoneWorks {
        /// The features of this build, with commas in between.
        compiled: String,
    },
}

/// A device that this machine offers to this build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundDevice {
    /// How to ask for it.
    pub spec: DeviceSpec,
    /// Whether it is a GPU that is simulated on the CPU, which [`DeviceSpec::Auto`] takes last.
    pub software: bool,
    /// Its name; the error if it does not compute.
    pub name: Result<String, DeviceError>,
}

impl DeviceSpec {
    /// Every kind of device, the best first.
    pub const KINDS: [Self; 7] = [
        Self::Cuda(0),
        Self::Metal(0),
        Self::Vulkan(0),
        Self::Wgpu(0),
        Self::WebGpu(0),
        Self::Flex,
        Self::NdArray,
    ];

    /// The kinds of device that this build has, the best first.
    pub fn compiled() -> Vec<Self> {
        let kinds = Self::KINDS.into_iter();
        kinds.filter(|&kind| adapters::compiled(kind)).collect()
    }

    /// Every device that this machine offers to this build, in the order in which `auto` tries
    /// them. Each computes something small to show that it works.
    pub fn found() -> Vec<FoundDevice> {
        let found = |adapter: Adapter| FoundDevice {
            spec: adapter.spec,
            software: adapter.software,
            name: adapter.try_out().map(|()| adapter.name()),
        };
        Self::candidates().into_iter().map(found).collect()
    }

    /// The device itself, opened.
    ///
    /// [`Auto`](Self::Auto) computes something small on it, which settles the device's precision;
    /// any other leaves it open to [`Device::configure`].
    ///
    /// # Errors
    /// If this build lacks the device's feature, or the machine the device, or it can't be opened.
    pub fn device(self) -> Result<Device, DeviceError> {
        if self == Self::Auto {
            return Self::best();
        }
        let mut adapters = adapters::of(self)?;
        if self.index() >= adapters.len() {
            return Err(DeviceError::NoAdapter {
                spec: self,
                found: adapters.len(),
            });
        }
        let adapter = adapters.swap_remove(self.index());
        adapter.open()?;
        Ok(adapter.device)
    }

    fn best() -> Result<Device, DeviceError> {
        let works = |adapter: &Adapter| adapter.try_out().is_ok();
        let adapter = Self::candidates().into_iter().find(works);
        adapter.map(|a| a.device).ok_or_else(|| {
            let compiled = Self::compiled();
            let names: Vec<_> = compiled.iter().map(ToString::to_string).collect();
            DeviceError::NoneWorks {
                compiled: names.join(", "),
            }
        })
    }

    /// The machine's devices, those simulated in software last.
    fn candidates() -> Vec<Adapter> {
        let kinds = Self::KINDS.into_iter();
        let mut all: Vec<_> = kinds
            .filter_map(|k| adapters::of(k).ok())
            .flatten()
            .collect();
        all.sort_by_key(|adapter| adapter.software);
        all
    }

    /// The cargo feature that brings it, which is also its name.
    fn feature(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Wgpu(_) => "wgpu",
            Self::Vulkan(_) => "vulkan",
            Self::Metal(_) => "metal",
            Self::WebGpu(_) => "webgpu",
            Self::Cuda(_) => "cuda",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Auto | Self::Flex | Self::NdArray => 0,
            Self::Wgpu(i) | Self::Vulkan(i) | Self::Metal(i) | Self::WebGpu(i) | Self::Cuda(i) => i,
        }
    }

    /// The `index`-th device of the same kind; `None` where there is but one.
    fn with_index(self, index: usize) -> Option<Self> {
        match self {
            Self::Auto | Self::Flex | Self::NdArray => None,
            Self::Wgpu(_) => Some(Self::Wgpu(index)),
            Self::Vulkan(_) => Some(Self::Vulkan(index)),
            Self::Metal(_) => Some(Self::Metal(index)),
            Self::WebGpu(_) => Some(Self::WebGpu(index)),
            Self::Cuda(_) => Some(Self::Cuda(index)),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let parse = || {
            let (kind, index) = match name.split_once(':') {
                // `parse` would take a sign.
                Some((_, index)) if !index.bytes().all(|b| b.is_ascii_digit()) => return None,
                Some((kind, index)) => (kind, Some(index.parse().ok()?)),
                None => (name, None),
            };
            let mut kinds = [Self::Auto].into_iter().chain(Self::KINDS);
            let spec = kinds.find(|spec| spec.feature() == kind)?;
            index.map_or(Some(spec), |index| spec.with_index(index))
        };
        parse().ok_or_else(|| DeviceError::Unknown { name: name.into() })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.feature())?;
        match self.index() {
            0 => Ok(()),
            index => write!(f, ":{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let names = "auto flex ndarray wgpu vulkan:2 metal webgpu cuda:17";
        for name in names.split(' ') {
            assert_eq!(name.parse::<DeviceSpec>().expect(name).to_string(), name);
        }
        assert_eq!("wgpu:0".parse(), Ok(DeviceSpec::Wgpu(0)));
        for name in [
            "gpu", "", "flex:0", "auto:1", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "CUDA",
        ] {
            let error = name.parse::<DeviceSpec>().expect_err(name).to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn what_is_found_can_be_had() {
        for found in DeviceSpec::found() {
            println!("{}: {:?}", found.spec, found.name);
            if found.name.is_ok() {
                assert!(found.spec.device().is_ok(), "{}", found.spec);
            }
        }
        let any = DeviceSpec::found().iter().any(|d| d.name.is_ok());
        assert_eq!(DeviceSpec::Auto.device().is_ok(), any);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let compiled = DeviceSpec::compiled();
        for kind in DeviceSpec::KINDS {
            let feature = kind.feature();
            let far = kind.with_index(999).unwrap_or(kind);
            let message = far.device().map_err(|e| e.to_string());
            match (compiled.contains(&kind), kind.with_index(999)) {
                (false, _) => assert_eq!(
                    message,
                    Err(format!(
                        "compiled without feature `{feature}`; add `--features {feature}`"
                    ))
                ),
                (true, Some(_)) => {
                    let message = message.expect_err(feature);
                    assert!(message.starts_with("no such adapter"), "{message}");
                }
                (true, None) => assert!(message.is_ok()),
            }
        }
    }
}
