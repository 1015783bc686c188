//! Boxes: corners in continuous pixels.

use serde::{Deserialize, Serialize};

use crate::Point;

/// An axis-aligned box: corners `(x1, y1)` and `(x2, y2)` in continuous pixels.
///
/// Which image's pixels – the original's or the resized network input's – is said wherever a box
/// is handed over. Serialised as `[x1, y1, x2, y2]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BBox {
    /// A box from its corners; see [`is_valid`](Self::is_valid) for what counts as one.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// From COCO's `[x, y, width, height]`.
    pub fn from_xywh([x, y, width, height]: [f32; 4]) -> Self {
        Self::new(x, y, x + width, y + height)
    }

    /// To COCO's `[x, y, width, height]`.
    pub fn to_xywh(self) -> [f32; 4] {
        [self.x1, self.y1, self.width(), self.height()]
    }

    /// `x2 − x1`.
    #[inline]
    pub fn width(self) -> f32 {
        self.x2 - self.x1
    }

    /// `y2 − y1`.
    #[inline]
    pub fn height(self) -> f32 {
        self.y2 - self.y1
    }

    /// Width × height, in square pixels.
    #[inline]
    pub fn area(self) -> f32 {
        self.width() * self.height()
    }

    /// The centre.
    pub fn center(self) -> Point {
        Point {
            x: (self.x1 + self.x2) / 2.0,
            y: (self.y1 + self.y2) / 2.0,
        }
    }

    /// Whether all corners are finite and both sides are longer than zero.
    pub fn is_valid(self) -> bool {
        <[f32; 4]>::from(self).iter().all(|v| v.is_finite())
            && self.x2 > self.x1
            && self.y2 > self.y1
    }

    /// Moves every corner into `[0, width] × [0, height]`. NaN stays NaN.
    #[must_use]
    pub fn clip(self, width: f32, height: f32) -> Self {
        let clamp = |v: f32, max: f32| {
            if v < 0.0 {
                0.0
            } else if v > max {
                max
            } else {
                v
            }
        };
        Self::new(
            clamp(self.x1, width),
            clamp(self.y1, height),
            clamp(self.x2, width),
            clamp(self.y2, height),
        )
    }

    /// Multiplies the x coordinates by `sx` and the y coordinates by `sy`.
    #[must_use]
    pub fn scale(self, sx: f32, sy: f32) -> Self {
        Self::new(self.x1 * sx, self.y1 * sy, self.x2 * sx, self.y2 * sy)
    }

    /// The mirror image in a picture of this width: `x → width − x`.
    #[must_use]
    pub fn flip_horizontal(self, width: f32) -> Self {
        Self::new(width - self.x2, self.y1, width - self.x1, self.y2)
    }
}

impl From<[f32; 4]> for BBox {
    fn from([x1, y1, x2, y2]: [f32; 4]) -> Self {
        Self::new(x1, y1, x2, y2)
    }
}

impl From<BBox> for [f32; 4] {
    fn from(b: BBox) -> Self {
        [b.x1, b.y1, b.x2, b.y2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: BBox = BBox::new(10.0, 200.0, 14.0, 210.0);

    #[test]
    fn xywh_round_trip() {
        assert_eq!(B.to_xywh(), [10.0, 200.0, 4.0, 10.0]);
        assert_eq!(BBox::from_xywh(B.to_xywh()), B);
    }

    #[test]
    fn measures() {
        assert_eq!((B.width(), B.height(), B.area()), (4.0, 10.0, 40.0));
        assert_eq!(B.center(), Point { x: 12.0, y: 205.0 });
    }

    #[test]
    fn validity() {
        assert!(B.is_valid());
        assert!(!BBox::new(1.0, 1.0, 1.0, 2.0).is_valid());
        assert!(!BBox::new(1.0, 3.0, 2.0, 2.0).is_valid());
        assert!(!BBox::new(f32::NAN, 0.0, 1.0, 1.0).is_valid());
        assert!(!BBox::new(0.0, 0.0, f32::INFINITY, 1.0).is_valid());
    }

    #[test]
    fn moves() {
        assert_eq!(B.clip(12.0, 205.0), BBox::new(10.0, 200.0, 12.0, 205.0));
        assert_eq!(
            BBox::new(-3.0, -1.0, 2.0, 2.0).clip(1.0, 9.0),
            BBox::new(0.0, 0.0, 1.0, 2.0)
        );
        assert!(
            BBox::new(f32::NAN, 0.0, 1.0, 1.0)
                .clip(1.0, 1.0)
                .x1
                .is_nan()
        );
        assert_eq!(B.scale(2.0, 0.5), BBox::new(20.0, 100.0, 28.0, 105.0));
        assert_eq!(
            B.flip_horizontal(100.0),
            BBox::new(86.0, 200.0, 90.0, 210.0)
        );
        assert_eq!(B.flip_horizontal(100.0).flip_horizontal(100.0), B);
    }

    #[test]
    fn serialises_as_an_array() {
        let json = serde_json::to_string(&B).expect("serialises");
        assert_eq!(json, "[10.0,200.0,14.0,210.0]");
        assert_eq!(serde_json::from_str::<BBox>(&json).expect("parses"), B);
    }
}
