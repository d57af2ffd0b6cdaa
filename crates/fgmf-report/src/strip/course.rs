//! Charts of a strip: the return so far, the stake of each step, returns under deletion.

use crate::chart::{Axis, Chart, Point, Series, Ticks};
use crate::escape::{decimal, escape};
use crate::html::table;
use crate::legend::named;
use fgmf_record::{DeletionRecord, ReturnFigure, StripRecord};

/// Points of a line: more of them would hide it behind its own markers.
const POINTS: usize = 32;

/// A line through some of the values, the first and the last among them.
fn line(style: usize, values: &[f64]) -> Series {
    let last = values.len().saturating_sub(1);
    let every = values.len().div_ceil(POINTS).max(1);
    let chosen = (0..values.len()).filter(|t| t.is_multiple_of(every) || *t == last);
    let point = |t: usize| Point {
        x: t as f64,
        y: values[t],
        band: None,
    };
    Series {
        style,
        points: chosen.map(point).collect(),
    }
}

fn axis(title: &str, range: Option<[f64; 2]>) -> Axis {
    Axis {
        title: title.to_owned(),
        range,
        ticks: Ticks::Plain,
    }
}

/// Mean of each step and its neighbours, so that a line of some hundred steps can be read.
fn smoothed(values: &[f64]) -> Vec<f64> {
    const REACH: usize = 7;
    let mean = |t: usize| {
        let part = &values[t.saturating_sub(REACH)..(t + REACH + 1).min(values.len())];
        part.iter().sum::<f64>() / part.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

/// Returns and stakes of all rows.
pub(super) fn courses(strip: &StripRecord) -> String {
    let steps = strip.rows.iter().map(|r| r.course.len()).max().unwrap_or(0);
    let chart = |label: &str, y: Axis, values: &dyn Fn(usize) -> Vec<f64>| {
        let series = (0..strip.rows.len()).rev().map(|i| line(i, &values(i)));
        Chart {
            label: label.to_owned(),
            size: [540.0, 240.0],
            x: axis("step", Some([0.0, steps as f64])),
            y,
            mark: None,
            series: series.collect(),
        }
        .svg()
    };
    let legend = strip.rows.iter().enumerate();
    let legend: String = legend.map(|(i, r)| named(i, &r.name)).collect();
    let course = chart("Return so far", axis("return so far", None), &|i| {
        strip.rows[i].course.clone()
    });
    let stakes = chart(
        "Mean stake of the agents",
        axis("stake, mean of 15 steps", Some([0.0, 1.0])),
        &|i| smoothed(&strip.rows[i].stakes),
    );
    format!(
        "<div class=\"legend\">{legend}</div><div class=\"courses\">{course}{stakes}</div>\
            <p class=\"detail\">Stake: the probability of the likeliest action less that of the \
            unlikeliest, so 0 where an agent does not care and 1 where it is sure.</p>"
    )
}

/// Returns as objects are erased.
pub(super) fn deletion(found: &DeletionRecord) -> String {
    let orders = found.orders.iter().enumerate();
    let series = orders.clone().map(|(style, (_, figures))| Series {
        style,
        points: found
            .shares
            .iter()
            .zip(figures)
            .map(|(&x, f)| Point {
                x,
                y: f.value,
                band: Some(f.interval),
            })
            .collect(),
    });
    let last = found.shares.iter().copied().fold(0.0, f64::max);
    let chart = Chart {
        label: "Normalised return against the share of objects erased".to_owned(),
        size: [540.0, 300.0],
        x: Axis {
            title: "share of the objects of every view erased".to_owned(),
            range: Some([0.0, last]),
            ticks: Ticks::Percent,
        },
        y: axis("normalised return", None),
        mark: None,
        series: series.collect(),
    };
    let legend: String = orders.map(|(i, (name, _))| named(i, name)).collect();
    let heads: String = found
        .shares
        .iter()
        .map(|s| format!("<th scope=\"col\">{:.0}% erased</th>", 100.0 * s))
        .collect();
    let cell = |f: &ReturnFigure| {
        let [lo, hi] = f.interval;
        format!(
            "<td><b>{}</b><span class=\"detail\">[{}, {}]</span></td>",
            decimal(f.value),
            decimal(lo),
            decimal(hi)
        )
    };
    let rows: String = found
        .orders
        .iter()
        .map(|(name, figures)| {
            let cells: String = figures.iter().map(cell).collect();
            format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", escape(name))
        })
        .collect();
    let heads = format!("<th scope=\"col\">order</th>{heads}");
    let table = table("numbers", ["Deletion", ""], &heads, &rows);
    let [lo, hi] = found.area.interval;
    format!(
        "<p>At every step of {} episodes a share of the objects of each view is erased. The \
            return falls faster if the objects erased first matter more. Area between least and \
            most relevant first: <b>{}</b>, 95% interval [{}, {}]. Random order is the \
            control.</p><div class=\"legend\">{legend}</div><div class=\"pair\">{}{table}</div>",
        found.episodes,
        decimal(found.area.value),
        decimal(lo),
        decimal(hi),
        chart.svg(),
    )
}
