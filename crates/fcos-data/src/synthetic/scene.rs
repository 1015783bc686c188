//! One image of the data set: what is where, in which order, and the painting of it.

use fcos_core::BBox;
use image::RgbImage;

use super::SyntheticConfig;
use super::canvas::Canvas;
use super::raster::{Mask, Placement};
use super::shapes::Shape;
use super::texture::{Color, Texture, contrast, hued_color, jitter, random_color};
use fcos_core::Rng;

/// How often a place is drawn for an object before it is left out.
const ATTEMPTS: usize = 12;

/// An annotated object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Object {
    /// Index into [`Shape::ALL`].
    pub(super) label: usize,
    /// Tight box of the part inside the image, parts hidden by other objects included.
    pub(super) bbox: BBox,
}

/// An image and its objects, from the lowest to the topmost.
pub(super) struct Scene {
    pub(super) image: RgbImage,
    pub(super) objects: Vec<Object>,
}

/// An object on the canvas and what still shows of it.
struct Layer {
    object: Object,
    mask: Mask,
    /// Area of the whole shape, beyond the image too, in pixels.
    area: f32,
    /// The mask's coverage, less what the image's border and later objects hide.
    visible: Vec<f32>,
}

impl Scene {
    /// Draws and paints a scene; `rng` decides everything.
    pub(super) fn generate(config: &SyntheticConfig, rng: &mut Rng) -> Self {
        let width = int_within(rng, config.width);
        let height = int_within(rng, config.height);
        let mut canvas = background(config, rng, width, height);
        let mut layers = Vec::new();
        for _ in 0..object_count(config, rng) {
            place(config, rng, &mut canvas, &mut layers);
        }
        let objects = layers.into_iter().map(|layer| layer.object).collect();
        Self {
            image: canvas.expose(rng),
            objects,
        }
    }
}

/// Uniform over the integers of a range, both ends included.
fn int_within(rng: &mut Rng, [low, high]: [u32; 2]) -> u32 {
    low + rng.below((high - low) as usize + 1) as u32
}

fn object_count(config: &SyntheticConfig, rng: &mut Rng) -> u32 {
    if rng.chance(config.empty_fraction) {
        0
    } else {
        int_within(rng, config.objects)
    }
}

fn background(config: &SyntheticConfig, rng: &mut Rng, width: u32, height: u32) -> Canvas {
    let color = random_color(rng, [0.1, 0.9]);
    // Weaker contrast than objects have against it: outlines stay readable on any pattern.
    let colors = [color, jitter(rng, color, 0.15)];
    let side = width.max(height) as f32;
    let texture = Texture::random(rng, colors, [side / 16.0, side / 2.0]);
    let mut canvas = Canvas::new(width, height, |p| texture.color(p));
    canvas.clutter(rng, color, config.clutter);
    canvas
}

/// Puts one object on top of the others, where it leaves enough of each of them to see.
fn place(config: &SyntheticConfig, rng: &mut Rng, canvas: &mut Canvas, layers: &mut Vec<Layer>) {
    let label = rng.below(Shape::ALL.len());
    let size = draw_size(config, rng, canvas.width.min(canvas.height) as f32);
    for _ in 0..ATTEMPTS {
        let placement = draw_placement(config, rng, Shape::ALL[label], size, canvas);
        let mask = Mask::new(placement, canvas.width, canvas.height);
        let Some(layer) = Layer::new(label, mask, canvas) else {
            continue;
        };
        let fits = layers
            .iter()
            .all(|below| below.fraction_under(&layer.mask) >= config.min_visible);
        if fits && layer.fraction() >= config.min_visible {
            paint(config, rng, canvas, placement, &layer.mask);
            layers
                .iter_mut()
                .for_each(|below| below.hide_under(&layer.mask));
            layers.push(layer);
            return;
        }
    }
}

/// The diameter of the circle around an object, in pixels.
///
/// Log-uniform, but thinned out towards the smallest: those are the hardest to tell apart.
fn draw_size(config: &SyntheticConfig, rng: &mut Rng, short_side: f32) -> f32 {
    const THINNING: f32 = 0.45;
    let largest = (config.max_object_fraction * short_side).max(config.min_object_size);
    let octaves = (largest / config.min_object_size).log2();
    config.min_object_size * (octaves * rng.unit().powf(THINNING)).exp2()
}

fn draw_placement(
    config: &SyntheticConfig,
    rng: &mut Rng,
    shape: Shape,
    size: f32,
    canvas: &Canvas,
) -> Placement {
    let rotation = config.max_rotation.to_radians();
    // At most 15 % of the diameter beyond a border.
    let mut along = |side: u32| {
        let inset = (0.35 * size).min(side as f32 / 2.0);
        rng.uniform(inset, side as f32 - inset)
    };
    let center = [along(canvas.width), along(canvas.height)];
    Placement {
        shape,
        center,
        radius: size / 2.0,
        angle: rng.uniform(-rotation, rotation),
        squash: rng.uniform(0.75, 1.0),
    }
}

