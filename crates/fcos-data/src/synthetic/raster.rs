//! Coverage masks of placed shapes, anti-aliased by supersampling the pixels at the outline.

use fcos_core::BBox;

use super::shapes::{P, Shape};

/// Samples per pixel side at an outline.
const SAMPLES: usize = 4;

/// A shape placed on the image; coordinates and lengths in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub(super) shape: Shape,
    pub(super) center: P,
    /// Radius of the circle around the shape.
    pub(super) radius: f32,
    /// Clockwise, in radians.
    pub(super) angle: f32,
    /// Height over width in the shape's own frame, in (0, 1]: a view from the side.
    pub(super) squash: f32,
}

impl Placement {
    /// From pixels to the shape's own frame.
    pub(super) fn to_shape(self, [x, y]: P) -> P {
        let (sin, cos) = self.angle.sin_cos();
        let (dx, dy) = (
            (x - self.center[0]) / self.radius,
            (y - self.center[1]) / self.radius,
        );
        [cos * dx + sin * dy, (cos * dy - sin * dx) / self.squash]
    }

    /// Whether a pixel position lies inside.
    fn contains(self, p: P) -> bool {
        self.shape.distance(self.to_shape(p)) < 0.0
    }

    /// How far, at least, the outline is from a pixel position: negative inside.
    fn distance(self, p: P) -> f32 {
        // Mapping back to pixels shrinks lengths to `radius · squash` of theirs at most.
        self.shape.distance(self.to_shape(p)) * self.radius * self.squash
    }
}

/// How much of each pixel a shape covers, over a window that may reach beyond the image.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    /// The window's first pixel.
    pub(super) x0: i32,
    pub(super) y0: i32,
    pub(super) width: i32,
    pub(super) height: i32,
    /// In `[0, 1]`, row by row.
    pub(super) coverage: Vec<f32>,
    /// Tight box of the part inside the image, to a quarter of a pixel; `None` if that is empty.
    pub(super) bbox: Option<BBox>,
}

impl Mask {
    /// Rasterises a placement for an image of `width` × `height` pixels.
    pub(super) fn new(placement: Placement, width: u32, height: u32) -> Self {
        let low = |c: f32| (c - placement.radius).floor() as i32;
        let high = |c: f32| (c + placement.radius).ceil() as i32;
        let [cx, cy] = placement.center;
        let mut mask = Self {
            x0: low(cx),
            y0: low(cy),
            width: high(cx) - low(cx),
            height: high(cy) - low(cy),
            coverage: Vec::new(),
            bbox: None,
        };
        mask.coverage.reserve((mask.width * mask.height) as usize);
        for (x, y) in mask.pixels() {
            let (coverage, extent) = cover(placement, x, y);
            mask.coverage.push(coverage);
            let in_image = x >= 0 && y >= 0 && x < width as i32 && y < height as i32;
            if let Some(extent) = extent.filter(|_| in_image) {
                mask.bbox = Some(mask.bbox.map_or(extent, |b| b.hull(extent)));
            }
        }
        mask
    }

    /// The window's pixels in the order of [`coverage`](Self::coverage).
    pub(super) fn pixels(&self) -> impl Iterator<Item = (i32, i32)> + use<> {
        let (x0, y0, width, height) = (self.x0, self.y0, self.width, self.height);
        (y0..y0 + height).flat_map(move |y| (x0..x0 + width).map(move |x| (x, y)))
    }

    /// The covered area in pixels, the part beyond the image included.
    pub(super) fn area(&self) -> f32 {
        self.coverage.iter().sum()
    }

    /// The coverage of a pixel; 0 outside the window.
    pub(super) fn at(&self, x: i32, y: i32) -> f32 {
        let (dx, dy) = (x - self.x0, y - self.y0);
        let within = (0..self.width).contains(&dx) && (0..self.height).contains(&dy);
        if within {
            self.coverage[(dy * self.width + dx) as usize]
        } else {
            0.0
        }
    }
}

