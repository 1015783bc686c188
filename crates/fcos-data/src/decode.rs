//! Image files, upright and in RGB.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use fcos_core::Size;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::DataError;

/// Reads an image file as upright 8-bit RGB.
///
/// The format is told by the contents, not by the name. The EXIF orientation is applied, grey is
/// spread over the three channels, alpha is dropped and 16-bit samples are rounded to 8. JPEG
/// samples differ by a few 255ths from those of libjpeg-turbo, hence from Pillow's and OpenCV's.
///
/// # Errors
/// [`DataError::Read`] if the file can't be opened, [`DataError::Decode`] if it is damaged, of
/// another format than JPEG or PNG, or its samples take more than 512 MiB.
pub fn decode(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| DataError::read(path, e))?;
    let (decoder, orientation) = decoder(path, BufReader::new(file))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| DataError::decode(path, e))?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// The upright size of an image file, from its header alone: what is damaged behind it goes unnoticed.
///
/// # Errors
/// As [`decode`].
pub fn decode_size(path: impl AsRef<Path>) -> Result<Size, DataError> {
    let path = path.as_ref();
    let open = || File::open(path).map_err(|e| DataError::read(path, e));
    let mut start = Vec::new();
    let read = open()?.take(HEADER).read_to_end(&mut start);
    read.map_err(|e| DataError::read(path, e))?;
    upright_size(path, Cursor::new(start)).or_else(|_| upright_size(path, BufReader::new(open()?)))
}

/// Nearly every header ends within so many bytes; of a JPEG file the decoder would read all.
const HEADER: u64 = 1 << 16;

fn upright_size(path: &Path, bytes: impl BufRead + Seek) -> Result<Size, DataError> {
    let (decoder, orientation) = decoder(path, bytes)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width, height),
    };
    Ok(Size {
        width: width as usize,
        height: height as usize,
    })
}

fn decoder<'a>(
    path: &'a Path,
    bytes: impl BufRead + Seek + 'a,
) -> Result<(impl ImageDecoder, Orientation), DataError> {
    let reader = ImageReader::new(bytes)
        .with_guessed_format()
        .map_err(|e| DataError::read(path, e))?;
    let decoder = || {
        let mut decoder = reader.into_decoder()?;
        // The decoder counts what it needs itself, not what it is to fill.
        Limits::default().reserve(decoder.total_bytes())?;
        let orientation = decoder.orientation()?;
        Ok((decoder, orientation))
    };
    decoder().map_err(|e| DataError::decode(path, e))
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, ImageError, Luma, Rgba, RgbaImage};

    use super::*;
    use crate::golden;

    #[test]
    fn all_eight_orientations_come_out_upright() {
        let cases = golden::cases();
        for case in cases["exif"].as_array().expect("a list") {
            let path = golden::path(case["file"].as_str().expect("a name"));
            let image = decode(&path).expect("decodes");
            let expected = (
                golden::number(&case["width"]),
                golden::number(&case["height"]),
            );
            assert_eq!((image.width() as usize, image.height() as usize), expected);
            let size = decode_size(&path).expect("has a header");
            assert_eq!((size.width, size.height), expected);
            assert_block_centers(&image, &case["centres"]);
        }
    }

    fn assert_block_centers(image: &RgbImage, centers: &serde_json::Value) {
        let centers: Vec<Vec<[u8; 3]>> =
            serde_json::from_value(centers.clone()).expect("rows of colours");
        for (row, colors) in centers.iter().enumerate() {
            for (column, color) in colors.iter().enumerate() {
                let got = image.get_pixel(column as u32 * 16 + 8, row as u32 * 16 + 8);
                // Decoders may differ by 4/255; the blocks differ by far more.
                let close = got.0.iter().zip(color).all(|(&a, &b)| a.abs_diff(b) <= 4);
                assert!(
                    close,
                    "block ({column}, {row}): {got:?}, expected {color:?}"
                );
            }
        }
    }

    #[test]
    fn other_pixel_formats_become_rgb8() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("image.png");
        let read = |image: DynamicImage| {
            image.save(&path).expect("writes");
            decode(&path).expect("decodes").get_pixel(1, 0).0
        };
        let gray = GrayImage::from_fn(2, 1, |x, _| Luma([x as u8 * 77]));
        assert_eq!(read(gray.into()), [77; 3]);
        let rgba = RgbaImage::from_fn(2, 1, |x, _| Rgba([1, 2, 3, x as u8]));
        assert_eq!(read(rgba.into()), [1, 2, 3]);
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_fn(2, 1, |_, _| Luma([257 * 50]));
        assert_eq!(read(deep.into()), [50; 3]);
    }

    /// 200000 × 200000 pixels, by the header of a tiny file.
    #[test]
    fn what_no_memory_can_hold_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bomb.png");
        RgbImage::new(1, 1).save(&path).expect("writes");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[16..24].copy_from_slice(&[200_000u32.to_be_bytes(); 2].concat());
        bytes[29..33].copy_from_slice(&0x76591F5D_u32.to_be_bytes()); // the chunk's CRC
        std::fs::write(&path, bytes).expect("writes");
        for result in [decode(&path).map(drop), decode_size(&path).map(drop)] {
            let Err(DataError::Decode { source, .. }) = result else {
                panic!("{result:?}");
            };
            assert!(matches!(source, ImageError::Limits(_)), "{source}");
        }
    }

    /// A header behind 200 KB of comments is found in the second attempt.
    #[test]
    fn sizes_behind_long_metadata_are_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("long.jpg");
        RgbImage::new(30, 20).save(&path).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");
        let comment = [&[0xFF, 0xFE, 0xFF, 0xFF][..], &[b' '; 0xFFFD]].concat();
        let long = [&bytes[..2], &comment.repeat(3), &bytes[2..]].concat();
        std::fs::write(&path, long).expect("writes");
        let size = decode_size(&path).expect("has a header");
        assert_eq!((size.width, size.height), (30, 20));
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("broken.jpg");
        let error = decode(&path).expect_err("missing");
        assert!(matches!(error, DataError::Read { .. }), "{error}");
        for bytes in [
            &b""[..],
            b"no image",
            b"\xFF\xD8\xFF\xE0\x00\x10JFIF",
            b"\x89PNG\r\n\x1a\n",
        ] {
            std::fs::write(&path, bytes).expect("writes");
            let error = decode(&path).expect_err("broken");
            assert!(matches!(error, DataError::Decode { .. }), "{error}");
            assert!(error.to_string().contains("broken.jpg"), "{error}");
        }
    }
}
