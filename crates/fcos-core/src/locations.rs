//! The pyramid's feature maps and where their cells lie on the network's input.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::Point;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
}

/// One pyramid level's feature map: its cells and the nominal stride between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Nominal stride in pixels of the network input: 8 for P3 … 128 for P7.
    pub stride: usize,
    /// Cells across.
    pub width: usize,
    /// Cells down.
    pub height: usize,
}

impl Grid {
    /// Number of cells.
    pub fn cells(self) -> usize {
        self.width * self.height
    }
}

/// The strides of `levels` levels, each twice that of the one below it.
///
/// ```
/// assert_eq!(fcos_core::pyramid_strides(8, 5), [8, 16, 32, 64, 128]);
/// ```
pub fn pyramid_strides(finest: usize, levels: usize) -> Vec<usize> {
    (0..levels).map(|level| finest << level).collect()
}

/// The feature maps that a network with these strides makes of an `input`: every stride-2
/// convolution rounds up, so a side has `⌈side / stride⌉` cells.
pub fn pyramid_grids(input: Size, strides: &[usize]) -> Vec<Grid> {
    let grid = |&stride: &usize| Grid {
        stride,
        width: input.width.div_ceil(stride),
        height: input.height.div_ceil(stride),
    };
    strides.iter().map(grid).collect()
}

/// Where on the input a feature-map cell sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocationRule {
    /// `⌊s/2⌋ + i·s`, near the middle of the cell's receptive field (FCOS, §3.1).
    #[default]
    HalfStride,
    /// torchvision's anchor generator: `i·⌊input side / cells⌋`, separately for x and y, without
    /// the half stride. The spacing falls short of the nominal stride where the padded input is
    /// not a multiple of it (P6 and P7 of most images).
    Torchvision,
    /// mmdetection's anchor generator: `i·s`, the cell's corner.
    Corner,
}

crate::serde_names!(LocationRule);

impl LocationRule {
    /// First location and distance between neighbours along one side.
    fn along(self, side: usize, cells: usize, stride: usize) -> (f32, f32) {
        match self {
            Self::HalfStride => ((stride / 2) as f32, stride as f32),
            Self::Torchvision => (0.0, (side / cells.max(1)) as f32),
            Self::Corner => (0.0, stride as f32),
        }
    }
}

/// The locations of all pyramid levels for one input size: level by level, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Locations {
    points: Vec<Point>,
    grids: Vec<Grid>,
    offsets: Vec<usize>,
    axes: Vec<[(f32, f32); 2]>,
}

impl Locations {
    /// Locations in pixels of the (padded) network `input`. `strides` are the levels' nominal
    /// strides, each at least 1 (a stride of 0 is taken as 1).
    pub fn new(input: Size, strides: &[usize], rule: LocationRule) -> Self {
        let strides: Vec<usize> = strides.iter().map(|&s| s.max(1)).collect();
        let grids = pyramid_grids(input, &strides);
        let axes: Vec<_> = grids
            .iter()
            .map(|g| {
                [
                    rule.along(input.width, g.width, g.stride),
                    rule.along(input.height, g.height, g.stride),
                ]
            })
            .collect();
        // Points in one list for all levels; where each level begins, and the number of all, in `offsets`.
        let mut offsets = vec![0];
        let mut points = Vec::with_capacity(grids.iter().map(|g| g.cells()).sum());
        for (grid, &[x_axis, y_axis]) in grids.iter().zip(&axes) {
            for row in 0..grid.height {
                let y = at(y_axis, row);
                points.extend((0..grid.width).map(|column| Point {
                    x: at(x_axis, column),
                    y,
                }));
            }
            offsets.push(points.len());
        }
        Self {
            points,
            grids,
            offsets,
            axes,
        }
    }

    /// All N locations: levels in order, row-major within a level.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// N, the number of locations of all levels.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no location at all.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The levels' feature maps.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// The indices into [`points`](Self::points) that belong to a level.
    ///
    /// # Panics
    /// If there is no such level.
    pub fn level_range(&self, level: usize) -> Range<usize> {
        self.offsets[level]..self.offsets[level + 1]
    }

