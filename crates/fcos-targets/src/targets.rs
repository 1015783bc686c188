//! What the assignment says: one entry for each location.

use fcos_core::Ltrb;

/// What every location of one image learns: one entry per location in each vector, in the order
/// of [`Locations::points`](fcos_core::Locations::points).
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Class label (0-based), −1 for background.
    pub labels: Vec<i32>,
    /// Index of the box among the image's boxes, −1 for background.
    pub matched: Vec<i32>,
    /// Distances to the box's sides (Eq. 1) in the assigner's unit, zeros for background.
    pub ltrb: Vec<Ltrb>,
    /// Centre-ness (Eq. 3) in `(0, 1]`, 0 for background.
    pub centerness: Vec<f32>,
}

impl Targets {
    /// What is matched, and nothing learnt yet.
    pub(crate) fn new(matched: Vec<i32>) -> Self {
        let len = matched.len();
        Self {
            labels: vec![-1; len],
            matched,
            ltrb: vec![Ltrb::default(); len],
            centerness: vec![0.0; len],
        }
    }

    /// Writes down what a location learns, once its box is matched; `ltrb` in pixels.
    pub(crate) fn learn(&mut self, location: usize, label: i32, ltrb: Ltrb, pixels_per_unit: f32) {
        self.labels[location] = label;
        self.ltrb[location] = ltrb.scale(1.0 / pixels_per_unit);
        self.centerness[location] = ltrb.centerness();
    }

    /// Number of locations that learn a box.
    pub fn num_positives(&self) -> usize {
        self.labels.iter().filter(|&&label| label >= 0).count()
    }
}
