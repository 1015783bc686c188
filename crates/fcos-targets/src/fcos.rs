//! FCOS: the locations in a box learn it, on the level for its size.

use std::ops::Range;

use fcos_core::{BBox, Locations, Ltrb, Point, SettingError};

use crate::grid::LevelGrid;
use crate::{AreaRule, AssignConfig, Candidate, RangeBounds, Rule};

/// FCOS (§3.1, §3.2): a location may learn the boxes that it lies in, centrally enough if so
/// configured, and that its level regresses; it learns the smallest.
#[derive(Debug, Clone)]
pub struct FcosRule {
    /// L levels, finest first.
    levels: Vec<Level>,
    ranges: Vec<Range<usize>>,
    area: AreaRule,
}

impl FcosRule {
    /// Prepares the rule for these locations.
    ///
    /// # Errors
    /// If the number of size ranges is not the number of levels, a range has no inside, or the
    /// centre-sampling radius is not positive and finite.
    pub fn new(config: &AssignConfig, locations: &Locations) -> Result<Self, SettingError> {
        let grids = LevelGrid::all(locations);
        config.check_fcos(grids.len())?;
        let ranges = grids.iter().map(LevelGrid::range).collect();
        let pairs = grids.into_iter().zip(&config.size_ranges);
        Ok(Self {
            levels: pairs.map(|(g, &r)| Level::new(g, r, config)).collect(),
            ranges,
            area: config.area,
        })
    }
}

impl Rule for FcosRule {
    fn levels(&self) -> &[Range<usize>] {
        &self.ranges
    }

    fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
        for (index, &bbox) in boxes.iter().enumerate() {
            let rank = self.area.rank(bbox);
            if rank < self.area.limit() {
                for level in &self.levels {
                    level.candidates(bbox, |slot| visit(Candidate { slot, index, rank }));
                }
            }
        }
    }
}

/// One pyramid level's locations and the rules by which they may learn a box.
#[derive(Debug, Clone)]
struct Level {
    grid: LevelGrid,
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
    /// `config` must have passed its check.
    fn new(grid: LevelGrid, [lower, upper]: [f32; 2], config: &AssignConfig) -> Self {
        let radius = config.center_sampling_radius;
        Self {
            reach: radius.map_or(f32::INFINITY, |radius| radius * grid.stride),
            sizes: SizeRange {
                lower,
                upper,
                bounds: config.range_bounds,
            },
            grid,
        }
    }

    /// Visits the index of every location that may learn `bbox`.
    ///
    /// All conditions but the lower bound of the size range hold or fail for x and y separately,
    /// so only the rectangle of cells that meets them is walked.
    fn candidates(&self, bbox: BBox, mut visit: impl FnMut(usize)) {
        let center = bbox.center();
        let columns = self.span(&self.grid.xs, [bbox.x1, center.x, bbox.x2]);
        let rows = self.span(&self.grid.ys, [bbox.y1, center.y, bbox.y2]);
        for row in rows {
            let y = self.grid.ys[row];
            for column in columns.clone() {
                let x = self.grid.xs[column];
                let distance = Ltrb::from_box(Point { x, y }, bbox).max();
                if self.sizes.reached_by(distance) {
                    visit(self.grid.location(row, column));
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
