//! What the page of an image shows: a line an input, in it a cell for the image and one an
//! explainer.

use crate::colormap;
use crate::escape::{norm, number, percent};
use crate::panel::{Bar, Below, Cell, Line, Tile, Under, Width};
use crate::picture::Picture;
use fgmf_record::{FigureRow, GalleryRecord, MapRecord, ViewPictures, ViewRecord};

/// Pixel values of an image.
const BOUNDS: [f64; 2] = [0.0, 1.0];

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
        let title = input_title(about, input);
        for cell in &mut cells {
            for tile in &mut cell.tiles {
                tile.alt = format!("{} {}, {}, {title}", cell.title, tile.caption, image.name);
            }
        }
        Line {
            key: None,
            title,
            cells,
        }
    };
    views.map(line).collect()
}

/// `clean image`, or what was done to it.
pub(super) fn input_title(about: &GalleryRecord, input: usize) -> String {
    if input > 0 {
        return format!("after {}", attack(about, input));
    }
    let name = about.inputs.get(input).map_or("input", |i| i.id.as_str());
    format!("{name} image")
}

/// An attack with norm and radius.
pub(super) fn attack(about: &GalleryRecord, input: usize) -> String {
    let name = about.inputs.get(input).map_or("input", |i| i.id.as_str());
    about.threat.as_ref().map_or_else(
        || name.to_owned(),
        |t| format!("{name} ({}, eps {})", norm(t.norm), number(t.eps)),
    )
}

fn image_cell(
    about: &GalleryRecord,
    truth: Option<usize>,
    view: &ViewRecord,
    input: usize,
    pictures: &[ViewPictures],
) -> Cell {
    let image = &pictures[input].image;
    let picture = |caption, picture, below| Tile {
        caption,
        alt: String::new(),
        picture,
        below,
        withheld: false,
    };
    let attacked = input > 0;
    let mut tiles = vec![picture(
        if attacked { "attacked" } else { "as given" },
        Picture::of_image(image, BOUNDS),
        Below::Nothing,
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
            Below::Bar(Bar::signed(scale)),
        ));
    }
    let mut figures = vec![
        ("predicted".into(), about.class_name(view.predicted)),
        ("probability".into(), percent(view.probability)),
    ];
    if let Some(truth) = truth {
        figures.push(("true class".into(), about.class_name(truth)));
    }
    figures.push(("explained".into(), about.class_name(view.explained)));
    let wrong = truth.is_some_and(|t| t != view.predicted);
    Cell {
        title: "image".into(),
        width: Width::Shares(pictures.len().min(2)),
        tiles,
        absent: None,
        under: Some(Under {
            figures,
            remarks: Vec::new(),
            warnings: if wrong {
                vec!["wrong answer".into()]
            } else {
                Vec::new()
            },
        }),
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
    let tile = |caption, picture, below| Tile {
        caption,
        alt: String::new(),
        picture,
        below,
        withheld,
    };
    let mut tiles = vec![
        tile(
            "map",
            map,
            Below::Bar(signed.map_or_else(Bar::unit, Bar::signed)),
        ),
        tile(
            "over the image",
            Picture::overlay(image, BOUNDS, &drawn.values, signed),
            Below::Nothing,
        ),
    ];
    if let Some(map) = &drawn.disagreement {
        let widest = map.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = if widest > 1.0 { 2.0 } else { 1.0 };
        tiles.push(tile(
            "parts differ",
            Picture::of_signed_to(map, scale),
            Below::Bar(Bar::signed(scale)),
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
    Cell {
        title: id.clone(),
        width: Width::Shares(tiles.len()),
        tiles,
        absent: None,
        under: Some(Under {
            figures: figures.collect(),
            remarks: facts.note.iter().cloned().collect(),
            warnings: facts.marks(),
        }),
    }
}
