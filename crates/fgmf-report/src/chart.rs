//! Line charts as inline SVG. Colours come from the classes `s0` to `s5` of the page's style sheet;
//! every series also has its own marker and dash, so that no reader depends on colour.

use crate::escape::escape;
use crate::legend::{DASHES, STYLES, marker};

/// Pixels that a tick needs on each axis.
const PER_TICK_UP: f64 = 36.0;
const PER_TICK_ACROSS: f64 = 64.0;

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Position across.
    pub(crate) x: f64,
    /// Position up.
    pub(crate) y: f64,
    /// Interval drawn as a band.
    pub(crate) band: Option<[f64; 2]>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// Colour, marker and dash.
    pub(crate) style: usize,
    /// Points from left to right; those that are not finite are left out.
    pub(crate) points: Vec<Point>,
}

/// How the numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticks {
    /// As they are.
    Plain,
    /// Whole numbers only.
    Whole,
    /// Times 100, with a percent sign.
    Percent,
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// What it shows, with unit.
    pub(crate) title: String,
    /// Ends; `None` takes 0 and the data in.
    pub(crate) range: Option<[f64; 2]>,
    /// How its numbers are written.
    pub(crate) ticks: Ticks,
}

/// A line chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    /// What it shows, for readers who cannot see it.
    pub(crate) label: String,
    /// Width and height in pixels.
    pub(crate) size: [f64; 2],
    /// Across.
    pub(crate) x: Axis,
    /// Up.
    pub(crate) y: Axis,
    /// A vertical line with a name.
    pub(crate) mark: Option<(f64, String)>,
    /// The lines, last on top.
    pub(crate) series: Vec<Series>,
}

/// The part of a chart that holds data, and the ranges it stands for.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: [f64; 2],
    y: [f64; 2],
}

impl Frame {
    fn across(&self, x: f64) -> f64 {
        self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * self.width
    }

    fn up(&self, y: f64) -> f64 {
        self.top + (self.y[1] - y) / (self.y[1] - self.y[0]) * self.height
    }
}

impl Chart {
    /// The chart as an `svg` element; without a finite point it says so.
    pub(crate) fn svg(&self) -> String {
        let [width, height] = self.size;
        let body = self.frame().map_or_else(
            || {
                format!(
                    r#"<text class="none" x="{}" y="{}">no data</text>"#,
                    width / 2.0,
                    height / 2.0
                )
            },
            |frame| self.body(&frame),
        );
        let label = escape(&self.label);
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" \
                style=\"max-width:{width}px\" role=\"img\" aria-label=\"{label}\">{body}</svg>"
        )
    }

    fn frame(&self) -> Option<Frame> {
        let points: Vec<Point> = self.series.iter().flat_map(finite).collect();
        let xs: Vec<f64> = points.iter().map(|p| p.x).collect();
        let ys: Vec<f64> = points
            .iter()
            .flat_map(|p| [Some(p.y), p.band.map(|b| b[0]), p.band.map(|b| b[1])])
            .flatten()
            .collect();
        let left = 46.0;
        let top = match (&self.mark, self.y.title.is_empty()) {
            (Some(_), _) => 44.0,
            (None, false) => 26.0,
            (None, true) => 8.0,
        };
        let (width, height) = (self.size[0] - left - 14.0, self.size[1] - top - 44.0);
        let (x, y) = (
            ends(&self.x, &xs, None)?,
            ends(&self.y, &ys, Some(height / PER_TICK_UP))?,
        );
        Some(Frame {
            left,
            top,
            width,
            height,
            x,
            y,
        })
    }

    fn body(&self, frame: &Frame) -> String {
        let (bottom, right) = (frame.top + frame.height, frame.left + frame.width);
        let mut out = String::new();
        for (value, text) in ticks(frame.y, frame.height / PER_TICK_UP, self.y.ticks) {
            let y = frame.up(value);
            out += &format!(r#"<path class="grid" d="M{} {y:.1}H{right}"/>"#, frame.left);
            out += &format!(
                r#"<text class="end" x="{}" y="{:.1}">{text}</text>"#,
                frame.left - 8.0,
                y + 4.0
            );
        }
        for (value, text) in ticks(frame.x, frame.width / PER_TICK_ACROSS, self.x.ticks) {
            let x = frame.across(value);
            out += &format!(r#"<path class="axis" d="M{x:.1} {bottom}v4"/>"#);
            out += &format!(
                r#"<text class="middle" x="{x:.1}" y="{}">{text}</text>"#,
                bottom + 18.0
            );
        }
        out += &format!(
            r#"<path class="axis" d="M{} {bottom}H{right}"/>"#,
            frame.left
        );
        if !self.y.title.is_empty() {
            out += &format!(
                r#"<text class="title" x="0" y="12">{}</text>"#,
                escape(&self.y.title)
            );
        }
        out += &format!(
            r#"<text class="title end" x="{right}" y="{}">{}</text>"#,
            bottom + 37.0,
            escape(&self.x.title)
        );
        if let Some((value, name)) = self
            .mark
            .as_ref()
            .filter(|(v, _)| *v >= frame.x[0] && *v <= frame.x[1])
        {
            let x = frame.across(*value);
            let side = if x > frame.left + frame.width / 2.0 {
                "end"
            } else {
                "start"
            };
            out += &format!(
                r#"<path class="mark" d="M{x:.1} {}V{bottom}"/>"#,
                frame.top - 6.0
            );
            out += &format!(
                r#"<text class="mark {side}" x="{x:.1}" y="{}">{}</text>"#,
                frame.top - 11.0,
                escape(name)
            );
        }
        let dense = frame.width < 300.0;
        out + &self
            .series
            .iter()
            .map(|s| band(s, frame))
            .collect::<String>()
            + &self
                .series
                .iter()
                .map(|s| line(s, frame, dense))
                .collect::<String>()
    }
}

fn finite(series: &Series) -> impl Iterator<Item = Point> + '_ {
    series
        .points
        .iter()
        .copied()
        .filter(|p| p.x.is_finite() && p.y.is_finite())
        .map(|p| {
            let band = p.band.filter(|b| b.iter().all(|v| v.is_finite()));
            Point { band, ..p }
        })
}

