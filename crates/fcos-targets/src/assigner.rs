//! The boxes of an image become what its locations learn.
//!
//! B images come one at a time. L levels, N locations, G ground-truth boxes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fcos_core::{BBox, DistanceUnit, Locations, Ltrb, Point};

use crate::atss::AtssRule;
use crate::fcos::FcosRule;
use crate::grid::LevelGrid;
use crate::{AssignConfig, AssignError, AssignRule, Candidate, Rule, Targets};

/// Assigns the boxes of an image to the locations of one input size, by the configured rule. Make
/// one per input size and use it for any number of images, from any thread.
///
/// As a [`Rule`], its slots are the N locations.
#[derive(Debug, Clone)]
pub struct Assigner {
    /// L levels, finest first.
    grids: Vec<LevelGrid>,
    unit: DistanceUnit,
    rule: Chosen,
}

/// The rules of this crate are compiled into the loop that calls them; one of the user's own is
/// called through a pointer, once for each candidate.
#[derive(Clone)]
enum Chosen {
    Fcos(FcosRule),
    Atss(AtssRule),
    Own(Arc<dyn DynRule>),
}

/// [`Rule`] as an object can have it.
trait DynRule: Send + Sync {
    fn slots_by_level(&self) -> &[Range<usize>];
    fn visit_candidates(&self, boxes: &[BBox], visit: &mut dyn FnMut(Candidate));
}

impl<R: Rule + Send + Sync> DynRule for R {
    fn slots_by_level(&self) -> &[Range<usize>] {
        self.levels()
    }

    fn visit_candidates(&self, boxes: &[BBox], visit: &mut dyn FnMut(Candidate)) {
        self.candidates(boxes, visit);
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fcos(rule) => rule.fmt(f),
            Self::Atss(rule) => rule.fmt(f),
            Self::Own(_) => f.write_str("a rule of the user's own"),
        }
    }
}

impl Assigner {
    /// Prepares the configured rule for these locations. `unit` is that of the targets' distances:
    /// the one in which the network predicts.
    ///
    /// # Errors
    /// As [`AssignConfig::validate`] and [`AssignConfig::check_unit`]; settings of the other rule are
    /// not looked at.
    pub fn new(
        config: &AssignConfig,
        locations: &Locations,
        unit: DistanceUnit,
    ) -> Result<Self, AssignError> {
        config.check_unit(unit)?;
        config.validate(locations.grids().len())?;
        let rule = match config.rule {
            AssignRule::Fcos => Chosen::Fcos(FcosRule::new(config, locations)?),
            AssignRule::Atss => Chosen::Atss(AtssRule::new(config.atss, locations)?),
        };
        Ok(Self::of(rule, locations, unit))
    }

    /// Assigns by a rule of your own, whose slots are the N locations; for an example see [`Rule`].
    /// What it visits is checked at every image.
    ///
    /// # Errors
    /// If the rule's levels are not those of the locations.
    pub fn with_rule<R: Rule + Send + Sync + 'static>(
        rule: R,
        locations: &Locations,
        unit: DistanceUnit,
    ) -> Result<Self, AssignError> {
        let (expected, found) = (locations.level_ranges(), rule.levels());
        if expected != found {
            let found = found.to_vec();
            return Err(AssignError::RuleLevels { expected, found });
        }
        Ok(Self::of(Chosen::Own(Arc::new(rule)), locations, unit))
    }

    fn of(rule: Chosen, locations: &Locations, unit: DistanceUnit) -> Self {
        Self {
            grids: LevelGrid::all(locations),
            unit,
            rule,
        }
    }

    /// What each of the N locations learns from an image's G `boxes`, in pixels of the network
    /// input, and their `labels`. No box at all is fine; so are boxes that reach beyond the image
    /// or that no location falls into.
    ///
    /// # Errors
    /// If boxes and labels differ in number, a box is degenerate, or a label is beyond `i32`; or if a
    /// rule of one's own names a location or a box that does not exist, or a location outside its box.
    pub fn assign(&self, boxes: &[BBox], labels: &[u32]) -> Result<Targets, AssignError> {
        let labels = checked_labels(boxes, labels)?;
        let mut targets = Targets::new(self.matched(boxes)?);
        for grid in &self.grids {
            let unit = self.pixels_per_unit(grid);
            for (location, point) in grid.points() {
                if let Ok(index) = usize::try_from(targets.matched[location]) {
                    let ltrb = inside(location, point, index, boxes[index])?;
                    targets.learn(location, labels[index], ltrb, unit);
                }
            }
        }
        Ok(targets)
    }

    fn pixels_per_unit(&self, grid: &LevelGrid) -> f32 {
        match self.unit {
            DistanceUnit::Pixels => 1.0,
            DistanceUnit::Stride => grid.stride,
        }
    }
}

