//! The head's output: one structure from the network to the host.

/// What an FCOS head says: classes, boxes and centre-ness (FCOS, fig. 2), each as a `T`.
///
/// It is the same triple on the whole way, and `T` says how far it has come. B images, N locations
/// of all levels in the order of [`Locations`](crate::Locations), C classes, H and W rows and
/// columns of one level:
///
/// | `T` | where | `cls_logits` | `ltrb` | `centerness` |
/// |---|---|---|---|---|
/// | `Tensor<4>` | one level's maps | `[B, C, H, W]` | `[B, 4, H, W]` | `[B, 1, H, W]` |
/// | `Tensor<3>` | all levels | `[B, N, C]` | `[B, N, 4]` | `[B, N, 1]` |
/// | `Vec<f32>`, `&[f32]` | on the host, row-major | `N · C` an image | `N · 4` | `N` |
///
/// ```
/// use fcos_core::Outputs;
///
/// let host = Outputs { cls_logits: vec![0.5, -1.0], ltrb: vec![1.0; 8], centerness: vec![0.0; 2] };
/// let lengths = host.as_ref().map(|part| part.len());
/// assert_eq!((lengths.cls_logits, lengths.ltrb, lengths.centerness), (2, 8, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs<T> {
    /// Class logits, before the sigmoid.
    pub cls_logits: T,
    /// Distances to the left, top, right and bottom side of the box, after the box activation, in
    /// the [`DistanceUnit`](crate::DistanceUnit) that the network's settings name.
    pub ltrb: T,
    /// Centre-ness logits, before the sigmoid.
    pub centerness: T,
}

impl<T> Outputs<T> {
    /// The three parts, each made by `f`, in the order of the fields.
    #[must_use]
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Outputs<U> {
        Outputs {
            cls_logits: f(self.cls_logits),
            ltrb: f(self.ltrb),
            centerness: f(self.centerness),
        }
    }

    /// As [`map`](Self::map), up to the first error.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn try_map<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Outputs<U>, E> {
        Ok(Outputs {
            cls_logits: f(self.cls_logits)?,
            ltrb: f(self.ltrb)?,
            centerness: f(self.centerness)?,
        })
    }

    /// The three parts, borrowed.
    pub fn as_ref(&self) -> Outputs<&T> {
        Outputs {
            cls_logits: &self.cls_logits,
            ltrb: &self.ltrb,
            centerness: &self.centerness,
        }
    }
}