fn band(series: &Series, frame: &Frame) -> String {
    let edges: Vec<(f64, [f64; 2])> = finite(series)
        .filter_map(|p| Some((frame.across(p.x), p.band?)))
        .collect();
    if edges.len() < 2 {
        return String::new();
    }
    let there = edges.iter().map(|(x, b)| (x, frame.up(b[1])));
    let back = edges.iter().rev().map(|(x, b)| (x, frame.up(b[0])));
    let path: Vec<String> = there
        .chain(back)
        .map(|(x, y)| format!("{x:.1} {y:.1}"))
        .collect();
    format!(
        r#"<path class="band s{}" d="M{}Z"/>"#,
        series.style % STYLES,
        path.join("L")
    )
}

fn line(series: &Series, frame: &Frame, dense: bool) -> String {
    let style = series.style % STYLES;
    let places: Vec<(f64, f64)> = finite(series)
        .map(|p| (frame.across(p.x), frame.up(p.y)))
        .collect();
    let path: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1} {y:.1}"))
        .collect();
    // Markers of a long series would hide its line.
    let every = if dense {
        places.len().div_ceil(8).max(1)
    } else {
        1
    };
    let radius = if dense { 2.8 } else { 4.2 };
    let dots: String = places
        .iter()
        .step_by(every)
        .map(|&(x, y)| marker(style, x, y, radius))
        .collect();
    let dash = DASHES[style];
    format!(
        r#"<g class="s{style}"><path class="line" stroke-dasharray="{dash}" d="M{}"/>{dots}</g>"#,
        path.join("L")
    )
}

/// Ends of an axis: as asked if that is a range, else those of the data; with `steps`, 0 is taken
/// in and the ends are rounded outwards to a tick.
fn ends(axis: &Axis, values: &[f64], steps: Option<f64>) -> Option<[f64; 2]> {
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| {
            (l.min(v), h.max(v))
        });
    if low > high {
        return None;
    }
    let wide = |[a, b]: &[f64; 2]| b - a > 1e-12 * a.abs().max(b.abs()) && (b - a).is_finite();
    if let Some(asked) = axis.range.filter(wide) {
        return Some(asked);
    }
    let Some(most) = steps else {
        return Some(if wide(&[low, high]) {
            [low, high]
        } else {
            [low - 0.5, low + 0.5]
        });
    };
    let data = [low.min(0.0), high.max(0.0)];
    let data = if wide(&data) {
        data
    } else {
        [data[0], data[0] + 1.0]
    };
    let step = step(data, tick_limit(most));
    Some([
        (data[0] / step).floor() * step,
        (data[1] / step).ceil() * step,
    ])
}

