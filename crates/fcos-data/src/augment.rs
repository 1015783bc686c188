//! Random changes to a training image and its boxes together.
//!
//! What is drawn is a pure function of a seed, a step (an iteration or an epoch) and the image's
//! index; drawing and applying are apart, so that a draw can be logged, or replaced by hand.

use fcos_core::{BBox, Rng, SettingError};
use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::preprocess::MAX_SIDE;

/// Keeps these streams apart from others of the same seed.
const STREAM: u64 = u64::from_be_bytes(*b"augment.");

/// What may be done to a training image. The default is the paper's: horizontal flips only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Probability of mirroring left to right.
    pub horizontal_flip: f32,
    /// Short sides that the image is resized to (scale jitter).
    pub short_sides: ShortSides,
    /// Changes of brightness, contrast and saturation; off by default, as in all public FCOS.
    pub color_jitter: ColorJitter,
}

/// The short sides to choose from, each as likely as the others, instead of the preprocessing's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShortSides {
    /// The preprocessing's own.
    #[default]
    Fixed,
    /// One of these; an empty list means the preprocessing's own. AdelaiDet: 640, 672, … 800; mmdetection: 640
    /// and 800.
    List(Vec<usize>),
    /// Any whole number from `min` to `max`, both included. Official FCOS: 640 to 800.
    Range {
        /// The smallest.
        min: usize,
        /// The greatest.
        max: usize,
    },
}

/// By how much each property may be changed: its factor is uniform in `[1 − d, 1 + d]`, at least 0,
/// as in torchvision's `ColorJitter`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Of the brightness.
    pub brightness: f32,
    /// Of the contrast.
    pub contrast: f32,
    /// Of the saturation.
    pub saturation: f32,
}

/// What was drawn for one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Whether to mirror left to right.
    pub flip: bool,
    /// The short side to resize to, for
    /// [`PreprocessConfig::with_short_side`](crate::PreprocessConfig::with_short_side); `None` for
    /// the preprocessing's own.
    pub short_side: Option<usize>,
    /// The changes of colour.
    pub color: ColorFactors,
}

/// Factors on an image's properties; 1 changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorFactors {
    /// On every value.
    pub brightness: f32,
    /// On the distance of every value from the image's mean grey.
    pub contrast: f32,
    /// On the distance of every value from its pixel's grey.
    pub saturation: f32,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            horizontal_flip: 0.5,
            short_sides: ShortSides::default(),
            color_jitter: ColorJitter::default(),
        }
    }
}

impl AugmentConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        let flip = self.horizontal_flip;
        SettingError::check(
            (0.0..=1.0).contains(&flip),
            "horizontal_flip",
            flip,
            "in [0, 1]",
        )?;
        self.short_sides.validate()?;
        let jitter = self.color_jitter.validate();
        jitter.map_err(|error| error.within("color_jitter"))
    }

    /// Draws for the image of this index. `step` is the iteration or the epoch, whichever the
    /// caller counts.
    pub fn draw(&self, seed: u64, step: u64, image: usize) -> Augmentation {
        let mut rng = Rng::from_key(&[STREAM, seed, step, image as u64]);
        Augmentation {
            flip: rng.chance(self.horizontal_flip),
            short_side: self.short_sides.draw(&mut rng),
            color: self.color_jitter.draw(&mut rng),
        }
    }
}

impl ShortSides {
    fn validate(&self) -> Result<(), SettingError> {
        let valid = |side: &usize| (1..=MAX_SIDE).contains(side);
        let ok = match self {
            Self::Fixed => true,
            Self::List(sides) => sides.iter().all(valid),
            Self::Range { min, max } => valid(min) && valid(max) && min <= max,
        };
        let expected = format!("in 1..={MAX_SIDE}, and a range's min no greater than its max");
        SettingError::check(ok, "short_sides", format_args!("{self:?}"), expected)
    }

