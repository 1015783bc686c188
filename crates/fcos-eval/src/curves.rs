//! Training curves as an SVG file: one chart below the other.
//!
//! Text is left to the viewer's fonts, so writing needs none.

use std::ops::Range;
use std::path::{Path, PathBuf};

use fcos_core::okabe_ito;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Width of the picture and height of each chart, in pixels.
const CHART: (u32, u32) = (900, 340);

/// The lines' colours; yellow is too faint on white.
const PALETTE: [[u8; 3]; 6] = [
    okabe_ito::BLUE,
    okabe_ito::VERMILION,
    okabe_ito::BLUISH_GREEN,
    okabe_ito::REDDISH_PURPLE,
    okabe_ito::ORANGE,
    okabe_ito::SKY_BLUE,
];

/// A named line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// `(x, y)` by ascending x; points that aren't finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a common x axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Written above.
    pub title: String,
    /// Name of the x axis, as in "iteration".
    pub x_label: String,
    /// The lines.
    pub series: Vec<Series>,
    /// Weight of the past in the moving average drawn through each line, in `[0, 1)`: see
    /// [`smooth`]. At 0 the lines are drawn alone, otherwise faintly below their average.
    pub smoothing: f64,
}

/// Why curves could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurvesError {
    /// The smoothing of a chart is not in `[0, 1)`.
    #[error("chart {title:?}: smoothing is {smoothing}, but must be at least 0 and below 1")]
    Smoothing {
        /// The chart.
        title: String,
        /// What it asks for.
        smoothing: f64,
    },
    /// A chart cannot be laid out.
    #[error("cannot draw the curves for {}: {reason}", path.display())]
    Draw {
        /// The file the curves were for.
        path: PathBuf,
        /// What the drawing library says.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Draws the charts below one another into an SVG file.
///
/// ```no_run
/// use fcos_eval::curves::{Chart, Series, write_curves};
///
/// let points = (0..100).map(|i| (i as f64, 1.0 / (1.0 + i as f64))).collect();
/// let loss = Chart {
///     title: "Loss".into(),
///     x_label: "iteration".into(),
///     series: vec![Series { name: "total".into(), points }],
///     smoothing: 0.9,
/// };
/// write_curves(&[loss], "curves.svg")?;
/// # Ok::<(), fcos_eval::curves::CurvesError>(())
/// ```
///
/// # Errors
/// [`CurvesError::Smoothing`] for a weight outside `[0, 1)`, [`CurvesError::Draw`] if the drawing
/// library gives up, and [`CurvesError::Write`] if the file cannot be written.
pub fn write_curves(charts: &[Chart], path: impl AsRef<Path>) -> Result<(), CurvesError> {
    let path = path.as_ref();
    for Chart {
        title, smoothing, ..
    } in charts
    {
        if !(0.0..1.0).contains(smoothing) {
            return Err(CurvesError::Smoothing {
                title: title.clone(),
                smoothing: *smoothing,
            });
        }
    }
    let mut svg = String::new();
    let drawn = draw_all(
        charts,
        SVGBackend::with_string(&mut svg, picture_size(charts.len())),
    );
    drawn.map_err(|e| CurvesError::Draw {
        path: path.into(),
        reason: e.to_string(),
    })?;
    fcos_core::write_atomically(path, svg.as_bytes()).map_err(|source| CurvesError::Write {
        path: path.into(),
        source,
    })
}

fn picture_size(charts: usize) -> (u32, u32) {
    (CHART.0, CHART.1 * charts.max(1) as u32)
}

/// An exponential moving average that starts unbiased: each value weighs `weight` times as much as
/// the one after it.
pub fn smooth(points: &[(f64, f64)], weight: f64) -> Vec<(f64, f64)> {
    let average = |state: &mut (f64, f64), &(x, y): &(f64, f64)| {
        *state = (weight * state.0 + y, weight * state.1 + 1.0);
        Some((x, state.0 / state.1))
    };
    points.iter().scan((0.0, 0.0), average).collect()
}

type Failure = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_all(charts: &[Chart], backend: SVGBackend) -> Result<(), Failure> {
    let root = backend.into_drawing_area();
    root.fill(&WHITE)?;
    for (area, chart) in root
        .split_evenly((charts.len().max(1), 1))
        .iter()
        .zip(charts)
    {
        draw_chart(area, chart)?;
    }
    root.present()
}

/// A line as drawn: the finite points and, with smoothing, their average.
struct Line<'a> {
    name: &'a str,
    color: RGBColor,
    raw: Vec<(f64, f64)>,
    main: Vec<(f64, f64)>,
}

