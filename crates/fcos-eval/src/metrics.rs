//! The twelve figures: averages over hotcoco's curves, their table and their JSON.
//!
//! Legend of the curves' axes: T IoU thresholds 0.50:0.05:0.95, R recall thresholds 0:0.01:1,
//! K categories, A area ranges, M limits of detections per image and category.

use std::fmt;
use std::ops::Range;

use hotcoco::AccumulatedEval;
use serde::{Deserialize, Serialize, Serializer};

/// The twelve figures that pycocotools prints, in its order; −1 where there is nothing to find.
///
/// AP is the precision averaged over 101 recall thresholds, AR the highest recall. Both are
/// averaged over the categories that have annotations and, where no IoU is named, over the IoU
/// thresholds 0.50:0.05:0.95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CocoStats {
    /// AP.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// AP at IoU 0.50.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// AP at IoU 0.75.
    #[serde(rename = "AP75")]
    pub ap75: f64,
    /// AP of small objects: area up to 32².
    #[serde(rename = "APs")]
    pub ap_small: f64,
    /// AP of medium objects: area from 32² to 96².
    #[serde(rename = "APm")]
    pub ap_medium: f64,
    /// AP of large objects: area from 96².
    #[serde(rename = "APl")]
    pub ap_large: f64,
    /// AR with at most 1 detection per image and category.
    #[serde(rename = "AR1")]
    pub ar1: f64,
    /// AR with at most 10 detections per image and category.
    #[serde(rename = "AR10")]
    pub ar10: f64,
    /// AR with at most 100 detections per image and category.
    #[serde(rename = "AR100")]
    pub ar100: f64,
    /// AR of small objects.
    #[serde(rename = "ARs")]
    pub ar_small: f64,
    /// AR of medium objects.
    #[serde(rename = "ARm")]
    pub ar_medium: f64,
    /// AR of large objects.
    #[serde(rename = "ARl")]
    pub ar_large: f64,
}

/// The figures of one category alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// The category's id in the annotations.
    pub category_id: u64,
    /// Its name: the key in JSON.
    #[serde(skip)]
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub stats: CocoStats,
}

/// The result of an evaluation.
///
/// As text, the twelve lines that pycocotools prints. As JSON,
/// `{"stats": {"AP": …}, "per_class": {"person": {"category_id": 1, "AP": …}, …}}`; categories
/// of the same name have it followed by their id: `"person (1)"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CocoMetrics {
    /// The figures of all categories together.
    pub stats: CocoStats,
    /// Every listed category, by ascending id.
    #[serde(serialize_with = "by_name")]
    pub per_class: Vec<ClassMetrics>,
}

/// What is averaged.
#[derive(Clone, Copy, PartialEq)]
enum Curve {
    Precision,
    Recall,
}

/// Which part of the curves a figure is the average of: indices into their T, A and M axes.
struct Slice {
    curve: Curve,
    /// `None`: all thresholds.
    iou: Option<usize>,
    area: usize,
    max_dets: usize,
}

/// The labels of the A axis.
const AREAS: [&str; 4] = ["all", "small", "medium", "large"];
/// The limits of the M axis.
const MAX_DETS: [usize; 3] = [1, 10, 100];

/// In the order of [`CocoStats`].
const SLICES: [Slice; 12] = [
    slice(Curve::Precision, None, 0, 2),
    slice(Curve::Precision, Some(0), 0, 2),
    slice(Curve::Precision, Some(5), 0, 2),
    slice(Curve::Precision, None, 1, 2),
    slice(Curve::Precision, None, 2, 2),
    slice(Curve::Precision, None, 3, 2),
    slice(Curve::Recall, None, 0, 0),
    slice(Curve::Recall, None, 0, 1),
    slice(Curve::Recall, None, 0, 2),
    slice(Curve::Recall, None, 1, 2),
    slice(Curve::Recall, None, 2, 2),
    slice(Curve::Recall, None, 3, 2),
];

