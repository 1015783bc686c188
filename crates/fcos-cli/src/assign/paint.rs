//! The pictures: image, levels, heat map, legend.

use fcos::BBox;
use fcos::Point;
use fcos::draw::{
    DrawStyle, Label, captioned, class_color, contact_sheet, draw_detections, draw_text, mix,
};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::Assigned;

const WHITE: Rgb<u8> = Rgb([255; 3]);
const BLACK: Rgb<u8> = Rgb([0; 3]);
/// Pictures side by side.
const COLUMNS: usize = 4;
/// From centre-ness 0 to 1, as in figure 3 of the paper: blue to red.
const HEAT: [[u8; 3]; 5] = [
    [30, 60, 200],
    [0, 180, 220],
    [60, 190, 60],
    [250, 220, 0],
    [220, 20, 20],
];
/// The bits that a faint picture keeps of its grey.
const SHADES: u8 = 0b1111_0000;
/// How much of the heat map's colour covers the image.
const COVER: f32 = 0.7;

/// All pictures of an image; `long` is each one's long side in pixels.
pub fn sheet(assigned: &Assigned, long: u32) -> RgbImage {
    let canvas = Canvas::new(assigned, long);
    let mut tiles = vec![canvas.with_boxes()];
    tiles.extend((0..assigned.levels()).map(|level| canvas.with_level(level)));
    tiles.push(canvas.with_heat());
    tiles.push(canvas.legend());
    contact_sheet(&tiles, COLUMNS)
}

/// The image at the pictures' size.
struct Canvas<'a> {
    assigned: &'a Assigned,
    picture: RgbImage,
    /// In shades of grey, faint: what colours are drawn on.
    faint: RgbImage,
    /// Picture pixels per pixel of the network input.
    zoom: f32,
}

impl<'a> Canvas<'a> {
    fn new(assigned: &'a Assigned, long: u32) -> Self {
        let (width, height) = (assigned.size.width as f32, assigned.size.height as f32);
        let zoom = long as f32 / width.max(height);
        let side = |side: f32| ((side * zoom).round() as u32).max(1);
        let (width, height) = (side(width), side(height));
        let picture = imageops::resize(&assigned.image, width, height, FilterType::Triangle);
        let faint = RgbImage::from_fn(width, height, |x, y| {
            let [grey] = image::Pixel::to_luma(picture.get_pixel(x, y)).0;
            // Few shades: smaller files, and less to distract.
            mix(Rgb([grey & SHADES; 3]), WHITE, 0.6)
        });
        Self {
            assigned,
            picture,
            faint,
            zoom,
        }
    }

    fn style(&self) -> DrawStyle {
        DrawStyle::default()
    }

    /// The box in the picture's pixels, in its colour.
    fn label(&self, index: usize, text: &str) -> Label {
        Label {
            bbox: self.assigned.boxes[index].scale(self.zoom, self.zoom),
            text: text.into(),
            color: index,
        }
    }

    fn with_boxes(&self) -> RgbImage {
        let mut picture = self.picture.clone();
        let names = self.assigned.names.iter().enumerate();
        let labels = names.map(|(index, name)| self.label(index, name));
        draw_detections(&mut picture, labels, &self.style());
        captioned(
            &picture,
            &format!("image {}", self.assigned.image_id),
            &self.style(),
        )
    }

    /// The level's locations, those that learn in their box's colour, ambiguous ones ringed.
    fn with_level(&self, level: usize) -> RgbImage {
        let mut picture = self.faint.clone();
        let stride = self.assigned.locations.grids()[level].stride;
        let spacing = stride as f32 * self.zoom;
        let dot = (0.12 * spacing).min(1.0);
        for n in self.assigned.locations.level_range(level) {
            let point = self.assigned.locations.points()[n];
            self.disc(&mut picture, point, dot, Rgb([150; 3]));
        }
        let positives: Vec<_> = self.assigned.positives(level).collect();
        let learnt = |index: &usize| positives.iter().any(|p| p.2 == *index);
        let boxes = (0..self.assigned.boxes.len()).filter(learnt);
        let thin = DrawStyle {
            scale: 0.5,
            ..self.style()
        };
        draw_detections(
            &mut picture,
            boxes.map(|index| self.label(index, "")),
            &thin,
        );
        let radius = (0.36 * spacing).clamp(1.0, (self.picture.width() as f32 / 70.0).max(1.0));
        let rim = (0.5 * radius).clamp(1.0, 2.0);
        let mut ambiguous = 0;
        for &(n, point, index) in &positives {
            if self.assigned.is_ambiguous(n) {
                ambiguous += 1;
                self.disc(&mut picture, point, radius + rim + 1.0, BLACK);
                self.disc(&mut picture, point, radius + rim, WHITE);
            }
            self.disc(&mut picture, point, radius, class_color(index));
        }
        let mut caption = format!("P{}, stride {stride}: {} learn", level + 3, positives.len());
        if ambiguous > 0 {
            caption += &format!(", {ambiguous} ringed: ambiguous");
        }
        captioned(&picture, &caption, &self.style())
    }

