//! Output sizes and resampling. Sizes are pixels; `short` and `long` limit the output's sides.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use fcos_core::{Size, serde_names};
use image::RgbImage;
use serde::{Deserialize, Serialize};

serde_names!(ResizeRule, ResizeFilter);

/// How the output's sides are rounded. All rules bring the short side to `short` unless the long
/// one would exceed `long`, and keep the aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResizeRule {
    /// Official FCOS and ATSS (maskrcnn-benchmark): the short side, where the limit lowers it, is
    /// rounded (half to even), and the long side that follows from it is truncated.
    Official,
    /// detectron2, hence AdelaiDet: both sides `⌊x + ½⌋`.
    Detectron2,
    /// torchvision: both sides `⌊x⌋`, of one scale `min(short / short side, long / long side)`.
    Torchvision,
    /// mmdetection: both sides `⌊x + ½⌋`, of torchvision's scale.
    MmdetRound,
}

impl ResizeRule {
    /// The size that an image is resized to: at least 1×1, and 0×0 for an image without pixels.
    pub fn output_size(self, image: Size, short: usize, long: usize) -> Size {
        if image.width == 0 || image.height == 0 {
            return Size {
                width: 0,
                height: 0,
            };
        }
        let sides = [image.width as f64, image.height as f64];
        let limits = (short as f64, long as f64);
        let [width, height] = match self {
            Self::Official => official(sides, limits),
            Self::Detectron2 => detectron2(sides, limits).map(half_up),
            Self::Torchvision => fit(sides, limits).map(f64::floor),
            Self::MmdetRound => fit(sides, limits).map(half_up),
        };
        Size {
            width: (width as usize).max(1),
            height: (height as usize).max(1),
        }
    }
}

fn half_up(side: f64) -> f64 {
    (side + 0.5).floor()
}

fn official([width, height]: [f64; 2], (short, long): (f64, f64)) -> [f64; 2] {
    let (min, max) = (width.min(height), width.max(height));
    let exceeds = max / min * short > long;
    let short = if exceeds {
        (long * min / max).round_ties_even()
    } else {
        short
    };
    if min == short {
        [width, height]
    } else if width < height {
        [short, (short * height / width).trunc()]
    } else {
        [(short * width / height).trunc(), short]
    }
}

/// The steps are detectron2's: another order of the products would round to other sizes.
fn detectron2([width, height]: [f64; 2], (short, long): (f64, f64)) -> [f64; 2] {
    let scale = short / width.min(height);
    let sides = if height < width {
        [scale * width, short]
    } else {
        [short, scale * height]
    };
    let longest = sides[0].max(sides[1]);
    let scale = if longest > long { long / longest } else { 1.0 };
    sides.map(|side| side * scale)
}

fn fit(sides: [f64; 2], (short, long): (f64, f64)) -> [f64; 2] {
    let (min, max) = (sides[0].min(sides[1]), sides[0].max(sides[1]));
    let scale = (short / min).min(long / max);
    sides.map(|side| side * scale)
}

/// How pixels in between are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResizeFilter {
    /// Pillow's bilinear on bytes (official FCOS, ATSS, detectron2): antialiased, the triangle
    /// widens when the image shrinks. Within 1/255 of Pillow.
    Bilinear,
    /// torchvision's: `F.interpolate` of the normalised floats, two neighbours per axis however much
    /// the image shrinks.
    BilinearNoAntialias,
    /// OpenCV's `INTER_LINEAR` on bytes (mmdetection): the same neighbours in fixed-point
    /// arithmetic.
    BilinearOpenCv,
}

/// Pillow's antialiased bilinear resampling.
pub(crate) fn resize_antialiased(image: &RgbImage, size: Size) -> RgbImage {
    let (width, height) = image.dimensions();
    // Typed images: the untyped ones would compile the resampling of every pixel format.
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, rgb_bytes(image))
        .expect("an RgbImage holds three bytes per pixel");
    let mut resized = TypedImage::<U8x3>::new(size.width as u32, size.height as u32);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize_typed(&source, &mut resized, &options)
        .expect("nothing is cropped");
    let bytes = resized.pixels().iter().flat_map(|pixel| pixel.0).collect();
    rgb_image(size, bytes)
}

/// OpenCV's bilinear resampling in the fixed-point arithmetic of its vector code: weights have 11
/// bits; a row's sum loses 4, its product with the row's weight 16, and the last 2 are rounded.
pub(crate) fn resize_opencv(image: &RgbImage, size: Size) -> RgbImage {
    let across = opencv_rows(image, size.width);
    let row = |y: usize| &across[y * size.width * 3..][..size.width * 3];
    let mut out = Vec::with_capacity(size.width * size.height * 3);
    for y in opencv_taps(image.height() as usize, size.height).map(FixedTap::from) {
        let [w0, w1] = y.weights;
        let down = |(a, b): (&i32, &i32)| (((a * w0) >> 16) + ((b * w1) >> 16) + 2) >> 2;
        let pairs = row(y.first).iter().zip(row(y.second));
        out.extend(pairs.map(|pair| down(pair).clamp(0, 255) as u8));
    }
    rgb_image(size, out)
}