const fn slice(curve: Curve, iou: Option<usize>, area: usize, max_dets: usize) -> Slice {
    Slice {
        curve,
        iou,
        area,
        max_dets,
    }
}

impl Slice {
    /// Mean over thresholds and the categories at positions `classes` of the K axis.
    fn mean(&self, curves: &AccumulatedEval, classes: Range<usize>) -> f64 {
        let ious = self.iou.map_or(0..curves.shape.t, |t| t..t + 1);
        let cells = ious.flat_map(|t| classes.clone().map(move |k| (t, k)));
        match self.curve {
            Curve::Precision => {
                let cells = cells.flat_map(|(t, k)| (0..curves.shape.r).map(move |r| (t, r, k)));
                mean(cells.map(|(t, r, k)| {
                    curves.precision[curves.precision_idx(t, r, k, self.area, self.max_dets)]
                }))
            }
            Curve::Recall => mean(
                cells
                    .map(|(t, k)| curves.recall[curves.recall_idx(t, k, self.area, self.max_dets)]),
            ),
        }
    }
}

/// Mean of the values that are defined, −1 if none is.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let defined = values.filter(|&value| value > -1.0);
    let (sum, count) = defined.fold((0.0, 0_u32), |(sum, count), v| (sum + v, count + 1));
    if count == 0 {
        -1.0
    } else {
        sum / f64::from(count)
    }
}

impl CocoStats {
    /// pycocotools' names of the figures, in the order of the fields; in JSON they are the keys.
    pub const NAMES: [&'static str; 12] = [
        "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    ];

    /// The figures of the categories at positions `classes` of the K axis.
    pub(crate) fn new(curves: &AccumulatedEval, classes: Range<usize>) -> Self {
        Self::from_array(SLICES.map(|slice| slice.mean(curves, classes.clone())))
    }

    fn from_array(values: [f64; 12]) -> Self {
        let [ap, ap50, ap75, ap_small, ap_medium, ap_large, recalls @ ..] = values;
        let [ar1, ar10, ar100, ar_small, ar_medium, ar_large] = recalls;
        Self {
            ap,
            ap50,
            ap75,
            ap_small,
            ap_medium,
            ap_large,
            ar1,
            ar10,
            ar100,
            ar_small,
            ar_medium,
            ar_large,
        }
    }

    /// The figures in the order of the fields.
    pub fn to_array(&self) -> [f64; 12] {
        [
            self.ap,
            self.ap50,
            self.ap75,
            self.ap_small,
            self.ap_medium,
            self.ap_large,
            self.ar1,
            self.ar10,
            self.ar100,
            self.ar_small,
            self.ar_medium,
            self.ar_large,
        ]
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = match self.curve {
            Curve::Precision => "Average Precision  (AP)",
            Curve::Recall => "Average Recall     (AR)",
        };
        let iou = match self.iou {
            Some(t) => format!("{:.2}", 0.5 + 0.05 * t as f64),
            None => "0.50:0.95".to_owned(),
        };
        let (area, max_dets) = (AREAS[self.area], MAX_DETS[self.max_dets]);
        write!(
            f,
            " {title} @[ IoU={iou:<9} | area={area:>6} | maxDets={max_dets:>3} ]"
        )
    }
}

impl fmt::Display for CocoStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (slice, value)) in SLICES.iter().zip(self.to_array()).enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{slice} = {value:.3}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CocoMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats.fmt(f)
    }
}

/// Classes as a map by name, in their order.
fn by_name<S: Serializer>(classes: &[ClassMetrics], serializer: S) -> Result<S::Ok, S::Error> {
    let key = |class: &ClassMetrics| {
        let same = classes
            .iter()
            .filter(|other| other.name == class.name)
            .count();
        if same == 1 {
            class.name.clone()
        } else {
            format!("{} ({})", class.name, class.category_id)
        }
    };
    serializer.collect_map(classes.iter().map(|class| (key(class), class)))
}
