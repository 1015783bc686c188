//! From a decoded image to the network's input.
//!
//! Naming: B images, H and W pixels of the (padded) input, S pixels of one channel.

use fcos_core::{Scale, SettingError, Size, serde_names};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::normalize::ByteTables;
use crate::resize::{ResizeFilter, ResizeRule, resize_antialiased, resize_opencv};

serde_names!(ChannelOrder, ValueRange);

/// Order of the channels in the network's input; decoded images are RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red: Caffe's order, that of networks from MSRA's ResNet weights.
    Bgr,
}

/// The values that mean and standard deviation refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRange {
    /// 0 to 1.
    Unit,
    /// 0 to 255.
    Byte,
}

/// How an image becomes the network's input: resized, normalised as `(x − mean) / std`, padded with
/// zeros at the right and at the bottom. It belongs to the weights and is saved with them; a field that
/// a file lacks has its default, so that older files stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessConfig {
    /// How the output's sides are rounded.
    pub resize: ResizeRule,
    /// Length of the short side in pixels, where the long one permits.
    pub short_side: usize,
    /// Greatest length of the long side in pixels.
    pub long_side: usize,
    /// How pixels in between are computed.
    pub filter: ResizeFilter,
    /// Order of the channels.
    pub channels: ChannelOrder,
    /// The values that `mean` and `std` refer to.
    pub range: ValueRange,
    /// Subtracted from each channel; in the order of `channels`.
    pub mean: [f32; 3],
    /// Divides each channel; in the order of `channels`.
    pub std: [f32; 3],
    /// A batch's sides are rounded up to a multiple of this many pixels.
    pub pad_multiple: usize,
}

/// An image ready for a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Normalised pixels, channel by channel and row by row: `[3, size.height, size.width]`,
    /// without padding.
    pub pixels: Vec<f32>,
    /// The resized image's size.
    pub size: Size,
    /// Resized width by original width, and likewise for the heights: boxes go from the original
    /// image to the network's input by [`BBox::scale`](fcos_core::BBox::scale) with these factors.
    pub scale: Scale,
}

/// The images of a batch as one block, padded to the same size.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedBatch {
    /// The values of the tensor, row by row, channel by channel, image by image.
    pub pixels: Vec<f32>,
    /// Its shape, `[B, 3, H, W]`.
    pub shape: [usize; 4],
}

impl PaddedBatch {
    /// Width and height of the padded input.
    pub fn size(&self) -> Size {
        let [_, _, height, width] = self.shape;
        Size { width, height }
    }
}

/// The greatest side that an image may be resized to.
pub(crate) const MAX_SIDE: usize = 16_384;
const MAX_PAD_MULTIPLE: usize = 1024;

const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
const OFFICIAL_MEAN_BGR: [f32; 3] = [102.9801, 115.9465, 122.7717];
const DETECTRON2_MEAN_BGR: [f32; 3] = [103.530, 116.280, 123.675];

impl Default for PreprocessConfig {
    /// [`imagenet_rgb`](Self::imagenet_rgb) at the paper's 800 and 1333 pixels (§4).
    fn default() -> Self {
        Self::imagenet_rgb(800, 1333)
    }
}

impl PreprocessConfig {
    /// RGB from 0 to 1 with ImageNet's mean and standard deviation, antialiased, sides rounded to
    /// the nearest pixel: for backbones with torchvision's ImageNet weights.
    pub fn imagenet_rgb(short_side: usize, long_side: usize) -> Self {
        Self {
            resize: ResizeRule::Detectron2,
            short_side,
            long_side,
            filter: ResizeFilter::Bilinear,
            channels: ChannelOrder::Rgb,
            range: ValueRange::Unit,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            pad_multiple: 32,
        }
    }

    /// The official FCOS (`fcos_core/config/defaults.py`, `data/transforms`), and ATSS: BGR from 0
    /// to 255, mean of Caffe's ImageNet, no division.
    pub fn official() -> Self {
        Self {
            resize: ResizeRule::Official,
            channels: ChannelOrder::Bgr,
            range: ValueRange::Byte,
            mean: OFFICIAL_MEAN_BGR,
            std: [1.0; 3],
            ..Self::imagenet_rgb(800, 1333)
        }
    }

