//! Lines, cells and tiles as one PNG.

use crate::colormap::Rgb;
use crate::error::Result;
use crate::panel::parts::{Bar, Below, Cell, Line, Tile};
use crate::picture::Picture;
use crate::stamp::{WARN, stamp};
use crate::text::{Face, wrapped};

const PAPER: Rgb = [255; 3];
/// Main text.
pub(crate) const INK: Rgb = [27, 36, 48];
/// Text beside it.
pub(crate) const SOFT: Rgb = [86, 98, 115];
const RULE: Rgb = [221, 226, 232];

/// Side that pictures are enlarged to, in pixels, as far as whole factors allow.
const SIDE: usize = 168;
/// Width that cells are wrapped at, unless one alone is wider.
const WIDTH: usize = 1660;
const MARGIN: usize = 32;
/// Between pictures of a cell, and between cells.
const GAPS: [usize; 2] = [8, 36];
/// Thickness of a colour bar.
const BAR: usize = 10;

/// Letters of plain text in a line above the pictures of a sheet that is as wide as these lines.
pub(crate) fn columns(lines: &[Line], shape: [usize; 2]) -> usize {
    (Layout::new(shape).width(lines) - 2 * MARGIN) / Face::Text.advance()
}

/// A sheet: the lines of `head`, then the cells of every line one below the other, wrapped where
/// the sheet is full. Pictures have the columns and rows of `shape`.
///
/// # Errors
/// The sheet is too large for a PNG.
pub(crate) fn sheet_png(
    head: &[(String, Face, Rgb)],
    lines: &[Line],
    shape: [usize; 2],
) -> Result<Vec<u8>> {
    let layout = Layout::new(shape);
    let bands = layout.bands(lines);
    let tall: usize = bands
        .iter()
        .flat_map(|b| lines.iter().map(|l| layout.line_height(l, b)))
        .sum();
    let height = 2 * MARGIN + head.iter().map(|(_, face, _)| face.line()).sum::<usize>() + tall;

    let mut sheet = Picture::filled([layout.width(lines), height], PAPER);
    let mut y = MARGIN;
    for (text, face, ink) in head {
        sheet.write([MARGIN, y], text, *face, *ink);
        y += face.line();
    }
    for band in &bands {
        for line in lines {
            layout.draw_line(&mut sheet, line, band, y);
            y += layout.line_height(line, band);
        }
    }
    sheet.png()
}

struct Layout {
    /// Columns and rows of an enlarged picture.
    tile: [usize; 2],
    factor: usize,
}

impl Layout {
    fn new(shape: [usize; 2]) -> Self {
        let longest = shape[0].max(shape[1]);
        let factor = ((SIDE + longest / 2) / longest.max(1)).max(1);
        Self {
            tile: shape.map(|s| s * factor),
            factor,
        }
    }

    fn width(&self, lines: &[Line]) -> usize {
        let bands = self.bands(lines);
        let wide = bands.iter().map(|b| self.band_width(lines, b)).max();
        (wide.unwrap_or(0) + 2 * MARGIN).max(640)
    }

    fn cell_width(&self, cell: &Cell) -> usize {
        // Figures need about 30 letters, also below a single picture.
        (cell.width.places() * (self.tile[0] + GAPS[0]) - GAPS[0]).max(30 * Face::Text.advance())
    }

    /// Cells by position, as many beside each other as fit.
    fn bands(&self, lines: &[Line]) -> Vec<Vec<usize>> {
        let mut bands: Vec<Vec<usize>> = Vec::new();
        let mut used = 0;
        for (i, cell) in lines
            .first()
            .map_or(&[][..], |l| &l.cells)
            .iter()
            .enumerate()
        {
            let width = self.cell_width(cell) + GAPS[1];
            match bands.last_mut() {
                Some(band) if used + width <= WIDTH + GAPS[1] => band.push(i),
                _ => {
                    bands.push(vec![i]);
                    used = 0;
                }
            }
            used += width;
        }
        bands
    }

    fn band_width(&self, lines: &[Line], band: &[usize]) -> usize {
        let cells = lines.first().map_or(0, |l| {
            band.iter()
                .map(|&i| self.cell_width(&l.cells[i]) + GAPS[1])
                .sum()
        });
        cells.saturating_sub(GAPS[1])
    }

