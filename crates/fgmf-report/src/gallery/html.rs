//! The gallery as HTML: a part before the images, one an image, and a part behind them, so that the
//! images need not be in memory together.

use crate::colormap;
use crate::escape::{count, decimal, escape, listed, percent};
use crate::facts::{data, hash, model_file, tree};
use crate::gallery::doubt::rules;
use crate::gallery::lines::{input_title, lines};
use crate::html::{list, mean_detail, section, stacked, table};
use crate::page::{Page, foot};
use crate::panel::{self, Bar, scale_bar};
use fgmf_record::{Direction, FigureRow, GalleryRecord, ImageRecord, ViewPictures, ViewRecord};

const STYLE: &str = concat!(include_str!("../page.css"), include_str!("gallery.css"));

/// What the figures mean; others are explained in `docs/metrics.md`.
const READINGS: [(&str, &str); 9] = [
    (
        "agreement",
        "Rank correlation of the two parts of PGCA, \u{2212}1 to 1. Two kinds of \
            evidence that say the same are worth more than one. With the dark fills of the \
            defaults part of it is mere brightness.",
    ),
    (
        "completeness-gap",
        "How far the values of a map miss the change of the score that they should add \
            up to. Only for methods that promise it.",
    ),
    (
        "lerf-minus-morf",
        "What removing the least important pixels first leaves of the probability, \
            less what removing the most important first leaves. 0: no better than a random order. \
            On a single image it scatters; the mean over images is the figure to rely on.",
    ),
    (
        "sparseness",
        "Gini coefficient: 0 where all pixels count the same, 1 where one counts alone. \
            Easy to read is not right.",
    ),
    (
        "entropy",
        "Entropy of the map: the lower, the fewer pixels it points at. Easy to read is not right.",
    ),
    (
        "shift-top-k",
        "Share of the top tenth of the pixels that is still on top after the attack. Two \
            random maps share 0.1.",
    ),
    (
        "shift-tolerant-top-k",
        "The same, where a pixel beside it counts, too.",
    ),
    (
        "shift-spearman",
        "Rank correlation of all pixels before and after the attack.",
    ),
    (
        "shift-ssim",
        "Structural similarity of the map before and after the attack.",
    ),
];

/// The page up to the images.
pub fn gallery_head(about: &GalleryRecord) -> String {
    let page = Page {
        class: "gallery",
        style: STYLE,
        kind: "FGMF gallery",
        title: "What the model looks at",
        subject: escape(&about.model.file),
        facts: facts(about),
        lead: summary(about),
        contents: vec![
            ("reading", "What may be believed"),
            ("means", "Means"),
            ("images", "Images"),
            ("parameters", "Every parameter"),
        ],
    };
    format!(
        "{}{}{}<section id=\"images\"><h2>Images</h2>{}\n",
        page.head(),
        section("reading", "What may be believed", &reading(about)),
        section("means", "Means over the images", &means(about)),
        overview(about),
    )
}

/// The page behind the images.
pub fn gallery_tail(about: &GalleryRecord) -> String {
    let more = " The same figures are in gallery.json, raw maps in the folder maps.";
    format!(
        "</section>\n{}{}",
        section("parameters", "Every parameter", &parameters(about)),
        foot(&about.version, more)
    )
}

/// The section of image `at`.
///
/// # Panics
/// When there is no such image.
pub fn gallery_image(about: &GalleryRecord, at: usize, pictures: &[ViewPictures]) -> String {
    let image = &about.images[at];
    // The stem is made of letters that need no escape in an address.
    let link = format!(
        "<p class=\"detail\"><a href=\"pages/{}.png\">this page as PNG</a></p>",
        escape(&image.stem)
    );
    panel::case(
        &format!(" id=\"image-{at}\""),
        &escape(&image.name),
        &link,
        &lines(about, at, pictures),
        "",
    )
}

fn facts(about: &GalleryRecord) -> Vec<(&'static str, String)> {
    let images = match &about.data {
        Some(d) => format!(
            "{}, {} split, first {} images",
            escape(&d.name),
            d.split,
            count(d.n)
        ),
        None => format!("{} files", count(about.images.len())),
    };
    let attack = if about.inputs.len() > 1 {
        input_title(about, 1)
    } else {
        "none".to_owned()
    };
    let made = format!("fgmf {}, seed {}", escape(&about.version), about.seed);
    vec![
        ("Model", hash(&about.model.sha256)),
        ("Images", images),
        ("Attack", escape(&attack)),
        ("Made by", made),
    ]
}