    /// AdelaiDet (detectron2's defaults): as [`official`](Self::official) with a more exact mean and
    /// rounded sides. Its X-101-32x8d models divide by `[57.375, 57.12, 58.395]`.
    pub fn adelaidet() -> Self {
        Self {
            resize: ResizeRule::Detectron2,
            mean: DETECTRON2_MEAN_BGR,
            ..Self::official()
        }
    }

    /// torchvision's `GeneralizedRCNNTransform` as `fcos_resnet50_fpn` configures it.
    pub fn torchvision() -> Self {
        Self {
            resize: ResizeRule::Torchvision,
            filter: ResizeFilter::BilinearNoAntialias,
            ..Self::imagenet_rgb(800, 1333)
        }
    }

    /// mmdetection's Caffe-style FCOS without tricks (`fcos_r50-caffe_fpn_gn-head_1x_coco.py`).
    pub fn mmdet_plain() -> Self {
        Self {
            mean: OFFICIAL_MEAN_BGR,
            ..Self::mmdet_tricks()
        }
    }

    /// mmdetection's Caffe-style FCOS with tricks (`…center-normbbox-centeronreg-giou_1x_coco.py`).
    pub fn mmdet_tricks() -> Self {
        Self {
            resize: ResizeRule::MmdetRound,
            filter: ResizeFilter::BilinearOpenCv,
            ..Self::adelaidet()
        }
    }

    /// mmdetection's configurations with PyTorch-style backbones (`fcos_x101-64x4d_…`,
    /// `fcos_r18_…-lsj-200e`, ATSS): RGB from 0 to 255 with ImageNet's mean and deviation.
    pub fn mmdet_pytorch() -> Self {
        Self {
            channels: ChannelOrder::Rgb,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            ..Self::mmdet_tricks()
        }
    }

    /// The same but for the short side: for multi-scale training.
    #[must_use]
    pub fn with_short_side(self, short_side: usize) -> Self {
        Self { short_side, ..self }
    }

    /// Checks that the lengths and values make sense.
    ///
    /// Whoever reads one from a file checks it (`DetectorConfig::load`, `TrainConfig::load`); who makes
    /// one in code may. The other functions don't: they take a length of 0 for 1, and calculate with
    /// what they find in `mean` and `std`.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        let lengths = [
            ("short_side", self.short_side, MAX_SIDE),
            ("long_side", self.long_side, MAX_SIDE),
            ("pad_multiple", self.pad_multiple, MAX_PAD_MULTIPLE),
        ];
        for (name, found, max) in lengths {
            let expected = format!("in 1..={max} pixels");
            SettingError::check((1..=max).contains(&found), name, found, expected)?;
        }
        for (c, (&mean, &std)) in self.mean.iter().zip(&self.std).enumerate() {
            let name = format_args!("mean[{c}]");
            SettingError::check(mean.is_finite(), name, mean, "finite")?;
            let (ok, name) = (std.is_finite() && std > 0.0, format_args!("std[{c}]"));
            SettingError::check(ok, name, std, "above 0 and finite")?;
        }
        Ok(())
    }

    /// Resizes and normalises an image.
    ///
    /// ```
    /// use fcos_core::{Scale, Size};
    /// use fcos_data::PreprocessConfig;
    ///
    /// let image = image::RgbImage::from_pixel(640, 480, image::Rgb([255, 0, 0]));
    /// let prepared = PreprocessConfig::torchvision().apply(&image);
    /// assert_eq!(prepared.size, Size { width: 1066, height: 800 });
    /// assert_eq!(prepared.scale, Scale { x: 1066.0 / 640.0, y: 800.0 / 480.0 });
    /// assert!((prepared.pixels[0] - (1.0 - 0.485) / 0.229).abs() < 1e-6);
    /// ```
    pub fn apply(&self, image: &RgbImage) -> Prepared {
        let original = Size {
            width: image.width() as usize,
            height: image.height() as usize,
        };
        let size = self
            .resize
            .output_size(original, self.short_side, self.long_side);
        let byte_tables = self.byte_tables();
        // The filters on bytes come before the normalisation, torchvision's after it.
        let pixels = match self.filter {
            _ if size == original => byte_tables.apply(image),
            ResizeFilter::Bilinear => byte_tables.apply(&resize_antialiased(image, size)),
            ResizeFilter::BilinearOpenCv => byte_tables.apply(&resize_opencv(image, size)),
            ResizeFilter::BilinearNoAntialias => byte_tables.apply_resized(image, size),
        };
        let ratio = |to: usize, from: usize| to as f32 / from.max(1) as f32;
        let scale = Scale {
            x: ratio(size.width, original.width),
            y: ratio(size.height, original.height),
        };
        Prepared {
            pixels,
            size,
            scale,
        }
    }

    /// The sides of a batch of these images: the greatest of each, rounded up to the multiple.
    pub fn padded_size(&self, images: &[Prepared]) -> Size {
        let multiple = self.pad_multiple.max(1);
        let round_up = |side: Option<usize>| side.unwrap_or(0).max(1).next_multiple_of(multiple);
        Size {
            width: round_up(images.iter().map(|i| i.size.width).max()),
            height: round_up(images.iter().map(|i| i.size.height).max()),
        }
    }

    /// One tensor of all images, H×W of which is [`padded_size`](Self::padded_size). The padding is
    /// 0, the mean colour.
    pub fn pad_batch(&self, images: &[Prepared]) -> PaddedBatch {
        let Size { width, height } = self.padded_size(images);
        let mut pixels = vec![0.0; images.len() * 3 * height * width];
        let slots = pixels.chunks_exact_mut(3 * height * width);
        for (image, slot) in images.iter().zip(slots) {
            copy_rows(image, slot, width, height);
        }
        let shape = [images.len(), 3, height, width];
        PaddedBatch { pixels, shape }
    }

    fn byte_tables(&self) -> ByteTables {
        let unit = match self.range {
            ValueRange::Unit => 255.0,
            ValueRange::Byte => 1.0,
        };
        let value = |c: usize, byte: usize| (byte as f32 / unit - self.mean[c]) / self.std[c];
        ByteTables {
            tables: std::array::from_fn(|c| std::array::from_fn(|byte| value(c, byte))),
            sources: match self.channels {
                ChannelOrder::Rgb => [0, 1, 2],
                ChannelOrder::Bgr => [2, 1, 0],
            },
        }
    }
}