    /// Words below the pictures of a cell.
    fn words(&self, cell: &Cell) -> Vec<(String, Rgb)> {
        let Some(under) = &cell.under else {
            return Vec::new();
        };
        let columns = self.cell_width(cell) / Face::Text.advance();
        let lines = |texts: &[String], ink| {
            texts
                .iter()
                .flat_map(|t| wrapped(t, columns))
                .map(move |l| (l, ink))
                .collect::<Vec<_>>()
        };
        [lines(&under.remarks, SOFT), lines(&under.warnings, WARN)].concat()
    }

    fn cell_height(&self, cell: &Cell) -> usize {
        let figures = cell.under.as_ref().map_or(0, |u| u.figures.len());
        let words = figures + self.words(cell).len();
        (3 + words) * Face::Text.line() + self.tile[1] + BAR + 3 * GAPS[0]
    }

    fn line_height(&self, line: &Line, band: &[usize]) -> usize {
        GAPS[1]
            + Face::Strong.line()
            + GAPS[0]
            + band
                .iter()
                .map(|&i| self.cell_height(&line.cells[i]))
                .max()
                .unwrap_or(0)
    }

    fn draw_line(&self, sheet: &mut Picture, line: &Line, band: &[usize], top: usize) {
        let y = top + GAPS[1] / 2;
        let rule = Picture::filled([sheet.width() - 2 * MARGIN, 1], RULE);
        sheet.place(&rule, [MARGIN, y]);
        sheet.write([MARGIN, y + GAPS[0]], &line.title, Face::Strong, INK);
        let mut x = MARGIN;
        for &i in band {
            self.draw_cell(
                sheet,
                &line.cells[i],
                [x, y + 2 * GAPS[0] + Face::Strong.line()],
            );
            x += self.cell_width(&line.cells[i]) + GAPS[1];
        }
    }

    fn draw_cell(&self, sheet: &mut Picture, cell: &Cell, [x, top]: [usize; 2]) {
        let step = Face::Text.line();
        sheet.write([x, top], &cell.title, Face::Strong, SOFT);
        for (i, tile) in cell.tiles.iter().enumerate() {
            self.draw_tile(sheet, tile, [x + i * (self.tile[0] + GAPS[0]), top + step]);
        }
        let mut y = top + 3 * step + self.tile[1] + BAR + GAPS[0];
        let right = x + self.cell_width(cell);
        for (name, value) in cell.under.iter().flat_map(|u| &u.figures) {
            sheet.write([x, y], name, Face::Text, SOFT);
            let room = (right - x) / Face::Text.advance();
            let value = wrapped(value, room.saturating_sub(name.len() + 1)).swap_remove(0);
            sheet.write(
                [
                    right - value.chars().count().min(room) * Face::Text.advance(),
                    y,
                ],
                &value,
                Face::Text,
                INK,
            );
            y += step;
        }
        for (text, ink) in self.words(cell) {
            sheet.write([x, y], &text, Face::Text, ink);
            y += step;
        }
    }

    fn draw_tile(&self, sheet: &mut Picture, tile: &Tile, [x, top]: [usize; 2]) {
        match &tile.picture {
            Ok(picture) => sheet.place(&picture.enlarged(self.factor), [x, top]),
            Err(_) => {
                sheet.place(&Picture::filled(self.tile, RULE), [x, top]);
                sheet.write([x + GAPS[0], top + GAPS[0]], "no data", Face::Text, SOFT);
            }
        }
        if tile.withheld {
            stamp(sheet, [x, top], self.tile);
        }
        let y = top + self.tile[1] + GAPS[0] / 2;
        sheet.write([x, y], tile.caption, Face::Text, SOFT);
        if let Below::Bar(bar) = &tile.below {
            self.draw_bar(sheet, bar, [x, y + Face::Text.line()]);
        }
    }

    /// Colours as wide as the picture, numbers at both ends and in the middle.
    fn draw_bar(&self, sheet: &mut Picture, bar: &Bar, [x, y]: [usize; 2]) {
        let width = self.tile[0];
        for column in 0..width {
            let share = column as f32 / (width - 1).max(1) as f32;
            let colour = (bar.colour)(bar.range[0] + share * (bar.range[1] - bar.range[0]));
            sheet.place(&Picture::filled([1, BAR], colour), [x + column, y]);
        }
        for (number, place) in bar.numbers.iter().zip([0, 1, 2]) {
            let long = number.chars().count() * Face::Text.advance();
            sheet.write(
                [x + place * width.saturating_sub(long) / 2, y + BAR + 1],
                number,
                Face::Text,
                INK,
            );
        }
    }
}
