//! Geometry shared by the `fcos` crates: boxes, the IoU family, pyramid levels and locations, the
//! list of class names; and what else they all need: the head's [`Outputs`], counter-based random
//! numbers, [`SettingError`], the [colours](okabe_ito) of charts and boxes, and writing a file whole
//! or not at all.
//!
//! Coordinates are continuous pixels (`f32`): pixel `i` covers `[i, i + 1]`, a box of width `w`
//! spans `[x, x + w]`, and nothing adds one.
//!
//! # The pixel that older code adds
//! maskrcnn-benchmark, and with it the official FCOS and ATSS, has boxes end *on* their last pixel:
//! `w = x2 − x1 + 1`. What such code computes is reproduced where it matters, by settings of the
//! crates that compute it; presets set those that belong together (whoever sets one alone is not
//! stopped), and no other code adds a pixel:
//!
//! | setting | adds the pixel to | belongs to |
//! |---|---|---|
//! | `fcos_targets::AreaRule::LegacyPlusOne` | the areas by which the smallest box is found | official FCOS |
//! | `fcos_targets::RetinaNetConfig::legacy_pixels` | boxes and anchors before they are matched | Detectron's RetinaNet, statistics only |
//! | `fcos_model::BoxActivation::LegacyAnchorDelta` | nothing; decoded boxes end on their last pixel | ATSS's published weights |
//! | `fcos_postprocess::Clip::LegacyBeforeNms` | nothing; the last pixel is `W − 1` | official FCOS, ATSS: with the next one |
//! | `fcos_postprocess::NmsConfig::legacy_plus_one` | sides in NMS, and the boxes that are handed out, so that they are as everywhere else | official FCOS, ATSS: with the one before |
//!
//! `fcos_loss::IouSmoothing::PlusOne` looks like one of them and is none: it adds 1 to areas, in
//! whatever unit, to keep quotients finite.
//!
//! ```
//! use fcos_core::{BBox, LocationRule, Locations, Ltrb, Size};
//!
//! let input = Size { width: 256, height: 128 };
//! let locations = Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
//! let point = locations.points()[0];
//! assert_eq!((point.x, point.y), (4.0, 4.0));
//!
//! let bbox = BBox::new(1.0, 2.0, 9.0, 7.0);
//! let distances = Ltrb::from_box(point, bbox);
//! assert!(distances.is_inside());
//! assert_eq!(distances.to_box(point), bbox);
//! ```

mod bbox;
mod chain;
mod classes;
mod files;
mod iou;
mod locations;
mod ltrb;
mod names;
pub mod okabe_ito;
mod outputs;
mod rng;
mod scale;
mod setting;

pub use bbox::BBox;
pub use chain::error_chain;
pub use classes::{COCO_CATEGORY_IDS, ClassList, ClassListError};
pub use files::{sync_folder, temporary_name, write_atomically};
pub use iou::iou_from_areas;
pub use locations::{Grid, LocationRule, Locations, Size, pyramid_grids, pyramid_strides};
pub use ltrb::{DistanceUnit, Ltrb, Point};
pub use names::{UnknownName, from_name};
pub use outputs::Outputs;
pub use rng::Rng;
pub use scale::Scale;
pub use setting::SettingError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
