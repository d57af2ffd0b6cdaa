//! Lines, cells and tiles: pictures side by side before they become HTML or pixels.

use crate::colormap::{self, Rgb};
use crate::error::Result;
use crate::escape::number;
use crate::picture::Picture;

/// A view of an image: the image in one form, or as one model sees it.
pub(crate) struct Line {
    /// Style of the model whose view it is, if models are told apart.
    pub(crate) key: Option<usize>,
    pub(crate) title: String,
    pub(crate) cells: Vec<Cell>,
}

/// Pictures side by side, and what is known of them.
pub(crate) struct Cell {
    pub(crate) title: String,
    /// The same in every line, so that lines stand in columns.
    pub(crate) width: Width,
    pub(crate) tiles: Vec<Tile>,
    /// Why there is no tile.
    pub(crate) absent: Option<&'static str>,
    /// Words below the tiles.
    pub(crate) under: Option<Under>,
}

/// Places for pictures in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// As many columns of pictures, each of one size on the whole page.
    Columns(usize),
    /// As many shares of the cell, which shrinks with the page.
    Shares(usize),
}

/// What stands below the pictures of a cell.
pub(crate) struct Under {
    /// Names and values.
    pub(crate) figures: Vec<(String, String)>,
    pub(crate) remarks: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// A picture.
pub(crate) struct Tile {
    pub(crate) caption: &'static str,
    /// What it shows, for readers who cannot see it.
    pub(crate) alt: String,
    pub(crate) picture: Result<Picture>,
    pub(crate) below: Below,
    /// Whether it is stamped; why stands among the warnings of the cell.
    pub(crate) withheld: bool,
}

/// What stands below a picture.
pub(crate) enum Below {
    Nothing,
    Bar(Bar),
    /// The scale of the colours in words.
    Scale(String),
    Answer(Answer),
}

/// A colour bar: colours from end to end, and the numbers at both ends and in the middle.
pub(crate) struct Bar {
    pub(crate) colour: fn(f32) -> Rgb,
    pub(crate) range: [f32; 2],
    pub(crate) numbers: [String; 3],
}

/// What a model answers.
pub(crate) struct Answer {
    pub(crate) right: bool,
    pub(crate) class: String,
    pub(crate) probability: f64,
}

impl Width {
    /// Pictures beside each other.
    pub(crate) fn places(self) -> usize {
        match self {
            Self::Columns(n) | Self::Shares(n) => n,
        }
    }
}

impl Tile {
    /// Columns and rows of the picture; a square if there is none.
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.picture
            .as_ref()
            .map_or([1, 1], |p| [p.width(), p.height()])
    }
}

impl Bar {
    /// Of a map from 0 to 1.
    pub(crate) fn unit() -> Self {
        Self {
            colour: colormap::sequential,
            range: [0.0, 1.0],
            numbers: ["0", "0.5", "1"].map(str::to_owned),
        }
    }

    /// Of a signed map whose colours end at `scale`.
    pub(crate) fn signed(scale: f32) -> Self {
        let end = number(f64::from(scale));
        Self {
            colour: colormap::diverging,
            range: [-1.0, 1.0],
            numbers: [format!("\u{2212}{end}"), "0".into(), format!("+{end}")],
        }
    }
}
