//! From bytes to normalised floats, channel by channel: `[3, height, width]`.

use fcos_core::Size;
use image::RgbImage;

use crate::resize::{Tap, rgb_bytes, torch_taps};

/// What each byte becomes in each of the output's channels.
pub(crate) struct ByteTables {
    /// The value of every byte, by output channel.
    pub tables: [[f32; 256]; 3],
    /// Index into an RGB pixel, by output channel.
    pub sources: [usize; 3],
}

impl ByteTables {
    /// An image at its own size.
    pub fn apply(&self, image: &RgbImage) -> Vec<f32> {
        let (tables, [s0, s1, s2]) = (&self.tables, self.sources);
        let pixels = rgb_bytes(image).len() / 3;
        let mut out = vec![0.0; pixels * 3];
        let (c0, rest) = out.split_at_mut(pixels);
        let (c1, c2) = rest.split_at_mut(pixels);
        let channels = c0.iter_mut().zip(c1).zip(c2);
        for (rgb, ((v0, v1), v2)) in rgb_bytes(image).chunks_exact(3).zip(channels) {
            *v0 = tables[0][usize::from(rgb[s0])];
            *v1 = tables[1][usize::from(rgb[s1])];
            *v2 = tables[2][usize::from(rgb[s2])];
        }
        out
    }

    /// An image resampled to `size ≥ 1×1` as normalised floats, without antialiasing. Every output
    /// row blends two rows of the image first, then its columns; torch does it the other way round,
    /// which only rounds differently.
    pub fn apply_resized(&self, image: &RgbImage, size: Size) -> Vec<f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let row = |y: usize| rgb_bytes(image)[y * width * 3..][..width * 3].chunks_exact(3);
        let columns: Vec<_> = torch_taps(width, size.width).collect();
        let mut across = vec![0.0; width];
        let mut out = Vec::with_capacity(3 * size.width * size.height);
        for (table, source) in self.tables.iter().zip(self.sources) {
            let value = |rgb: &[u8]| table[usize::from(rgb[source])];
            for y in torch_taps(height, size.height) {
                for ((v, a), b) in across.iter_mut().zip(row(y.first)).zip(row(y.second)) {
                    *v = blend(value(a), value(b), y.weight);
                }
                let pixel = |x: &Tap| blend(across[x.first], across[x.second], x.weight);
                out.extend(columns.iter().map(pixel));
            }
        }
        out
    }
}

fn blend(first: f32, second: f32, weight: f32) -> f32 {
    first * (1.0 - weight) + second * weight
}
