//! `fcos stats`: what a rule of assignment does to a data set's boxes.

mod network;
mod report;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use fcos::data::{AnnotatedImage, AnnotatedImages};
use fcos::targets::{Counted, count};
use serde::Serialize;

use crate::terminal::{progress_bar, write_json};
use network::Matcher;
use report::{Report, print};

/// Beyond these, strides would exceed any image.
const MAX_RANGES: usize = 8;

/// Count what a rule of assignment does to a data set's boxes
///
/// Which boxes are learnt at all, by how many locations, and how often a location has a choice. Needs
/// the annotations only, no images: those are resized and padded as the network sees them.
///
/// --json writes all figures, with bpr, ambiguous and ambiguous_across_classes in per cent, and the
/// boxes that are never learnt with the ids of their image, annotation and category.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  fcos stats --annotations instances.json
  fcos stats --annotations instances.json --rule atss --json atss.json
  Tables 1 and 2 of the FCOS paper, on instances_val2017.json:
    fcos stats --annotations instances.json --legacy-pixels
    fcos stats --annotations instances.json --legacy-pixels --no-fpn")]
pub struct Args {
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

impl Args {
    /// Counts, and prints the figures.
    ///
    /// # Errors
    /// If the annotations can't be read, settings are of another rule or out of their range, or the
    /// figures can't be written.
    pub fn run(self) -> Result<()> {
        self.check()?;
        let annotations = AnnotatedImages::read(&self.annotations)?;
        let counted = self.count(&annotations.images)?;
        let summary = counted.statistics.summary();
        let missed = &counted.never_learnt;
        print(&self, &annotations, &summary, missed);
        match &self.json {
            Some(path) => write_json(path, &Report::new(&self, &annotations, &summary, missed)),
            None => Ok(()),
        }
    }

    fn count(&self, images: &[AnnotatedImage]) -> Result<Counted> {
        let bar = progress_bar(images.len() as u64, "images");
        let counted = count(
            images,
            |image| self.scene(image),
            |input| Matcher::new(self, input),
            |done| bar.inc(done as u64),
        );
        bar.finish_and_clear();
        counted
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use fcos::targets::{NeverLearnt, Statistics};
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
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/assign");
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
            let counted = args.count(&annotations.images).expect("counts");
            let (summary, missed) = (counted.statistics.summary(), counted.never_learnt);
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
            .join("../../testdata/assign/statistics_annotations.json");
        let annotations = AnnotatedImages::read(&file).expect("reads");
        let report = |arguments: &str| {
            let all = ["stats", "--annotations", "a.json", "--rule"].into_iter();
            let args = Args::try_parse_from(all.chain(arguments.split(' '))).expect("parses");
            let summary = Statistics::default().summary();
            let missed = NeverLearnt { image: 2, index: 1 };
            let report = Report::new(&args, &annotations, &summary, &[missed]);
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
