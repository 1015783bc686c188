//! Pictures put side by side, with captions.

use fcos_core::{BBox, ClassList};
use image::RgbImage;
use image::imageops::{self, FilterType};

use super::text::Line;
use super::{BLACK, DrawStyle, Label, WHITE, draw_detections};
use crate::Detection;

/// The shorter side up to which [`side_by_side`] enlarges small images, in pixels.
const MIN_PANEL: u32 = 320;

/// White space between pictures, in pixels.
const GAP: u32 = 6;

/// The image with its detections on the left, and with its ground truth, dashed, on the right.
///
/// Boxes are in pixels of `image`; `truth` gives box and label of each object. Small images are
/// enlarged by a whole factor first, so that text doesn't hide what it names.
pub fn side_by_side(
    image: &RgbImage,
    detections: &[Detection],
    truth: impl IntoIterator<Item = (BBox, u32)>,
    classes: &ClassList,
) -> RgbImage {
    let name = |(bbox, label): (BBox, u32)| Label {
        bbox,
        text: classes.name(label).into(),
        color: label as usize,
    };
    let found: Vec<Label> = detections.iter().map(Label::from).collect();
    let truth: Vec<Label> = truth.into_iter().map(name).collect();
    let left = panel(image, "predictions", found, &DrawStyle::default());
    let right = panel(image, "ground truth", truth, &DrawStyle::ground_truth());
    contact_sheet(&[left, right], 2)
}

/// A captioned, enlarged copy of the image with the labels on it.
fn panel(image: &RgbImage, caption: &str, labels: Vec<Label>, style: &DrawStyle) -> RgbImage {
    let factor = MIN_PANEL
        .div_ceil(image.width().min(image.height()).max(1))
        .min(8);
    let (width, height) = (image.width() * factor, image.height() * factor);
    let mut picture = imageops::resize(image, width, height, FilterType::Triangle);
    let zoom = factor as f32;
    let enlarge = |label: Label| Label {
        bbox: label.bbox.scale(zoom, zoom),
        ..label
    };
    draw_detections(&mut picture, labels.into_iter().map(enlarge), style);
    captioned(&picture, caption, style)
}

/// The picture below a line of text.
pub fn captioned(picture: &RgbImage, caption: &str, style: &DrawStyle) -> RgbImage {
    let (width, height) = picture.dimensions();
    let line = Line::fit(caption, style.text_height(picture), width);
    let mut sheet = RgbImage::from_pixel(width, height + line.height() as u32, WHITE);
    line.draw(&mut sheet, 0, 0, BLACK);
    imageops::replace(&mut sheet, picture, 0, line.height().into());
    sheet
}

/// Pictures in rows of `columns` (at least one), each in a cell of the largest one's size.
pub fn contact_sheet(tiles: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.clamp(1, tiles.len().max(1)) as u32;
    let rows = (tiles.len() as u32).div_ceil(columns);
    let cell_width = tiles.iter().map(RgbImage::width).max().unwrap_or(0);
    let cell_height = tiles.iter().map(RgbImage::height).max().unwrap_or(0);
    let extent = |cells: u32, size: u32| cells * (size + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(
        extent(columns, cell_width),
        extent(rows, cell_height),
        WHITE,
    );
    for (tile, i) in tiles.iter().zip(0..) {
        let x = extent(i % columns, cell_width);
        let y = extent(i / columns, cell_height);
        imageops::replace(&mut sheet, tile, x.into(), y.into());
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::super::class_color;
    use super::*;
    use image::Rgb;

    const GREY: Rgb<u8> = Rgb([128; 3]);

    #[test]
    fn side_by_side_holds_both_enlarged_panels() {
        let image = RgbImage::from_pixel(100, 80, GREY);
        let bbox = BBox::new(0.0, 0.0, 100.0, 80.0);
        let classes = ClassList::new(["a", "b"]).expect("two names");
        let found = Detection {
            label: 0,
            category_id: 1,
            name: "a".into(),
            score: 0.9,
            bbox,
            location: 0,
        };
        let sheet = side_by_side(&image, std::slice::from_ref(&found), [(bbox, 1)], &classes);
        let (width, height) = sheet.dimensions();
        assert_eq!(width, 2 * 400 + 3 * GAP);
        assert!(height > 320 + 2 * GAP && height < 320 + 2 * GAP + 20);
        let count = |color| sheet.pixels().filter(|p| **p == color).count();
        assert!(count(class_color(0)) > count(class_color(1)) && count(class_color(1)) > 400);
        side_by_side(&RgbImage::new(0, 0), &[], [], &classes);
        side_by_side(&RgbImage::new(1, 1), &[found], [(bbox, 7)], &classes);
    }

    #[test]
    fn contact_sheets_place_tiles_row_by_row() {
        let tiles = [
            RgbImage::from_pixel(3, 2, GREY),
            RgbImage::from_pixel(2, 4, BLACK),
            RgbImage::from_pixel(1, 1, GREY),
        ];
        let sheet = contact_sheet(&tiles, 2);
        assert_eq!(sheet.dimensions(), (2 * 3 + 3 * GAP, 2 * 4 + 3 * GAP));
        assert_eq!(*sheet.get_pixel(GAP, GAP), GREY);
        assert_eq!(*sheet.get_pixel(3 + 2 * GAP, GAP + 3), BLACK);
        assert_eq!(*sheet.get_pixel(GAP, 4 + 2 * GAP), GREY);
        assert_eq!(*sheet.get_pixel(GAP + 1, 4 + 2 * GAP), WHITE);
        contact_sheet(&[], 0);
    }
}
