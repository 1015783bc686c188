//! Locations by column and row, as the rules walk them.

use std::ops::Range;

use fcos_core::{Locations, Point};

/// One pyramid level's locations as columns and rows.
#[derive(Debug, Clone)]
pub(crate) struct LevelGrid {
    /// Index of the level's first location among all N.
    offset: usize,
    /// x of every column, ascending, in pixels.
    pub xs: Vec<f32>,
    /// y of every row, ascending, in pixels.
    pub ys: Vec<f32>,
    /// Nominal stride in pixels.
    pub stride: f32,
}

impl LevelGrid {
    /// The L levels, finest first.
    pub fn all(locations: &Locations) -> Vec<Self> {
        (0..locations.grids().len())
            .map(|level| Self::new(locations, level))
            .collect()
    }

    fn new(locations: &Locations, level: usize) -> Self {
        let grid = locations.grids()[level];
        let range = locations.level_range(level);
        let points = &locations.points()[range.clone()];
        let row_starts = points.iter().step_by(grid.width.max(1));
        Self {
            offset: range.start,
            xs: points.iter().take(grid.width).map(|p| p.x).collect(),
            ys: row_starts.map(|p| p.y).collect(),
            stride: grid.stride as f32,
        }
    }

    /// The level's locations among all N.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.xs.len() * self.ys.len()
    }

    /// Index among all N of the location in this row and column.
    pub fn location(&self, row: usize, column: usize) -> usize {
        self.offset + row * self.xs.len() + column
    }

    /// The level's locations: index among all N, and position.
    pub fn points(&self) -> impl Iterator<Item = (usize, Point)> + '_ {
        let row = |&y| self.xs.iter().map(move |&x| Point { x, y });
        (self.offset..).zip(self.ys.iter().flat_map(row))
    }
}
