//! Image pages: what each model sees in one image, before and after the attack.

use crate::colormap::{self, Rgb};
use crate::error::Result;
use crate::escape::{capital, escape, number, percent};
use crate::html::inline_png;
use crate::legend::{model, named};
use crate::picture::Picture;
use fgmf_record::{CaseRecord, CaseView, MapRecord, ReportRecord};

/// Anchors of the two gradients of the colour bars.
const SIGNED: &str = "colours-signed";
const UNIT: &str = "colours-unit";

/// Legend of the figures, then one section an image.
pub(crate) fn pages(report: &ReportRecord) -> String {
    if report.cases.is_empty() {
        return "<p class=\"detail\">No image was kept.</p>".to_owned();
    }
    let cases: String = report.cases.iter().map(|c| page(report, c)).collect();
    format!(
        "<p>Each model was attacked on its own, so the attacked images differ. ✓ \
            marks a right answer, ✗ a wrong one. The maps answer for the true class, also where \
            the model no longer names it.</p>{}{}{cases}",
        gradients(),
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
    let items: String = known
        .iter()
        .map(|(n, r)| {
            format!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(&capital(n)),
                escape(r)
            )
        })
        .collect();
    format!(
        "<h3 class=\"legend-title\">How to read the figures under the pictures</h3><dl \
            class=\"readings\">{items}</dl>"
    )
}

fn page(report: &ReportRecord, case: &CaseRecord) -> String {
    let with_mask = case.views.iter().any(|v| v.mask.is_some());
    let views: String = case
        .views
        .iter()
        .map(|v| view(report, case, v, with_mask))
        .collect();
    let title = format!("#{} — {}", case.index, class(report, case.label));
    format!(
        "<section class=\"case\"><h3>{title}</h3>{}{views}{}</section>\n",
        bars(with_mask),
        figures(report, case)
    )
}

fn view(report: &ReportRecord, case: &CaseRecord, view: &CaseView, with_mask: bool) -> String {
    let bounds = report.threat.bounds;
    let (style, title) = model(report, &view.model);
    let said = |(label, probability)| verdict(report, case.label, label, probability);
    let of = |what: &str| format!("{what}, image {}, {title}", case.index);
    let attack = [
        tile(
            "image",
            &Picture::of_image(&case.image, bounds),
            &of("Clean image"),
            &said(view.clean_prediction),
        ),
        signed("perturbation", &view.perturbation, &of("Perturbation")),
        tile(
            "attacked image",
            &Picture::of_image(&view.attacked, bounds),
            &of("Attacked image"),
            &said(view.attacked_prediction),
        ),
    ];
    let mut groups = group("Attack", 3, &attack.concat());
    if with_mask {
        let mask = view.mask.as_ref().map(|[before, after]| {
            mapped("before", before, &of("SGAM mask"))
                + &mapped("after", after, &of("SGAM mask under attack"))
        });
        groups += &group(
            "SGAM mask",
            2,
            &mask.unwrap_or_else(|| {
                "<p class=\"absent\">This model has no mask layer.</p>".to_owned()
            }),
        );
    }
    let over = [&case.image, &view.attacked];
    let pgca: String = ["before", "after"]
        .into_iter()
        .enumerate()
        .map(|(i, when)| {
            let picture = Picture::overlay(over[i], bounds, &view.pgca[i], None);
            withheld(
                tile(when, &picture, &of(&format!("PGCA {when} the attack")), ""),
                &view.pgca[i],
                view.withheld[i].as_deref(),
            )
        })
        .collect();
    let [before, after] = &view.integrated_gradients;
    let gradients = signed("before", before, &of("Integrated Gradients"))
        + &signed("after", after, &of("Integrated Gradients under attack"));
    groups += &group("PGCA over the image", 2, &pgca);
    groups += &group("Integrated Gradients", 2, &gradients);
    format!(
        "<div class=\"view\"><h4>{}</h4><div class=\"groups\">{groups}</div></div>",
        named(style, title)
    )
}

fn group(title: &str, columns: usize, body: &str) -> String {
    format!("<div class=\"group c{columns}\"><h5>{title}</h5><div class=\"row\">{body}</div></div>")
}

/// A picture with its caption, or the reason why there is none.
pub(crate) fn tile(caption: &str, picture: &Result<Picture>, alt: &str, below: &str) -> String {
    let drawn = match picture {
        Ok(p) => p
            .png()
            .map(|png| inline_png(&png, (p.width(), p.height()), alt))
            .map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let body = drawn.unwrap_or_else(|e| {
        format!(
            "<div class=\"nodata\">no data<span class=\"detail\">{}</span></div>",
            escape(&e)
        )
    });
    format!("<div class=\"tile-picture\">{body}<p class=\"caption\">{caption}</p>{below}</div>")
}

fn signed(caption: &str, map: &MapRecord, alt: &str) -> String {
    match Picture::of_signed(map) {
        Ok((picture, scale)) => {
            let mean = if map.channels == 3 {
                ", mean of channels"
            } else {
                ""
            };
            tile(
                caption,
                &Ok(picture),
                alt,
                &format!(
                    "<p class=\"scale\">s = {}{mean}</p>",
                    number(f64::from(scale))
                ),
            )
        }
        Err(error) => tile(caption, &Err(error), alt, ""),
    }
}

/// A map of the scale 0 to 1; a map that leaves it is drawn on its own range, which is then stated.
fn mapped(caption: &str, map: &MapRecord, alt: &str) -> String {
    let (low, high) = map
        .values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| {
            (l.min(v), h.max(v))
        });
    if low >= 0.0 && high <= 1.0 {
        return tile(caption, &Picture::of_map(map, [0.0, 1.0]), alt, "");
    }
    let own = format!(
        "<p class=\"scale\">{} to {}</p>",
        number(f64::from(low)),
        number(f64::from(high))
    );
    tile(caption, &Picture::of_map(map, [low, high]), alt, &own)
}

/// A tile behind a stamp if there is a reason; the hatching takes the shape of the map.
fn withheld(tile: String, map: &MapRecord, reason: Option<&str>) -> String {
    let Some(reason) = reason else { return tile };
    stamped(
        &format!(
            "{tile}<p class=\"reason\">not shown to an operator: {}</p>",
            escape(reason)
        ),
        [map.width, map.height],
    )
}

/// Hatching in the shape of a map, and the stamp.
pub(crate) fn stamped(tile: &str, [width, height]: [usize; 2]) -> String {
    format!(
        "<div class=\"withheld\" style=\"--shape:{width}/{height}\">{tile}<span \
            class=\"stamp\">withheld</span></div>"
    )
}

fn class(report: &ReportRecord, label: usize) -> String {
    report
        .test
        .classes
        .get(label)
        .map_or_else(|| format!("class {label}"), |name| escape(name))
}

fn verdict(report: &ReportRecord, truth: usize, label: usize, probability: f64) -> String {
    let (class_name, sign, word) = if label == truth {
        ("good", "✓", "right")
    } else {
        ("bad", "✗", "wrong")
    };
    format!(
        "<p class=\"verdict {class_name}\"><span role=\"img\" \
            aria-label=\"{word}\">{sign}</span> {}<br>{}</p>",
        class(report, label),
        percent(probability)
    )
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
    format!(
        "<div class=\"scroll\"><table class=\"figures\"><thead><tr><th \
            scope=\"col\">figure</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
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
