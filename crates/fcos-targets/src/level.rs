use std::ops::Range;

use fcos_core::{BBox, Locations, Ltrb, Point};

use crate::{AssignConfig, RangeBounds};

/// One pyramid level's locations and the rules by which they may learn a box.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    /// Index of the level's first location among all N.
    offset: usize,
    /// x of every column and y of every row, ascending, in pixels.
    xs: Vec<f32>,
    ys: Vec<f32>,
    /// Nominal stride in pixels.
    pub stride: f32,
    /// Half the side of the sampling square in pixels, infinite without centre sampling.
    reach: f32,
    sizes: SizeRange,
}

/// The range of `max(l, t, r, b)` that a level regresses.
#[derive(Debug, Clone, Copy)]
struct SizeRange {
    lower: f32,
    upper: f32,
    bounds: RangeBounds,
}

impl SizeRange {
    fn reached_by(self, distance: f32) -> bool {
        match self.bounds {
            RangeBounds::Inclusive => distance >= self.lower,
            RangeBounds::Exclusive => distance > self.lower,
        }
    }

    fn not_exceeded_by(self, distance: f32) -> bool {
        match self.bounds {
            RangeBounds::Inclusive => distance <= self.upper,
            RangeBounds::Exclusive => distance < self.upper,
        }
    }
}

impl Level {
    /// `config` must have passed its check for `locations`.
    pub fn new(locations: &Locations, level: usize, config: &AssignConfig) -> Self {
        let grid = locations.grids()[level];
        let range = locations.level_range(level);
        let points = &locations.points()[range.clone()];
        let [lower, upper] = config.size_ranges[level];
        let stride = grid.stride as f32;
        Self {
            offset: range.start,
            xs: points.iter().take(grid.width).map(|p| p.x).collect(),
            ys: points
                .iter()
                .step_by(grid.width.max(1))
                .map(|p| p.y)
                .collect(),
            stride,
            reach: config
                .center_sampling_radius
                .map_or(f32::INFINITY, |radius| radius * stride),
            sizes: SizeRange {
                lower,
                upper,
                bounds: config.range_bounds,
            },
        }
    }

    /// The level's locations: index among all N, and position.
    pub fn points(&self) -> impl Iterator<Item = (usize, Point)> + '_ {
        let row = |&y| self.xs.iter().map(move |&x| Point { x, y });
        (self.offset..).zip(self.ys.iter().flat_map(row))
    }

    /// Visits the index of every location that may learn `bbox`.
    ///
    /// All conditions but the lower bound of the size range hold or fail for x and y separately,
    /// so only the rectangle of cells that meets them is walked.
    pub fn candidates(&self, bbox: BBox, mut visit: impl FnMut(usize)) {
        let (center_x, center_y) = bbox.center();
        let columns = self.span(&self.xs, [bbox.x1, center_x, bbox.x2]);
        let rows = self.span(&self.ys, [bbox.y1, center_y, bbox.y2]);
        for row in rows {
            let y = self.ys[row];
            for column in columns.clone() {
                let x = self.xs[column];
                let distance = Ltrb::from_box(Point { x, y }, bbox).max();
                if self.sizes.reached_by(distance) {
                    visit(self.offset + row * self.xs.len() + column);
                }
            }
        }
    }

    /// Which of the ascending positions `at` lie strictly between `low` and `high`, strictly
    /// within reach of `center`, and no farther from either side than the level regresses.
    fn span(&self, at: &[f32], [low, center, high]: [f32; 3]) -> Range<usize> {
        let begins = |&p: &f32| {
            p - low > 0.0 && p - center > -self.reach && self.sizes.not_exceeded_by(high - p)
        };
        let goes_on = |&p: &f32| {
            high - p > 0.0 && p - center < self.reach && self.sizes.not_exceeded_by(p - low)
        };
        at.partition_point(|p| !begins(p))..at.partition_point(goes_on)
    }
}
