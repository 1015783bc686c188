//! The object classes as signed distance functions.
//!
//! Every shape lies in the unit circle around the origin, x to the right and y downwards. A
//! function returns a value that is negative inside, positive outside and never larger in
//! magnitude than the distance to the outline: rasterising relies on that bound.

/// A point in a shape's own frame.
pub(super) type P = [f32; 2];

/// An object class, told by its outline; its colour is a hint at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Ring,
    Triangle,
    Square,
    Star,
    Cross,
    Crescent,
    Heart,
}

impl Shape {
    /// Every class, in label order.
    pub(super) const ALL: [Self; 8] = [
        Self::Disc,
        Self::Ring,
        Self::Triangle,
        Self::Square,
        Self::Star,
        Self::Cross,
        Self::Crescent,
        Self::Heart,
    ];

    /// The category name in the annotation files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Triangle => "triangle",
            Self::Square => "square",
            Self::Star => "star",
            Self::Cross => "cross",
            Self::Crescent => "crescent",
            Self::Heart => "heart",
        }
    }

    /// The hue, in degrees, around which objects of the class are coloured. Classes that follow each
    /// other on the colour wheel differ clearly in outline.
    pub(super) const fn hue(self) -> f32 {
        match self {
            Self::Disc => 0.0,
            Self::Square => 45.0,
            Self::Crescent => 90.0,
            Self::Ring => 135.0,
            Self::Star => 180.0,
            Self::Heart => 225.0,
            Self::Triangle => 270.0,
            Self::Cross => 315.0,
        }
    }

    /// The signed distance bound of `p` to the outline; see the [module](self).
    pub(super) fn distance(self, p: P) -> f32 {
        match self {
            Self::Disc => circle(p, [0.0, 0.0], 1.0),
            Self::Ring => (length(p) - 0.78).abs() - 0.22,
            Self::Triangle => triangle(p),
            Self::Square => rectangle(
                p,
                std::f32::consts::FRAC_1_SQRT_2,
                std::f32::consts::FRAC_1_SQRT_2,
            ),
            Self::Star => star(p),
            Self::Cross => rectangle(p, 0.95, 0.28).min(rectangle(p, 0.28, 0.95)),
            Self::Crescent => circle(p, [0.0, 0.0], 1.0).max(-circle(p, [0.45, 0.0], 0.75)),
            Self::Heart => heart(p),
        }
    }
}

fn length([x, y]: P) -> f32 {
    (x * x + y * y).sqrt()
}

fn circle([x, y]: P, [cx, cy]: P, radius: f32) -> f32 {
    length([x - cx, y - cy]) - radius
}

/// An axis-parallel rectangle around the origin, by its half sides.
fn rectangle([x, y]: P, half_width: f32, half_height: f32) -> f32 {
    (x.abs() - half_width).max(y.abs() - half_height)
}

/// An equilateral triangle on the unit circle, pointing up.
fn triangle([x, y]: P) -> f32 {
    const HALF_SQRT_3: f32 = 0.866_025_4;
    (HALF_SQRT_3 * x.abs() - 0.5 * y).max(y) - 0.5
}

/// A heart: a square standing on its corner and a disc on each of its upper sides.
fn heart([x, y]: P) -> f32 {
    const HALF_SIDE: f32 = 0.56;
    const DOWN: f32 = 0.205;
    let (x, y) = (x.abs(), y - DOWN);
    let diamond = (x + y.abs()) * std::f32::consts::FRAC_1_SQRT_2 - HALF_SIDE;
    // The middle of the upper right side, at HALF_SIDE from the square's centre.
    let lobe = HALF_SIDE * std::f32::consts::FRAC_1_SQRT_2;
    diamond.min(circle([x, y], [lobe, -lobe], HALF_SIDE))
}

/// A five-pointed star on the unit circle, pointing up.
fn star([x, y]: P) -> f32 {
    // Folding at the symmetry axes leaves half a spike: the segment from tip to notch.
    const WEDGE: f32 = std::f32::consts::PI / 5.0;
    const NOTCH: f32 = 0.46;
    let angle = x.atan2(-y).abs();
    let folded = (angle % (2.0 * WEDGE) - WEDGE).abs();
    // Measured from the notch's axis: the tip lies at WEDGE, the notch at 0.
    let r = length([x, y]);
    let p = [r * folded.cos(), r * folded.sin()];
    let tip = [WEDGE.cos(), WEDGE.sin()];
    let edge = [tip[0] - NOTCH, tip[1]];
    let from_notch = [p[0] - NOTCH, p[1]];
    let along = (from_notch[0] * edge[0] + from_notch[1] * edge[1])
        / (edge[0] * edge[0] + edge[1] * edge[1]);
    let t = along.clamp(0.0, 1.0);
    let gap = length([from_notch[0] - t * edge[0], from_notch[1] - t * edge[1]]);
    let side = from_notch[0] * edge[1] - from_notch[1] * edge[0];
    gap.copysign(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos_core::Rng;

    fn points(n: usize) -> impl Iterator<Item = P> {
        let mut rng = Rng::from_key(&[3, 0, 0]);
        (0..n).map(move |_| [rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5)])
    }

    #[test]
    fn values_bound_the_distance() {
        let mut rng = Rng::from_key(&[4, 0, 0]);
        for shape in Shape::ALL {
            for p in points(20_000) {
                let q = [p[0] + rng.uniform(-0.2, 0.2), p[1] + rng.uniform(-0.2, 0.2)];
                let change = (shape.distance(p) - shape.distance(q)).abs();
                let step = length([p[0] - q[0], p[1] - q[1]]);
                assert!(
                    change <= step + 1e-5,
                    "{shape:?} {p:?} {q:?}: {change} > {step}"
                );
            }
        }
    }

    #[test]
    fn shapes_lie_in_the_unit_circle_and_reach_it() {
        for shape in Shape::ALL {
            let inside = points(60_000).filter(|&p| shape.distance(p) < 0.0);
            let reach = inside.map(length).fold(0.0, f32::max);
            assert!(
                (0.95..=1.0 + 1e-5).contains(&reach),
                "{shape:?} reaches {reach}"
            );
        }
    }

    #[test]
    fn areas_match_geometry() {
        let area = |shape: Shape| {
            let n = 200_000;
            let inside = points(n).filter(|&p| shape.distance(p) < 0.0).count();
            9.0 * inside as f32 / n as f32
        };
        let pi = std::f32::consts::PI;
        // Ten triangles with the corners centre, tip and notch.
        let star = 5.0 * 0.46 * (pi / 5.0).sin();
        let expected = [
            (Shape::Disc, pi),
            (Shape::Ring, pi * (1.0 - 0.56f32.powi(2))),
            (Shape::Triangle, 0.75 * 3f32.sqrt()),
            (Shape::Square, 2.0),
            (Shape::Star, star),
            (Shape::Cross, 4.0 * (2.0 * 0.95 * 0.28 - 0.28 * 0.28)),
            (Shape::Heart, 4.0 * 0.56 * 0.56 + pi * 0.56 * 0.56),
        ];
        for (shape, expected) in expected {
            let measured = area(shape);
            assert!(
                (measured - expected).abs() < 0.03,
                "{shape:?}: {measured} for {expected}"
            );
        }
    }
}