    /// The indices that belong to each level, finest first: ranges that follow each other from 0.
    pub fn level_ranges(&self) -> Vec<Range<usize>> {
        self.offsets.windows(2).map(|w| w[0]..w[1]).collect()
    }

    /// The levels' nominal strides.
    pub fn strides(&self) -> impl Iterator<Item = usize> + '_ {
        self.grids.iter().map(|g| g.stride)
    }

    /// A level's first location, in pixels.
    ///
    /// # Panics
    /// If there is no such level.
    pub fn origin(&self, level: usize) -> Point {
        let [x, y] = self.axes[level];
        Point { x: x.0, y: y.0 }
    }

    /// Distance between neighbouring locations of a level along x and y, in pixels.
    ///
    /// # Panics
    /// If there is no such level.
    pub fn spacing(&self, level: usize) -> (f32, f32) {
        let [x, y] = self.axes[level];
        (x.1, y.1)
    }
}

fn at((origin, spacing): (f32, f32), index: usize) -> f32 {
    origin + index as f32 * spacing
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDES: [usize; 5] = [8, 16, 32, 64, 128];

    /// FCOS, Fig. 2: the feature maps of an 800 × 1024 input.
    #[test]
    fn grids_of_figure_2() {
        let grids = pyramid_grids(
            Size {
                width: 1024,
                height: 800,
            },
            &STRIDES,
        );
        let sizes: Vec<_> = grids.iter().map(|g| (g.height, g.width)).collect();
        assert_eq!(sizes, [(100, 128), (50, 64), (25, 32), (13, 16), (7, 8)]);
    }

    #[test]
    fn half_stride_rule() {
        let l = Locations::new(
            Size {
                width: 96,
                height: 64,
            },
            &[32, 64],
            LocationRule::HalfStride,
        );
        let points: Vec<_> = l.points().iter().map(|p| (p.x, p.y)).collect();
        let expected = [
            (16.0, 16.0),
            (48.0, 16.0),
            (80.0, 16.0),
            (16.0, 48.0),
            (48.0, 48.0),
            (80.0, 48.0),
            (32.0, 32.0),
            (96.0, 32.0),
        ];
        assert_eq!(points, expected);
        assert_eq!((l.level_range(0), l.level_range(1)), (0..6, 6..8));
        assert_eq!(l.level_ranges(), [0..6, 6..8]);
        assert_eq!((l.len(), l.is_empty()), (8, false));
    }

    /// The steps torchvision's own generator gives for a padded 800 × 1088 image.
    #[test]
    fn torchvision_rule() {
        let l = Locations::new(
            Size {
                width: 1088,
                height: 800,
            },
            &STRIDES,
            LocationRule::Torchvision,
        );
        let spacing: Vec<_> = (0..5).map(|i| l.spacing(i)).collect();
        assert_eq!(
            spacing,
            [
                (8.0, 8.0),
                (16.0, 16.0),
                (32.0, 32.0),
                (64.0, 61.0),
                (120.0, 114.0)
            ]
        );
        for level in 0..5 {
            assert_eq!(
                l.points()[l.level_range(level).start],
                Point { x: 0.0, y: 0.0 }
            );
        }
        let p7 = &l.points()[l.level_range(4)];
        assert_eq!(p7[9 + 1], Point { x: 120.0, y: 114.0 });
    }

    /// mmdetection's priors start at the corner and keep the nominal stride.
    #[test]
    fn corner_rule() {
        let input = Size {
            width: 70,
            height: 40,
        };
        let l = Locations::new(input, &[32], LocationRule::Corner);
        let points: Vec<_> = l.points().iter().map(|p| (p.x, p.y)).collect();
        let row = |y| [(0.0, y), (32.0, y), (64.0, y)];
        assert_eq!(points, [row(0.0), row(32.0)].concat());
    }

    #[test]
    fn nothing_to_locate() {
        let empty = Size {
            width: 0,
            height: 0,
        };
        for rule in [
            LocationRule::HalfStride,
            LocationRule::Torchvision,
            LocationRule::Corner,
        ] {
            assert!(Locations::new(empty, &STRIDES, rule).is_empty());
            assert!(Locations::new(empty, &[], rule).is_empty());
        }
    }
}
