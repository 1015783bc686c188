//! The IoU family as losses, in the space of distances: both boxes are given by what lies between
//! their sides and one shared location, so no coordinates are needed. (The same overlaps on the
//! host, for matching and metrics, are `fcos-core`'s.)
//!
//! B images, N locations.

use std::f64::consts::PI;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Keeps denominators above zero, as torchvision's box losses do.
const EPSILON: f64 = 1e-7;
/// The floor of mmdetection's denominators and of its IoU under the logarithm.
const FLOOR: f64 = 1e-6;

/// Which member of the IoU family the box loss is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IouLoss {
    /// `−ln IoU` (UnitBox, Yu et al. 2016; FCOS Eq. 2).
    Iou,
    /// `1 − IoU`.
    LinearIou,
    /// `1 − GIoU` (Rezatofighi et al., CVPR 2019).
    #[default]
    Giou,
    /// `1 − DIoU` (Zheng et al., AAAI 2020): adds the distance of the centres.
    Diou,
    /// `1 − CIoU` (Zheng et al., AAAI 2020): adds to DIoU the difference of aspect ratios. Its
    /// trade-off factor is taken as a constant by the gradient, as in torchvision.
    Ciou,
}

/// How the quotients are kept finite. With I the intersection, U the union and H the enclosing box
/// (areas in the squared unit of the distances):
///
/// | | IoU | GIoU's penalty | `−ln` |
/// |---|---|---|---|
/// | `Epsilon` | `I / (U + 1e-7)` | `(H − U) / (H + 1e-7)` | IoU at least 1e-6 |
/// | `ClampUnion` | `I / max(U, 1e-6)` | `(H − U) / max(H, 1e-6)` | IoU at least 1e-6 |
/// | `PlusOne` | `(I + 1) / (U + 1)` | `(H + 1e-7 − U) / (H + 1e-7)` | never below 0 |
///
/// In all of them the squared diagonal of DIoU and CIoU is raised by 1e-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IouSmoothing {
    /// torchvision and ATSS.
    #[default]
    Epsilon,
    /// mmdetection.
    ClampUnion,
    /// The original FCOS and AdelaiDet. The only one that depends on the unit: in pixels the added
    /// one is a pixel, in strides a cell of the level.
    PlusOne,
}

/// Loss of each predicted box against its target, `[B, N]`.
///
/// - `predicted`, `target`: `[B, N, 4]` distances `l, t, r, b` from the same location, both in
///   pixels or both in strides. Boxes must not be inside out (`l + r ≥ 0`, `t + b ≥ 0`), but need
///   not hold the location.
///
/// Where a predicted side equals the target's, minimum and maximum have a kink; half the slope is
/// taken, as in PyTorch, so that a perfect box has no gradient. A gradient flows through the sides
/// of an empty intersection only if it is a line or a point, not if the boxes are apart.
///
/// No location is masked here: replace what stands at background locations before.
///
/// # Panics
/// When the shapes don't agree.
pub fn iou_loss(
    predicted: Tensor<3>,
    target: Tensor<3>,
    kind: IouLoss,
    smoothing: IouSmoothing,
) -> Tensor<2> {
    let pair = Pair::new(predicted, target);
    let iou = smoothing.iou(pair.intersection.clone(), pair.union.clone());
    let loss = match kind {
        IouLoss::Iou => smoothing.above_zero(iou).log().neg(),
        IouLoss::LinearIou => 1.0 - iou,
        IouLoss::Giou => 1.0 - iou + smoothing.empty_share(pair.hull().area(), pair.union),
        IouLoss::Diou => 1.0 - iou + pair.center_penalty(),
        IouLoss::Ciou => 1.0 - iou.clone() + pair.center_penalty() + pair.aspect_penalty(iou),
    };
    loss.squeeze_dim(2)
}

