//! Letters on a picture: Noto Sans Mono, rasterised beforehand (basic Latin and Latin-1).

use crate::colormap::Rgb;
use crate::picture::Picture;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Size and weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// 16 pixels.
    Text,
    /// 16 pixels, bold.
    Strong,
    /// 20 pixels, bold.
    Title,
}

impl Face {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Text => (FontWeight::Regular, RasterHeight::Size16),
            Self::Strong => (FontWeight::Bold, RasterHeight::Size16),
            Self::Title => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// Pixels from a line to the next.
    pub(crate) fn line(self) -> usize {
        self.raster().1.val() + 2
    }

    /// Pixels of a letter.
    pub(crate) fn advance(self) -> usize {
        let (weight, height) = self.raster();
        get_raster_width(weight, height)
    }
}

/// The text in letters that the font has: signs of mathematics and dashes become their plain
/// relatives, line ends and tabulators spaces, what is left a question mark.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2212}' | '–' | '—' => out.push('-'),
            '∞' => out.push_str("inf"),
            '…' => out.push_str("..."),
            c if c.is_whitespace() => out.push(' '),
            c if get_raster(c, FontWeight::Regular, RasterHeight::Size16).is_some() => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

/// [`plain`] text in lines of at most `columns` letters, cut between words where it can be.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in plain(text).split(' ').filter(|w| !w.is_empty()) {
        let mut letters: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + letters.len() > columns {
            lines.push(String::new());
            length = 0;
        }
        while length == 0 && letters.len() > columns {
            let rest = letters.split_off(columns);
            lines
                .last_mut()
                .into_iter()
                .for_each(|l| l.extend(&letters));
            lines.push(String::new());
            letters = rest;
        }
        if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.extend(&letters);
            length += letters.len();
        }
    }
    lines
}

impl Picture {
    /// Writes one line of text with its upper left corner at `[x, y]`.
    pub(crate) fn write(&mut self, [x, y]: [usize; 2], text: &str, face: Face, ink: Rgb) {
        let (weight, height) = face.raster();
        for (i, letter) in plain(text)
            .chars()
            .filter_map(|c| get_raster(c, weight, height))
            .enumerate()
        {
            for (row, shares) in letter.rows().enumerate() {
                for (column, &share) in shares.iter().enumerate() {
                    self.blend(
                        [x + i * face.advance() + column, y + row],
                        ink,
                        f32::from(share) / 255.0,
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_words_and_hold_every_letter() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a abcdefghij k", 4), ["a", "abcd", "efgh", "ij k"]);
        assert_eq!(
            (wrapped("", 4), wrapped("ab", 0)),
            (vec![String::new()], vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn what_the_font_lacks_has_a_stand_in() {
        assert_eq!(plain("L∞ −0.5 — Zürich\n\t日✓"), "Linf -0.5 - Zürich  ??");
    }

    /// The ink of a letter lies in its box, and nowhere else.
    #[test]
    fn letters_are_drawn_where_they_belong() {
        let white = [255; 3];
        let mut sheet = Picture::filled([60, 40], white);
        sheet.write([10, 5], "II", Face::Strong, [0; 3]);
        let inked = |x: std::ops::Range<usize>, y: std::ops::Range<usize>| {
            y.flat_map(|y| x.clone().map(move |x| (x, y)))
                .filter(|&(x, y)| sheet.at([x, y]) != white)
                .count()
        };
        let wide = Face::Strong.advance();
        assert!(inked(10..10 + wide, 5..21) > 10);
        assert_eq!(
            inked(10..10 + wide, 5..21),
            inked(10 + wide..10 + 2 * wide, 5..21)
        );
        assert_eq!(inked(0..60, 0..40), 2 * inked(10..10 + wide, 5..21));
        sheet.write([58, 38], "W", Face::Title, [0; 3]);
    }
}