    fn draw(&self, rng: &mut Rng) -> Option<usize> {
        match self {
            Self::Fixed => None,
            Self::List(sides) => sides.get(rng.below(sides.len())).copied(),
            Self::Range { min, max } => Some(min + rng.below((max + 1).saturating_sub(*min))),
        }
    }
}

impl ColorJitter {
    fn validate(self) -> Result<(), SettingError> {
        let parts = [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ];
        parts.into_iter().try_for_each(|(name, by)| {
            let ok = by.is_finite() && by >= 0.0;
            SettingError::check(ok, name, by, "at least 0 and finite")
        })
    }

    fn draw(self, rng: &mut Rng) -> ColorFactors {
        let mut factor = |by: f32| rng.uniform(1.0 - by, 1.0 + by).max(0.0);
        ColorFactors {
            brightness: factor(self.brightness),
            contrast: factor(self.contrast),
            saturation: factor(self.saturation),
        }
    }
}

impl Augmentation {
    /// No change.
    pub const IDENTITY: Self = Self {
        flip: false,
        short_side: None,
        color: ColorFactors::IDENTITY,
    };

    /// Changes the image and, with it, the boxes, which are in pixels of this image. The short side
    /// is left to the preprocessing.
    pub fn apply(&self, image: &mut RgbImage, boxes: &mut [BBox]) {
        if self.flip {
            imageops::flip_horizontal_in_place(image);
            let width = image.width() as f32;
            boxes.iter_mut().for_each(|b| *b = b.flip_horizontal(width));
        }
        if self.color != ColorFactors::IDENTITY {
            self.color.apply(image);
        }
    }
}

impl ColorFactors {
    /// No change.
    pub const IDENTITY: Self = Self {
        brightness: 1.0,
        contrast: 1.0,
        saturation: 1.0,
    };

    /// Brightness, contrast, saturation, in this order; rounded and cut to a byte once at the end.
    fn apply(self, image: &mut RgbImage) {
        let total: f64 = image
            .pixels()
            .map(|p| f64::from(gray(p.0.map(f32::from))))
            .sum();
        let pixels = (image.width() as f64 * image.height() as f64).max(1.0);
        let mean = (total / pixels) as f32 * self.brightness;
        let gain = self.brightness * self.contrast;
        let offset = mean * (1.0 - self.contrast);
        for Rgb(pixel) in image.pixels_mut() {
            let changed = pixel.map(|v| f32::from(v) * gain + offset);
            let rest = gray(changed) * (1.0 - self.saturation);
            *pixel = changed.map(|v| (v * self.saturation + rest).round() as u8);
        }
    }
}

