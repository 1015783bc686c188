//! What a rule of assignment does to a data set's boxes: which are learnt at all, by how many
//! locations, and how often a location has a choice. Needs the annotations only, no images.
//!
//! ```sh
//! cargo run --release --example assignment_stats -- --annotations instances.json
//! cargo run --release --example assignment_stats -- --annotations instances.json --rule atss
//! # Tables 1 and 2 of the FCOS paper, on instances_val2017.json
//! cargo run --release --example assignment_stats -- --annotations instances.json --legacy-pixels
//! cargo run --release --example assignment_stats -- --annotations instances.json --legacy-pixels \
//!     --no-fpn --json no-fpn.json
//! ```
//!
//! Images are resized and padded as the network sees them. `--json` writes all figures, with `bpr`,
//! `ambiguous` and `ambiguous_across_classes` in per cent, and the boxes that are never learnt with
//! the ids of their image, annotation and category.

#[path = "assignment_stats/network.rs"]
mod network;
#[path = "assignment_stats/report.rs"]
mod report;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use fcos::data::{AnnotatedImage, AnnotatedImages};
use fcos::targets::{SizeGroup, Statistics, Tally};
use fcos::{Size, write_atomically};
use fcos_examples::progress_bar;
use indicatif::ProgressBar;
use serde::Serialize;

use network::Matcher;
use report::{Report, print};

/// The network's input is padded to a multiple of this.
const PADDING: usize = 32;
/// Beyond these, strides would exceed any image.
const MAX_RANGES: usize = 8;
/// Images that a thread takes at a time.
const BLOCK: usize = 64;

/// Count what a rule of assignment does to a data set's boxes.
#[derive(Parser)]
#[command(after_help = "Examples:
  assignment_stats --annotations instances.json
  assignment_stats --annotations instances.json --rule atss --json atss.json
  assignment_stats --annotations instances.json --legacy-pixels --no-fpn")]
struct Args {
    /// Annotations in COCO's format
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// The rule
    #[arg(long, value_enum, default_value_t = RuleName::Fcos)]
    rule: RuleName,
    /// One level of stride 16 for boxes of all sizes, instead of P3 to P7
    #[arg(long)]
    no_fpn: bool,
    /// FCOS: only locations within R strides of a box's centre; without it, all inside
    #[arg(long, value_name = "R")]
    center_sampling: Option<f32>,
    /// FCOS: where the levels' size ranges meet, in pixels
    /// [default: 64,128,256,512]
    #[arg(
        long,
        value_name = "PIXELS",
        value_delimiter = ',',
        conflicts_with = "no_fpn"
    )]
    ranges: Option<Vec<f32>>,
    /// ATSS: candidates per level [default: 9]
    #[arg(long)]
    k: Option<usize>,
    /// ATSS: side of the anchors in strides [default: 8]
    #[arg(long, value_name = "STRIDES")]
    anchor_scale: Option<f32>,
    /// RetinaNet: least IoU at which a box's best anchor learns it all the same; none, or 0 for all
    /// [default: 0.4]
    #[arg(long, value_name = "IOU", value_parser = low_quality)]
    low_quality: Option<LowQuality>,
    /// Short side of the resized image in pixels
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u16).range(1..=4096))]
    short: u16,
    /// Greatest long side in pixels
    #[arg(long, default_value_t = 1333, value_parser = clap::value_parser!(u16).range(1..=4096))]
    long: u16,
    /// The official FCOS code's pixels: a box ends on its last pixel, sizes are truncated
    #[arg(long)]
    legacy_pixels: bool,
    /// Where to write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum RuleName {
    /// All locations in a box, by size ranges
    Fcos,
    /// The nearest locations, by overlap
    Atss,
    /// Nine anchors per location, by IoU thresholds
    Retinanet,
}

/// A type of its own, lest clap read `Option<f32>` as an optional argument.
#[derive(Debug, Clone, Copy, Serialize)]
struct LowQuality(Option<f32>);