impl<'a> Line<'a> {
    fn new(series: &'a Series, color: RGBColor, smoothing: f64) -> Self {
        let finite = series
            .points
            .iter()
            .filter(|(x, y)| x.is_finite() && y.is_finite());
        let raw: Vec<_> = finite.copied().collect();
        Self {
            name: &series.name,
            color,
            main: smooth(&raw, smoothing),
            raw,
        }
    }
}

fn lines(chart: &Chart) -> Vec<Line<'_>> {
    let colored = chart.series.iter().zip(PALETTE.into_iter().cycle());
    colored
        .map(|(series, [r, g, b])| Line::new(series, RGBColor(r, g, b), chart.smoothing))
        .collect()
}

fn draw_chart(area: &Area, chart: &Chart) -> Result<(), Failure> {
    let lines = lines(chart);
    let shown = lines.iter().flat_map(|line| &line.raw);
    let x = span(shown.clone().map(|p| p.0));
    let y = padded(span(shown.map(|p| p.1)));
    let digits = tick_digits(&y);
    let corner = legend_corner(&lines, &x, &y);
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 20))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(42)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    context
        .configure_mesh()
        .x_desc(&chart.x_label)
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| format!("{x}"))
        .y_label_formatter(&|y| tick(*y, digits))
        .draw()?;
    for line in &lines {
        if chart.smoothing > 0.0 {
            context.draw_series(LineSeries::new(line.raw.clone(), line.color.mix(0.25)))?;
        }
        draw_main(&mut context, line)?;
    }
    if lines.is_empty() {
        Ok(())
    } else {
        draw_legend(&mut context, corner)
    }
}

type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws a line's average, with dots where there are few enough to tell apart.
fn draw_main<'a, 'b: 'a>(context: &mut Plot<'a, 'b>, line: &Line) -> Result<(), Failure> {
    const MOST_DOTS: usize = 40;
    let style = line.color.stroke_width(2);
    let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style);
    let series = LineSeries::new(line.main.clone(), style);
    context.draw_series(series)?.label(line.name).legend(legend);
    let dots = line.main.iter().filter(|_| line.main.len() <= MOST_DOTS);
    let dot = |&point: &(f64, f64)| Circle::new(point, 3, line.color.filled());
    context.draw_series(dots.map(dot)).map(|_| ())
}

fn draw_legend<'a, 'b: 'a>(
    context: &mut Plot<'a, 'b>,
    corner: SeriesLabelPosition,
) -> Result<(), Failure> {
    context
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
}

/// The right corner that the last third of the lines mostly leaves free.
fn legend_corner(lines: &[Line], x: &Range<f64>, y: &Range<f64>) -> SeriesLabelPosition {
    let third = x.end - (x.end - x.start) / 3.0;
    let tail = || {
        lines
            .iter()
            .flat_map(|line| &line.main)
            .filter(|p| p.0 >= third)
    };
    let high = tail().filter(|p| p.1 > (y.start + y.end) / 2.0).count();
    if 2 * high > tail().count() {
        SeriesLabelPosition::LowerRight
    } else {
        SeriesLabelPosition::UpperRight
    }
}

/// From the smallest to the largest value; never empty.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let range = values.fold(None, |range: Option<Range<f64>>, v| {
        Some(range.map_or(v..v, |r| r.start.min(v)..r.end.max(v)))
    });
    let range = range.unwrap_or(0.0..1.0);
    // Axes of no length, or a length lost in rounding, cannot be divided.
    let room = (range.start.abs().max(range.end.abs()) * 1e-6).max(1e-12);
    if range.end - range.start > room {
        range
    } else {
        range.start - room..range.end + room
    }
}

/// A little wider, but not beyond zero where no value is.
fn padded(range: Range<f64>) -> Range<f64> {
    let room = 0.05 * (range.end - range.start);
    let start = range.start - room;
    let start = if range.start >= 0.0 {
        start.max(0.0)
    } else {
        start
    };
    start..range.end + room
}

/// Decimals that tell the ticks of an axis apart.
fn tick_digits(range: &Range<f64>) -> usize {
    (1.0 - (range.end - range.start).log10()).ceil().max(0.0) as usize
}

