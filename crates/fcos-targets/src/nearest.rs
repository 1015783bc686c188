//! The k cells of a grid nearest to a point, found without looking at the others.

use std::cmp::Ordering;

use fcos_core::Point;

use crate::grid::LevelGrid;

/// One of the cells found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    /// Square of the distance in pixels.
    squared: f64,
    pub row: usize,
    pub column: usize,
}

impl Near {
    fn order(&self, other: &Self) -> Ordering {
        let place = |near: &Self| (near.row, near.column);
        let by_distance = self.squared.total_cmp(&other.squared);
        by_distance.then_with(|| place(self).cmp(&place(other)))
    }
}

/// The `k` cells whose locations are nearest to `center` (all of them if there are fewer), by
/// ascending distance; of equally distant ones, the one with the lower index. Squared distances
/// are computed in `f64` from the `f32` coordinates, which makes ties exact.
///
/// A cell in the i-th nearest column and the j-th nearest row is no nearer than i·j cells, itself
/// included, so only those with i·j ≤ k are candidates: about k·ln k of them.
pub(crate) fn nearest(grid: &LevelGrid, center: Point, k: usize) -> Vec<Near> {
    let columns: Vec<_> = outward(&grid.xs, center.x).take(k).collect();
    let rows = outward(&grid.ys, center.y).take(k);
    let mut found = Vec::new();
    for ((dy, row), j) in rows.zip(1..) {
        let near = |&(dx, column): &(f64, usize)| Near {
            squared: dx + dy,
            row,
            column,
        };
        found.extend(columns.iter().take(k / j).map(near));
    }
    found.sort_unstable_by(Near::order);
    found.truncate(k);
    found
}

/// The positions of an ascending axis by their distance from `at`, nearest first, with the square
/// of it; of two equally distant ones, the lower.
fn outward(axis: &[f32], at: f32) -> impl Iterator<Item = (f64, usize)> + '_ {
    let squared = move |index: usize| {
        let distance = f64::from(axis[index]) - f64::from(at);
        distance * distance
    };
    // Two fingers that start at the point and move apart, the nearer one first.
    let mut above = axis.partition_point(|&p| p < at);
    let mut below = above;
    std::iter::from_fn(move || {
        let lower = below.checked_sub(1);
        let upper = (above < axis.len()).then_some(above);
        let index = match (lower, upper) {
            (Some(lower), Some(upper)) if squared(lower) <= squared(upper) => lower,
            (_, Some(upper)) => upper,
            (lower, None) => lower?,
        };
        if Some(index) == lower {
            below = index;
        } else {
            above = index + 1;
        }
        Some((squared(index), index))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos_core::{LocationRule, Locations, Size};
    use proptest::prelude::*;

    fn grid(width: usize, height: usize, stride: usize) -> LevelGrid {
        let input = Size { width, height };
        let locations = Locations::new(input, &[stride], LocationRule::HalfStride);
        LevelGrid::all(&locations).remove(0)
    }

    /// Every cell, sorted.
    fn literal(grid: &LevelGrid, Point { x, y }: Point, k: usize) -> Vec<(usize, usize)> {
        let mut all = vec![];
        for (row, &cy) in grid.ys.iter().enumerate() {
            for (column, &cx) in grid.xs.iter().enumerate() {
                let (dx, dy) = (f64::from(cx) - f64::from(x), f64::from(cy) - f64::from(y));
                all.push((dx * dx + dy * dy, row, column));
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: the lower index first
        all.truncate(k);
        all.into_iter()
            .map(|(_, row, column)| (row, column))
            .collect()
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        let found = nearest(&grid(32, 32, 8), Point { x: 16.0, y: 16.0 }, 3);
        let cells: Vec<_> = found.iter().map(|n| (n.row, n.column)).collect();
        assert_eq!(cells, [(1, 1), (1, 2), (2, 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// On whole and half cells distances tie; also outside of the grid, and with more wanted
        /// than there are.
        #[test]
        fn equals_sorting_all(
            (width, height) in (0usize..90, 0usize..90),
            stride in prop_oneof![Just(4usize), Just(8), Just(32)],
            (x, y) in prop_oneof![
                (-8i32..32, -8i32..32).prop_map(|(x, y)| (x as f32 * 4.0, y as f32 * 4.0)),
                (-60f32..150.0, -60f32..150.0),
            ],
            k in prop_oneof![Just(9usize), 0usize..40, Just(1000)],
        ) {
            let grid = grid(width, height, stride);
            let found = nearest(&grid, Point { x, y }, k);
            let cells: Vec<_> = found.iter().map(|n| (n.row, n.column)).collect();
            prop_assert_eq!(cells, literal(&grid, Point { x, y }, k));
        }
    }
}