fn low_quality(text: &str) -> Result<LowQuality, String> {
    match text {
        "none" => Ok(LowQuality(None)),
        "all" => Ok(LowQuality(Some(0.0))),
        _ => match text.parse() {
            Ok(iou) if (0.0..=1.0).contains(&iou) => Ok(LowQuality(Some(iou))),
            _ => Err("needs none, all or an IoU in 0..=1".into()),
        },
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    args.check()?;
    let annotations = AnnotatedImages::read(&args.annotations)?;
    let (statistics, missed) = count(&args, &annotations.images)?;
    let summary = statistics.summary();
    print(&args, &annotations, &summary, &missed);
    args.json.as_ref().map_or(Ok(()), |path| {
        let report = Report::new(&args, &annotations, &summary, &missed);
        let text = serde_json::to_string_pretty(&report)? + "\n";
        write_atomically(path, text.as_bytes())
            .with_context(|| format!("can't write {}", path.display()))
    })
}

impl Args {
    /// Refuses settings of another rule, which would change nothing.
    fn check(&self) -> Result<()> {
        use RuleName::{Atss, Fcos, Retinanet};
        let given = [
            ("--center-sampling", self.center_sampling.is_some(), Fcos),
            ("--ranges", self.ranges.is_some(), Fcos),
            ("--k", self.k.is_some(), Atss),
            ("--anchor-scale", self.anchor_scale.is_some(), Atss),
            ("--low-quality", self.low_quality.is_some(), Retinanet),
        ];
        for (flag, is_given, rule) in given {
            let name = format!("{rule:?}").to_lowercase();
            ensure!(
                !is_given || self.rule == rule,
                "{flag} goes with --rule {name} only"
            );
        }
        ensure!(
            self.ranges().len() <= MAX_RANGES,
            "--ranges takes at most {MAX_RANGES} numbers"
        );
        Ok(())
    }
}

/// Counts the images in as many threads as there are cores. The result does not depend on how many.
fn count(args: &Args, images: &[AnnotatedImage]) -> Result<(Statistics, Vec<Missed>)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, bar) = (
        AtomicUsize::new(0),
        progress_bar(images.len() as u64, "images"),
    );
    let work = || Worker::new(args).run(images, &next, &bar);
    let parts = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join())
            .collect::<Vec<_>>()
    });
    bar.finish_and_clear();
    let (mut statistics, mut missed) = (Statistics::default(), vec![]);
    for part in parts {
        let (s, m) = part.map_err(|_| anyhow::anyhow!("a counting thread panicked"))??;
        statistics.merge(s);
        missed.extend(m);
    }
    missed.sort_unstable();
    Ok((statistics, missed))
}

/// A box that no location learns: position of the image, and of the box in it.
type Missed = (usize, usize);

/// What a thread needs to count images.
struct Worker<'a> {
    args: &'a Args,
    /// By size of the padded input.
    rules: HashMap<Size, Matcher>,
    tally: Tally,
    statistics: Statistics,
    missed: Vec<Missed>,
}

impl<'a> Worker<'a> {
    fn new(args: &'a Args) -> Self {
        Self {
            args,
            rules: HashMap::new(),
            tally: Tally::default(),
            statistics: Statistics::default(),
            missed: vec![],
        }
    }

    fn run(
        mut self,
        images: &[AnnotatedImage],
        next: &AtomicUsize,
        bar: &ProgressBar,
    ) -> Result<(Statistics, Vec<Missed>)> {
        loop {
            let first = next.fetch_add(BLOCK, Ordering::Relaxed).min(images.len());
            let end = (first + BLOCK).min(images.len());
            if first == end {
                return Ok((self.statistics, self.missed));
            }
            (first..end).try_for_each(|index| self.image(index, &images[index]))?;
            bar.inc((end - first) as u64);
        }
    }

