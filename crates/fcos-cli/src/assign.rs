//! `fcos assign`: draws which locations learn from which box, level by level, and how central they
//! are.

mod paint;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fcos::data::Dataset;
use fcos::targets::{AssignRule, Assigner, Rule, Targets};
use fcos::train::{InputBoxes, TrainConfig};
use fcos::{BBox, Locations, Point, Size};
use image::RgbImage;

use crate::generated::generated_dataset;
use crate::terminal::{init_logging, make_folder, say};

/// Images drawn where none is named.
const DEFAULT_IMAGES: usize = 4;

/// Draw which locations learn from which box
///
/// Writes a PNG per image into the output folder: the image with its boxes, one picture per pyramid
/// level with the locations that learn in the colour of their box, those that had a choice of boxes
/// ringed, the centre-ness targets of all levels as a heat map, and how many locations learn each box.
/// (FCOS, figures 1 and 3.)
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  Val images of the generated data set, by FCOS as the preset `demo` has it, then by ATSS.
    fcos assign
    fcos assign --rule atss 3 17
  Images of your own, as a preset or a settings file would train on them.
    fcos assign --config r18-320 --annotations train.json --images photos/ 42 7")]
pub struct Args {
    /// Ids of the images, as in the annotations; the first few where none is given
    #[arg(value_name = "IMAGE-ID")]
    ids: Vec<u64>,
    /// Annotations in COCO's format; none uses the generated data set
    #[arg(long, value_name = "FILE", requires = "images")]
    annotations: Option<PathBuf>,
    /// Folder of the annotated images
    #[arg(long, value_name = "DIR", requires = "annotations")]
    images: Option<PathBuf>,
    /// Settings of a training run, of which image size, levels and rule count: preset or TOML file
    #[arg(long, default_value = "demo")]
    config: String,
    /// Override a setting, e.g. assign.center_sampling_radius=none; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// The rule, whatever the settings say: fcos or atss
    #[arg(long)]
    rule: Option<AssignRule>,
    /// Long side of each picture in pixels
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(64..=4096))]
    panel: u32,
    /// Folder for the pictures
    #[arg(long, default_value = "assignments")]
    output: PathBuf,
}

impl Args {
    /// Draws the images.
    ///
    /// # Errors
    /// If the settings, the data or the output folder can't be used, or there is no such image.
    pub fn run(self) -> Result<()> {
        init_logging();
        let mut config = TrainConfig::load(&self.config, &self.sets)?;
        config.assign.rule = self.rule.unwrap_or(config.assign.rule);
        config.validate()?;
        let dataset = dataset(&self)?;
        make_folder(&self.output)?;
        for index in indices(&dataset, &self.ids)? {
            let assigned = Assigned::new(&dataset, index, &config)?;
            let file = self.output.join(format!("{}.png", assigned.image_id));
            paint::sheet(&assigned, self.panel)
                .save(&file)
                .with_context(|| format!("can't write {}", file.display()))?;
            say!("{}: {}", file.display(), assigned.summary());
        }
        Ok(())
    }
}

fn dataset(args: &Args) -> Result<Dataset> {
    let (dataset, health) = match (&args.annotations, &args.images) {
        (Some(annotations), Some(images)) => Dataset::read(annotations, images)?,
        _ => {
            let generated = generated_dataset(0)?;
            Dataset::read(&generated.val_annotations, &generated.val_images)?
        }
    };
    tracing::info!("{health}");
    Ok(dataset)
}

/// Where the images with these ids are.
fn indices(dataset: &Dataset, ids: &[u64]) -> Result<Vec<usize>> {
    if ids.is_empty() {
        return Ok((0..dataset.len().min(DEFAULT_IMAGES)).collect());
    }
    let find = |&id: &u64| {
        let found = dataset.samples().iter().position(|record| record.id == id);
        found.with_context(|| format!("the annotations have no image with the id {id}"))
    };
    ids.iter().map(find).collect()
}

/// One image, in pixels of the network input, and what its locations learn.
struct Assigned {
    image_id: u64,
    image: RgbImage,
    /// Of the network input, without padding.
    size: Size,
    boxes: Vec<BBox>,
    names: Vec<String>,
    locations: Locations,
    targets: Targets,
    /// Per location: the boxes it might have learnt.
    choices: Vec<usize>,
}

