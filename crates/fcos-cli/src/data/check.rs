//! `fcos data check`: what is odd about a data set.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use fcos::data::Dataset;

use crate::terminal::{init_logging, say};

/// Report what is odd about a data set
///
/// Boxes outside their image, boxes of no size, unknown images and categories, missing or unreadable
/// files, sizes other than annotated, and so on, each with file, image id and annotation id; and what
/// training would do about it. Every image's header is read, but no image is decoded.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos data check --annotations train.json --images photos/
  fcos data check --annotations train.json --images photos/ --strict && fcos train …")]
pub struct Args {
    /// Annotations in COCO's format
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder of the annotated images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Fail if anything is odd
    #[arg(long)]
    strict: bool,
}

impl Args {
    /// Prints the health report.
    ///
    /// # Errors
    /// If the annotations can't be used at all; with `--strict` also if anything is odd.
    pub fn run(self) -> Result<()> {
        init_logging();
        let (mut dataset, mut health) = Dataset::read(&self.annotations, &self.images)?;
        dataset.check_images(&mut health);
        say!("{health}");
        if health.is_clean() {
            say!("nothing odd");
        }
        let findings: usize = health.counts().map(|(_, count)| count).sum();
        ensure!(!self.strict || findings == 0, "{findings} findings");
        Ok(())
    }
}