/// Luma of ITU-R BT.601.
fn gray([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]))
    }

    #[test]
    fn flips_move_pixels_and_boxes_alike() {
        let mut image = numbered(10, 4);
        let mut boxes = [BBox::new(1.0, 2.0, 3.0, 4.0)];
        let flip = Augmentation {
            flip: true,
            ..Augmentation::IDENTITY
        };
        flip.apply(&mut image, &mut boxes);
        assert_eq!(boxes, [BBox::new(7.0, 2.0, 9.0, 4.0)]);
        // The box covered columns 1 and 2; so it does now.
        assert_eq!(
            (image.get_pixel(7, 2).0[0], image.get_pixel(8, 2).0[0]),
            (2, 1)
        );
        flip.apply(&mut image, &mut boxes);
        assert_eq!(
            (image, boxes),
            (numbered(10, 4), [BBox::new(1.0, 2.0, 3.0, 4.0)])
        );
    }

    #[test]
    fn the_identity_changes_nothing() {
        let mut image = numbered(3, 2);
        Augmentation::IDENTITY.apply(&mut image, &mut []);
        assert_eq!(image, numbered(3, 2));
        let off = AugmentConfig {
            horizontal_flip: 0.0,
            ..Default::default()
        };
        assert!((0..200).all(|i| off.draw(1, 2, i) == Augmentation::IDENTITY));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let good = AugmentConfig {
            horizontal_flip: 1.0,
            short_sides: ShortSides::Range { min: 640, max: 640 },
            ..Default::default()
        };
        assert_eq!(good.validate(), Ok(()));
        type Break = fn(&mut AugmentConfig);
        let broken: [(Break, &str); 8] = [
            (|c| c.horizontal_flip = 7.0, "horizontal_flip"),
            (|c| c.horizontal_flip = f32::NAN, "horizontal_flip"),
            (
                |c| c.short_sides = ShortSides::Range { min: 800, max: 640 },
                "short_sides",
            ),
            (
                |c| c.short_sides = ShortSides::List(vec![640, 0]),
                "short_sides",
            ),
            (
                |c| c.short_sides = ShortSides::List(vec![20_000]),
                "short_sides",
            ),
            (|c| c.color_jitter.brightness = -0.1, "brightness"),
            (|c| c.color_jitter.contrast = f32::INFINITY, "contrast"),
            (|c| c.color_jitter.saturation = f32::NAN, "saturation"),
        ];
        for (break_it, name) in broken {
            let mut config = good.clone();
            break_it(&mut config);
            let error = config.validate().expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn draws_depend_on_seed_step_and_image_alone() {
        let config = AugmentConfig {
            short_sides: ShortSides::Range {
                min: 0,
                max: 1 << 40,
            },
            ..Default::default()
        };
        let draw = |seed, step, image| config.draw(seed, step, image).short_side;
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 3, 2)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn short_sides_cover_their_choices_evenly() {
        let count = |sides: &ShortSides, side| {
            let config = AugmentConfig {
                short_sides: sides.clone(),
                ..Default::default()
            };
            (0..9000)
                .filter(|&i| config.draw(5, 0, i).short_side == Some(side))
                .count()
        };
        let range = ShortSides::Range { min: 640, max: 642 };
        let list = ShortSides::List(vec![640, 672, 704]);
        for (sides, choices) in [(range, [640, 641, 642]), (list, [640, 672, 704])] {
            let counts = choices.map(|side| count(&sides, side));
            assert_eq!(counts.iter().sum::<usize>(), 9000);
            assert!(
                counts.iter().all(|n| (2800..3200).contains(n)),
                "{counts:?}"
            );
        }
        let mut rng = Rng::from_key(&[]);
        assert_eq!(ShortSides::List(vec![]).draw(&mut rng), None);
        assert_eq!(ShortSides::Range { min: 9, max: 3 }.draw(&mut rng), Some(9));
    }

    #[test]
    fn color_factors_do_what_they_say() {
        let change = |factors: ColorFactors| {
            let mut image =
                RgbImage::from_raw(2, 1, vec![100, 50, 0, 200, 200, 200]).expect("fits");
            factors.apply(&mut image);
            image.into_raw()
        };
        let one = ColorFactors::IDENTITY;
        assert_eq!(
            change(ColorFactors {
                brightness: 2.0,
                ..one
            }),
            [200, 100, 0, 255, 255, 255]
        );
        // Grey of the first pixel: 59.25; mean of both: 129.625.
        assert_eq!(
            change(ColorFactors {
                contrast: 0.0,
                ..one
            }),
            [130; 6]
        );
        assert_eq!(
            change(ColorFactors {
                saturation: 0.0,
                ..one
            }),
            [59, 59, 59, 200, 200, 200]
        );
        assert_eq!(
            change(ColorFactors {
                saturation: 0.5,
                ..one
            }),
            [80, 55, 30, 200, 200, 200]
        );
        assert_eq!(change(one), [100, 50, 0, 200, 200, 200]);
    }

    #[test]
    fn factors_stay_in_their_interval() {
        let jitter = ColorJitter {
            brightness: 0.2,
            contrast: 0.0,
            saturation: 1.5,
        };
        let config = AugmentConfig {
            color_jitter: jitter,
            ..Default::default()
        };
        for image in 0..2000 {
            let color = config.draw(0, 0, image).color;
            assert!((0.8..1.2).contains(&color.brightness) && color.contrast == 1.0);
            assert!((0.0..2.5).contains(&color.saturation));
        }
    }
}