impl IouSmoothing {
    fn iou(self, intersection: Tensor<3>, union: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Epsilon => intersection / (union + EPSILON),
            Self::ClampUnion => intersection / union.clamp_min(FLOOR),
            Self::PlusOne => (intersection + 1.0) / (union + 1.0),
        }
    }

    /// The share of the enclosing box that the union leaves empty: GIoU's penalty.
    fn empty_share(self, hull: Tensor<3>, union: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Epsilon => (hull.clone() - union) / (hull + EPSILON),
            Self::ClampUnion => (hull.clone() - union) / hull.clamp_min(FLOOR),
            Self::PlusOne => {
                let hull = hull + EPSILON;
                (hull.clone() - union) / hull
            }
        }
    }

    fn above_zero(self, iou: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Epsilon | Self::ClampUnion => iou.clamp_min(FLOOR),
            Self::PlusOne => iou,
        }
    }
}

/// Two boxes seen from one location; areas are `[B, N, 1]`.
struct Pair {
    predicted: Tensor<3>,
    target: Tensor<3>,
    intersection: Tensor<3>,
    union: Tensor<3>,
}

impl Pair {
    fn new(predicted: Tensor<3>, target: Tensor<3>) -> Self {
        let common = Extent::of(min_pair(predicted.clone(), target.clone()));
        let intersection = common.width.clamp_min(0.0) * common.height.clamp_min(0.0);
        let areas = Extent::of(predicted.clone()).area() + Extent::of(target.clone()).area();
        let union = areas - intersection.clone();
        Self {
            predicted,
            target,
            intersection,
            union,
        }
    }

    /// The smallest box that holds both.
    fn hull(&self) -> Extent {
        Extent::of(max_pair(self.predicted.clone(), self.target.clone()))
    }

    /// Squared distance of the centres over the squared diagonal of the enclosing box (DIoU).
    fn center_penalty(&self) -> Tensor<3> {
        let shift = self.predicted.clone() - self.target.clone();
        let dx = (shift.clone().narrow(2, 2, 1) - shift.clone().narrow(2, 0, 1)) * 0.5;
        let dy = (shift.clone().narrow(2, 3, 1) - shift.narrow(2, 1, 1)) * 0.5;
        let hull = self.hull();
        let diagonal = square(hull.width) + square(hull.height) + EPSILON;
        (square(dx) + square(dy)) / diagonal
    }

    /// `v² / (1 − IoU + v)`, with `v` the squared difference of `atan(width / height)` (CIoU).
    fn aspect_penalty(&self, iou: Tensor<3>) -> Tensor<3> {
        let angle = |ltrb: &Tensor<3>| Extent::of(ltrb.clone()).aspect_angle();
        let v = square(angle(&self.target) - angle(&self.predicted)) * (4.0 / (PI * PI));
        let trade_off: Tensor<3> = v.clone() / (1.0 - iou + v.clone() + EPSILON);
        trade_off.without_autodiff() * v
    }
}

/// Width and height of boxes, `[B, N, 1]` each.
struct Extent {
    width: Tensor<3>,
    height: Tensor<3>,
}

impl Extent {
    fn of(ltrb: Tensor<3>) -> Self {
        let size = ltrb.clone().narrow(2, 0, 2) + ltrb.narrow(2, 2, 2);
        Self {
            width: size.clone().narrow(2, 0, 1),
            height: size.narrow(2, 1, 1),
        }
    }

    fn area(self) -> Tensor<3> {
        self.width * self.height
    }

    /// `atan(width / height)`; 0 for a point.
    fn aspect_angle(self) -> Tensor<3> {
        (self.width / self.height.clamp_min(EPSILON)).atan()
    }
}

fn square(x: Tensor<3>) -> Tensor<3> {
    x.clone() * x
}

/// Elementwise minimum that shares the gradient of a tie.
fn min_pair(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    (a.clone().min_pair(b.clone()) + b.min_pair(a)) * 0.5
}

/// Elementwise maximum that shares the gradient of a tie.
fn max_pair(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    (a.clone().max_pair(b.clone()) + b.max_pair(a)) * 0.5
}
