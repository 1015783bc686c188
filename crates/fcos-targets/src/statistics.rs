//! What a rule does to a data set's boxes, before any training (FCOS, §4.1; ATSS, §4.1).
//!
//! L levels, G ground-truth boxes, C classes.

use std::ops::Range;

use fcos_core::BBox;
use serde::Serialize;

use crate::assigner::same_number;
use crate::rule::visit_checked;
use crate::{AssignError, Candidate, Rule};

/// What happened to one image's boxes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageTally {
    /// Per box: slots that learn it.
    pub per_box: Vec<u32>,
    /// Per level: slots that learn some box.
    pub per_level: Vec<u64>,
    /// Slots that had a choice of boxes.
    pub ambiguous: u64,
    /// Slots that had a choice of boxes of different classes.
    pub across_classes: u64,
}

impl ImageTally {
    /// Slots that learn some box.
    pub fn positives(&self) -> u64 {
        self.per_level.iter().sum()
    }
}

/// Memory for tallying one image after the other. A tally takes time in proportion to the
/// candidates, not to the slots.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By slot; no winner between images.
    contests: Vec<Contest>,
    /// The slots with a winner.
    touched: Vec<usize>,
}

/// Who is to learn at a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Contest {
    /// So far.
    winner: Option<Candidate>,
    ambiguous: bool,
    across_classes: bool,
}

impl Tally {
    /// Counts what `rule` does to an image's G `boxes`, in pixels of the network input, and their
    /// `labels`. Boxes may be degenerate: a rule that admits no slot for one leaves it unlearnt.
    ///
    /// # Errors
    /// If boxes and labels differ in number, or the rule visits a candidate that can't be one.
    pub fn image(
        &mut self,
        rule: &impl Rule,
        boxes: &[BBox],
        labels: &[u32],
    ) -> Result<ImageTally, AssignError> {
        same_number(boxes, labels)?;
        let slots = rule.slots();
        if self.contests.len() < slots {
            self.contests.resize(slots, Contest::default());
        }
        let visited = visit_checked(rule, slots, boxes, |candidate| {
            self.enter(candidate, labels);
        });
        // The memory is cleared for the next image even after an error.
        let tally = self.settle(rule.levels(), boxes.len());
        visited.map(|()| tally)
    }

    /// Counts the winners, and forgets them.
    fn settle(&mut self, levels: &[Range<usize>], boxes: usize) -> ImageTally {
        let mut tally = ImageTally {
            per_box: vec![0; boxes],
            per_level: vec![0; levels.len()],
            ..ImageTally::default()
        };
        for slot in self.touched.drain(..) {
            let contest = std::mem::take(&mut self.contests[slot]);
            if let Some(winner) = contest.winner {
                tally.per_box[winner.index] += 1;
            }
            let level = levels.partition_point(|level| level.end <= slot);
            tally.per_level[level] += 1;
            tally.ambiguous += u64::from(contest.ambiguous);
            tally.across_classes += u64::from(contest.across_classes);
        }
        tally
    }

    fn enter(&mut self, candidate: Candidate, labels: &[u32]) {
        let contest = &mut self.contests[candidate.slot];
        match contest.winner {
            None => self.touched.push(candidate.slot),
            Some(winner) => {
                contest.ambiguous = true;
                contest.across_classes |= labels[candidate.index] != labels[winner.index];
            }
        }
        if candidate.wins(contest.winner.map(|winner| winner.rank)) {
            contest.winner = Some(candidate);
        }
    }
}

/// COCO's groups of objects by area in pixels of the original image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeGroup {
    /// Below 32².
    Small,
    /// From 32² and below 96².
    Medium,
    /// From 96².
    Large,
}

