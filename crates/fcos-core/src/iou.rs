//! The one home of the overlap formulas on the host. (Their differentiable twins on tensors are
//! `fcos-loss`'s.)

use crate::BBox;

/// Intersection over union from the three areas; 0 where the union is empty or not a number.
///
/// For loops that keep their boxes as separate arrays. [`BBox::iou`] is this on two boxes.
#[inline]
pub fn iou_from_areas(intersection: f32, area_a: f32, area_b: f32) -> f32 {
    let union = area_a + area_b - intersection;
    if union > 0.0 {
        intersection / union
    } else {
        0.0
    }
}

impl BBox {
    /// Area shared with `other`, 0 when they don't touch.
    #[inline]
    pub fn intersection(self, other: Self) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, in `[0, 1]`; 0 for two empty boxes.
    #[inline]
    pub fn iou(self, other: Self) -> f32 {
        iou_from_areas(self.intersection(other), self.area(), other.area())
    }

    /// Generalised IoU (Rezatofighi et al., CVPR 2019), in `[−1, 1]`:
    /// IoU less the share of the smallest enclosing box that the union leaves empty.
    pub fn giou(self, other: Self) -> f32 {
        let hull = self.hull(other).area();
        let union = self.area() + other.area() - self.intersection(other);
        let empty_share = if hull > 0.0 {
            (hull - union) / hull
        } else {
            0.0
        };
        self.iou(other) - empty_share
    }

    /// Distance IoU (Zheng et al., AAAI 2020), in `[−1, 1]`: IoU less the squared distance of the
    /// centres over the squared diagonal of the smallest enclosing box.
    pub fn diou(self, other: Self) -> f32 {
        let hull = self.hull(other);
        let diagonal = hull.width().powi(2) + hull.height().powi(2);
        let (a, b) = (self.center(), other.center());
        let distance = (a.x - b.x).powi(2) + (a.y - b.y).powi(2);
        let penalty = if diagonal > 0.0 {
            distance / diagonal
        } else {
            0.0
        };
        self.iou(other) - penalty
    }

    /// The smallest box that holds both.
    #[inline]
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self::new(
            self.x1.min(other.x1),
            self.y1.min(other.y1),
            self.x2.max(other.x2),
            self.y2.max(other.y2),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f32, b: f32) {
        assert!((a - b).abs() < 1e-6, "{a} != {b}");
    }

    /// Worked by hand: two 20 px boxes shifted by (5, 7); intersection 15·13, hull 25·27.
    #[test]
    fn shifted_boxes() {
        let a = BBox::new(100.0, 10.0, 120.0, 30.0);
        let b = BBox::new(105.0, 17.0, 125.0, 37.0);
        let (inter, union, hull) = (195.0, 605.0, 675.0);
        close(a.intersection(b), inter);
        close(a.iou(b), inter / union);
        close(a.giou(b), inter / union - (hull - union) / hull);
        close(a.diou(b), inter / union - (25.0 + 49.0) / (625.0 + 729.0));
    }

    /// The cases other implementations get wrong: `+1`, division by the hull, no clamping.
    #[test]
    fn disjoint_touching_and_empty() {
        let a = BBox::new(0.0, 0.0, 1.0, 1.0);
        close(a.iou(BBox::new(11.0, 11.0, 12.0, 12.0)), 0.0);
        close(a.iou(BBox::new(1.0, 0.0, 2.0, 1.0)), 0.0);
        close(a.iou(a), 1.0);
        let point = BBox::new(0.5, 0.5, 0.5, 0.5);
        close(point.iou(point), 0.0);
        assert!(point.giou(point).is_finite() && point.diou(point).is_finite());
        close(a.giou(BBox::new(3.0, 0.0, 4.0, 1.0)), -0.5);
    }

    fn boxes() -> impl Strategy<Value = BBox> {
        (-50f32..50.0, 100f32..200.0, 0.1f32..60.0, 0.1f32..60.0)
            .prop_map(|(x, y, w, h)| BBox::from_xywh([x, y, w, h]))
    }

    proptest! {
        #[test]
        fn bounds_and_symmetry(a in boxes(), b in boxes()) {
            let iou = a.iou(b);
            prop_assert!((0.0..=1.0001).contains(&iou));
            prop_assert!(a.giou(b) <= iou + 1e-5 && a.giou(b) >= -1.0001);
            prop_assert!(a.diou(b) <= iou + 1e-5 && a.diou(b) >= -1.0001);
            prop_assert!((iou - b.iou(a)).abs() < 1e-6);
        }

        /// Counting grid cells is an independent way to the same areas.
        #[test]
        fn iou_equals_counting_cells(a in cells(), b in cells()) {
            let inside = |c: [i32; 4], x, y| (c[0]..c[2]).contains(&x) && (c[1]..c[3]).contains(&y);
            let (mut both, mut either) = (0, 0);
            for (x, y) in (0..16).flat_map(|x| (0..16).map(move |y| (x, y))) {
                both += i32::from(inside(a, x, y) && inside(b, x, y));
                either += i32::from(inside(a, x, y) || inside(b, x, y));
            }
            let as_box = |c: [i32; 4]| BBox::from(c.map(|v| v as f32));
            prop_assert!((as_box(a).iou(as_box(b)) - both as f32 / either as f32).abs() < 1e-6);
        }
    }

    fn cells() -> impl Strategy<Value = [i32; 4]> {
        (0i32..15, 0i32..15, 1i32..16, 1i32..16)
            .prop_map(|(x, y, w, h)| [x, y, (x + w).min(16), (y + h).min(16)])
    }
}
