//! Whether a head's outputs for one image fit its locations.
//!
//! N locations, C classes.

use fcos_core::Outputs;

use crate::PostprocessError;

/// C, once all lengths fit N locations. 1 if there is no location.
pub(crate) fn num_classes(
    outputs: Outputs<&[f32]>,
    locations: usize,
) -> Result<usize, PostprocessError> {
    length("ltrb", locations.saturating_mul(4), outputs.ltrb.len())?;
    length("centerness", locations, outputs.centerness.len())?;
    let found = outputs.cls_logits.len();
    match locations {
        0 => length("cls_logits", 0, found).map(|()| 1),
        n if found > 0 && found.is_multiple_of(n) => Ok(found / n),
        _ => Err(PostprocessError::ClassLogits { found, locations }),
    }
}

fn length(what: &'static str, expected: usize, found: usize) -> Result<(), PostprocessError> {
    if expected == found {
        Ok(())
    } else {
        Err(PostprocessError::HeadLength {
            what,
            expected,
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(cls: usize, ltrb: usize, ctr: usize, n: usize) -> Result<usize, PostprocessError> {
        let zeros = [0.0; 100];
        let outputs: Outputs<&[f32]> = Outputs {
            cls_logits: &zeros[..cls],
            ltrb: &zeros[..ltrb],
            centerness: &zeros[..ctr],
        };
        num_classes(outputs, n)
    }

    #[test]
    fn lengths_are_checked_and_reported() {
        let wrong = |what, expected, found| {
            Err(PostprocessError::HeadLength {
                what,
                expected,
                found,
            })
        };
        assert_eq!(classes(30, 40, 10, 10), Ok(3));
        assert_eq!(classes(0, 0, 0, 0), Ok(1));
        assert_eq!(classes(30, 39, 10, 10), wrong("ltrb", 40, 39));
        assert_eq!(classes(30, 40, 11, 10), wrong("centerness", 10, 11));
        assert_eq!(classes(3, 0, 0, 0), wrong("cls_logits", 0, 3));
        for found in [0, 31] {
            let uneven = PostprocessError::ClassLogits {
                found,
                locations: 10,
            };
            assert_eq!(classes(found, 40, 10, 10), Err(uneven));
        }
    }
}