/// A tick's label, in powers of ten where decimals would be many.
fn tick(value: f64, digits: usize) -> String {
    if digits > 4 {
        format!("{value:.1e}")
    } else {
        format!("{value:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series>, smoothing: f64) -> Chart {
        Chart {
            title: "Loss & <more>".into(),
            x_label: "iteration".into(),
            series,
            smoothing,
        }
    }

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series {
            name: name.into(),
            points: points.to_vec(),
        }
    }

    fn written(charts: &[Chart]) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("curves.svg");
        write_curves(charts, &path).expect("curves");
        std::fs::read_to_string(path).expect("text")
    }

    #[test]
    fn smoothing_weighs_the_past_geometrically_and_starts_unbiased() {
        let points = [(0.0, 4.0), (1.0, 1.0), (2.0, 7.0)];
        // (¼·4 + ½·1 + 7) / (¼ + ½ + 1)
        let expected = [(0.0, 4.0), (1.0, 2.0), (2.0, 8.5 / 1.75)];
        for (a, b) in smooth(&points, 0.5).into_iter().zip(expected) {
            assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-12, "{a:?} {b:?}");
        }
        assert_eq!(smooth(&points, 0.0), points);
    }

    #[test]
    fn every_title_axis_and_series_is_named_as_text() {
        let ap = chart(
            vec![
                series("AP", &[(0.0, 0.1), (10.0, 0.5)]),
                series("AP50", &[(0.0, 0.3)]),
            ],
            0.0,
        );
        let svg = written(&[
            chart(vec![series("total", &[(0.0, 2.0), (10.0, 1.0)])], 0.9),
            ap,
        ]);
        assert!(svg.trim_start().starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["Loss &amp; &lt;more&gt;", "iteration", "total", "AP50"] {
            assert!(
                svg.contains(&format!("\n{text}\n")),
                "{text} is missing in {svg}"
            );
        }
        assert!(svg.contains("width=\"900\" height=\"680\""));
    }

    /// The line's pixels map back to its values: the axes are linear and cover the points.
    #[test]
    fn points_lie_where_their_values_say() {
        let svg = written(&[chart(
            vec![series("a", &[(0.0, 0.0), (1.0, 2.0), (4.0, 8.0)])],
            0.0,
        )]);
        let line = svg
            .lines()
            .find(|l| l.contains("<polyline") && l.contains("#0072B2"));
        let points = line
            .and_then(|l| l.split("points=\"").nth(1))
            .expect("a line in the first colour");
        let points = points.split('"').next().expect("its points");
        let points: Vec<f64> = points
            .split([' ', ','])
            .filter_map(|n| n.parse().ok())
            .collect();
        assert_eq!(points.len(), 6, "{points:?}");
        let quarter = |a: f64, b: f64, c: f64| ((b - a) - (c - a) / 4.0).abs() <= 1.0;
        assert!(quarter(points[0], points[2], points[4]), "x of {points:?}");
        assert!(quarter(points[1], points[3], points[5]), "y of {points:?}");
        assert!(points[0] < points[4] && points[1] > points[5] && points[5] > 0.0);
    }

    #[test]
    fn any_numbers_can_be_drawn() {
        let cases: [&[(f64, f64)]; 7] = [
            &[],
            &[(3.0, 5.0)],
            &[(0.0, 0.0), (1.0, 0.0)],
            &[
                (0.0, f64::NAN),
                (f64::INFINITY, 1.0),
                (2.0, f64::NEG_INFINITY),
            ],
            &[(0.0, 1e-300), (1.0, -1e300), (2.0, 1e300)],
            &[(0.0, 1e9), (1.0, 1e9 + 1e-6)],
            &[(5.0, 1.0), (1.0, 2.0), (3.0, 0.5)],
        ];
        for points in cases {
            written(&[
                chart(vec![series("a", points)], 0.0),
                chart(vec![series("b", points)], 0.99),
            ]);
        }
        written(&[]);
        written(&[chart(Vec::new(), 0.0)]);
        written(&[chart(
            (0..10)
                .map(|i| series(&i.to_string(), &[(0.0, f64::from(i))]))
                .collect(),
            0.0,
        )]);
    }

    #[test]
    fn a_single_evaluation_shows_as_a_dot() {
        let svg = written(&[chart(vec![series("AP", &[(500.0, 0.4)])], 0.0)]);
        assert_eq!(svg.matches("<circle").count(), 1);
        let dense: Vec<_> = (0..100).map(|i| (f64::from(i), 1.0)).collect();
        assert!(!written(&[chart(vec![series("loss", &dense)], 0.0)]).contains("<circle"));
    }

    #[test]
    fn bad_smoothing_and_unwritable_files_are_reported() {
        for smoothing in [-0.1, 1.0, f64::NAN] {
            let refused = write_curves(&[chart(Vec::new(), smoothing)], Path::new("unused.svg"));
            assert!(
                matches!(refused, Err(CurvesError::Smoothing { .. })),
                "{smoothing}"
            );
        }
        let refused = write_curves(&[], Path::new("/no/such/folder/curves.svg"));
        assert!(
            matches!(refused, Err(CurvesError::Write { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn ticks_are_short_and_distinct() {
        assert_eq!(tick(0.25, tick_digits(&(0.0..0.6))), "0.25");
        assert_eq!(tick(3.0, tick_digits(&(0.0..12.0))), "3");
        assert_eq!(tick(0.00123, tick_digits(&(0.0..0.002))), "0.0012");
        assert_eq!(tick(0.000012, tick_digits(&(0.0..0.00002))), "1.2e-5");
    }
}
