//! Which image is in which batch.

use std::sync::{Arc, Mutex, PoisonError};

use fcos_core::{Rng, SettingError};

/// Keeps this stream apart from others of the same seed.
const STREAM: u64 = u64::from_be_bytes(*b"sampler.");

/// Which images are in which batch, without end: a pure function of (seed, iteration).
///
/// Every epoch is a random order of all images. Images are taken in that order and put into their
/// group's batch; a batch is due when it is full, so it never mixes groups. What is left in a group
/// at the end of an epoch is not dropped: it opens the group's first batch of the next epoch
/// (detectron2's and torchvision's grouping over an endless stream). Hence each image is taken
/// exactly once per epoch, after any number of batches two images of a group have been in as many
/// of them give or take one, and an image can only be twice in a batch that spans epochs.
///
/// ```
/// use fcos_data::BatchSampler;
///
/// let sampler = BatchSampler::new(6, 2, 1)?;
/// let mut epoch: Vec<usize> = (0..3).flat_map(|i| sampler.batch(i)).collect();
/// epoch.sort_unstable();
/// assert_eq!(epoch, [0, 1, 2, 3, 4, 5]);
/// assert_eq!(sampler.batch(1000), BatchSampler::new(6, 2, 1)?.batch(1000));
/// # Ok::<(), fcos_data::SamplerError>(())
/// ```
#[derive(Debug)]
pub struct BatchSampler {
    /// Each image's group, `0..members.len()`.
    groups: Vec<usize>,
    /// Each group's number of images.
    members: Vec<usize>,
    batch_size: usize,
    seed: u64,
    latest: Mutex<Option<Arc<Epoch>>>,
}

/// Why batches can't be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// There is nothing to draw from.
    #[error("there is no image to draw batches from")]
    NoImages,
    /// The batch size is 0.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// The batches that become full in one epoch.
#[derive(Debug)]
struct Epoch {
    first_iteration: u128,
    batches: Vec<Vec<usize>>,
}

impl Epoch {
    fn batch(&self, iteration: u64) -> Option<&[usize]> {
        let offset = u128::from(iteration).checked_sub(self.first_iteration)?;
        self.batches
            .get(usize::try_from(offset).ok()?)
            .map(Vec::as_slice)
    }
}

impl BatchSampler {
    /// Batches of any of the images `0..images`.
    ///
    /// # Errors
    /// If there is no image, or the batch size is 0.
    pub fn new(images: usize, batch_size: usize, seed: u64) -> Result<Self, SamplerError> {
        Self::with_groups(&vec![0; images], batch_size, seed)
    }

    /// Batches of images of one group each; `groups` has an entry per image, such as those of
    /// [`Dataset::aspect_groups`](crate::Dataset::aspect_groups).
    ///
    /// # Errors
    /// If there is no image, or the batch size is 0.
    pub fn with_groups(
        groups: &[usize],
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, SamplerError> {
        if groups.is_empty() {
            return Err(SamplerError::NoImages);
        }
        SettingError::check(batch_size > 0, "batch_size", batch_size, "at least 1")?;
        // Groups may have any numbers; from here on they are counted from 0 without gaps.
        let mut names = groups.to_vec();
        names.sort_unstable();
        names.dedup();
        let groups: Vec<usize> = groups
            .iter()
            .map(|g| names.partition_point(|name| name < g))
            .collect();
        let mut members = vec![0; names.len()];
        groups.iter().for_each(|&g| members[g] += 1);
        Ok(Self {
            groups,
            members,
            batch_size,
            seed,
            latest: Mutex::new(None),
        })
    }

    /// Indices of the images in the batch of this iteration: as many as the batch size.
    pub fn batch(&self, iteration: u64) -> Vec<usize> {
        // Neighbouring iterations mostly lie in one epoch, so the latest plan is kept.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = latest.as_ref().and_then(|epoch| epoch.batch(iteration)) {
            return batch.to_vec();
        }
        let epoch = Arc::new(self.plan(self.epoch_filling(iteration)));
        let batch = epoch
            .batch(iteration)
            .map(<[usize]>::to_vec)
            .unwrap_or_default();
        *latest = Some(epoch);
        batch
    }

    /// Full passes over all images before this iteration.
    pub fn epoch(&self, iteration: u64) -> u64 {
        u64::try_from(self.passes(iteration)).unwrap_or(u64::MAX)
    }

    fn passes(&self, iteration: u64) -> u128 {
        u128::from(iteration) * self.batch_size as u128 / self.groups.len() as u128
    }

    /// The epoch in which the batch of this iteration becomes full.
    fn epoch_filling(&self, iteration: u64) -> u128 {
        // A lower bound, as no more batches are full than images were taken for; it is short by the
        // epochs that what the groups carry along lasts for.
        let mut epoch = self.passes(iteration);
        while self.full_before(epoch + 1) <= u128::from(iteration) {
            epoch += 1;
        }
        epoch
    }

    /// Number of batches that are full before this epoch.
    fn full_before(&self, epoch: u128) -> u128 {
        let full = |&members: &usize| epoch * members as u128 / self.batch_size as u128;
        self.members.iter().map(full).sum()
    }

