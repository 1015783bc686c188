//! Points, and the four distances from one to the sides of a box.

use serde::{Deserialize, Serialize};

use crate::BBox;

/// A position in continuous pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Pixels from the left edge.
    pub x: f32,
    /// Pixels from the top edge.
    pub y: f32,
}

/// The unit in which the network predicts distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistanceUnit {
    /// Pixels of the network input (the first FCOS paper: `exp(s·x)`).
    Pixels,
    /// Multiples of the level's stride (FCOS with normalised regression targets).
    #[default]
    Stride,
}

crate::serde_names!(DistanceUnit);

/// Distances from a location to the left, top, right and bottom side of a box
/// (FCOS, Eq. 1: `l*`, `t*`, `r*`, `b*`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ltrb {
    /// To the left side: `x − x1`.
    pub l: f32,
    /// To the top side: `y − y1`.
    pub t: f32,
    /// To the right side: `x2 − x`.
    pub r: f32,
    /// To the bottom side: `y2 − y`.
    pub b: f32,
}

impl Ltrb {
    /// Distances from `point` to the sides of `bbox` (FCOS, Eq. 1); negative where outside.
    #[inline]
    pub fn from_box(point: Point, bbox: BBox) -> Self {
        Self {
            l: point.x - bbox.x1,
            t: point.y - bbox.y1,
            r: bbox.x2 - point.x,
            b: bbox.y2 - point.y,
        }
    }

    /// The box whose sides lie at these distances from `point`.
    #[inline]
    pub fn to_box(self, point: Point) -> BBox {
        BBox::new(
            point.x - self.l,
            point.y - self.t,
            point.x + self.r,
            point.y + self.b,
        )
    }

    /// Whether the location lies strictly inside: all four distances above zero.
    #[inline]
    pub fn is_inside(self) -> bool {
        self.l > 0.0 && self.t > 0.0 && self.r > 0.0 && self.b > 0.0
    }

    /// The largest of the four, which chooses the pyramid level (FCOS, §3.2).
    #[inline]
    pub fn max(self) -> f32 {
        self.l.max(self.t).max(self.r).max(self.b)
    }

    /// Centre-ness (FCOS, Eq. 3): `√(min(l,r)/max(l,r) · min(t,b)/max(t,b))`, 1 at the centre and
    /// towards 0 at the sides. 0 for a location that is not inside.
    #[inline]
    pub fn centerness(self) -> f32 {
        if !self.is_inside() {
            return 0.0;
        }
        let horizontal = self.l.min(self.r) / self.l.max(self.r);
        let vertical = self.t.min(self.b) / self.t.max(self.b);
        (horizontal * vertical).sqrt()
    }

    /// All four multiplied by `factor`, to change the [`DistanceUnit`].
    #[inline]
    #[must_use]
    pub fn scale(self, factor: f32) -> Self {
        Self {
            l: self.l * factor,
            t: self.t * factor,
            r: self.r * factor,
            b: self.b * factor,
        }
    }

    /// `[l, t, r, b]`.
    pub fn to_array(self) -> [f32; 4] {
        [self.l, self.t, self.r, self.b]
    }
}

impl From<[f32; 4]> for Ltrb {
    fn from([l, t, r, b]: [f32; 4]) -> Self {
        Self { l, t, r, b }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Point = Point { x: 12.0, y: 205.0 };

    #[test]
    fn distances_and_back() {
        let bbox = BBox::new(10.0, 200.0, 18.0, 206.0);
        let ltrb = Ltrb::from_box(P, bbox);
        assert_eq!(ltrb.to_array(), [2.0, 5.0, 6.0, 1.0]);
        assert_eq!(ltrb.to_box(P), bbox);
        assert_eq!(ltrb.max(), 6.0);
        assert!((ltrb.centerness() - (2.0f32 / 6.0 * 1.0 / 5.0).sqrt()).abs() < 1e-7);
        assert_eq!(ltrb.scale(0.5).to_array(), [1.0, 2.5, 3.0, 0.5]);
    }

    #[test]
    fn inside_is_strict() {
        let on_the_edge = Ltrb::from_box(P, BBox::new(12.0, 200.0, 18.0, 206.0));
        assert!(!on_the_edge.is_inside());
        assert_eq!(on_the_edge.centerness(), 0.0);
        assert_eq!(
            Ltrb::from_box(P, BBox::new(10.0, 203.0, 14.0, 207.0)).centerness(),
            1.0
        );
    }
}
