//! Counting what a rule does to many images, on all cores.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};

use fcos_core::{BBox, Size};

use crate::{AssignError, Rule, SizeGroup, Statistics, Tally};

/// Images that a thread takes at a time.
const BLOCK: usize = 64;

/// An image as the network sees it, to be [counted](count). G boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The padded network input.
    pub input: Size,
    /// G boxes in pixels of the network input.
    pub boxes: Vec<BBox>,
    /// Their labels.
    pub labels: Vec<u32>,
    /// Their sizes in the original image.
    pub sizes: Vec<SizeGroup>,
}

/// A box that no slot learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeverLearnt {
    /// Index of the image.
    pub image: usize,
    /// Index of the box among the image's boxes.
    pub index: usize,
}

/// What [`count`] found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted {
    /// The figures.
    pub statistics: Statistics,
    /// The boxes that no slot learns, by image.
    pub never_learnt: Vec<NeverLearnt>,
}

/// Counts what a rule does to `images`, in as many threads as there are cores; the result does not
/// depend on how many those are.
///
/// `scene` says what the network sees of an image, `rule` makes the rule for a size of input, once
/// per thread and size, and `progress` is told whenever some images are done, and how many.
///
/// # Errors
/// The first error that a thread meets: of `rule`, or as [`Tally::image`].
///
/// ```
/// use fcos_core::{BBox, DistanceUnit, LocationRule, Locations, Size};
/// use fcos_targets::{AssignConfig, Assigner, Scene, SizeGroup, count};
///
/// let images = [BBox::new(16.0, 8.0, 48.0, 40.0), BBox::new(1.0, 1.0, 2.0, 2.0)];
/// let scene = |&bbox: &BBox| Scene {
///     input: Size { width: 256, height: 128 },
///     boxes: vec![bbox],
///     labels: vec![0],
///     sizes: vec![SizeGroup::of(bbox.area())],
/// };
/// let rule = |input| {
///     let locations = Locations::new(input, &[8, 16, 32, 64, 128], LocationRule::HalfStride);
///     Assigner::new(&AssignConfig::default(), &locations, DistanceUnit::Stride)
/// };
/// let counted = count(&images, scene, rule, |_| ())?;
/// assert_eq!(counted.statistics.summary().bpr, 50.0);
/// assert_eq!(counted.never_learnt[0].image, 1);
/// # Ok::<(), fcos_targets::AssignError>(())
/// ```
pub fn count<I: Sync, R: Rule, E: From<AssignError> + Send>(
    images: &[I],
    scene: impl Fn(&I) -> Scene + Sync,
    rule: impl Fn(Size) -> Result<R, E> + Sync,
    progress: impl Fn(usize) + Sync,
) -> Result<Counted, E> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Counted, E> {
        let mut worker = Worker::new(&rule);
        loop {
            let first = next.fetch_add(BLOCK, Ordering::Relaxed).min(images.len());
            let end = (first + BLOCK).min(images.len());
            if first == end {
                return Ok(worker.counted);
            }
            (first..end).try_for_each(|index| worker.image(index, &scene(&images[index])))?;
            progress(end - first);
        }
    };
    let mut all = Counted::default();
    for part in on_all_cores(work) {
        let part = part?;
        all.statistics.merge(part.statistics);
        all.never_learnt.extend(part.never_learnt);
    }
    all.never_learnt.sort_unstable();
    Ok(all)
}

/// Does `work` in as many threads as there are cores; a panic goes on in the caller's.
fn on_all_cores<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let results = handles.into_iter().map(|handle| handle.join());
        results
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// What a thread needs to count images.
struct Worker<'a, R, F> {
    make_rule: &'a F,
    /// By size of the padded input.
    rules: HashMap<Size, R>,
    tally: Tally,
    counted: Counted,
}

impl<'a, R: Rule, E: From<AssignError>, F: Fn(Size) -> Result<R, E>> Worker<'a, R, F> {
    fn new(make_rule: &'a F) -> Self {
        Self {
            make_rule,
            rules: HashMap::new(),
            tally: Tally::default(),
            counted: Counted::default(),
        }
    }

    fn image(&mut self, image: usize, scene: &Scene) -> Result<(), E> {
        let rule = match self.rules.entry(scene.input) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert((self.make_rule)(scene.input)?),
        };
        let tally = self.tally.image(rule, &scene.boxes, &scene.labels)?;
        let statistics = &mut self.counted.statistics;
        statistics.add(&tally, &scene.labels, &scene.sizes);
        let never = (0..).zip(&tally.per_box).filter(|(_, slots)| **slots == 0);
        let never = never.map(|(index, _)| NeverLearnt { image, index });
        self.counted.never_learnt.extend(never);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Candidate;
    use fcos_core::SettingError;
    use std::ops::Range;

    /// One slot for an input of width 1, none for others: it learns the first box.
    struct FirstBox(Range<usize>);

    impl Rule for FirstBox {
        fn levels(&self) -> &[Range<usize>] {
            std::slice::from_ref(&self.0)
        }

        fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
            let slots = self.0.clone().take(boxes.len());
            slots.for_each(|slot| {
                visit(Candidate {
                    slot,
                    index: 0,
                    rank: 0.0,
                });
            });
        }
    }

    fn rule(input: Size) -> Result<FirstBox, AssignError> {
        SettingError::check(input.height > 0, "height", input.height, "above 0")?;
        Ok(FirstBox(0..input.width))
    }

    fn scene(&(width, height, boxes): &(usize, usize, usize)) -> Scene {
        Scene {
            input: Size { width, height },
            boxes: vec![BBox::new(0.0, 0.0, 1.0, 1.0); boxes],
            labels: vec![0; boxes],
            sizes: vec![SizeGroup::Small; boxes],
        }
    }

    #[test]
    fn all_images_are_counted_whatever_thread_takes_them() {
        let images: Vec<_> = (0..1000).map(|i| (i % 2, 1, i % 3)).collect();
        let told = AtomicUsize::new(0);
        let counted = count(&images, scene, rule, |done| {
            told.fetch_add(done, Ordering::Relaxed);
        });
        let counted = counted.expect("heights are above 0");
        assert_eq!(told.into_inner(), 1000);
        let summary = counted.statistics.summary();
        let boxes = || images.iter().map(|i| i.2);
        assert_eq!(summary.images, 1000);
        assert_eq!(summary.boxes, boxes().sum::<usize>() as u64);
        let expected = images
            .iter()
            .enumerate()
            .flat_map(|(image, &(slots, _, boxes))| {
                let learnt = usize::from(slots > 0);
                (learnt.min(boxes)..boxes).map(move |index| NeverLearnt { image, index })
            });
        assert_eq!(counted.never_learnt, expected.collect::<Vec<_>>());
    }

    #[test]
    fn errors_of_the_rule_come_through() {
        let images: Vec<_> = (0..200).map(|i| (1, usize::from(i != 150), 1)).collect();
        let error = count(&images, scene, rule, |_| ()).expect_err("one has no height");
        assert!(error.to_string().contains("height"), "{error}");
    }
}