/// What an auditor should know before the pictures.
fn summary(about: &GalleryRecord) -> String {
    let images = about.images.len();
    let attacked = |i: &&ImageRecord| i.views.windows(2).any(|v| v[0].predicted != v[1].predicted);
    let maps = || {
        about
            .images
            .iter()
            .flat_map(|i| &i.views)
            .flat_map(|v| &v.maps)
    };
    let withheld = maps().filter(|m| m.withheld.is_some()).count();
    let doubted = maps()
        .filter(|m| m.withheld.is_none() && !m.doubts.is_empty())
        .count();
    let mut words = vec![format!(
        "Images: {}; explainers: {}; maps: {}.",
        count(images),
        count(about.explainers.len()),
        count(maps().count())
    )];
    if about.inputs.len() > 1 {
        words.push(format!(
            "Answers that the attack changed: {}.",
            count(about.images.iter().filter(attacked).count())
        ));
    }
    words.push(format!(
        "Maps not to be relied on: {} withheld by their own method, {} more that break \
            one of the rules below.",
        count(withheld),
        count(doubted)
    ));
    format!("<p class=\"lead summary\">{}</p>", words.join(" "))
}

fn reading(about: &GalleryRecord) -> String {
    let rules: String = rules().map(|r| format!("<li>{r}</li>")).collect();
    let bar = |title: &str, colour, range, numbers: [&str; 3]| {
        format!(
            "<div><dt>{title}</dt><dd class=\"sample\">{}</dd></div>",
            scale_bar(&Bar {
                colour,
                range,
                numbers: numbers.map(str::to_owned)
            })
        )
    };
    let signed = bar(
        "signed maps: blue against the class, orange for it",
        colormap::diverging,
        [-1.0, 1.0],
        ["\u{2212}s", "0", "+s"],
    );
    let unit = bar(
        "maps from 0 to 1: yellow is the most important",
        colormap::sequential,
        [0.0, 1.0],
        ["0", "0.5", "1"],
    );
    let parts = bar(
        "parts differ (PGCA): blue where only the gradient map points, orange where only \
            the perturbation map does",
        colormap::diverging,
        [-1.0, 1.0],
        ["\u{2212}1", "0", "+1"],
    );
    let mut figures: Vec<&str> = about.rows.iter().map(|r| r.figure.as_str()).collect();
    figures.dedup();
    let known: String = READINGS
        .iter()
        .filter(|(id, _)| figures.contains(id))
        .map(|(id, text)| format!("<div><dt>{id}</dt><dd>{text}</dd></div>"))
        .collect();
    format!(
        "<ul><li>A map says which pixels <em>this method</em> holds responsible for \
            the score of <em>one class</em>, named under each image. It does not say that the \
            answer is right, nor why the class has that score.</li><li>Colours rank the pixels \
            <em>within</em> a map. A bright spot is no strong evidence: maps from 0 to 1 are \
            stretched to their own largest value, and signed maps to the s of their bar, which is \
            the same before and after the attack.</li><li>A map that moves when nobody can see a \
            change in the image is a poor basis for a decision: compare the \
            lines.</li><li>Methods that fill pixels with black (and those whose reference image \
            is black) count brightness on dark ground as importance.</li><li>A map under the \
            stamp <b>withheld</b> is shown to auditors only; its method says why.</li></ul><h3 \
            class=\"legend-title\">A map is called in doubt where</h3><ul>{rules}</ul><h3 \
            class=\"legend-title\">Colours</h3><dl \
            class=\"readings\">{unit}{signed}{parts}</dl><h3 \
            class=\"legend-title\">Figures</h3><dl class=\"readings\">{known}</dl><p \
            class=\"detail\">Every metric with range and direction: docs/metrics.md.</p>"
    )
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
        "",
        "Mean, [95% interval of the mean, normal approximation], images with a value.",
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
                    " <span class=\"bad\">wrong</span>"
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
    table("figures", "", &heads, &rows)
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
    let mut rows = vec![("Model", model_file(&about.model))];
    rows.extend(about.data.as_ref().map(|d| ("Data", data(d))));
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