/// One pixel's coverage and the extent of its covered part.
fn cover(placement: Placement, x: i32, y: i32) -> (f32, Option<BBox>) {
    /// From a pixel's centre to its corner.
    const HALF_DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let (left, top) = (x as f32, y as f32);
    let distance = placement.distance([left + 0.5, top + 0.5]);
    if distance > HALF_DIAGONAL {
        (0.0, None)
    } else if distance < -HALF_DIAGONAL {
        (1.0, Some(BBox::new(left, top, left + 1.0, top + 1.0)))
    } else {
        supersample(placement, left, top)
    }
}

fn supersample(placement: Placement, left: f32, top: f32) -> (f32, Option<BBox>) {
    const STEP: f32 = 1.0 / SAMPLES as f32;
    let mut inside = 0;
    let mut extent: Option<BBox> = None;
    for i in 0..SAMPLES * SAMPLES {
        let x = left + (i % SAMPLES) as f32 * STEP;
        let y = top + (i / SAMPLES) as f32 * STEP;
        if placement.contains([x + STEP / 2.0, y + STEP / 2.0]) {
            let cell = BBox::new(x, y, x + STEP, y + STEP);
            inside += 1;
            extent = Some(extent.map_or(cell, |e| e.hull(cell)));
        }
    }
    (inside as f32 * STEP * STEP, extent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos_core::Rng;

    fn placement(rng: &mut Rng, shape: Shape) -> Placement {
        Placement {
            shape,
            center: [rng.uniform(-10.0, 110.0), rng.uniform(-10.0, 90.0)],
            radius: rng.uniform(4.0, 60.0),
            angle: rng.uniform(0.0, 6.3),
            squash: rng.uniform(0.6, 1.0),
        }
    }

    /// Every sample of every pixel, without the distance bound that `cover` trusts.
    #[test]
    fn coverage_and_box_match_brute_force() {
        let mut rng = Rng::from_key(&[11, 0, 0]);
        for shape in Shape::ALL.into_iter().cycle().take(48) {
            let placement = placement(&mut rng, shape);
            let mask = Mask::new(placement, 100, 80);
            let mut bbox: Option<BBox> = None;
            let mut area = 0.0;
            for (x, y) in (-80..180).flat_map(|x| (-80..160).map(move |y| (x, y))) {
                let (coverage, extent) = supersample(placement, x as f32, y as f32);
                assert_eq!(coverage, mask.at(x, y), "{placement:?} at {x}, {y}");
                area += coverage;
                if let Some(e) = extent.filter(|_| (0..100).contains(&x) && (0..80).contains(&y)) {
                    bbox = Some(bbox.map_or(e, |b| b.hull(e)));
                }
            }
            assert_eq!(bbox, mask.bbox, "{placement:?}");
            assert!((area - mask.area()).abs() < 0.5);
        }
    }

    #[test]
    fn a_disc_has_the_box_and_area_of_its_circle() {
        let placement = Placement {
            shape: Shape::Disc,
            center: [50.0, 40.0],
            radius: 20.0,
            angle: 0.3,
            squash: 1.0,
        };
        let mask = Mask::new(placement, 100, 80);
        let bbox = mask.bbox.expect("inside the image");
        for (edge, expected) in [
            (bbox.x1, 30.0),
            (bbox.y1, 20.0),
            (bbox.x2, 70.0),
            (bbox.y2, 60.0),
        ] {
            assert!((edge - expected).abs() <= 0.25, "{bbox:?}");
        }
        assert!((mask.area() - std::f32::consts::PI * 400.0).abs() < 4.0);
    }

    #[test]
    fn nothing_inside_the_image_means_no_box() {
        let placement = Placement {
            shape: Shape::Disc,
            center: [-30.0, 40.0],
            radius: 20.0,
            angle: 0.0,
            squash: 1.0,
        };
        assert_eq!(Mask::new(placement, 100, 80).bbox, None);
    }
}
