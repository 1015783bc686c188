//! Boxes with labels drawn onto images, and pictures put side by side.
//!
//! Nothing here fails: boxes that are empty, not finite or outside the image are skipped, and text
//! that doesn't fit is shortened or left out. Text is set in an embedded font with the Latin
//! characters; any other shows as an empty frame.

mod sheet;
mod text;

use fcos_core::{BBox, okabe_ito};
use image::{Rgb, RgbImage};

use crate::Detection;

use text::Line;

pub use sheet::{captioned, contact_sheet, side_by_side};

/// A grey in the place of Okabe and Ito's black, which text and borders would hide.
const PALETTE: [[u8; 3]; 8] = [
    okabe_ito::ORANGE,
    okabe_ito::SKY_BLUE,
    okabe_ito::BLUISH_GREEN,
    okabe_ito::VERMILION,
    okabe_ito::REDDISH_PURPLE,
    okabe_ito::YELLOW,
    okabe_ito::BLUE,
    [153, 153, 153],
];

const WHITE: Rgb<u8> = Rgb([255; 3]);
const BLACK: Rgb<u8> = Rgb([0; 3]);

/// A box to draw and what to write on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// In pixels of the image drawn on.
    pub bbox: BBox,
    /// Name, score or both; no tag is drawn if it's empty.
    pub text: String,
    /// Which [`class_color`] to use: the class's label.
    pub color: usize,
}

impl From<&Detection> for Label {
    /// The class's name and the score, as in `dog 0.93`.
    fn from(d: &Detection) -> Self {
        Self {
            bbox: d.bbox,
            text: format!("{} {:.2}", d.name, d.score),
            color: d.label as usize,
        }
    }
}

/// How a box's border is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outline {
    /// A continuous line: detections.
    #[default]
    Solid,
    /// A broken line: ground truth.
    Dashed,
}

/// How boxes and text are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawStyle {
    /// The border of boxes.
    pub outline: Outline,
    /// Multiplies text height and line width, which follow the image's size.
    pub scale: f32,
}

impl Default for DrawStyle {
    fn default() -> Self {
        Self {
            outline: Outline::Solid,
            scale: 1.0,
        }
    }
}

impl DrawStyle {
    /// The default style with broken borders, for ground truth.
    pub fn ground_truth() -> Self {
        Self {
            outline: Outline::Dashed,
            ..Self::default()
        }
    }

    /// The scale, or 0 where it is negative or NaN.
    fn factor(&self) -> f32 {
        self.scale.max(0.0)
    }

    /// Line width in pixels.
    fn thickness(&self, image: &RgbImage) -> i32 {
        (self.factor() * short_side(image) / 240.0)
            .clamp(1.0, 32.0)
            .round() as i32
    }

    /// Height of a line of text in pixels.
    fn text_height(&self, image: &RgbImage) -> f32 {
        // Below 12 pixels letters run together, however small the image.
        (self.factor() * (short_side(image) / 40.0).max(12.0)).clamp(4.0, 200.0)
    }
}

fn short_side(image: &RgbImage) -> f32 {
    image.width().min(image.height()) as f32
}

/// The colour of a class: eight that differ also with deficient colour vision, then the same lighter,
/// then darker. It repeats from the 25th on.
pub fn class_color(index: usize) -> Rgb<u8> {
    let color = Rgb(PALETTE[index % PALETTE.len()]);
    match index / PALETTE.len() % 3 {
        0 => color,
        1 => mix(color, WHITE, 0.5),
        _ => mix(color, BLACK, 0.4),
    }
}

/// The colour between two: `a` at `t = 0`, `b` at `t = 1`.
pub fn mix(a: Rgb<u8>, b: Rgb<u8>, t: f32) -> Rgb<u8> {
    let channel = |c: usize| f32::from(a.0[c]) * (1.0 - t) + f32::from(b.0[c]) * t;
    Rgb(std::array::from_fn(|c| channel(c).round() as u8))
}