/// Every row at the output's width, in units of 2⁻⁷: `[image height, width, 3]`.
fn opencv_rows(image: &RgbImage, width: usize) -> Vec<i32> {
    // Unlike rows, columns beyond the border take the border's pixel unweighted.
    let at_border = |tap: Tap| {
        if tap.first == tap.second {
            0.0
        } else {
            tap.weight
        }
    };
    let columns: Vec<FixedTap> = opencv_taps(image.width() as usize, width)
        .map(|tap| {
            FixedTap::from(Tap {
                weight: at_border(tap),
                ..tap
            })
        })
        .collect();
    let mut across = Vec::with_capacity(image.height() as usize * width * 3);
    for row in rgb_bytes(image).chunks_exact(image.width() as usize * 3) {
        let pixels = columns.iter().map(|x| x.blend(row));
        pixels.for_each(|rgb| across.extend_from_slice(&rgb));
    }
    across
}

/// A [`Tap`] with weights in units of 2⁻¹¹.
struct FixedTap {
    first: usize,
    second: usize,
    weights: [i32; 2],
}

impl FixedTap {
    /// The blended RGB pixel in units of 2⁻⁷.
    fn blend(&self, row: &[u8]) -> [i32; 3] {
        let (first, second) = (&row[self.first * 3..][..3], &row[self.second * 3..][..3]);
        let [w0, w1] = self.weights;
        std::array::from_fn(|c| (i32::from(first[c]) * w0 + i32::from(second[c]) * w1) >> 4)
    }
}

impl From<Tap> for FixedTap {
    fn from(tap: Tap) -> Self {
        let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i32;
        Self {
            first: tap.first,
            second: tap.second,
            weights: [fixed(1.0 - tap.weight), fixed(tap.weight)],
        }
    }
}

/// The bytes of an image's pixels: its container may hold more.
pub(crate) fn rgb_bytes(image: &RgbImage) -> &[u8] {
    &image.as_raw()[..image.width() as usize * image.height() as usize * 3]
}

fn rgb_image(size: Size, bytes: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(size.width as u32, size.height as u32, bytes)
        .expect("three bytes per pixel were written")
}

/// The two neighbours along one axis that make up an output pixel:
/// `source[first]·(1 − weight) + source[second]·weight`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tap {
    pub first: usize,
    pub second: usize,
    pub weight: f32,
}

/// The taps at these positions, in units of source pixels with pixel centres at whole numbers.
/// Beyond the outermost centres both neighbours are the border's pixel.
fn taps(source: usize, positions: impl Iterator<Item = f32>) -> impl Iterator<Item = Tap> {
    let last = source.saturating_sub(1);
    positions.map(move |position| {
        let floor = position.floor();
        let clamp = |index: f32| (index.max(0.0) as usize).min(last);
        Tap {
            first: clamp(floor),
            second: clamp(floor + 1.0),
            weight: position - floor,
        }
    })
}

/// `F.interpolate`'s taps for `align_corners=False`, computed in `f32` throughout as there: at
/// position 1000, one rounding more or less moves the weight by 6e-5.
pub(crate) fn torch_taps(source: usize, output: usize) -> impl Iterator<Item = Tap> {
    let scale = source as f32 / output as f32;
    taps(
        source,
        (0..output).map(move |i| scale * (i as f32 + 0.5) - 0.5),
    )
}

/// OpenCV's taps: the same positions, computed in `f64`.
fn opencv_taps(source: usize, output: usize) -> impl Iterator<Item = Tap> {
    let scale = 1.0 / (output as f64 / source as f64);
    taps(
        source,
        (0..output).map(move |i| ((i as f64 + 0.5) * scale - 0.5) as f32),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{self, number};

    #[test]
    fn sizes_are_those_of_each_implementation() {
        let goldens = golden::cases();
        let rules: Vec<ResizeRule> =
            serde_json::from_value(goldens["rules"].clone()).expect("known rules");
        let rows = goldens["sizes"].as_array().expect("rows");
        assert!(rows.len() > 1000);
        for row in rows {
            let image = Size {
                width: number(&row[0]),
                height: number(&row[1]),
            };
            for (rule, expected) in rules.iter().zip(row[4].as_array().expect("sizes")) {
                let size = rule.output_size(image, number(&row[2]), number(&row[3]));
                let expected = (number(&expected[0]), number(&expected[1]));
                assert_eq!((size.width, size.height), expected, "{rule:?} {row}");
            }
        }
    }

    #[test]
    fn names_are_those_in_files() {
        assert_eq!(ResizeRule::MmdetRound.to_string(), "mmdet_round");
        assert_eq!("bilinear".parse(), Ok(ResizeFilter::Bilinear));
        assert!("nearest".parse::<ResizeFilter>().is_err());
    }

    #[test]
    fn no_size_is_zero_but_that_of_nothing() {
        use ResizeRule::{Detectron2, MmdetRound, Official, Torchvision};
        for rule in [Official, Detectron2, Torchvision, MmdetRound] {
            let sliver = rule.output_size(
                Size {
                    width: 1,
                    height: 10_000,
                },
                800,
                1333,
            );
            assert_eq!(
                sliver,
                Size {
                    width: 1,
                    height: sliver.height.clamp(1, 1333)
                },
                "{rule:?}"
            );
            let nothing = Size {
                width: 0,
                height: 9,
            };
            assert_eq!(
                rule.output_size(nothing, 8, 9),
                Size {
                    width: 0,
                    height: 0
                }
            );
        }
    }

    #[test]
    fn taps_meet_at_the_borders() {
        let taps: Vec<Tap> = torch_taps(2, 4).collect();
        let neighbours: Vec<_> = taps.iter().map(|t| (t.first, t.second)).collect();
        assert_eq!(neighbours, [(0, 0), (0, 1), (0, 1), (1, 1)]);
        assert_eq!((taps[1].weight, taps[2].weight), (0.25, 0.75));
    }
}
