//! What an image's page shows, before it becomes HTML or pixels: a line an input, in it a cell for
//! the image and one an explainer.

use crate::colormap::{self, Rgb};
use crate::error::Result;
use crate::escape::{norm, number, percent};
use crate::picture::Picture;
use fgmf_record::{FigureRow, GalleryRecord, MapRecord, ViewPictures, ViewRecord};

/// Pixel values of an image.
const BOUNDS: [f64; 2] = [0.0, 1.0];

/// An input.
pub(super) struct Line {
    pub(super) title: String,
    pub(super) cells: Vec<Cell>,
}

/// Pictures side by side, and what is known of them.
pub(super) struct Cell {
    pub(super) title: String,
    /// Places for pictures; the same in every line, so that lines stand in columns.
    pub(super) places: usize,
    pub(super) tiles: Vec<Tile>,
    /// Names and values.
    pub(super) figures: Vec<(String, String)>,
    pub(super) remarks: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// A picture.
pub(super) struct Tile {
    pub(super) caption: &'static str,
    pub(super) picture: Result<Picture>,
    pub(super) bar: Option<Bar>,
    /// Whether it is kept from operators.
    pub(super) withheld: bool,
}

/// A colour bar: colours from end to end, and the numbers at both ends and in the middle.
pub(super) struct Bar {
    pub(super) colour: fn(f32) -> Rgb,
    pub(super) range: [f32; 2],
    pub(super) numbers: [String; 3],
}

impl Bar {
    fn unit() -> Self {
        Self {
            colour: colormap::sequential,
            range: [0.0, 1.0],
            numbers: ["0", "0.5", "1"].map(str::to_owned),
        }
    }

    fn signed(scale: f32) -> Self {
        let end = number(f64::from(scale));
        Self {
            colour: colormap::diverging,
            range: [-1.0, 1.0],
            numbers: [format!("\u{2212}{end}"), "0".into(), format!("+{end}")],
        }
    }
}

/// The name of a class, or its number.
pub(super) fn class(about: &GalleryRecord, label: usize) -> String {
    let name = about.data.as_ref().and_then(|d| d.classes.get(label));
    name.cloned().unwrap_or_else(|| format!("class {label}"))
}

/// The lines of image `at`, whose pictures are given, one entry an input.
pub(super) fn lines(about: &GalleryRecord, at: usize, pictures: &[ViewPictures]) -> Vec<Line> {
    let image = &about.images[at];
    let views = image.views.iter().zip(pictures).enumerate();
    let line = |(input, (view, drawn)): (usize, (&ViewRecord, &ViewPictures))| {
        let explainers = 0..about
            .explainers
            .len()
            .min(view.maps.len())
            .min(drawn.maps.len());
        let mut cells = vec![image_cell(about, image.truth, view, input, pictures)];
        cells.extend(explainers.map(|e| map_cell(about, at, [input, e], view, pictures)));
        Line {
            title: input_title(about, input),
            cells,
        }
    };
    views.map(line).collect()
}

/// `clean image`, or the attack with norm and radius.
pub(super) fn input_title(about: &GalleryRecord, input: usize) -> String {
    let name = about.inputs.get(input).map_or("input", |i| i.id.as_str());
    match &about.threat {
        Some(t) if input > 0 => format!("after {name} ({}, eps {})", norm(t.norm), number(t.eps)),
        _ => format!("{name} image"),
    }
}

fn image_cell(
    about: &GalleryRecord,
    truth: Option<usize>,
    view: &ViewRecord,
    input: usize,
    pictures: &[ViewPictures],
) -> Cell {
    let image = &pictures[input].image;
    let picture = |caption, picture, bar| Tile {
        caption,
        picture,
        bar,
        withheld: false,
    };
    let attacked = input > 0;
    let mut tiles = vec![picture(
        if attacked { "attacked" } else { "as given" },
        Picture::of_image(image, BOUNDS),
        None,
    )];
    if attacked {
        let values = image
            .values
            .iter()
            .zip(&pictures[0].image.values)
            .map(|(a, b)| a - b)
            .collect();
        let change = Picture::of_signed(&MapRecord {
            values,
            ..image.clone()
        });
        let scale = change.as_ref().map_or(0.0, |c| c.1);
        tiles.push(picture(
            "change",
            change.map(|c| c.0),
            Some(Bar::signed(scale)),
        ));
    }
    let mut figures = vec![
        ("predicted".into(), class(about, view.predicted)),
        ("probability".into(), percent(view.probability)),
    ];
    if let Some(truth) = truth {
        figures.push(("true class".into(), class(about, truth)));
    }
    figures.push(("explained".into(), class(about, view.explained)));
    let wrong = truth.is_some_and(|t| t != view.predicted);
    Cell {
        title: "image".into(),
        places: pictures.len().min(2),
        tiles,
        figures,
        remarks: Vec::new(),
        warnings: if wrong {
            vec!["wrong answer".into()]
        } else {
            Vec::new()
        },
    }
}

fn map_cell(
    about: &GalleryRecord,
    at: usize,
    [input, explainer]: [usize; 2],
    view: &ViewRecord,
    pictures: &[ViewPictures],
) -> Cell {
    let (facts, drawn, image) = (
        &view.maps[explainer],
        &pictures[input].maps[explainer],
        &pictures[input].image,
    );
    let withheld = facts.withheld.is_some();
    // One scale for all inputs, so that before and after can be compared.
    let scales = pictures
        .iter()
        .filter_map(|p| p.maps.get(explainer))
        .map(|m| colormap::signed_scale(&m.values.values));
    let signed = drawn.signed.then_some(scales.fold(0.0, f32::max));
    let map = match signed {
        Some(scale) => Picture::of_signed_to(&drawn.values, scale),
        None => Picture::of_map(&drawn.values, [0.0, 1.0]),
    };
    let tile = |caption, picture, bar| Tile {
        caption,
        picture,
        bar,
        withheld,
    };
    let mut tiles = vec![
        tile("map", map, Some(signed.map_or_else(Bar::unit, Bar::signed))),
        tile(
            "over the image",
            Picture::overlay(image, BOUNDS, &drawn.values, signed),
            None,
        ),
    ];
    if let Some(map) = &drawn.disagreement {
        let widest = map.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = if widest > 1.0 { 2.0 } else { 1.0 };
        tiles.push(tile(
            "parts differ",
            Picture::of_signed_to(map, scale),
            Some(Bar::signed(scale)),
        ));
    }
    let id = &about.explainers[explainer].id;
    let figure = |row: &&FigureRow| {
        row.explainer == *id && about.inputs.get(input).is_some_and(|i| i.id == row.input)
    };
    let text = |value: Option<f64>| value.map_or_else(|| "\u{2013}".to_owned(), number);
    let figures = about
        .rows
        .iter()
        .filter(figure)
        .map(|r| (r.figure.clone(), text(r.values.get(at).copied().flatten())));
    let kept = facts
        .withheld
        .iter()
        .map(|w| format!("not to be shown to an operator: {w}"));
    Cell {
        title: id.clone(),
        places: tiles.len(),
        tiles,
        figures: figures.collect(),
        remarks: facts.note.iter().cloned().collect(),
        warnings: kept
            .chain(facts.doubts.iter().map(|d| format!("in doubt: {d}")))
            .collect(),
    }
}