/// Writes an image into the upper left of a `[3, height, width]` slot.
fn copy_rows(image: &Prepared, slot: &mut [f32], width: usize, height: usize) {
    let (w, h) = (image.size.width, image.size.height);
    if w * h == 0 {
        return;
    }
    let planes = slot.chunks_exact_mut(width * height);
    for (plane, to) in image.pixels.chunks_exact(w * h).zip(planes) {
        for (row, to) in plane.chunks_exact(w).zip(to.chunks_exact_mut(width)) {
            to[..w].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{self, number, text};

    fn preset(name: &str) -> PreprocessConfig {
        match name {
            "official" => PreprocessConfig::official(),
            "adelaidet" => PreprocessConfig::adelaidet(),
            "mmdet_tricks" => PreprocessConfig::mmdet_tricks(),
            "torchvision" => PreprocessConfig::torchvision(),
            other => unreachable!("no preset {other}"),
        }
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .max_by(f32::total_cmp) // NaN is the largest
            .expect("values to compare")
    }

    #[test]
    fn pixels_are_those_of_each_implementation() {
        let goldens = golden::cases();
        let cases = goldens["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), 16);
        for case in cases {
            let (short_side, long_side) = (number(&case["short"]), number(&case["long"]));
            let name = text(&case["preset"]);
            let config = PreprocessConfig {
                short_side,
                long_side,
                ..preset(name)
            };
            let prepared = config.apply(&golden::image(&goldens, &case["image"]));
            let size = Size {
                width: number(&case["width"]),
                height: number(&case["height"]),
            };
            assert_eq!(prepared.size, size, "{case}");
            let worst = largest_difference(&prepared.pixels, &golden::floats(&case["file"]));
            // Pillow's presets are in units of 1/255; OpenCV's arithmetic is followed exactly.
            let tolerance = match name {
                "torchvision" => 1e-5,
                "mmdet_tricks" => 0.0,
                _ => 1.0,
            };
            println!("{}: {worst:e}", text(&case["name"]));
            assert!(worst <= tolerance, "{}: {worst}", text(&case["name"]));
        }
    }

    #[test]
    fn a_padded_batch_is_torchvisions() {
        let goldens = golden::cases();
        let case = &goldens["batch"];
        let config = PreprocessConfig {
            short_side: number(&case["short"]),
            long_side: number(&case["long"]),
            ..PreprocessConfig::torchvision()
        };
        let names = case["images"].as_array().expect("names");
        let images: Vec<Prepared> = names
            .iter()
            .map(|name| config.apply(&golden::image(&goldens, name)))
            .collect();
        let PaddedBatch { pixels, shape } = config.pad_batch(&images);
        let expected: Vec<usize> = serde_json::from_value(case["shape"].clone()).expect("a shape");
        assert_eq!(shape, expected[..]);
        assert!(largest_difference(&pixels, &golden::floats(&case["file"])) <= 1e-5);
    }

    #[test]
    fn channels_and_ranges() {
        let image = RgbImage::from_pixel(2, 3, image::Rgb([10, 20, 30]));
        let config = PreprocessConfig {
            short_side: 2,
            ..PreprocessConfig::official()
        };
        let pixels = config.apply(&image).pixels;
        let expected = [30.0 - 102.9801, 20.0 - 115.9465, 10.0 - 122.7717];
        assert_eq!([pixels[0], pixels[6], pixels[12]], expected);
        let unit = PreprocessConfig {
            short_side: 2,
            ..PreprocessConfig::default()
        };
        assert!((unit.apply(&image).pixels[6] - (20.0 / 255.0 - 0.456) / 0.224).abs() < 1e-6);
    }

    #[test]
    fn an_image_without_pixels_is_only_padding() {
        let config = PreprocessConfig::default();
        let nothing = config.apply(&RgbImage::new(0, 5));
        assert_eq!((nothing.size.width, nothing.pixels.len()), (0, 0));
        let padded = config.pad_batch(&[nothing]);
        assert_eq!(padded.shape, [1, 3, 32, 32]);
        assert!(padded.pixels.iter().all(|&v| v == 0.0));
        assert_eq!(config.pad_batch(&[]).shape, [0, 3, 32, 32]);
    }

    #[test]
    fn configs_are_checked() {
        let good = PreprocessConfig::default();
        assert_eq!(good.validate(), Ok(()));
        type Set = fn(&mut PreprocessConfig, usize);
        let lengths: [(&str, usize, Set); 3] = [
            ("short_side", 16_384, |c, n| c.short_side = n),
            ("long_side", 16_384, |c, n| c.long_side = n),
            ("pad_multiple", 1024, |c, n| c.pad_multiple = n),
        ];
        for (field, max, set) in lengths {
            let mut config = good.clone();
            set(&mut config, max);
            assert_eq!(config.validate(), Ok(()), "{field}");
            for found in [0, max + 1, 1 << 63] {
                set(&mut config, found);
                let error = config.validate().expect_err(field).to_string();
                let expected = format!("{field} is {found}, but must be in 1..={max} pixels");
                assert_eq!(error, expected);
            }
        }
        let no_deviation = PreprocessConfig {
            std: [1.0, 0.0, 1.0],
            ..good
        };
        let error = no_deviation.validate().expect_err("std").to_string();
        assert_eq!(error, "std[1] is 0, but must be above 0 and finite");
        let infinite = PreprocessConfig {
            mean: [0.0, 0.0, f32::INFINITY],
            ..good
        };
        let error = infinite.validate().expect_err("mean").to_string();
        assert_eq!(error, "mean[2] is inf, but must be finite");
    }

    /// A field that is new must not make the files unreadable that were written without it.
    #[test]
    fn files_may_lack_fields_but_have_none_that_is_unknown() {
        let good = PreprocessConfig::official();
        let json = serde_json::to_string(&good).expect("serialises");
        assert_eq!(
            serde_json::from_str::<PreprocessConfig>(&json).expect("parses"),
            good
        );
        let unknown = json.replace("short_side", "min_side");
        assert!(serde_json::from_str::<PreprocessConfig>(&unknown).is_err());
        let short: PreprocessConfig =
            serde_json::from_str(r#"{"short_side": 600}"#).expect("the rest has defaults");
        assert_eq!(short, PreprocessConfig::default().with_short_side(600));
    }
}
