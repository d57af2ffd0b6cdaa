//! Lines, cells and tiles as HTML.

use crate::colormap;
use crate::escape::{escape, percent};
use crate::html::{inline_png, list};
use crate::legend::named;
use crate::panel::parts::{Answer, Bar, Below, Cell, Line, Tile, Under, Width};

/// The section of an image: its anchor, its further classes, title, what stands beside the title,
/// the lines, and what stands behind them. Everything but the lines is HTML already.
pub(crate) fn case(
    id: &str,
    classes: &[String],
    [title, beside]: [&str; 2],
    lines: &[Line],
    after: &str,
) -> String {
    let lines: String = lines.iter().map(line).collect();
    let classes: String = classes.iter().map(|class| format!(" {class}")).collect();
    format!(
        "<section class=\"case{classes}\" id=\"{id}\"><div \
            class=\"case-head\"><h3>{title}</h3>{beside}</div>{lines}{after}</section>\n"
    )
}

/// A line: title and cells.
fn line(line: &Line) -> String {
    let title = line
        .key
        .map_or_else(|| escape(&line.title), |key| named(key, &line.title));
    let cells: String = line.cells.iter().map(cell).collect();
    // No headings: an outline of every line of every image would hide that of the page.
    format!(
        "<div class=\"view\" role=\"group\" aria-label=\"{}\"><p \
            class=\"line-title\">{title}</p><div class=\"groups\">{cells}</div></div>",
        escape(&line.title)
    )
}

fn cell(cell: &Cell) -> String {
    let width = match cell.width {
        Width::Columns(n) => format!("class=\"group c{n}\""),
        Width::Shares(n) => format!("class=\"group\" style=\"--places:{n}\""),
    };
    let tiles: String = cell.tiles.iter().map(tile).collect();
    let absent = cell.absent.map_or_else(String::new, |words| {
        format!("<p class=\"absent\">{words}</p>")
    });
    format!(
        "<div {width}><p class=\"cell-title\">{}</p>\
        <div class=\"row\">{tiles}{absent}</div>{}</div>",
        escape(&cell.title),
        cell.under.as_ref().map(under).unwrap_or_default()
    )
}

fn under(under: &Under) -> String {
    let figures = under
        .figures
        .iter()
        .map(|(name, value)| (escape(name), escape(value)));
    let notes = |class: &str, texts: &[String]| {
        texts
            .iter()
            .map(|t| format!("<p class=\"{class}\">{}</p>", escape(t)))
            .collect::<String>()
    };
    let figures = if under.figures.is_empty() {
        String::new()
    } else {
        list("under", figures)
    };
    figures + &notes("detail", &under.remarks) + &notes("bad", &under.warnings)
}

/// A picture with its caption, or the reason why there is none; behind hatching and a stamp if it
/// is withheld.
fn tile(tile: &Tile) -> String {
    let drawn = match &tile.picture {
        Ok(p) => p
            .png()
            .map(|png| inline_png(&png, (p.width(), p.height()), &tile.alt))
            .map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let body = drawn.unwrap_or_else(|e| {
        format!(
            "<div class=\"nodata\">no data<span class=\"detail\">{}</span></div>",
            escape(&e)
        )
    });
    let drawn = format!(
        "<div class=\"tile-picture\">{body}<p class=\"caption\">{}</p>{}</div>",
        tile.caption,
        below(&tile.below)
    );
    if !tile.withheld {
        return drawn;
    }
    let [width, height] = tile.shape();
    format!(
        "<div class=\"withheld\" style=\"--shape:{width}/{height}\">{drawn}<span \
            class=\"stamp\">withheld</span></div>"
    )
}

fn below(below: &Below) -> String {
    match below {
        Below::Nothing => String::new(),
        Below::Bar(bar) => scale_bar(bar),
        Below::Scale(words) => format!("<p class=\"scale\">{words}</p>"),
        Below::Answer(said) => answer(said),
    }
}

fn answer(said: &Answer) -> String {
    let (class_name, sign, word) = if said.right {
        ("good", "✓", "right")
    } else {
        ("bad", "✗", "wrong")
    };
    format!(
        "<p class=\"verdict {class_name}\"><span role=\"img\" \
            aria-label=\"{word}\">{sign}</span> {}<br>{}</p>",
        escape(&said.class),
        percent(said.probability)
    )
}

/// A colour bar with its numbers.
pub(crate) fn scale_bar(bar: &Bar) -> String {
    let colours = colormap::stops(bar.colour, bar.range).join(",");
    let numbers: String = bar
        .numbers
        .iter()
        .map(|n| format!("<span>{}</span>", escape(n)))
        .collect();
    format!("<div class=\"scale-bar\" style=\"--colours:{colours}\"><i></i>{numbers}</div>")
}