impl SizeGroup {
    /// The group of a box of this area, in square pixels of the original image.
    pub fn of(area: f32) -> Self {
        match area {
            ..1024.0 => Self::Small,
            ..9216.0 => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// The tallies of many images together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    images: u64,
    ambiguous: u64,
    across_classes: u64,
    per_level: Vec<u64>,
    /// By size group: for each box, the slots that learn it.
    per_box: [Vec<u32>; 3],
    /// By label: boxes, and those that some slot learns.
    classes: Vec<[u64; 2]>,
}

impl Statistics {
    /// Adds an image whose G boxes have these `labels` and sizes.
    pub fn add(&mut self, tally: &ImageTally, labels: &[u32], sizes: &[SizeGroup]) {
        self.images += 1;
        self.ambiguous += tally.ambiguous;
        self.across_classes += tally.across_classes;
        add_all(&mut self.per_level, &tally.per_level, |a, b| *a += b);
        for ((&slots, &label), &size) in tally.per_box.iter().zip(labels).zip(sizes) {
            self.per_box[size as usize].push(slots);
            let label = label as usize;
            self.classes
                .resize(self.classes.len().max(label + 1), [0; 2]);
            self.classes[label][0] += 1;
            self.classes[label][1] += u64::from(slots > 0);
        }
    }

    /// Adds the images of `other`. In whatever order parts are merged, the summary is the same.
    pub fn merge(&mut self, other: Self) {
        self.images += other.images;
        self.ambiguous += other.ambiguous;
        self.across_classes += other.across_classes;
        add_all(&mut self.per_level, &other.per_level, |a, b| *a += b);
        add_all(&mut self.classes, &other.classes, |a, b| {
            *a = [a[0] + b[0], a[1] + b[1]];
        });
        for (mine, its) in self.per_box.iter_mut().zip(other.per_box) {
            mine.extend(its);
        }
    }

    /// The figures of all images.
    pub fn summary(&self) -> Summary {
        let [small, medium, large] = &self.per_box;
        let positives = self.per_level.iter().sum();
        let group = |parts: &[&Vec<u32>]| SizeSummary::of(parts.iter().copied().flatten().copied());
        let all = group(&[small, medium, large]);
        Summary {
            images: self.images,
            boxes: all.boxes,
            positives,
            bpr: all.bpr,
            ambiguous: percent(self.ambiguous, positives),
            ambiguous_across_classes: percent(self.across_classes, positives),
            positives_per_level: self.per_level.clone(),
            all,
            small: group(&[small]),
            medium: group(&[medium]),
            large: group(&[large]),
            bpr_by_label: self.classes.iter().map(|c| percent(c[1], c[0])).collect(),
            boxes_by_label: self.classes.iter().map(|c| c[0]).collect(),
        }
    }
}

fn add_all<T: Default + Clone>(mine: &mut Vec<T>, its: &[T], add: impl Fn(&mut T, &T)) {
    mine.resize(mine.len().max(its.len()), T::default());
    mine.iter_mut().zip(its).for_each(|(a, b)| add(a, b));
}

/// What a rule does to a data set. Shares are in per cent, 0 where there is nothing to share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Number of images.
    pub images: u64,
    /// Number of boxes.
    pub boxes: u64,
    /// Slots (locations or anchors) that learn a box.
    pub positives: u64,
    /// Best possible recall: the share of boxes that at least one slot learns.
    pub bpr: f64,
    /// Positives that had a choice of boxes, as a share of all.
    pub ambiguous: f64,
    /// Positives that had a choice of boxes of different classes, as a share of all.
    pub ambiguous_across_classes: f64,
    /// Positives of each level, finest first.
    pub positives_per_level: Vec<u64>,
    /// Boxes of any size.
    pub all: SizeSummary,
    /// Boxes of less than 32² pixels of the original image.
    pub small: SizeSummary,
    /// Boxes in between.
    pub medium: SizeSummary,
    /// Boxes of at least 96² pixels.
    pub large: SizeSummary,
    /// Best possible recall by label; not serialised, for names are known elsewhere.
    #[serde(skip)]
    pub bpr_by_label: Vec<f64>,
    /// Number of boxes by label; not serialised.
    #[serde(skip)]
    pub boxes_by_label: Vec<u64>,
}

/// The boxes of a size group, and how many slots learn each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SizeSummary {
    /// Number of boxes.
    pub boxes: u64,
    /// Best possible recall in per cent.
    pub bpr: f64,
    /// Mean number of slots per box.
    pub mean: f64,
    /// The 5th, 25th, 50th, 75th and 95th percentile of it: of n boxes in ascending order, number
    /// `⌈p·n⌉`.
    pub quantiles: [u32; 5],
}

impl SizeSummary {
    fn of(slots: impl Iterator<Item = u32>) -> Self {
        let mut slots: Vec<u32> = slots.collect();
        slots.sort_unstable();
        let boxes = slots.len();
        let never = slots.partition_point(|&n| n == 0);
        let total: u64 = slots.iter().map(|&n| u64::from(n)).sum();
        let quantile = |per_cent: usize| {
            let rank = (per_cent * boxes).div_ceil(100);
            slots.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            boxes: boxes as u64,
            bpr: percent((boxes - never) as u64, boxes as u64),
            mean: total as f64 / boxes.max(1) as f64,
            quantiles: [5, 25, 50, 75, 95].map(quantile),
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
