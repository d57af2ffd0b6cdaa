//! The gallery as HTML: a part before the images, one an image, and a part behind them, so that the
//! images need not be in memory together.

use crate::escape::{count, decimal, escape, listed, percent};
use crate::facts::{data, model_file, tree};
use crate::gallery::lines::{self, input_title};
use crate::gallery::reading::reading;
use crate::gallery::{filter, marks};
use crate::html::{list, mean_detail, section, stacked, table};
use crate::page::{Page, foot};
use crate::panel;
use fgmf_record::{Direction, FigureRow, GalleryRecord, ImageRecord, ViewPictures, ViewRecord};

const STYLE: &str = concat!(include_str!("../page.css"), include_str!("gallery.css"));

/// The page up to the images.
pub fn gallery_head(about: &GalleryRecord) -> String {
    let page = Page {
        class: "gallery",
        style: &format!("{STYLE}{}", filter::style()),
        kind: "FGMF gallery",
        title: "Explanation maps",
        subject: escape(&about.model.file),
        facts: facts(about),
        lead: format!(
            "<p class=\"lead\">A map shows which pixels a method holds responsible for the score \
            of a class. Read <a href=\"#reading\">how far a map can be believed</a> before you \
            rely on one.</p>{}",
            promise(about)
        ),
        contents: vec![
            ("images", "Images"),
            ("answers", "Answers and marks"),
            ("means", "Means"),
            ("reading", "How far a map can be believed"),
            ("parameters", "Every parameter"),
        ],
    };
    format!(
        "{}<section id=\"images\"><h2>Images</h2>{}\n",
        page.head(),
        filter::bar(about),
    )
}

/// The page behind the images.
pub fn gallery_tail(about: &GalleryRecord) -> String {
    let more = " The same figures are in gallery.json, raw maps in the folder maps.";
    [
        "</section>\n".to_owned(),
        section("answers", "Answers and marks", &overview(about)),
        section("means", "Means over the images", &means(about)),
        section("reading", "How far a map can be believed", &reading(about)),
        section("parameters", "Every parameter", &parameters(about)),
        foot(&about.version, more),
    ]
    .concat()
}

/// The section of image `at`.
///
/// # Panics
/// When there is no such image.
pub fn gallery_image(about: &GalleryRecord, at: usize, pictures: &[ViewPictures]) -> String {
    let image = &about.images[at];
    // The stem is made of letters that need no escape in an address.
    let link = format!(
        "<a class=\"detail\" href=\"pages/{}.png\" aria-label=\"{name} as PNG\">as PNG</a>",
        escape(&image.stem),
        name = escape(&image.name)
    );
    panel::case(
        &format!("image-{at}"),
        &filter::classes(image),
        [&escape(&image.name), &link],
        &lines::lines(about, at, pictures),
        "",
    )
}

/// What is promised of the maps that are shown.
fn promise(about: &GalleryRecord) -> String {
    let text = about.promise.as_deref();
    text.map_or_else(String::new, |text| {
        format!("<p class=\"lead\">{}</p>", escape(text))
    })
}

fn facts(about: &GalleryRecord) -> Vec<(&'static str, String)> {
    let images = match &about.data {
        Some(d) => format!("{} of {}, {} split", count(d.n), escape(&d.name), d.split),
        None => format!("{} files", count(about.images.len())),
    };
    let left_out = match about.left_out.len() {
        0 => String::new(),
        n => format!(", {} more left out", count(n)),
    };
    let attack = if about.inputs.len() > 1 {
        lines::attack(about, 1)
    } else {
        "none".to_owned()
    };
    let maps = || about.images.iter().flat_map(marks::maps);
    let marked = format!(
        "{}: {} withheld, {} in doubt",
        count(maps().count()),
        count(maps().filter(|m| m.withheld.is_some()).count()),
        count(maps().filter(|m| !m.doubts.is_empty()).count())
    );
    let methods: Vec<String> = about.explainers.iter().map(|e| escape(&e.id)).collect();
    vec![
        ("Images", images + &left_out),
        ("Methods", listed(&methods)),
        ("Maps", marked),
        ("Attack", escape(&attack)),
    ]
}

