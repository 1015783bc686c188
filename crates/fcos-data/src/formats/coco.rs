//! COCO's "instances" JSON, read leniently: what other tools write is accepted where it is clear.
//!
//! Unknown fields are ignored. Ids may be whole floats (`3.0`), `iscrowd` a number, a boolean or
//! missing, sizes missing or 0, boxes missing or of any length. Python's bare `NaN` and `Infinity`
//! are read as missing numbers.

use std::fs;
use std::path::{Path, PathBuf};

use fcos_core::Size;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::Format;
use crate::{Annotations, Category, DataError, ImageEntry, Object};

pub(crate) const FORMAT: Format = Format {
    name: "COCO",
    recognises: |path| !path.is_dir(),
    read: |path| read(path),
};

/// Reads an annotation file.
///
/// # Errors
/// The kinds [`Read`](DataError::Read) and [`Malformed`](DataError::Malformed).
pub fn read(path: impl AsRef<Path>) -> Result<Annotations, DataError> {
    let path = path.as_ref();
    from_json(&fs::read(path).map_err(|e| DataError::read(path, e))?, path)
}

/// Reads an annotation file's bytes; `source` is where they come from, for messages.
///
/// # Errors
/// The kind [`Malformed`](DataError::Malformed).
///
/// ```
/// let json = r#"{"images": [{"id": 7}], "categories": [{"id": 18, "name": "dog"}]}"#;
/// let annotations = fcos_data::coco::from_json(json.as_bytes(), "a request")?;
/// assert_eq!(annotations.categories[0].name, "dog");
/// # Ok::<(), fcos_data::DataError>(())
/// ```
pub fn from_json(json: &[u8], source: impl Into<PathBuf>) -> Result<Annotations, DataError> {
    let path = source.into();
    match parse(json) {
        Ok(file) => Ok(file.into_annotations(path)),
        Err(error) => Err(DataError::Malformed {
            path,
            format: FORMAT.name,
            line: error.line(),
            column: error.column(),
            source: error.into(),
        }),
    }
}

/// The parts of a file that data sets and box metrics are made of.
#[derive(Debug, Deserialize)]
struct Instances {
    images: Vec<ImageRow>,
    #[serde(default)]
    annotations: Vec<AnnotationRow>,
    #[serde(default)]
    categories: Vec<CategoryRow>,
}

#[derive(Debug, Deserialize)]
struct ImageRow {
    id: Id,
    file_name: Option<String>,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct AnnotationRow {
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
    /// See [`Self::xywh`].
    bbox: Option<Vec<Option<f64>>>,
    /// What is no number counts as missing.
    #[serde(default, deserialize_with = "number_if_any")]
    area: Option<f64>,
    iscrowd: Option<Flag>,
}

#[derive(Debug, Deserialize)]
struct CategoryRow {
    id: Id,
    name: String,
}

impl Instances {
    /// The same in neutral form; `source` is the file that it comes from.
    fn into_annotations(self, source: PathBuf) -> Annotations {
        Annotations {
            source,
            images: self.images.into_iter().map(ImageRow::into).collect(),
            categories: self.categories.into_iter().map(CategoryRow::into).collect(),
            objects: self.annotations.iter().map(Object::from).collect(),
            findings: vec![], // a row that makes no sense is an error
        }
    }
}

impl From<ImageRow> for ImageEntry {
    fn from(image: ImageRow) -> Self {
        Self {
            id: image.id.0,
            size: image.size(),
            file_name: image.file_name,
        }
    }
}

impl From<CategoryRow> for Category {
    fn from(CategoryRow { id, name }: CategoryRow) -> Self {
        Self { id: id.0, name }
    }
}

impl From<&AnnotationRow> for Object {
    fn from(annotation: &AnnotationRow) -> Self {
        Self {
            id: annotation.id.map(|id| id.0),
            image_id: annotation.image_id.0,
            category_id: annotation.category_id.0,
            bbox: annotation
                .xywh()
                .ok_or_else(|| annotation.instead_of_a_box()),
            area: annotation.area,
            crowd: annotation.is_crowd(),
        }
    }
}

/// Longer sides are taken for mistakes.
const LONGEST_SIDE: f64 = 1e6;

impl ImageRow {
    /// The annotated size; `None` if a side is missing, below 1 or beyond what any image has.
    fn size(&self) -> Option<Size> {
        let side = |side: Option<f64>| side.filter(|s| (1.0..=LONGEST_SIDE).contains(s));
        Some(Size {
            width: side(self.width)? as usize,
            height: side(self.height)? as usize,
        })
    }
}

impl AnnotationRow {
    /// The box's four numbers, NaN where one is missing; `None` unless there are four.
    fn xywh(&self) -> Option<[f64; 4]> {
        let numbers = self.bbox.as_ref()?.iter().map(|n| n.unwrap_or(f64::NAN));
        numbers.collect::<Vec<_>>().try_into().ok()
    }

    fn instead_of_a_box(&self) -> String {
        match &self.bbox {
            Some(numbers) => format!("bbox has {} numbers", numbers.len()),
            None => "no bbox".into(),
        }
    }