    /// All batches that become full in an epoch.
    fn plan(&self, epoch: u128) -> Epoch {
        // Each group's batch that is being filled; it begins with what earlier epochs left over.
        let mut open = self.carried(epoch);
        let mut batches = Vec::new();
        for image in self.order(epoch) {
            let group = &mut open[self.groups[image]];
            group.push(image);
            if group.len() == self.batch_size {
                batches.push(std::mem::take(group));
            }
        }
        Epoch {
            first_iteration: self.full_before(epoch),
            batches,
        }
    }

    /// What each group has left at the beginning of an epoch, in the order it was taken: the last
    /// images of its preceding epochs, of several where the group is smaller than a batch.
    fn carried(&self, epoch: u128) -> Vec<Vec<usize>> {
        // All of a group's images so far went into full batches, but for the remainder.
        let left = |&members: &usize| (epoch * members as u128 % self.batch_size as u128) as usize;
        let left: Vec<usize> = self.members.iter().map(left).collect();
        let mut carried = vec![Vec::new(); left.len()];
        let mut before = epoch;
        // Which images those are says a walk back through the epochs; nothing was remembered.
        while carried
            .iter()
            .zip(&left)
            .any(|(images, &n)| images.len() < n)
        {
            before -= 1;
            for image in self.order(before).into_iter().rev() {
                let group = self.groups[image];
                if carried[group].len() < left[group] {
                    carried[group].push(image);
                }
            }
        }
        carried.iter_mut().for_each(|images| images.reverse());
        carried
    }

    /// All images in the order of an epoch.
    fn order(&self, epoch: u128) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        Rng::from_key(&[STREAM, self.seed, epoch as u64]).shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule in its plainest form: one endless walk with a bucket per group.
    fn walk(sampler: &BatchSampler, batches: usize) -> Vec<Vec<usize>> {
        let mut buckets = vec![Vec::new(); sampler.members.len()];
        let mut full = Vec::new();
        for epoch in 0.. {
            for image in sampler.order(epoch) {
                let bucket: &mut Vec<usize> = &mut buckets[sampler.groups[image]];
                bucket.push(image);
                if bucket.len() == sampler.batch_size {
                    full.push(std::mem::take(bucket));
                }
            }
            if full.len() >= batches {
                break;
            }
        }
        full.truncate(batches);
        full
    }

    const CASES: [(&[usize], usize); 7] = [
        (&[0; 12], 4),
        (&[0; 7], 3),
        (&[0], 5),
        (&[0, 0, 1], 8),
        (&[1, 0, 1, 1, 0, 1, 1, 9, 1, 1, 0], 4),
        (&[3, 3, 3, 3, 3, 8, 8, 8], 1),
        (&[0, 1, 0, 1, 0, 1], 2),
    ];

    #[test]
    fn batches_are_those_of_the_endless_walk_in_any_order_of_asking() {
        for (groups, batch_size) in CASES {
            let sampler = BatchSampler::with_groups(groups, batch_size, 3).expect("valid");
            let expected = walk(&sampler, 60);
            for i in (0..60).rev().chain([30, 2, 59, 0, 31]) {
                assert_eq!(
                    sampler.batch(i as u64),
                    expected[i],
                    "{groups:?} {batch_size} {i}"
                );
            }
        }
    }

    #[test]
    fn every_image_once_per_epoch() {
        for (groups, batch_size) in CASES {
            let sampler = BatchSampler::with_groups(groups, batch_size, 11).expect("valid");
            // After `batch_size` epochs nothing is carried.
            let mut seen = vec![0; groups.len()];
            for i in 0..groups.len() as u64 {
                let batch = sampler.batch(i);
                assert_eq!(batch.len(), batch_size);
                assert!(batch.iter().all(|&b| groups[b] == groups[batch[0]]));
                batch.iter().for_each(|&b| seen[b] += 1);
            }
            assert_eq!(seen, vec![batch_size; groups.len()]);
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch() {
        let batch = |seed, i| BatchSampler::new(100, 100, seed).expect("valid").batch(i);
        assert_eq!(batch(1, 5), batch(1, 5));
        assert_ne!(batch(1, 5), batch(2, 5));
        assert_ne!(batch(1, 5), batch(1, 6));
    }

    #[test]
    fn epochs_count_full_passes() {
        let sampler = BatchSampler::new(10, 4, 0).expect("valid");
        assert_eq!(
            [0, 2, 3, 5, 1000].map(|i| sampler.epoch(i)),
            [0, 0, 1, 2, 400]
        );
        assert_eq!(sampler.batch(u64::MAX).len(), 4);
        let lone = BatchSampler::new(1, 16, 0).expect("valid");
        assert_eq!(
            (lone.epoch(u64::MAX), lone.batch(u64::MAX)),
            (u64::MAX, vec![0; 16])
        );
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert_eq!(
            BatchSampler::new(0, 2, 0).err(),
            Some(SamplerError::NoImages)
        );
        let error = BatchSampler::new(2, 0, 0).expect_err("no size").to_string();
        assert_eq!(error, "batch_size is 0, but must be at least 1");
    }
}