    fn image(&mut self, index: usize, image: &AnnotatedImage) -> Result<()> {
        let input = self.args.resized(image.size);
        let boxes = self.args.boxes(image, input);
        let padded = Size {
            width: input.width.next_multiple_of(PADDING),
            height: input.height.next_multiple_of(PADDING),
        };
        let rule = match self.rules.entry(padded) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Matcher::new(self.args, padded)?),
        };
        let tally = rule.tally(&mut self.tally, &boxes, &image.labels)?;
        let sizes: Vec<_> = image
            .boxes
            .iter()
            .map(|[_, _, w, h]| SizeGroup::of(w * h))
            .collect();
        self.statistics.add(&tally, &image.labels, &sizes);
        let missed = (0..).zip(&tally.per_box).filter(|(_, slots)| **slots == 0);
        self.missed.extend(missed.map(|(place, _)| (index, place)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        arguments: Vec<String>,
        expected: serde_json::Map<String, serde_json::Value>,
    }

    /// `testdata/assign/make_statistics.py` counts every box against every location or anchor.
    #[test]
    fn figures_equal_a_literal_count() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/assign");
        let golden = std::fs::read(folder.join("statistics_expected.json")).expect("there");
        let golden: Golden = serde_json::from_slice(&golden).expect("parses");
        let file = folder.join("statistics_annotations.json");
        let annotations = AnnotatedImages::read(&file).expect("reads");
        for Case {
            arguments,
            mut expected,
        } in golden.cases
        {
            let fixed = ["stats", "--annotations", "a.json"].map(String::from);
            let args = Args::try_parse_from(fixed.iter().chain(&arguments)).expect("valid");
            let (statistics, missed) = count(&args, &annotations.images).expect("counts");
            let summary = statistics.summary();
            let report = Report::new(&args, &annotations, &summary, &missed);
            let report = serde_json::to_value(report).expect("serialises");
            let never_learnt = report["never_learnt"].as_array().expect("a list");
            if let Some(ids) = expected.remove("never_learnt") {
                let found = never_learnt.iter().map(|row| row["annotation_id"].clone());
                assert_eq!(found.collect::<serde_json::Value>(), ids, "{arguments:?}");
            }
            for (key, value) in expected {
                let (key, tolerance) = match key.strip_suffix("_about") {
                    Some(key) => (key, 1.0),
                    None => (&*key, 1e-9),
                };
                let (found, value) = (report[key].as_f64(), value.as_f64().expect("a number"));
                let close = found.is_some_and(|found| (found - value).abs() < tolerance);
                assert!(close, "{arguments:?}: {key} is {found:?}, not {value}");
            }
            let never = summary.all.boxes as f64 * (1.0 - summary.bpr / 100.0);
            assert_eq!(missed.len() as f64, never.round());
        }
    }

    #[test]
    fn settings_are_of_the_rule() {
        let check = |arguments: &str| {
            let all = ["stats", "--annotations", "a.json"].into_iter();
            let args = Args::try_parse_from(all.chain(arguments.split(' '))).expect("parses");
            args.check()
        };
        let settings = ["--center-sampling 1.5", "--ranges 64,128", "--k 9"];
        let settings = settings
            .into_iter()
            .chain(["--anchor-scale 8", "--low-quality none"]);
        for (setting, rule) in settings.zip(["fcos", "fcos", "atss", "atss", "retinanet"]) {
            for other in ["fcos", "atss", "retinanet"] {
                let checked = check(&format!("--rule {other} {setting}"));
                assert_eq!(checked.is_ok(), other == rule, "{setting} with {other}");
            }
        }
        assert!(check("--ranges 1,2,3,4,5,6,7,8,9").is_err());
    }

    /// Ids are the file's, and the settings that the figures depend on are there.
    #[test]
    fn reports_say_what_was_counted() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../testdata/assign/statistics_annotations.json");
        let annotations = AnnotatedImages::read(&file).expect("reads");
        let report = |arguments: &str| {
            let all = ["stats", "--annotations", "a.json", "--rule"].into_iter();
            let args = Args::try_parse_from(all.chain(arguments.split(' '))).expect("parses");
            let summary = Statistics::default().summary();
            let report = Report::new(&args, &annotations, &summary, &[(2, 1)]);
            serde_json::to_value(report).expect("serialises")
        };
        let fcos = report("fcos --ranges 32,64");
        assert_eq!(fcos["ranges"], serde_json::json!([32.0, 64.0]));
        assert!(fcos.get("k").is_none() && fcos.get("low_quality").is_none());
        assert_eq!(fcos["left_out"]["crowd"], annotations.left_out.crowd);
        let image = &annotations.images[2];
        let (missed, label) = (&fcos["never_learnt"][0], image.labels[1]);
        assert_eq!(missed["image_id"], image.id);
        assert_eq!(missed["annotation_id"].as_u64(), image.annotation_ids[1]);
        assert_eq!(missed["category_id"], u64::from(label) + 1);
        assert_eq!(missed["category"], annotations.classes.name(label));
        let atss = report("atss --k 5");
        assert_eq!(
            (&atss["k"], &atss["anchor_scale"]),
            (&5.into(), &8.0.into())
        );
        assert!(atss.get("ranges").is_none());
        assert_eq!(report("retinanet")["low_quality"], 0.4f32);
        assert!(report("retinanet --low-quality none")["low_quality"].is_null());
    }

    #[test]
    fn low_quality_words() {
        assert_eq!(low_quality("none").expect("a word").0, None);
        assert_eq!(low_quality("all").expect("a word").0, Some(0.0));
        assert_eq!(low_quality("0.4").expect("a number").0, Some(0.4));
        for text in ["some", "-1", "nan", "2"] {
            assert!(low_quality(text).is_err(), "{text}");
        }
    }
}