/// Draws boxes, then their tags, the first item on top: detections by descending score show the best
/// in full.
///
/// ```
/// use fcos::BBox;
/// use fcos::draw::{DrawStyle, Label, draw_detections};
///
/// let mut image = image::RgbImage::new(320, 240);
/// let bbox = BBox::new(40.0, 60.0, 200.0, 180.0);
/// draw_detections(&mut image, [Label { bbox, text: "dog 0.93".into(), color: 16 }], &DrawStyle::default());
/// ```
pub fn draw_detections(
    image: &mut RgbImage,
    items: impl IntoIterator<Item = Label>,
    style: &DrawStyle,
) {
    let clipped = |label: Label| Some((Rect::in_image(label.bbox, image)?, label));
    let mut items: Vec<(Rect, Label)> = items.into_iter().filter_map(clipped).collect();
    items.reverse();
    for (rect, label) in &items {
        draw_outline(image, *rect, class_color(label.color), style);
    }
    for (rect, label) in &items {
        draw_tag(image, *rect, label, style);
    }
}

/// Whole pixels: columns `x0..x1` and rows `y0..y1`.
#[derive(Debug, Clone, Copy)]
struct Rect {
    x0: i32,
    y0: i32,
    x1: i32,
    y1: i32,
}

impl Rect {
    /// The pixels of an image that a box touches; `None` if there are none.
    fn in_image(bbox: BBox, image: &RgbImage) -> Option<Self> {
        let clipped = bbox.clip(image.width() as f32, image.height() as f32);
        (bbox.is_valid() && clipped.is_valid()).then(|| Self {
            x0: clipped.x1.floor() as i32,
            y0: clipped.y1.floor() as i32,
            x1: clipped.x2.ceil() as i32,
            y1: clipped.y2.ceil() as i32,
        })
    }

    /// Its pixels inside an image of that width and height.
    fn pixels(self, (width, height): (u32, u32)) -> impl Iterator<Item = (i32, i32)> + use<> {
        let (x0, x1) = (self.x0.max(0), self.x1.min(width as i32));
        (self.y0.max(0)..self.y1.min(height as i32))
            .flat_map(move |y| (x0..x1).map(move |x| (x, y)))
    }
}

/// Fills a rectangle, as far as it's inside the image.
fn fill(image: &mut RgbImage, rect: Rect, color: Rgb<u8>) {
    for (x, y) in rect.pixels(image.dimensions()) {
        image.put_pixel(x as u32, y as u32, color);
    }
}

/// Draws a border along the inside of a rectangle.
fn draw_outline(image: &mut RgbImage, rect: Rect, color: Rgb<u8>, style: &DrawStyle) {
    let Rect { x0, y0, x1, y1 } = rect;
    let t = style.thickness(image).min(x1 - x0).min(y1 - y0);
    let across = [Rect { y1: y0 + t, ..rect }, Rect { y0: y1 - t, ..rect }];
    let down = [Rect { x1: x0 + t, ..rect }, Rect { x0: x1 - t, ..rect }];
    let dash = 4 * t;
    let drawn = |along: i32| style.outline == Outline::Solid || along / dash % 2 == 0;
    let size = image.dimensions();
    let across = across.into_iter().flat_map(|side| side.pixels(size));
    let down = down.into_iter().flat_map(|side| side.pixels(size));
    let pixels = across
        .filter(|(x, _)| drawn(x - x0))
        .chain(down.filter(|(_, y)| drawn(y - y0)));
    pixels.for_each(|(x, y)| image.put_pixel(x as u32, y as u32, color));
}

