//! Lines of text in the embedded font.

use ab_glyph::{Font, FontRef, PxScale, PxScaleFont, ScaleFont, point};
use image::{Rgb, RgbImage};

use super::mix;

/// A line of text of a given height, short enough for a given width.
pub(super) struct Line {
    font: PxScaleFont<FontRef<'static>>,
    glyphs: Vec<char>,
}

impl Line {
    /// As much of `text` as fits, ending with "…" if that isn't all of it.
    pub(super) fn fit(text: &str, height: f32, max_width: u32) -> Self {
        let mut line = Self {
            font: font().into_scaled(PxScale::from(height)),
            glyphs: Vec::new(),
        };
        let advance = |c: char| line.font.h_advance(line.font.glyph_id(c));
        let room = max_width as f32 - 2.0 * line.padding() - 1.0;
        let ends = text.chars().scan(0.0, |x, c| {
            *x += advance(c);
            Some(*x)
        });
        // No more than what runs past the room is ever laid out, however long the text.
        let ends: Vec<f32> = ends.take_while(|&x| x <= room).collect();
        let mut glyphs: Vec<char> = text.chars().take(ends.len()).collect();
        if text.chars().nth(ends.len()).is_some() {
            let fits = ends.iter().filter(|&&x| x + advance('…') <= room).count();
            glyphs.truncate(fits);
            // An ellipsis alone says nothing.
            glyphs.extend((fits > 0).then_some('…'));
        }
        line.glyphs = glyphs;
        line
    }

    /// Whether there is nothing to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.glyphs.is_empty()
    }

    /// Space to the left and right of the text.
    fn padding(&self) -> f32 {
        (self.font.height() / 6.0).ceil()
    }

    /// Width in pixels, the space at both ends included.
    pub(super) fn width(&self) -> i32 {
        let advance = |&c: &char| self.font.h_advance(self.font.glyph_id(c));
        (self.glyphs.iter().map(advance).sum::<f32>() + 2.0 * self.padding()).ceil() as i32
    }

    /// Height in pixels.
    pub(super) fn height(&self) -> i32 {
        self.font.height().ceil() as i32
    }

    /// Draws the text into the tag whose upper left corner is `(x0, y0)`.
    pub(super) fn draw(&self, image: &mut RgbImage, x0: i32, y0: i32, color: Rgb<u8>) {
        let mut x = x0 as f32 + self.padding();
        let baseline = y0 as f32 + self.font.ascent();
        for &c in &self.glyphs {
            let id = self.font.glyph_id(c);
            let glyph = id.with_scale_and_position(self.font.scale(), point(x, baseline));
            x += self.font.h_advance(id);
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|dx, dy, alpha| {
                    blend(
                        image,
                        corner.x as i32 + dx as i32,
                        corner.y as i32 + dy as i32,
                        color,
                        alpha,
                    );
                });
            }
        }
    }
}

fn font() -> FontRef<'static> {
    const BYTES: &[u8] = include_bytes!("../../assets/DejaVuSans-Bold-Latin.ttf");
    FontRef::try_from_slice(BYTES).expect("the embedded font is intact")
}

fn blend(image: &mut RgbImage, x: i32, y: i32, color: Rgb<u8>, alpha: f32) {
    let position = u32::try_from(x).ok().zip(u32::try_from(y).ok());
    if let Some(pixel) = position.and_then(|(x, y)| image.get_pixel_mut_checked(x, y)) {
        *pixel = mix(*pixel, color, alpha.clamp(0.0, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_shortened_to_the_image() {
        let line = Line::fit(&"long name ".repeat(20), 12.0, 100);
        assert_eq!(line.glyphs.last(), Some(&'…'));
        assert!(line.width() <= 100 && line.width() > 80, "{}", line.width());
        let exact = Line::fit("fits", 12.0, 100);
        assert_eq!(exact.glyphs, ['f', 'i', 't', 's']);
        assert!(Line::fit("fits", 12.0, 5).glyphs.is_empty());
    }
}
