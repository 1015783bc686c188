//! What is to be generated.

use fcos_core::SettingError;
use serde::{Deserialize, Serialize};

/// What a generated data set holds; the same configuration always gives the same files.
///
/// Lengths are in pixels of the generated images. Ranges include both ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Images in the training split.
    pub train_images: u32,
    /// Images in the validation split.
    pub val_images: u32,
    /// Range of the images' width, within 16 to 4096.
    pub width: [u32; 2],
    /// Range of the images' height, within 16 to 4096.
    pub height: [u32; 2],
    /// Seed of everything random.
    pub seed: u64,
    /// Range of the number of objects on an image that has any, within 1 to 64. An object for which
    /// no place is left under [`min_visible`](Self::min_visible) is left out.
    pub objects: [u32; 2],
    /// Share of images without an object, in `[0, 1]`.
    pub empty_fraction: f32,
    /// Smallest diameter of the circle around an object, at least 4.
    pub min_object_size: f32,
    /// Largest such diameter as a share of the image's shorter side, in `(0, 1]`.
    pub max_object_fraction: f32,
    /// Share of an object's area that the image's border and objects over it must leave to see, in
    /// `[0, 1]`: the limit on occlusion.
    pub min_visible: f32,
    /// How far an object is turned from upright at most, either way, in degrees, in `[0, 180]`.
    pub max_rotation: f32,
    /// How far an object's hue lies from its class's at most, in degrees, in `[0, 180]`. The hues of
    /// the eight classes lie 45° apart: under 22.5 the colour alone tells the class, at 180 it says
    /// nothing.
    pub hue_spread: f32,
    /// Strokes and specks on the background, per 1000 pixels, in `[0, 20]`.
    pub clutter: f32,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            train_images: 400,
            val_images: 100,
            width: [192, 256],
            height: [160, 192],
            seed: 0,
            objects: [2, 9],
            empty_fraction: 0.04,
            min_object_size: 8.0,
            max_object_fraction: 0.85,
            min_visible: 0.6,
            max_rotation: 30.0,
            hue_spread: 18.0,
            clutter: 0.5,
        }
    }
}

impl SyntheticConfig {
    /// Checks every field against its documented range.
    ///
    /// # Errors
    /// The first field that is outside.
    pub fn validate(&self) -> Result<(), SettingError> {
        ordered("width", self.width, [16, 4096])?;
        ordered("height", self.height, [16, 4096])?;
        ordered("objects", self.objects, [1, 64])?;
        within("empty_fraction", self.empty_fraction, [0.0, 1.0])?;
        within("min_object_size", self.min_object_size, [4.0, 4096.0])?;
        within(
            "max_object_fraction",
            self.max_object_fraction,
            [f32::MIN_POSITIVE, 1.0],
        )?;
        within("min_visible", self.min_visible, [0.0, 1.0])?;
        within("max_rotation", self.max_rotation, [0.0, 180.0])?;
        within("hue_spread", self.hue_spread, [0.0, 180.0])?;
        within("clutter", self.clutter, [0.0, 20.0])
    }
}

fn ordered(name: &str, [low, high]: [u32; 2], [min, max]: [u32; 2]) -> Result<(), SettingError> {
    let ok = min <= low && low <= high && high <= max;
    let expected = format!("a range within {min} to {max}");
    SettingError::check(ok, name, format_args!("[{low}, {high}]"), expected)
}

fn within(name: &str, value: f32, [low, high]: [f32; 2]) -> Result<(), SettingError> {
    // NaN is within no range.
    let ok = (low..=high).contains(&value);
    let expected = format!("a number within {low} to {high}");
    SettingError::check(ok, name, value, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(change: impl Fn(&mut SyntheticConfig)) -> String {
        let mut config = SyntheticConfig::default();
        change(&mut config);
        config.validate().expect_err("out of range").setting
    }

    #[test]
    fn values_outside_their_range_are_named() {
        SyntheticConfig::default()
            .validate()
            .expect("the default is valid");
        assert_eq!(rejected(|c| c.width = [0, 10]), "width");
        assert_eq!(rejected(|c| c.height = [200, 100]), "height");
        assert_eq!(rejected(|c| c.objects = [0, 3]), "objects");
        assert_eq!(rejected(|c| c.min_visible = f32::NAN), "min_visible");
        assert_eq!(
            rejected(|c| c.max_object_fraction = 0.0),
            "max_object_fraction"
        );
        assert_eq!(rejected(|c| c.min_object_size = -8.0), "min_object_size");
        assert_eq!(rejected(|c| c.max_rotation = -1.0), "max_rotation");
        assert_eq!(rejected(|c| c.hue_spread = 181.0), "hue_spread");
        assert_eq!(rejected(|c| c.clutter = f32::INFINITY), "clutter");
    }
}