fn paint(
    config: &SyntheticConfig,
    rng: &mut Rng,
    canvas: &mut Canvas,
    placement: Placement,
    mask: &Mask,
) {
    let hue = placement.shape.hue() + rng.uniform(-config.hue_spread, config.hue_spread);
    let colors = object_colors(rng, hue, canvas.mean_under(mask));
    let radius = placement.radius;
    let texture = Texture::random(rng, colors, [(0.3 * radius).max(3.0), radius.max(4.0)]);
    canvas.paint(mask, |p| {
        texture.color(placement.to_shape(p).map(|v| v * radius))
    });
}

/// Two shades of one hue (degrees) that stand out from what is under the object: each the best of a
/// few.
fn object_colors(rng: &mut Rng, hue: f32, under: Color) -> [Color; 2] {
    [(); 2].map(|()| {
        let candidates = [(); 3].map(|()| hued_color(rng, hue));
        let better = |a: Color, b: Color| {
            if contrast(b, under) > contrast(a, under) {
                b
            } else {
                a
            }
        };
        candidates.into_iter().fold(under, better)
    })
}

impl Layer {
    /// A layer nothing lies over yet; `None` if it's outside the image altogether.
    fn new(label: usize, mask: Mask, canvas: &Canvas) -> Option<Self> {
        let bbox = mask.bbox?;
        let in_image = |(x, y): (i32, i32)| {
            x >= 0 && y >= 0 && x < canvas.width as i32 && y < canvas.height as i32
        };
        let visible = mask.pixels().zip(&mask.coverage);
        let visible = visible
            .map(|(p, &alpha)| if in_image(p) { alpha } else { 0.0 })
            .collect();
        let object = Object { label, bbox };
        Some(Self {
            object,
            area: mask.area(),
            mask,
            visible,
        })
    }

    /// The share of the whole shape that shows.
    fn fraction(&self) -> f32 {
        self.visible.iter().sum::<f32>() / self.area
    }

    /// The share of the whole shape that would show under `above`.
    fn fraction_under(&self, above: &Mask) -> f32 {
        let pixels = self.mask.pixels().zip(&self.visible);
        pixels
            .map(|((x, y), v)| v * (1.0 - above.at(x, y)))
            .sum::<f32>()
            / self.area
    }

    fn hide_under(&mut self, above: &Mask) {
        for ((x, y), v) in self.mask.pixels().zip(&mut self.visible) {
            *v *= 1.0 - above.at(x, y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(config: &SyntheticConfig, n: u64) -> impl Iterator<Item = Scene> {
        (0..n).map(|i| Scene::generate(config, &mut Rng::from_key(&[config.seed, 0, i])))
    }

    #[test]
    fn sizes_and_counts_follow_the_config() {
        let config = SyntheticConfig {
            width: [90, 100],
            height: [70, 80],
            objects: [2, 3],
            empty_fraction: 0.0,
            min_object_size: 12.0,
            max_object_fraction: 0.5,
            ..SyntheticConfig::default()
        };
        for scene in scenes(&config, 60) {
            let (width, height) = scene.image.dimensions();
            assert!((90..=100).contains(&width) && (70..=80).contains(&height));
            assert!((1..=3).contains(&scene.objects.len()));
            for Object { bbox, .. } in scene.objects {
                let longer = bbox.width().max(bbox.height());
                assert!((6.0..=40.25).contains(&longer), "{bbox:?}");
            }
        }
    }

    #[test]
    fn no_object_is_hidden_beyond_the_limit() {
        let config = SyntheticConfig {
            objects: [8, 8],
            empty_fraction: 0.0,
            min_visible: 0.6,
            ..SyntheticConfig::default()
        };
        let mut rng = Rng::from_key(&[5, 0, 0]);
        let mut overlaps = 0;
        for _ in 0..20 {
            let mut canvas = Canvas::new(160, 120, |_| [0.5; 3]);
            let mut layers = Vec::new();
            (0..8).for_each(|_| place(&config, &mut rng, &mut canvas, &mut layers));
            for (i, layer) in layers.iter().enumerate() {
                let above = &layers[i + 1..];
                let shows = |(x, y): (i32, i32)| {
                    let inside = (0..160).contains(&x) && (0..120).contains(&y);
                    let through: f32 = above.iter().map(|a| 1.0 - a.mask.at(x, y)).product();
                    if inside {
                        layer.mask.at(x, y) * through
                    } else {
                        0.0
                    }
                };
                let fraction = layer.mask.pixels().map(shows).sum::<f32>() / layer.mask.area();
                assert!(
                    fraction >= 0.6 - 1e-4,
                    "{:?} shows {fraction}",
                    layer.object
                );
                overlaps += usize::from(fraction < 0.9);
            }
        }
        assert!(overlaps > 20, "only {overlaps} objects partly hidden");
    }
}
