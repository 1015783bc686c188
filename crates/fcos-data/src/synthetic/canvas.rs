//! The picture while it is painted, before light and sensor turn it into bytes.

use image::{Rgb, RgbImage};

use super::raster::Mask;
use super::shapes::P;
use super::texture::{Color, blend, jitter};
use fcos_core::Rng;

/// Colours row by row; pixel `(x, y)` covers `[x, x + 1] × [y, y + 1]`.
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pixels: Vec<Color>,
}

impl Canvas {
    /// A canvas whose colours are `color` at the pixels' centres.
    pub(super) fn new(width: u32, height: u32, color: impl Fn(P) -> Color) -> Self {
        let row = |y| (0..width).map(move |x| [x as f32 + 0.5, y as f32 + 0.5]);
        let pixels = (0..height).flat_map(row).map(color).collect();
        Self {
            width,
            height,
            pixels,
        }
    }

    /// The index of a pixel; `None` outside the image.
    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let within = x >= 0 && y >= 0 && x < self.width as i32 && y < self.height as i32;
        within.then(|| y as usize * self.width as usize + x as usize)
    }

    /// Lays `color` over a pixel, as much as `alpha` says.
    fn cover(&mut self, x: i32, y: i32, color: Color, alpha: f32) {
        if let Some(i) = self.index(x, y) {
            self.pixels[i] = blend(self.pixels[i], color, alpha);
        }
    }

    /// The mean colour under a mask; black where the mask covers nothing of the image.
    pub(super) fn mean_under(&self, mask: &Mask) -> Color {
        let mut sum = [0.0; 3];
        let mut weight = 0.0;
        for ((x, y), &alpha) in mask.pixels().zip(&mask.coverage) {
            if let Some(i) = self.index(x, y) {
                sum = std::array::from_fn(|c| sum[c] + alpha * self.pixels[i][c]);
                weight += alpha;
            }
        }
        sum.map(|s| s / f32::max(weight, 1.0))
    }

    /// Paints a mask with the colours that `color` gives at the pixels' centres.
    pub(super) fn paint(&mut self, mask: &Mask, color: impl Fn(P) -> Color) {
        for ((x, y), &alpha) in mask.pixels().zip(&mask.coverage) {
            if alpha > 0.0 {
                self.cover(x, y, color([x as f32 + 0.5, y as f32 + 0.5]), alpha);
            }
        }
    }

    /// Scatters thin strokes and specks in shades of `color`: `density` of 1 is one per 1000 pixels.
    pub(super) fn clutter(&mut self, rng: &mut Rng, color: Color, density: f32) {
        let strokes = (density * self.pixels.len() as f32 / 1000.0).round() as u32;
        for _ in 0..strokes {
            let from = [
                rng.uniform(0.0, self.width as f32),
                rng.uniform(0.0, self.height as f32),
            ];
            // Squared: specks are many, long strokes few.
            let length = 50.0 * rng.unit().powi(2);
            let (sin, cos) = rng.uniform(0.0, std::f32::consts::TAU).sin_cos();
            let half_width = rng.uniform(0.4, 1.2);
            let shade = jitter(rng, color, 0.35);
            self.stroke(from, [length * cos, length * sin], half_width, shade);
        }
    }

    /// A line with round ends, from `from` along `run`.
    fn stroke(&mut self, from: P, run: P, half_width: f32, color: Color) {
        let range = |c: usize| {
            let (a, b) = (from[c].min(from[c] + run[c]), from[c].max(from[c] + run[c]));
            (a - 2.0).floor() as i32..=(b + 2.0).ceil() as i32
        };
        for y in range(1) {
            for x in range(0) {
                let distance = segment_distance([x as f32 + 0.5, y as f32 + 0.5], from, run);
                let alpha = (half_width + 0.5 - distance).clamp(0.0, 1.0);
                self.cover(x, y, color, alpha);
            }
        }
    }

    /// The image under uneven light of random strength, with sensor noise.
    pub(super) fn expose(self, rng: &mut Rng) -> RgbImage {
        let gain = rng.uniform(0.7, 1.2);
        let slope = [rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)];
        let noise = rng.uniform(0.0, 0.05);
        let mut image = RgbImage::new(self.width, self.height);
        for ((x, y, pixel), color) in image.enumerate_pixels_mut().zip(self.pixels) {
            let across = x as f32 / self.width as f32 - 0.5;
            let down = y as f32 / self.height as f32 - 0.5;
            let light = gain * (1.0 + slope[0] * across + slope[1] * down);
            let byte = |c: f32| (c * light + noise * (rng.unit() - 0.5)) * 255.0 + 0.5;
            // The cast saturates, so nothing wraps around.
            *pixel = Rgb(color.map(byte).map(|c| c as u8));
        }
        image
    }
}

/// The distance of `p` to the segment from `from` along `run`.
fn segment_distance(p: P, from: P, run: P) -> f32 {
    let d = [p[0] - from[0], p[1] - from[1]];
    let squared = (run[0] * run[0] + run[1] * run[1]).max(f32::MIN_POSITIVE);
    let t = ((d[0] * run[0] + d[1] * run[1]) / squared).clamp(0.0, 1.0);
    (d[0] - t * run[0]).hypot(d[1] - t * run[1])
}

#[cfg(test)]
mod tests {
    use super::super::raster::Placement;
    use super::super::shapes::Shape;
    use super::*;

    /// An isolated object's box is the extent of the pixels it changed.
    #[test]
    fn boxes_are_tight() {
        let mut rng = Rng::from_key(&[21, 0, 0]);
        for shape in Shape::ALL.into_iter().cycle().take(80) {
            let placement = Placement {
                shape,
                center: [rng.uniform(0.0, 90.0), rng.uniform(0.0, 70.0)],
                radius: rng.uniform(4.0, 40.0),
                angle: rng.uniform(0.0, 6.3),
                squash: rng.uniform(0.7, 1.0),
            };
            let mask = Mask::new(placement, 90, 70);
            let mut canvas = Canvas::new(90, 70, |_| [0.0; 3]);
            canvas.paint(&mask, |_| [1.0; 3]);
            let changed = (0..90 * 70).filter(|&i| canvas.pixels[i] != [0.0; 3]);
            let (xs, ys): (Vec<_>, Vec<_>) = changed.map(|i| (i % 90, i / 90)).unzip();
            let extent = |v: &[usize]| {
                let low = v.iter().min().expect("something changed");
                let high = v.iter().max().expect("something changed");
                (*low as f32, *high as f32 + 1.0)
            };
            let ((x1, x2), (y1, y2)) = (extent(&xs), extent(&ys));
            let bbox = mask.bbox.expect("its centre is inside the image");
            let edges = [(bbox.x1, x1), (bbox.y1, y1), (x2, bbox.x2), (y2, bbox.y2)];
            for (inner, outer) in edges {
                assert!(
                    (0.0..1.0).contains(&(inner - outer)),
                    "{placement:?}: {bbox:?}"
                );
            }
        }
    }

    #[test]
    fn light_and_noise_keep_a_grey_canvas_near_grey() {
        let canvas = Canvas::new(64, 64, |_| [0.5; 3]);
        let image = canvas.expose(&mut Rng::from_key(&[1, 0, 0]));
        assert!(
            image
                .pixels()
                .all(|p| p.0.iter().all(|&v| (65..=190).contains(&v)))
        );
    }
}