impl Assigned {
    fn new(dataset: &Dataset, index: usize, config: &TrainConfig) -> Result<Self> {
        let record = dataset.sample(index);
        let image = dataset.load(index)?;
        let prepared = config.preprocess.apply(&image);
        let InputBoxes { boxes, labels } =
            InputBoxes::new(&prepared, &record.boxes, &record.labels);
        let padded = config
            .preprocess
            .padded_size(std::slice::from_ref(&prepared));
        let locations = Locations::new(padded, &config.model.strides(), config.location_rule);
        let (targets, choices) = assign(config, &locations, &boxes, &labels)?;
        let name = |&label: &u32| dataset.classes().name(label).to_owned();
        Ok(Self {
            image_id: record.id,
            image,
            size: prepared.size,
            boxes,
            names: labels.iter().map(name).collect(),
            locations,
            targets,
            choices,
        })
    }

    fn levels(&self) -> usize {
        self.locations.grids().len()
    }

    /// The positives of a level: index of the location, its position and its box.
    fn positives(&self, level: usize) -> impl Iterator<Item = (usize, Point, usize)> + '_ {
        let learns = |n: usize| {
            let index = usize::try_from(self.targets.matched[n]).ok()?;
            Some((n, self.locations.points()[n], index))
        };
        self.locations.level_range(level).filter_map(learns)
    }

    fn is_ambiguous(&self, location: usize) -> bool {
        self.choices[location] > 1
    }

    fn summary(&self) -> String {
        let ambiguous = self.choices.iter().filter(|&&n| n > 1).count();
        let positives = self.targets.num_positives();
        let boxes = self.boxes.len();
        format!("{boxes} boxes, {positives} positive locations, {ambiguous} of them ambiguous")
    }
}

/// The targets, and per location the number of boxes it might have learnt.
fn assign(
    config: &TrainConfig,
    locations: &Locations,
    boxes: &[BBox],
    labels: &[u32],
) -> Result<(Targets, Vec<usize>)> {
    ensure!(!locations.is_empty(), "the image has no pixels");
    let assigner = Assigner::new(&config.assign, locations, config.model.distance_unit())?;
    let mut choices = vec![0; locations.len()];
    assigner.candidates(boxes, |candidate| choices[candidate.slot] += 1);
    Ok((assigner.assign(boxes, labels)?, choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder, and the annotations of an image with two overlapping boxes.
    fn small() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        RgbImage::from_pixel(80, 60, image::Rgb([90, 120, 30]))
            .save(dir.path().join("a.png"))
            .expect("saved");
        let json = r#"{
            "images": [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}],
            "categories": [{"id": 3, "name": "cat"}],
            "annotations": [{"image_id": 7, "category_id": 3, "bbox": [10, 10, 40, 40]},
                            {"image_id": 7, "category_id": 3, "bbox": [14, 10, 40, 36]}]
        }"#;
        let file = dir.path().join("instances.json");
        std::fs::write(&file, json).expect("written");
        (dir, file)
    }

    #[test]
    fn every_rule_is_drawn() {
        let (dir, file) = small();
        let (dataset, _) = Dataset::read(&file, dir.path()).expect("reads");
        assert_eq!(indices(&dataset, &[7]).expect("there"), [0]);
        assert!(indices(&dataset, &[8]).is_err());
        for rule in ["fcos", "atss"] {
            let sets = [format!("assign.rule={rule}")];
            let config = TrainConfig::load("demo", &sets).expect("loads");
            let assigned = Assigned::new(&dataset, 0, &config).expect("assigned");
            let of_levels = (0..assigned.levels()).map(|level| assigned.positives(level).count());
            assert_eq!(of_levels.sum::<usize>(), assigned.targets.num_positives());
            assert!(assigned.choices.iter().any(|&n| n > 1), "the boxes overlap");
            let sheet = paint::sheet(&assigned, 64);
            assert!(sheet.width() > 4 * 64 && sheet.height() > 2 * 48);
        }
    }
}
