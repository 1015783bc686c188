//! What the machine offers to each backend. Backends are named here and nowhere else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};

use super::{DeviceError, DeviceSpec};

/// A device that is there, not yet opened.
pub(super) struct Adapter {
    /// How to ask for it.
    pub spec: DeviceSpec,
    /// Whether a GPU is simulated on the CPU (Mesa's llvmpipe, Microsoft's WARP).
    pub software: bool,
    /// Opened when first used.
    pub device: Device,
}

/// All adapters of the kind of `spec`, the best first.
pub(super) fn of(spec: DeviceSpec) -> Result<Vec<Adapter>, DeviceError> {
    Ok(numbered(spec, devices(spec)?))
}

/// Whether this build has the kind of `spec`; asks no driver.
pub(super) fn compiled(spec: DeviceSpec) -> bool {
    match spec {
        DeviceSpec::Auto => true,
        DeviceSpec::Flex => cfg!(feature = "flex"),
        DeviceSpec::NdArray => cfg!(feature = "ndarray"),
        DeviceSpec::Wgpu(_) => cfg!(feature = "wgpu"),
        DeviceSpec::Vulkan(_) => cfg!(feature = "vulkan"),
        DeviceSpec::Metal(_) => cfg!(feature = "metal"),
        DeviceSpec::WebGpu(_) => cfg!(feature = "webgpu"),
        DeviceSpec::Cuda(_) => cfg!(feature = "cuda"),
    }
}

fn devices(spec: DeviceSpec) -> Result<Vec<Device>, DeviceError> {
    match spec {
        #[cfg(feature = "flex")]
        DeviceSpec::Flex => Ok(vec![Device::flex()]),
        #[cfg(feature = "ndarray")]
        DeviceSpec::NdArray => Ok(vec![ndarray()]),
        #[cfg(feature = "wgpu")]
        DeviceSpec::Wgpu(_) => Ok(enumerate(burn::tensor::DeviceType::Wgpu)),
        #[cfg(feature = "vulkan")]
        DeviceSpec::Vulkan(_) => Ok(enumerate(burn::tensor::DeviceType::Vulkan)),
        #[cfg(feature = "metal")]
        DeviceSpec::Metal(_) => Ok(enumerate(burn::tensor::DeviceType::Metal)),
        #[cfg(feature = "webgpu")]
        DeviceSpec::WebGpu(_) => Ok(enumerate(burn::tensor::DeviceType::WebGpu)),
        #[cfg(feature = "cuda")]
        DeviceSpec::Cuda(_) => Ok(enumerate(burn::tensor::DeviceType::Cuda)),
        other => Err(DeviceError::NotCompiled {
            feature: other.feature(),
        }),
    }
}

/// Deprecated in Burn 0.22 and gone in 0.23: this function goes with it, and the feature.
#[cfg(feature = "ndarray")]
#[allow(deprecated)]
fn ndarray() -> Device {
    Device::ndarray()
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn enumerate(kind: burn::tensor::DeviceType) -> Vec<Device> {
    let mut devices = Device::enumerate(kind).into_vec();
    devices.sort_by_key(rank);
    devices
}

fn numbered(spec: DeviceSpec, devices: Vec<Device>) -> Vec<Adapter> {
    let adapter = |(index, device): (usize, Device)| Adapter {
        spec: spec.with_index(index).unwrap_or(spec),
        software: rank(&device) == SOFTWARE,
        device,
    };
    devices.into_iter().enumerate().map(adapter).collect()
}

const SOFTWARE: usize = 4;

/// Lower is better.
fn rank(device: &Device) -> usize {
    #[cfg(feature = "wgpu")]
    {
        use burn::backend::{CubeDevice, DispatchDevice, WgpuDeviceKind};
        if let DispatchDevice::Cube(CubeDevice::Wgpu(wgpu)) = device.as_dispatch() {
            return match wgpu.kind {
                WgpuDeviceKind::DiscreteGpu(_) => 0,
                WgpuDeviceKind::IntegratedGpu(_) => 1,
                WgpuDeviceKind::VirtualGpu(_) => 2,
                WgpuDeviceKind::Cpu => SOFTWARE,
                _ => 3,
            };
        }
    }
    let _ = device;
    0
}

impl Adapter {
    /// As the driver calls it.
    pub fn name(&self) -> String {
        identity(&self.device).unwrap_or_else(|| "CPU".into())
    }

    /// Opens the device without computing anything.
    pub fn open(&self) -> Result<(), DeviceError> {
        self.guard(|| drop(identity(&self.device)))
    }

    /// Opens the device and computes something small.
    pub fn try_out(&self) -> Result<(), DeviceError> {
        let sum = self.guard(|| {
            let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &self.device);
            x.mul_scalar(2.0).sum().into_scalar::<f32>()
        })?;
        match sum {
            12.0 => Ok(()),
            wrong => Err(self.broken(format!("it computes 2 + 4 + 6 = {wrong}"))),
        }
    }

    /// Burn 0.22 panics where a driver refuses to open a device or to compile a kernel, and has no
    /// function that returns an error for every backend. Here, before anything depends on the
    /// device, that panic is made an error.
    fn guard<T>(&self, work: impl FnOnce() -> T) -> Result<T, DeviceError> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| self.broken(message(&*panic)))
    }

    fn broken(&self, reason: String) -> DeviceError {
        DeviceError::Broken {
            spec: self.spec,
            reason,
        }
    }
}

/// The name of a GPU; opens it.
fn identity(device: &Device) -> Option<String> {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    return device.identity().map(|identity| identity.name);
    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    {
        let _ = device;
        None
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("its driver failed").into()
}