fn tick_limit(most: f64) -> f64 {
    most.clamp(2.0, 8.0)
}

/// 1, 2 or 5 times a power of ten, so that a range has at most about `most` steps.
fn step(range: [f64; 2], most: f64) -> f64 {
    let rough = (range[1] - range[0]) / most;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * power >= rough * (1.0 - 1e-9))
        .unwrap_or(10.0);
    factor * power
}

/// Values and texts of the ticks inside a range.
fn ticks(range: [f64; 2], most: f64, kind: Ticks) -> Vec<(f64, String)> {
    let step = step(range, tick_limit(most)).max(if kind == Ticks::Whole { 1.0 } else { 0.0 });
    let (first, last) = (
        (range[0] / step - 1e-9).ceil() as i64,
        (range[1] / step + 1e-9).floor() as i64,
    );
    let shown = if kind == Ticks::Percent { 100.0 } else { 1.0 };
    let digits = (-(step * shown).log10().floor()).max(0.0) as usize;
    let text = |v: f64| match kind {
        Ticks::Percent => format!("{:.digits$}%", 100.0 * v),
        _ if digits > 4 || v.abs() >= 1e6 => format!("{v:.0e}"),
        _ => format!("{v:.digits$}"),
    };
    let write = |i: i64| {
        (
            i as f64 * step,
            text(i as f64 * step).replace('-', "\u{2212}"),
        )
    };
    (first..=last).take(20).map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)], range: Option<[f64; 2]>) -> Chart {
        let axis = |title: &str| Axis {
            title: title.to_owned(),
            range,
            ticks: Ticks::Plain,
        };
        let points = points
            .iter()
            .map(|&(x, y)| Point {
                x,
                y,
                band: Some([y - 0.1, y + 0.1]),
            })
            .collect();
        Chart {
            label: "a <chart>".to_owned(),
            size: [460.0, 288.0],
            x: axis("x"),
            y: axis("y"),
            mark: Some((0.5, "here".to_owned())),
            series: vec![Series { style: 0, points }],
        }
    }

    /// A frame of 400 x 200 at (46, 44): (0, 0) is its lower left corner and (1, 1) its upper right
    /// one.
    #[test]
    fn points_stand_where_the_data_say() {
        let svg = chart(&[(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)], Some([0.0, 1.0])).svg();
        assert!(
            svg.contains("d=\"M46.0 244.0L246.0 194.0L446.0 44.0\""),
            "{svg}"
        );
        assert!(
            svg.contains(
                "d=\"M46.0 224.0L246.0 174.0L446.0 24.0L446.0 64.0L246.0 214.0L46.0 264.0Z\""
            ),
            "{svg}"
        );
        assert!(
            svg.contains("d=\"M246.0 38V244\"")
                && svg.contains("here")
                && svg.contains("a &lt;chart&gt;"),
            "{svg}"
        );
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let texts = |range, most, kind| {
            ticks(range, most, kind)
                .into_iter()
                .map(|t| t.1)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            texts([0.0, 1.0], 5.0, Ticks::Percent),
            ["0%", "20%", "40%", "60%", "80%", "100%"]
        );
        assert_eq!(
            texts([0.0, 0.15], 4.0, Ticks::Plain),
            ["0.00", "0.05", "0.10", "0.15"]
        );
        assert_eq!(texts([1.0, 3.0], 8.0, Ticks::Whole), ["1", "2", "3"]);
        assert_eq!(
            texts([-1.0, 1.0], 4.0, Ticks::Plain),
            ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
        );
    }

    #[test]
    fn one_point_equal_points_and_no_point_have_a_chart() {
        for points in [
            vec![(3.0, 2.0)],
            vec![(1.0, 0.0), (1.0, 0.0)],
            vec![(f64::NAN, 1.0), (0.0, f64::INFINITY)],
            vec![],
        ] {
            let svg = chart(&points, None).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(
                svg.contains("no data"),
                !points.iter().any(|p| p.0.is_finite() && p.1.is_finite()),
                "{svg}"
            );
        }
    }
}
