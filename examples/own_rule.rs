//! A rule of one's own for which location learns from which box, counted and trained with.
//!
//! ```sh
//! cargo run --release --example own_rule
//! ```

use std::ops::Range;

use fcos::targets::{Assigners, Candidate, Rule};
use fcos::train::{RunFolder, TrainBatches, Trainer, TrainingData};
use fcos::{BBox, DeviceSpec, Locations, Ltrb};
use fcos_examples::{folder, small_run};

/// A box is learnt in its inner half, on the levels whose stride goes 2 to 16 times into its side.
struct InnerHalf {
    levels: Vec<Range<usize>>,
    locations: Locations,
}

impl Rule for InnerHalf {
    fn levels(&self) -> &[Range<usize>] {
        &self.levels
    }

    fn candidates(&self, boxes: &[BBox], mut visit: impl FnMut(Candidate)) {
        for (index, b) in boxes.iter().enumerate() {
            let rank = b.area(); // of several boxes, a location learns the smallest
            let (x, y) = (b.width() / 4.0, b.height() / 4.0);
            let inner = BBox::new(b.x1 + x, b.y1 + y, b.x2 - x, b.y2 - y);
            for (level, grid) in self.levels.iter().zip(self.locations.grids()) {
                let fits = (2.0..16.0).contains(&(b.area().sqrt() / grid.stride as f32));
                for slot in level.clone().filter(|_| fits) {
                    if Ltrb::from_box(self.locations.points()[slot], inner).is_inside() {
                        visit(Candidate { slot, index, rank });
                    }
                }
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let config = small_run(10)?;
    let assigners = Assigners::with_rule(|locations| {
        let (levels, locations) = (locations.level_ranges(), locations.clone());
        Ok(InnerHalf { levels, locations })
    });

    let batches = TrainBatches::new(TrainingData::load(&config.data)?.dataset, &config)?;
    let batch = batches.with_assigners(assigners.clone()).batch(0)?;
    println!("{:?} in the first batch", batch.counts);

    let run = RunFolder::next_free(folder(), "own_rule");
    let trainer = Trainer::start(config, run.path(), &DeviceSpec::Auto.device()?)?;
    let trained = trainer.with_assigners(assigners).run(&mut ())?;
    println!("{} steps", trained.steps);
    Ok(())
}
