//! A world of cells as SVG: tiles, things, agents, and a map over them.

use crate::colormap::{diverging, sequential};
use crate::escape::escape;
use fgmf_record::{AgentRecord, SceneRecord, WorldMap};

/// Side of a cell, in units of the drawing.
const CELL: f64 = 40.0;

/// Colours of agents, by number; readable with any common colour vision.
pub(super) const AGENTS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// How the values of a map become colours.
#[derive(Clone, Copy)]
pub(super) enum MapColours {
    /// Blue against, orange for; the number is drawn in the end colour.
    Signed(f64),
    /// Dark purple to yellow, up to this number.
    Positive(f64),
}

/// A map over a world.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) map: &'a WorldMap,
    pub(super) colours: MapColours,
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn square(row: usize, column: usize, fill: &str) -> String {
    let (x, y) = (column as f64 * CELL, row as f64 * CELL);
    format!(r#"<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{fill}"/>"#)
}

fn circle(x: f64, y: f64, r: f64, fill: &str, stroke: &str) -> String {
    format!(
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\" fill=\"{fill}\" \
            stroke=\"{stroke}\" stroke-width=\"1.2\"/>"
    )
}

/// A thing with its middle at (x, y), about `r` from there to its edge.
fn thing(what: &str, x: f64, y: f64, r: f64) -> String {
    match what {
        "onion" | "onions" => {
            let leaf = format!(
                "<path d=\"M{x:.1} {:.1}q{:.1} {:.1} {:.1} {:.1}\" fill=\"none\" \
                    stroke=\"#6b8e23\" stroke-width=\"1.6\"/>",
                y - r,
                0.1 * r,
                -0.4 * r,
                0.5 * r,
                -0.5 * r
            );
            circle(x, y, 0.85 * r, "#e8c15a", "#8a6a14") + &leaf
        }
        "tomato" | "tomatoes" => circle(x, y, 0.85 * r, "#d8483b", "#7a1d15"),
        "dish" | "dishes" => {
            circle(x, y, r, "#ffffff", "#7b8794") + &circle(x, y, 0.6 * r, "#eef1f4", "#c3cad2")
        }
        "soup" => {
            circle(x, y, r, "#ffffff", "#7b8794") + &circle(x, y, 0.7 * r, "#c9772e", "#8a4a12")
        }
        "pot" => {
            let rim = circle(x, y, r, "#3b424b", "#20252b");
            rim + &circle(x, y, 0.72 * r, "#59636f", "#20252b")
        }
        "serving" => format!(
            "<path d=\"M{:.1} {y:.1}h{:.1}m{:.1} {:.1}l{:.1} {:.1}l{:.1} {:.1}\" \
                fill=\"none\" stroke=\"#1f6f4a\" stroke-width=\"2.6\"/>",
            x - r,
            2.0 * r,
            -0.8 * r,
            -0.7 * r,
            0.8 * r,
            0.7 * r,
            -0.8 * r,
            0.7 * r
        ),
        _ => format!(
            r##"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="2" fill="#8b5a2b"/>"##,
            x - 0.7 * r,
            y - 0.7 * r,
            1.4 * r,
            1.4 * r
        ),
    }
}

fn tile(what: &str, row: usize, column: usize) -> String {
    let ground = match what {
        "floor" => "#f3efe6",
        "wall" => "#5b6470",
        "serving" => "#bfe0cf",
        _ => "#cdb89a",
    };
    let (x, y) = middle([row, column]);
    let mut out = square(row, column, ground);
    match what {
        "floor" | "wall" | "counter" => {}
        "onions" | "tomatoes" => {
            for (dx, dy) in [(-6.5, 5.0), (6.5, 5.0), (0.0, -5.0)] {
                out += &thing(what, x + dx, y + dy, 7.0);
            }
        }
        "dishes" => {
            for dy in [5.0, 0.0, -5.0] {
                out += &thing(what, x, y + dy, 11.0);
            }
        }
        "pot" => out += &thing(what, x, y, 15.0),
        other => out += &thing(other, x, y, 11.0),
    }
    out
}

fn middle([row, column]: [usize; 2]) -> (f64, f64) {
    ((column as f64 + 0.5) * CELL, (row as f64 + 0.5) * CELL)
}

/// An agent: a disc with its number, a beak towards what it faces, what it holds at its corner.
fn agent(number: usize, a: &AgentRecord) -> String {
    let (x, y) = middle(a.at);
    let colour = AGENTS[number % AGENTS.len()];
    let [rows, columns] = a.facing.map(f64::from);
    let mut out = String::new();
    if rows.abs() + columns.abs() > 0.0 {
        // A triangle whose tip lies towards the cell faced.
        let (tip_x, tip_y) = (x + 18.5 * columns, y + 18.5 * rows);
        let (side_x, side_y) = (7.5 * rows, 7.5 * columns);
        let (base_x, base_y) = (x + 9.0 * columns, y + 9.0 * rows);
        out += &format!(
            "<path d=\"M{tip_x:.1} {tip_y:.1}L{:.1} {:.1}L{:.1} {:.1}Z\" fill=\"{colour}\" \
                stroke=\"#fff\" stroke-width=\"1\"/>",
            base_x + side_x,
            base_y + side_y,
            base_x - side_x,
            base_y - side_y
        );
    }
    out += &circle(x, y, 12.0, colour, "#ffffff");
    out += &format!(
        r##"<text x="{x:.1}" y="{:.1}" class="number">{number}</text>"##,
        y + 4.2
    );
    if let Some(holds) = &a.holds {
        out += &thing(holds, x + 11.0, y + 11.0, 7.0);
    }
    out
}

/// The world as an SVG element; with a map, the world stands back behind it.
pub(super) fn world(scene: &SceneRecord, over: Option<Over<'_>>, label: &str) -> String {
    let rows = scene.tiles.len();
    let columns = scene.tiles.first().map_or(0, Vec::len);
    let mut body = String::new();
    for (row, tiles) in scene.tiles.iter().enumerate() {
        for (column, what) in tiles.iter().enumerate() {
            body += &tile(what, row, column);
        }
    }
    for t in &scene.things {
        let (x, y) = middle(t.at);
        let r = if t.what == "soup" { 9.0 } else { 9.5 };
        body += &thing(&t.what, x, y, r);
        if !t.note.is_empty() {
            let note = escape(&t.note);
            body += &format!(
                r##"<text x="{x:.1}" y="{:.1}" class="thing-note">{note}</text>"##,
                y + 18.0
            );
        }
    }
    if let Some(over) = over {
        body = format!(r#"<g opacity=".38">{body}</g>"#) + &shades(over, columns);
    }
    let agents = scene.agents.iter().enumerate().map(|(i, a)| agent(i, a));
    let agents: String = agents.collect();
    body += &if over.is_some() {
        format!(r#"<g opacity=".75">{agents}</g>"#)
    } else {
        agents
    };
    for i in 0..=rows.max(columns) {
        let at = i as f64 * CELL;
        let (width, height) = (columns as f64 * CELL, rows as f64 * CELL);
        if i <= columns {
            body += &format!(r#"<path class="cells" d="M{at} 0V{height}"/>"#);
        }
        if i <= rows {
            body += &format!(r#"<path class="cells" d="M0 {at}H{width}"/>"#);
        }
    }
    let (width, height) = (columns.max(1) as f64 * CELL, rows.max(1) as f64 * CELL);
    let label = escape(label);
    format!(
        "<svg class=\"world\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
            aria-label=\"{label}\">{body}</svg>"
    )
}

fn shades(over: Over<'_>, columns: usize) -> String {
    let mut out = String::new();
    for (i, value) in over.map.values.iter().enumerate() {
        let (row, column) = (i / columns.max(1), i % columns.max(1));
        let Some(value) = value else {
            // Nobody sees the cell.
            out += &square(row, column, "#9aa4b0");
            continue;
        };
        let (colour, strength) = match over.colours {
            MapColours::Signed(largest) => {
                let share = value / largest.max(1e-12);
                (diverging(share as f32), share.abs())
            }
            MapColours::Positive(largest) => {
                let share = value / largest.max(1e-12);
                // A small difference is no news: it stays nearly clear.
                (sequential(share as f32), 0.9 * share.abs() - 0.3)
            }
        };
        if strength.is_nan() || strength <= 0.02 {
            continue;
        }
        let (x, y) = (column as f64 * CELL, row as f64 * CELL);
        let alpha = (0.35 + 0.55 * strength).min(0.9);
        out += &format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"{}\" \
                fill-opacity=\"{alpha:.2}\"/>",
            hex(colour)
        );
    }
    out
}