    /// Whether it is marked as a group of objects.
    fn is_crowd(&self) -> bool {
        match self.iscrowd {
            Some(Flag::Bool(flag)) => flag,
            Some(Flag::Number(number)) => number != 0.0,
            None => false,
        }
    }
}

/// An id: a whole number from 0, also when written as a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Number")]
struct Id(u64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number")]
enum Number {
    Whole(u64),
    Float(f64),
}

impl TryFrom<Number> for Id {
    type Error = String;

    fn try_from(number: Number) -> Result<Self, String> {
        match number {
            Number::Whole(id) => Ok(Self(id)),
            // Above 2^53 not every whole number has a float of its own.
            Number::Float(id) if id >= 0.0 && id.fract() == 0.0 && id <= (1u64 << 53) as f64 => {
                Ok(Self(id as u64))
            }
            Number::Float(id) => Err(format!("id {id} is not a whole number from 0")),
        }
    }
}

fn number_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Number(f64),
        Other(IgnoredAny),
    }
    Ok(match Any::deserialize(deserializer)? {
        Any::Number(number) => Some(number),
        Any::Other(_) => None,
    })
}

/// A truth value, which other tools also write as a number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected 0, 1, true or false")]
enum Flag {
    Bool(bool),
    /// Everything but 0 is true.
    Number(f64),
}

/// Any bytes as the rows of an annotation file.
fn parse(bytes: &[u8]) -> serde_json::Result<Instances> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(bytes).or_else(|error| match null_non_finite(bytes) {
        Some(repaired) => serde_json::from_slice(&repaired),
        None => Err(error),
    })
}

/// Replaces the bare words `NaN`, `Infinity` and `-Infinity`, which Python writes but JSON lacks, by
/// `null`; `None` if there is none outside of strings. Lines stay, columns behind a word shift.
fn null_non_finite(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut out = Vec::with_capacity(bytes.len());
    let (mut in_string, mut found, mut at) = (false, false, 0);
    while let Some(&byte) = bytes.get(at) {
        let word = WORDS
            .iter()
            .find(|w| !in_string && bytes[at..].starts_with(w));
        if let Some(word) = word {
            out.extend_from_slice(b"null");
            at += word.len();
            found = true;
            continue;
        }
        in_string ^= byte == b'"';
        // An escaped character never ends a string.
        let step = if in_string && byte == b'\\' { 2 } else { 1 };
        let end = (at + step).min(bytes.len());
        out.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(fields: &str) -> serde_json::Result<AnnotationRow> {
        let json =
            format!(r#"{{"images":[],"annotations":[{{"image_id":1,"category_id":2{fields}}}]}}"#);
        parse(json.as_bytes()).map(|mut file| file.annotations.remove(0))
    }

    #[test]
    fn crowd_flags() {
        let cases = [
            ("", false),
            (r#","iscrowd":null"#, false),
            (r#","iscrowd":0"#, false),
            (r#","iscrowd":1"#, true),
            (r#","iscrowd":1.0"#, true),
            (r#","iscrowd":false"#, false),
            (r#","iscrowd":true"#, true),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                annotation(fields).expect(fields).is_crowd(),
                expected,
                "{fields}"
            );
        }
        let error = annotation(r#","iscrowd":"yes""#).expect_err("a string");
        assert!(
            error.to_string().contains("expected 0, 1, true or false"),
            "{error}"
        );
    }

    #[test]
    fn ids() {
        let good = [
            ("3", 3),
            ("3.0", 3),
            ("3e0", 3),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, expected) in good {
            let id: Id = serde_json::from_str(text).expect(text);
            assert_eq!(id.0, expected);
        }
        for text in ["-1", "2.5", "1e300", "null", "\"7\"", "true"] {
            assert!(serde_json::from_str::<Id>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn boxes() {
        let cases: [(&str, Option<[f64; 4]>); 5] = [
            ("", None),
            (r#","bbox":null"#, None),
            (r#","bbox":[]"#, None),
            (r#","bbox":[1,2,3]"#, None),
            (r#","bbox":[1,2.5,3,4]"#, Some([1.0, 2.5, 3.0, 4.0])),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                annotation(fields).expect(fields).xywh(),
                expected,
                "{fields}"
            );
        }
        let odd = annotation(r#","bbox":[null,2,NaN,-Infinity]"#).expect("read as missing");
        let xywh = odd.xywh().expect("four numbers");
        assert_eq!(xywh.map(f64::is_nan), [true, false, true, true]);
    }

    #[test]
    fn python_words_inside_strings_stay() {
        let json = br#"{"images":[{"id":1,"file_name":"NaN\"Infinity.jpg","width":NaN}]}"#;
        let file = parse(json).expect("valid");
        assert_eq!(
            file.images[0].file_name.as_deref(),
            Some("NaN\"Infinity.jpg")
        );
        assert_eq!(file.images[0].width, None);
        assert_eq!(null_non_finite(br#"{"a\\":"NaN"}"#), None);
    }

    #[test]
    fn errors_name_the_place() {
        let error = parse(b"{\"images\": [\n  {\"ID\": 1}\n]}").expect_err("no id");
        assert_eq!((error.line(), error.column()), (2, 11), "{error}");
        assert!(error.to_string().contains("`id`"), "{error}");
    }
}
