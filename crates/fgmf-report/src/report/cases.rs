//! Image pages: what each model sees in one image, before and after the attack.

use crate::colormap::{self, Rgb};
use crate::error::Result;
use crate::escape::{capital, escape, number};
use crate::html::{list, table};
use crate::legend::{model, named};
use crate::panel::{self, Answer, Below, Cell, Line, Tile, Under, Width};
use crate::picture::Picture;
use fgmf_record::{CaseRecord, CaseView, MapFacts, MapRecord, ReportRecord};

/// Anchors of the two gradients of the colour bars.
const SIGNED: &str = "colours-signed";
const UNIT: &str = "colours-unit";

/// Legend of the figures, then one section an image.
pub(crate) fn pages(report: &ReportRecord) -> String {
    if report.cases.is_empty() {
        let pending = !report.pending.is_empty();
        let words = if pending {
            "Images are still to come."
        } else {
            "No image was kept."
        };
        return format!("<p class=\"detail\">{words}</p>");
    }
    let cases: String = report.cases.iter().map(|c| page(report, c)).collect();
    let with_mask = |c: &CaseRecord| c.views.iter().any(|v| v.mask.is_some());
    format!(
        "<p>Each model was attacked on its own, so the attacked images differ. ✓ \
            marks a right answer, ✗ a wrong one. The maps answer for the true class, also where \
            the model no longer names it.</p>{}{}{cases}{}",
        gradients(),
        bars(report.cases.iter().any(with_mask)),
        readings(report)
    )
}

/// How to read the figures under the pictures, each name once.
fn readings(report: &ReportRecord) -> String {
    let mut known: Vec<(&str, &str)> = Vec::new();
    for figure in report
        .cases
        .iter()
        .flat_map(|c| &c.views)
        .flat_map(|v| &v.figures)
    {
        if !known.iter().any(|k| k.0 == figure.name) {
            known.push((&figure.name, &figure.reading));
        }
    }
    if known.is_empty() {
        return String::new();
    }
    let items = known
        .iter()
        .map(|(name, reading)| (escape(&capital(name)), escape(reading)));
    format!(
        "<h3>How to read the figures under the pictures</h3>{}",
        list("readings", items)
    )
}

fn page(report: &ReportRecord, case: &CaseRecord) -> String {
    let with_mask = case.views.iter().any(|v| v.mask.is_some());
    let views: Vec<Line> = case
        .views
        .iter()
        .map(|v| view(report, case, v, with_mask))
        .collect();
    let class = escape(&report.test.class_name(case.label));
    panel::case(
        &format!("image-{}", case.index),
        &[],
        [&format!("#{} — {class}", case.index), ""],
        &views,
        &figures(report, case),
    )
}

/// What a model sees: the attack, its mask if any model has one, and two maps of explanations.
fn view(report: &ReportRecord, case: &CaseRecord, view: &CaseView, with_mask: bool) -> Line {
    let bounds = report.threat.bounds;
    let (style, title) = model(report, &view.model);
    let of = |what: &str| format!("{what}, image {}, {title}", case.index);
    let said = |(label, probability)| {
        Below::Answer(Answer {
            right: label == case.label,
            class: report.test.class_name(label),
            probability,
        })
    };
    let image = |caption, image, what, answer| Tile {
        below: said(answer),
        ..plain(caption, of(what), Picture::of_image(image, bounds))
    };
    let attack = vec![
        image("image", &case.image, "Clean image", view.clean_prediction),
        signed("perturbation", &view.perturbation, of("Perturbation")),
        image(
            "attacked image",
            &view.attacked,
            "Attacked image",
            view.attacked_prediction,
        ),
    ];
    let mut cells = vec![cell("Attack", 3, attack)];
    if with_mask {
        let mask = view.mask.iter().flat_map(|[before, after]| {
            [
                mapped("before", before, of("SGAM mask")),
                mapped("after", after, of("SGAM mask under attack")),
            ]
        });
        cells.push(Cell {
            absent: view
                .mask
                .is_none()
                .then_some("This model has no mask layer."),
            ..cell("SGAM mask", 2, mask.collect())
        });
    }
    let over = [&case.image, &view.attacked];
    let pgca = ["before", "after"]
        .into_iter()
        .enumerate()
        .map(|(i, when)| {
            let picture = Picture::overlay(over[i], bounds, &view.pgca[i], None);
            Tile {
                withheld: view.facts[0][i].withheld.is_some(),
                ..plain(when, of(&format!("PGCA {when} the attack")), picture)
            }
        });
    cells.push(Cell {
        under: marks(&view.facts[0]),
        ..cell("PGCA over the image", 2, pgca.collect())
    });
    let [before, after] = &view.integrated_gradients;
    let gradients = vec![
        signed("before", before, of("Integrated Gradients")),
        signed("after", after, of("Integrated Gradients under attack")),
    ];
    cells.push(Cell {
        under: marks(&view.facts[1]),
        ..cell("Integrated Gradients", 2, gradients)
    });
    Line {
        key: Some(style),
        title: title.to_owned(),
        cells,
    }
}