    /// A disc around a location, with a smooth border; `radius` in pixels of the picture.
    fn disc(&self, picture: &mut RgbImage, at: Point, radius: f32, color: Rgb<u8>) {
        let (cx, cy) = (at.x * self.zoom, at.y * self.zoom);
        let reach = radius + 1.0;
        let around = BBox::new(cx - reach, cy - reach, cx + reach, cy + reach);
        for_pixels(picture, around, |pixel, (x, y)| {
            let distance = ((x - cx).powi(2) + (y - cy).powi(2)).sqrt();
            *pixel = mix(*pixel, color, (radius + 0.5 - distance).clamp(0.0, 1.0));
        });
    }

    /// The cells that learn, coloured by their centre-ness: coarse levels first, finer ones on top.
    fn with_heat(&self) -> RgbImage {
        let mut picture = self.faint.clone();
        for level in (0..self.assigned.levels()).rev() {
            let (across, down) = self.assigned.locations.spacing(level);
            for (n, p, _) in self.assigned.positives(level) {
                let (w, h) = (across / 2.0, down / 2.0);
                let cell =
                    BBox::new(p.x - w, p.y - h, p.x + w, p.y + h).scale(self.zoom, self.zoom);
                let color = heat(self.assigned.targets.centerness[n]);
                let faint = &self.faint;
                for_pixels(&mut picture, cell, |pixel, (x, y)| {
                    *pixel = mix(*faint.get_pixel(x as u32, y as u32), color, COVER);
                });
            }
        }
        captioned(&picture, "centre-ness: blue 0 … red 1", &self.style())
    }

    /// How many locations of which level learn each box.
    fn legend(&self) -> RgbImage {
        let (width, height) = self.faint.dimensions();
        let mut picture = RgbImage::from_pixel(width, height, WHITE);
        let rows = self.assigned.boxes.len().max(1) as f32;
        let row = (height as f32 / rows).clamp(8.0, (height as f32 / 14.0).max(8.0));
        let mut write = |index: usize, text: &str, color| {
            let top = index as f32 * row;
            let swatch = BBox::new(0.0, top, row * 0.8, top + row * 0.8);
            for_pixels(&mut picture, swatch, |pixel, _| *pixel = color);
            let at = (row as u32, top as u32);
            draw_text(&mut picture, at, row * 0.8, text, BLACK);
        };
        let names = &self.assigned.names;
        let shown = shown(names.len(), (height as f32 / row) as usize);
        for (index, name) in names.iter().enumerate().take(shown) {
            let text = format!("{name}: {}", self.learnt_by(index));
            write(index, &text, class_color(index));
        }
        if shown < names.len() {
            write(shown, &format!("… and {} more", names.len() - shown), WHITE);
        }
        captioned(&picture, "locations that learn each box", &self.style())
    }

    /// As in `12 of P3, 4 of P4`.
    fn learnt_by(&self, index: usize) -> String {
        let of_level = |level| {
            let positives = self.assigned.positives(level);
            let count = positives.filter(|p| p.2 == index).count();
            (count > 0).then(|| format!("{count} of P{}", level + 3))
        };
        let parts: Vec<_> = (0..self.assigned.levels()).filter_map(of_level).collect();
        if parts.is_empty() {
            "none".into()
        } else {
            parts.join(", ")
        }
    }
}

/// How many of `boxes` have a line where there is room for so many; the last may say that there are
/// more.
fn shown(boxes: usize, room: usize) -> usize {
    if boxes <= room {
        boxes
    } else {
        room.saturating_sub(1)
    }
}

/// Visits the pixels whose middle lies in `area`, with that middle.
fn for_pixels(picture: &mut RgbImage, area: BBox, mut visit: impl FnMut(&mut Rgb<u8>, (f32, f32))) {
    let clipped = area.clip(picture.width() as f32, picture.height() as f32);
    // The first middle that is not before the edge.
    let index = |edge: f32| (edge - 0.5).ceil().max(0.0) as u32;
    for y in index(clipped.y1)..index(clipped.y2) {
        for x in index(clipped.x1)..index(clipped.x2) {
            visit(
                picture.get_pixel_mut(x, y),
                (x as f32 + 0.5, y as f32 + 0.5),
            );
        }
    }
}

/// The colour of a centre-ness.
fn heat(centerness: f32) -> Rgb<u8> {
    let place = centerness.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let below = (place as usize).min(HEAT.len() - 2);
    mix(Rgb(HEAT[below]), Rgb(HEAT[below + 1]), place - below as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_that_there_are_more() {
        assert_eq!([0, 44, 45].map(|boxes| shown(boxes, 45)), [0, 44, 45]);
        assert_eq!([46, 900].map(|boxes| shown(boxes, 45)), [44, 44]);
        assert_eq!(shown(2, 0), 0);
    }
}