/// Draws the text on a filled tag above the box, or inside it where there's no room above.
fn draw_tag(image: &mut RgbImage, rect: Rect, label: &Label, style: &DrawStyle) {
    let line = Line::fit(&label.text, style.text_height(image), image.width());
    let height = line.height();
    if line.is_empty() || height > image.height() as i32 {
        return;
    }
    let above = rect.y0 - height;
    let y0 = if above >= 0 {
        above
    } else {
        rect.y0.min(image.height() as i32 - height)
    };
    let x0 = rect.x0.min(image.width() as i32 - line.width()).max(0);
    let color = class_color(label.color);
    fill(
        image,
        Rect {
            x0,
            y0,
            x1: x0 + line.width(),
            y1: y0 + height,
        },
        color,
    );
    line.draw(image, x0, y0, text_color(color));
}

/// Black or white, whichever contrasts more with `background`.
fn text_color(background: Rgb<u8>) -> Rgb<u8> {
    // Where (L + 0.05) / 0.05 and 1.05 / (L + 0.05), the contrast ratios of WCAG 2.1, are equal.
    if luminance(background) > 0.179 {
        BLACK
    } else {
        WHITE
    }
}

/// Relative luminance in `[0, 1]`, with a plain gamma of 2.2.
fn luminance(Rgb([r, g, b]): Rgb<u8>) -> f32 {
    let linear = |c: u8| (f32::from(c) / 255.0).powf(2.2);
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

/// Writes `text` with its upper left corner `at` a pixel, in letters of this `height` in pixels, as
/// far as it fits beside that.
pub fn draw_text(image: &mut RgbImage, at: (u32, u32), height: f32, text: &str, color: Rgb<u8>) {
    let (x, y) = (at.0.min(image.width()), at.1.min(image.height()));
    let line = Line::fit(text, height.clamp(4.0, 200.0), image.width() - x);
    line.draw(image, x as i32, y as i32, color);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Rgb<u8> = Rgb([128; 3]);

    fn label(bbox: BBox, text: &str, color: usize) -> Label {
        Label {
            bbox,
            text: text.into(),
            color,
        }
    }

    fn drawn(width: u32, height: u32, labels: &[Label], style: &DrawStyle) -> RgbImage {
        let mut image = RgbImage::from_pixel(width, height, GREY);
        draw_detections(&mut image, labels.iter().cloned(), style);
        image
    }

    /// Pixels that differ from the grey they were drawn on.
    fn changed(image: &RgbImage) -> Vec<(u32, u32)> {
        let differs = image.enumerate_pixels().filter(|(.., p)| **p != GREY);
        differs.map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn a_solid_box_is_its_border_and_nothing_else() {
        let image = drawn(
            50,
            40,
            &[label(BBox::new(10.0, 5.0, 30.0, 25.0), "", 2)],
            &DrawStyle::default(),
        );
        let on_border = |x, y| {
            let (inside_x, inside_y) = ((10..30).contains(&x), (5..25).contains(&y));
            inside_x && inside_y && (x == 10 || x == 29 || y == 5 || y == 24)
        };
        for (x, y, pixel) in image.enumerate_pixels() {
            let expected = if on_border(x, y) {
                class_color(2)
            } else {
                GREY
            };
            assert_eq!(*pixel, expected, "at {x}, {y}");
        }
    }

    #[test]
    fn a_dashed_box_leaves_gaps_on_every_side() {
        let bbox = BBox::new(10.0, 5.0, 45.0, 38.0);
        let count = |style: &DrawStyle| changed(&drawn(50, 40, &[label(bbox, "", 0)], style)).len();
        let (solid, dashed) = (
            count(&DrawStyle::default()),
            count(&DrawStyle::ground_truth()),
        );
        assert!(
            dashed * 3 < solid * 2 && dashed * 3 > solid,
            "{dashed} of {solid}"
        );
    }

    #[test]
    fn unusual_boxes_draw_nothing_or_what_is_inside() {
        let nothing = [
            BBox::new(f32::NAN, 0.0, 10.0, 10.0),
            BBox::new(0.0, 0.0, f32::INFINITY, 10.0),
            BBox::new(10.0, 10.0, 10.0, 30.0),
            BBox::new(30.0, 30.0, 10.0, 10.0),
            BBox::new(-50.0, -50.0, -10.0, -10.0),
            BBox::new(100.0, 5.0, 120.0, 20.0),
        ];
        for bbox in nothing {
            let image = drawn(
                50,
                40,
                &[label(bbox, "name 0.50", 1)],
                &DrawStyle::default(),
            );
            assert!(changed(&image).is_empty(), "{bbox:?}");
        }
        let huge = BBox::new(-1e30, -1e30, 1e30, 1e30);
        let image = drawn(50, 40, &[label(huge, "", 1)], &DrawStyle::default());
        assert_eq!(changed(&image).len(), 2 * (50 + 38));
    }

    #[test]
    fn no_image_or_text_is_too_small_or_too_long() {
        let long = "very long ".repeat(10_000);
        let texts = ["", " ", "person 0.99", "人 犬 🐕", "é\u{301}\n\t\0", &long];
        let sizes = [
            (0, 0),
            (1, 1),
            (2, 1),
            (1, 300),
            (300, 1),
            (13, 13),
            (640, 480),
        ];
        for (width, height) in sizes {
            for (i, text) in texts.iter().enumerate() {
                for scale in [0.0, 1.0, 1e9, f32::NAN] {
                    let style = DrawStyle {
                        scale,
                        ..DrawStyle::default()
                    };
                    let bbox = BBox::new(0.2, 0.3, width as f32, height as f32);
                    let image = drawn(width, height, &[label(bbox, text, i)], &style);
                    assert_eq!(image.dimensions(), (width, height));
                }
            }
        }
    }

    #[test]
    fn tags_stay_inside_wherever_the_box_is() {
        let tag = |x: f32, y: f32| {
            let bbox = BBox::new(x, y, x + 8.0, y + 8.0);
            let with = drawn(
                120,
                90,
                &[label(bbox, "ring 0.87", 4)],
                &DrawStyle::default(),
            );
            let without = drawn(120, 90, &[label(bbox, "", 4)], &DrawStyle::default());
            let differs = with
                .pixels()
                .zip(without.pixels())
                .filter(|(a, b)| a != b)
                .count();
            differs as f32
        };
        let full = tag(20.0, 50.0);
        assert!(full > 500.0, "{full} pixels");
        for (x, y) in [
            (0.0, 0.0),
            (112.0, 0.0),
            (0.0, 82.0),
            (112.0, 82.0),
            (112.0, 40.0),
        ] {
            let here = tag(x, y);
            // The box's own border may lie under the tag.
            assert!((here - full).abs() < 40.0, "{here} for {full} at {x}, {y}");
        }
    }

    #[test]
    fn text_is_legible_on_every_class_color() {
        for index in 0..24 {
            let back = class_color(index);
            let (a, b) = (luminance(back), luminance(text_color(back)));
            // What WCAG 2.1 asks for with small text.
            let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(ratio >= 4.5, "class {index}: {ratio}");
        }
    }

    #[test]
    fn the_first_24_class_colors_differ() {
        let colors: std::collections::BTreeSet<[u8; 3]> =
            (0..24).map(|i| class_color(i).0).collect();
        assert_eq!(colors.len(), 24);
        assert_eq!(class_color(24), class_color(0));
        let _ = class_color(usize::MAX);
    }

    #[test]
    fn detections_are_labelled_with_name_and_score() {
        let bbox = BBox::new(1.0, 2.0, 3.0, 4.0);
        let found = Detection {
            label: 5,
            category_id: 6,
            name: "dog".into(),
            score: 0.9349,
            bbox,
            location: 0,
        };
        assert_eq!(Label::from(&found), label(bbox, "dog 0.93", 5));
    }

    #[test]
    fn the_first_item_is_on_top() {
        let bbox = BBox::new(10.0, 10.0, 30.0, 30.0);
        let image = drawn(
            50,
            50,
            &[label(bbox, "", 0), label(bbox, "", 1)],
            &DrawStyle::default(),
        );
        assert_eq!(*image.get_pixel(10, 10), class_color(0));
    }
}