/// What stands against relying on the maps before and after the attack.
fn marks(facts: &[MapFacts; 2]) -> Option<Under> {
    let all = ["before", "after"].into_iter().zip(facts);
    let warnings: Vec<String> = all
        .flat_map(|(when, map)| map.marks().into_iter().map(move |m| format!("{when}, {m}")))
        .collect();
    (!warnings.is_empty()).then(|| Under {
        figures: Vec::new(),
        remarks: Vec::new(),
        warnings,
    })
}

fn cell(title: &str, columns: usize, tiles: Vec<Tile>) -> Cell {
    Cell {
        title: title.to_owned(),
        width: Width::Columns(columns),
        tiles,
        absent: None,
        under: None,
    }
}

fn plain(caption: &'static str, alt: String, picture: Result<Picture>) -> Tile {
    Tile {
        caption,
        alt,
        picture,
        below: Below::Nothing,
        withheld: false,
    }
}

fn signed(caption: &'static str, map: &MapRecord, alt: String) -> Tile {
    match Picture::of_signed(map) {
        Ok((picture, scale)) => {
            let mean = if map.channels == 3 {
                ", mean of channels"
            } else {
                ""
            };
            let scale = format!("s = {}{mean}", number(f64::from(scale)));
            Tile {
                below: Below::Scale(scale),
                ..plain(caption, alt, Ok(picture))
            }
        }
        Err(error) => plain(caption, alt, Err(error)),
    }
}

/// A map of the scale 0 to 1; a map that leaves it is drawn on its own range, which is then stated.
fn mapped(caption: &'static str, map: &MapRecord, alt: String) -> Tile {
    let (low, high) = map
        .values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| {
            (l.min(v), h.max(v))
        });
    if low >= 0.0 && high <= 1.0 {
        return plain(caption, alt, Picture::of_map(map, [0.0, 1.0]));
    }
    let (low_end, high_end) = (number(f64::from(low)), number(f64::from(high)));
    Tile {
        below: Below::Scale(format!("{low_end} to {high_end}")),
        ..plain(caption, alt, Picture::of_map(map, [low, high]))
    }
}

/// Figures of all views of an image, the models side by side.
fn figures(report: &ReportRecord, case: &CaseRecord) -> String {
    let mut names: Vec<&str> = Vec::new();
    for figure in case.views.iter().flat_map(|v| &v.figures) {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let heads: String = case
        .views
        .iter()
        .map(|v| {
            let (style, title) = model(report, &v.model);
            format!("<th scope=\"col\">{}</th>", named(style, title))
        })
        .collect();
    let rows: String = names
        .iter()
        .map(|name| {
            let value = |v: &CaseView| {
                v.figures
                    .iter()
                    .find(|f| f.name == *name)
                    .map_or_else(|| "–".to_owned(), |f| number(f.value))
            };
            let cells: String = case
                .views
                .iter()
                .map(|v| format!("<td>{}</td>", value(v)))
                .collect();
            format!(
                "<tr><th scope=\"row\">{}</th>{cells}</tr>",
                escape(&capital(name))
            )
        })
        .collect();
    table(
        "figures",
        [&format!("Figures of image {}", case.index), ""],
        &format!("<th scope=\"col\">figure</th>{heads}"),
        &rows,
    )
}

/// Colour bars of the kinds of map on a page.
fn bars(with_mask: bool) -> String {
    let unit = if with_mask { "SGAM mask, PGCA" } else { "PGCA" };
    format!(
        "<div class=\"bars\">{}{}</div>",
        bar(
            "perturbation, Integrated Gradients (s under each picture)",
            SIGNED,
            ["−s", "0", "+s"]
        ),
        bar(unit, UNIT, ["0", "", "1"])
    )
}

fn bar(title: &str, gradient: &str, [low, middle, high]: [&str; 3]) -> String {
    format!(
        "<div class=\"bar\"><span>{title}</span><svg viewBox=\"0 0 160 26\" \
            width=\"160\" height=\"26\" role=\"img\" aria-label=\"colour scale from {low} to \
            {high}\"><rect width=\"160\" height=\"10\" fill=\"url(#{gradient})\"/><text x=\"0\" \
            y=\"23\">{low}</text><text class=\"middle\" x=\"80\" y=\"23\">{middle}</text><text \
            class=\"end\" x=\"160\" y=\"23\">{high}</text></svg></div>"
    )
}

/// The two gradients that every colour bar refers to: an id must stand once on a page.
fn gradients() -> String {
    let gradient = |id: &str, colour: fn(f32) -> Rgb, range| {
        let stop =
            |(i, c): (usize, &String)| format!("<stop offset=\"{i}0%\" stop-color=\"{c}\"/>");
        let stops: String = colormap::stops(colour, range)
            .iter()
            .enumerate()
            .map(stop)
            .collect();
        format!("<linearGradient id=\"{id}\">{stops}</linearGradient>")
    };
    let signed = gradient(SIGNED, colormap::diverging, [-1.0, 1.0]);
    let unit = gradient(UNIT, colormap::sequential, [0.0, 1.0]);
    format!(
        "<svg class=\"defs\" width=\"0\" height=\"0\" \
            aria-hidden=\"true\"><defs>{signed}{unit}</defs></svg>"
    )
}