impl Rule for Assigner {
    fn levels(&self) -> &[Range<usize>] {
        match &self.rule {
            Chosen::Fcos(rule) => rule.levels(),
            Chosen::Atss(rule) => rule.levels(),
            Chosen::Own(rule) => rule.slots_by_level(),
        }
    }

    fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
        match &self.rule {
            Chosen::Fcos(rule) => rule.candidates(boxes, visit),
            Chosen::Atss(rule) => rule.candidates(boxes, visit),
            Chosen::Own(rule) => rule.visit_candidates(boxes, &mut visit),
        }
    }
}

/// The distances that a location learns: those of FCOS and ATSS are always inside their box.
fn inside(location: usize, point: Point, index: usize, bbox: BBox) -> Result<Ltrb, AssignError> {
    let ltrb = Ltrb::from_box(point, bbox);
    if ltrb.is_inside() {
        Ok(ltrb)
    } else {
        Err(AssignError::OutsideBox {
            location,
            index,
            bbox,
        })
    }
}

/// That boxes and labels come in pairs.
pub(crate) fn same_number(boxes: &[BBox], labels: &[u32]) -> Result<(), AssignError> {
    let (boxes, labels) = (boxes.len(), labels.len());
    if boxes == labels {
        Ok(())
    } else {
        Err(AssignError::LabelCount { boxes, labels })
    }
}

/// The labels as [`Targets`] holds them, once boxes and labels are found in order.
fn checked_labels(boxes: &[BBox], labels: &[u32]) -> Result<Vec<i32>, AssignError> {
    same_number(boxes, labels)?;
    let usable = |b: &BBox| b.is_valid() && b.area().is_finite();
    if let Some(index) = boxes.iter().position(|b| !usable(b)) {
        let bbox = boxes[index];
        return Err(AssignError::DegenerateBox { index, bbox });
    }
    let fit = |(index, &label): (usize, &u32)| {
        i32::try_from(label).map_err(|_| AssignError::LabelRange { index, label })
    };
    labels.iter().enumerate().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcos_core::{LocationRule, Size};

    const GOOD: BBox = BBox::new(0.0, 0.0, 40.0, 40.0);

    fn assigner() -> Assigner {
        let input = Size {
            width: 64,
            height: 64,
        };
        let locations = Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
        Assigner::new(&AssignConfig::default(), &locations, DistanceUnit::Stride).expect("valid")
    }

    #[test]
    fn bad_boxes_are_named() {
        let huge = BBox::new(-1e30, -1e30, 1e30, 1e30);
        let flat = BBox::new(3.0, 3.0, 9.0, 3.0);
        let not_finite = BBox::new(0.0, 0.0, f32::INFINITY, 8.0);
        for bbox in [huge, flat, not_finite] {
            assert_eq!(
                assigner().assign(&[GOOD, bbox], &[0, 0]),
                Err(AssignError::DegenerateBox { index: 1, bbox })
            );
        }
        let nan = BBox::new(f32::NAN, 0.0, 1.0, 1.0);
        assert!(matches!(
            assigner().assign(&[nan], &[0]),
            Err(AssignError::DegenerateBox { index: 0, .. })
        ));
    }

    #[test]
    fn bad_labels_are_named() {
        assert_eq!(
            assigner().assign(&[GOOD], &[0, 1]),
            Err(AssignError::LabelCount {
                boxes: 1,
                labels: 2
            })
        );
        assert_eq!(
            assigner().assign(&[GOOD, GOOD], &[0, u32::MAX]),
            Err(AssignError::LabelRange {
                index: 1,
                label: u32::MAX
            })
        );
    }

    #[test]
    fn extreme_boxes_are_harmless() {
        let boxes = [
            BBox::new(-1e19, -1e18, 1e18, 1e18),
            BBox::new(20.0, 20.0, 20.000002, 20.000002),
            BBox::new(-9e4, -9e4, -8e4, -8e4),
        ];
        let targets = assigner().assign(&boxes, &[0, 1, 2]).expect("valid");
        // Only the coarsest level regresses so far, and centre sampling rules it out there.
        assert_eq!(targets.num_positives(), 0);
    }

    #[test]
    fn no_location_no_target() {
        let nothing = Size {
            width: 0,
            height: 7,
        };
        let locations = Locations::new(nothing, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
        let assigner = Assigner::new(&AssignConfig::default(), &locations, DistanceUnit::Stride)
            .expect("valid");
        let targets = assigner.assign(&[GOOD], &[0]).expect("valid");
        assert!(targets.labels.is_empty() && targets.num_positives() == 0);
    }
}
