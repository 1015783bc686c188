//! FCOS object detection in pure Rust: train and predict with [Burn](https://burn.dev).
//!
//! FCOS (Tian et al., ICCV 2019) is a one-stage, anchor-free detector: every location of a feature
//! pyramid says which class it sees, how far the object's four sides are, and how central it is.
//!
//! # Quick start
//! Build a detector, predict, save, load – here with random weights, so that the example runs as it
//! stands; `cargo run --release --example train_coco` makes trained ones.
//!
//! ```
//! use fcos::image::{DynamicImage, RgbImage};
//! use fcos::{ClassList, Detector, DetectorConfig, DeviceSpec, FcosConfig};
//!
//! let device = "flex".parse::<DeviceSpec>()?.device()?;
//! let mut config = DetectorConfig::new(FcosConfig::tiny(), ClassList::new(["cat", "dog"])?);
//! config.preprocess.short_side = 64;
//! let detector = Detector::new(config.model.init(&device)?, config)?;
//!
//! let picture = DynamicImage::ImageRgb8(RgbImage::new(96, 64));
//! for d in &detector.predict(&picture)? {
//!     println!("{} {:.2} {:?}", d.name, d.score, d.bbox);
//! }
//!
//! let file = std::env::temp_dir().join("fcos-quick-start.safetensors");
//! detector.save(&file)?;
//! let again = Detector::load(&file, &device)?;
//! assert_eq!(again.classes().name(1), "dog");
//! # std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Devices
//! A cargo feature per backend; which one computes is chosen at run time with [`DeviceSpec`].
//!
//! | feature | device | |
//! |---|---|---|
//! | `flex` (default) | CPU | pure Rust, AVX-512 where the processor has it |
//! | `ndarray` | CPU | older and slower; deprecated in Burn 0.22 and gone in 0.23 |
//! | `wgpu` | GPU of any make | Vulkan, Metal or DirectX 12, with shaders in WGSL |
//! | `vulkan`, `metal` | GPU | as `wgpu`, with the API's own shaders |
//! | `webgpu` | a browser's GPU | as `wgpu` |
//! | `cuda` | NVIDIA GPU | the build downloads LLVM |
//!
//! They add up: one program can have several. Two more features, both on by default, bring what a
//! program that only predicts can do without: `train` (the crates for training and evaluation) and
//! `draw` (`draw`, with its font).
//!
//! # The crates underneath
//! Each can be used alone; here they are modules: [`model`], [`data`] (COCO annotations, transforms,
//! loader), [`postprocess`] (scores to detections, NMS), and with the feature `train` also `targets`
//! (which location learns from which box), `loss`, `eval` (COCO metrics, curves) and `train`. What
//! `fcos-core` has – boxes, IoU, locations – is at the root. [`Device`] and [`Tensor`] are
//! [`burn`]'s, [`DynamicImage`](image::DynamicImage) is [`image`]'s: the versions that this library
//! works with.

pub use burn;
pub use image;

pub use fcos_data as data;
#[cfg(feature = "train")]
pub use fcos_eval as eval;
#[cfg(feature = "train")]
pub use fcos_loss as loss;
pub use fcos_model as model;
pub use fcos_postprocess as postprocess;
#[cfg(feature = "train")]
pub use fcos_targets as targets;
#[cfg(feature = "train")]
pub use fcos_train as train;

pub use burn::tensor::{Device, Tensor};
pub use fcos_core::{
    BBox, COCO_CATEGORY_IDS, ClassList, ClassListError, DistanceUnit, Grid, LocationRule,
    Locations, Ltrb, Outputs, Point, Rng, Scale, SettingError, Size, UnknownName, error_chain,
    iou_from_areas, pyramid_grids, pyramid_strides, write_atomically,
};
pub use fcos_model::{DetectorConfig, FcosConfig, Timings};

mod detections;
mod detector;
mod device;
#[cfg(feature = "draw")]
pub mod draw;
pub mod files;

pub use detections::{Detection, Detections};
pub use detector::{BatchPrediction, Detector, DetectorError, FilePrediction};
pub use device::{DeviceError, DeviceSpec, FoundDevice};
#[cfg(feature = "draw")]
pub use draw::{Label, draw_detections, side_by_side};
pub use fcos_data::ResultRow;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
