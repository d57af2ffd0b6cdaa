//! How a gallery is to be read: what a map says, its colours, its figures, and its marks.

use crate::colormap;
use crate::panel::{Bar, scale_bar};
use fgmf_record::{GalleryRecord, doubt_rules};

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

/// The section's body.
pub(super) fn reading(about: &GalleryRecord) -> String {
    let rules: String = doubt_rules().map(|r| format!("<li>{r}</li>")).collect();
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
    let unit = bar(
        "maps from 0 to 1: yellow is the most important",
        colormap::sequential,
        [0.0, 1.0],
        ["0", "0.5", "1"],
    );
    let signed = bar(
        "signed maps: blue against the class, orange for it",
        colormap::diverging,
        [-1.0, 1.0],
        ["\u{2212}s", "0", "+s"],
    );
    let parts = bar(
        "parts differ (PGCA): blue where only the gradient map points, orange where only \
            the perturbation map does",
        colormap::diverging,
        [-1.0, 1.0],
        ["\u{2212}1", "0", "+1"],
    );
    let has = |figure: &str| about.rows.iter().any(|r| r.figure == figure);
    let known: String = READINGS
        .iter()
        .filter(|(id, _)| has(id))
        .map(|(id, text)| format!("<div><dt>{id}</dt><dd>{text}</dd></div>"))
        .collect();
    let moved = if about.inputs.len() > 1 {
        "<li>A map that moves although the image still shows the same thing is a poor basis \
            for a decision: compare the two lines of an image.</li>"
    } else {
        ""
    };
    format!(
        "<ul><li>A map answers for <em>one method</em> and <em>one class</em>, which is \
            named under each image. It does not say that the answer is right, nor why the class \
            has that score.</li><li>Colours rank the pixels <em>within</em> a map. A bright spot \
            is no strong evidence: maps from 0 to 1 are stretched to their own largest value, and \
            signed maps to the s of their bar, which is the same before and after the \
            attack.</li>{moved}<li>Methods that fill pixels with black (and those whose reference \
            image is black) count brightness on dark ground as importance.</li></ul>\
            <h3>Colours</h3><dl class=\"readings\">{unit}{signed}{parts}</dl>\
            <h3>Withheld and in doubt</h3><p>A map is <b>withheld</b> where its own method finds \
            it not fit to be shown to whoever relies on it; the reason stands below it. This page \
            is for auditors and shows it behind a stamp. A map is <b>in doubt</b> \
            where</p><ul>{rules}</ul><h3>Figures</h3><dl class=\"readings\">{known}</dl>\
            <p class=\"detail\">docs/metrics.md has every metric with range and direction.</p>"
    )
}