/// Means with intervals: a row a figure, a column an explainer, a line an input.
fn means(about: &GalleryRecord) -> String {
    let mut figures: Vec<(&str, Direction)> = Vec::new();
    for row in &about.rows {
        if !figures.iter().any(|f| f.0 == row.figure) {
            figures.push((&row.figure, row.better));
        }
    }
    let cell = |figure: &str, explainer: &str| {
        let rows = about
            .rows
            .iter()
            .filter(|r| r.figure == figure && r.explainer == explainer && r.n > 0);
        let text = |r: &FigureRow| {
            let detail = mean_detail(r.interval, r.n);
            stacked(&decimal(r.mean), &format!("{} {detail}", escape(&r.input)))
        };
        let cells: String = rows.map(text).collect();
        if cells.is_empty() {
            "\u{2013}".to_owned()
        } else {
            cells
        }
    };
    let row = |&(figure, better): &(&str, Direction)| {
        let cells: String = about
            .explainers
            .iter()
            .map(|e| format!("<td>{}</td>", cell(figure, &e.id)))
            .collect();
        format!(
            "<tr><th scope=\"row\">{}<span class=\"detail\">{} is better</span></th>{cells}</tr>",
            escape(figure),
            better
        )
    };
    let heads: String = about
        .explainers
        .iter()
        .map(|e| format!("<th scope=\"col\">{}</th>", escape(&e.id)))
        .collect();
    let rows: String = figures.iter().map(row).collect();
    table(
        "means",
        [
            "Means over the images",
            "Mean, [95% interval of the mean, normal approximation], images with a value.",
        ],
        &format!("<th scope=\"col\">figure</th>{heads}"),
        &rows,
    )
}

/// A row an image, with what was answered, and how many of its maps are not to be relied on.
fn overview(about: &GalleryRecord) -> String {
    let row = |(i, image): (usize, &ImageRecord)| {
        let answers: String = image
            .views
            .iter()
            .map(|v| {
                let wrong = image.truth.is_some_and(|t| t != v.predicted);
                let mark = if wrong {
                    " <span class=\"bad\">✗ wrong</span>"
                } else {
                    ""
                };
                format!(
                    "<td>{} {}{mark}</td>",
                    escape(&about.class_name(v.predicted)),
                    percent(v.probability)
                )
            })
            .collect();
        let named = |(v, input): (usize, &ViewRecord)| -> Vec<String> {
            let bad = poor_maps(about, input);
            if bad.is_empty() {
                Vec::new()
            } else {
                vec![format!("{}: {}", escape(&about.inputs[v].id), listed(&bad))]
            }
        };
        let bad: Vec<String> = image.views.iter().enumerate().flat_map(named).collect();
        let bad = if bad.is_empty() {
            "\u{2013}".to_owned()
        } else {
            bad.join("<br>")
        };
        let truth = about.data.as_ref().map(|_| {
            format!(
                "<td>{}</td>",
                image
                    .truth
                    .map_or_else(String::new, |t| escape(&about.class_name(t)))
            )
        });
        format!(
            "<tr><th scope=\"row\"><a \
                href=\"#image-{i}\">{}</a></th>{}{answers}<td>{bad}</td></tr>",
            escape(&image.name),
            truth.unwrap_or_default()
        )
    };
    let rows: String = about.images.iter().enumerate().map(row).collect();
    let truth = about
        .data
        .as_ref()
        .map_or("", |_| "<th scope=\"col\">true class</th>");
    let inputs: String = (0..about.inputs.len())
        .map(|i| format!("<th scope=\"col\">{}</th>", escape(&input_title(about, i))))
        .collect();
    let heads = format!(
        "<th scope=\"col\">image</th>{truth}{inputs}<th scope=\"col\">maps withheld or in \
            doubt</th>"
    );
    table(
        "figures",
        ["Answers and marks of each image", ""],
        &heads,
        &rows,
    )
}

/// Explainers whose map of a view is withheld or in doubt.
fn poor_maps(about: &GalleryRecord, view: &ViewRecord) -> Vec<String> {
    let bad = about
        .explainers
        .iter()
        .zip(&view.maps)
        .filter(|(_, m)| m.withheld.is_some() || !m.doubts.is_empty());
    bad.map(|(e, _)| escape(&e.id)).collect()
}

fn parameters(about: &GalleryRecord) -> String {
    let mut rows = vec![
        ("Version", format!("fgmf {}", escape(&about.version))),
        ("Seed", about.seed.to_string()),
        ("Model", model_file(&about.model)),
    ];
    rows.extend(about.data.as_ref().map(|d| ("Data", data(d))));
    if !about.left_out.is_empty() {
        let files: Vec<String> = about.left_out.iter().map(|f| escape(f)).collect();
        rows.push(("Left out", files.join("<br>")));
    }
    let all = serde_json::json!({
        "inputs": about.inputs,
        "explainers": about.explainers,
        "metrics": about.metrics,
        "threat": about.threat,
    });
    format!(
        "{}<details><summary>All settings</summary>{}</details>",
        list("definitions", rows),
        tree(&all)
    )
}
