use crate::PostprocessError;

/// What the head says about one image: logits and distances of all N locations, in the order of
/// [`Locations`](fcos_core::Locations).
#[derive(Debug, Clone, Copy)]
pub struct HeadOutput<'a> {
    /// Class logits, `[N, C]` row-major.
    pub cls_logits: &'a [f32],
    /// Distances left, top, right, bottom after the box activation, `[N, 4]` row-major.
    pub ltrb: &'a [f32],
    /// Centre-ness logits, `[N]`.
    pub centerness: &'a [f32],
}

impl HeadOutput<'_> {
    /// C, once all lengths fit N locations. 1 if there is no location.
    pub(crate) fn num_classes(&self, locations: usize) -> Result<usize, PostprocessError> {
        length("ltrb", locations.saturating_mul(4), self.ltrb.len())?;
        length("centerness", locations, self.centerness.len())?;
        let found = self.cls_logits.len();
        match locations {
            0 => length("cls_logits", 0, found).map(|()| 1),
            n if found > 0 && found.is_multiple_of(n) => Ok(found / n),
            _ => Err(PostprocessError::ClassLogits { found, locations }),
        }
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

    fn num_classes(
        cls: usize,
        ltrb: usize,
        ctr: usize,
        n: usize,
    ) -> Result<usize, PostprocessError> {
        let zeros = [0.0; 100];
        HeadOutput {
            cls_logits: &zeros[..cls],
            ltrb: &zeros[..ltrb],
            centerness: &zeros[..ctr],
        }
        .num_classes(n)
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
        assert_eq!(num_classes(30, 40, 10, 10), Ok(3));
        assert_eq!(num_classes(0, 0, 0, 0), Ok(1));
        assert_eq!(num_classes(30, 39, 10, 10), wrong("ltrb", 40, 39));
        assert_eq!(num_classes(30, 40, 11, 10), wrong("centerness", 10, 11));
        assert_eq!(num_classes(3, 0, 0, 0), wrong("cls_logits", 0, 3));
        for found in [0, 31] {
            let uneven = PostprocessError::ClassLogits {
                found,
                locations: 10,
            };
            assert_eq!(num_classes(found, 40, 10, 10), Err(uneven));
        }
    }
}
