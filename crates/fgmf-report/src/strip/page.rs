//! `strip.html`: one self-contained page from a [`StripRecord`].

use crate::colormap::{diverging, sequential, stops};
use crate::escape::{capital, decimal, escape, listed, number, percent};
use crate::html::section;
use crate::page::{Page, foot};
use crate::strip::course::{courses, deletion};
use crate::strip::scene::{AGENTS, MapColours, Over, world};
use fgmf_record::{AgentFrame, StripFrame, StripRecord, StripRow, WorldMap};

const STYLE: &str = concat!(include_str!("../page.css"), include_str!("strip.css"));

/// The page as HTML: the course of each row, then one moment after another with the clean row above
/// the attacked one. Every string of the record is escaped.
pub fn render_strip(strip: &StripRecord) -> String {
    let mut contents = vec![("course", "Course of the episode"), ("moments", "Moments")];
    if strip.deletion.is_some() {
        contents.push(("deletion", "Do the objects named decide?"));
    }
    contents.push(("reading", "How to read it"));
    let page = Page {
        class: "strip",
        style: STYLE,
        kind: "FGMF film strip",
        title: "Why the team acts as it does",
        subject: escape(&strip.env),
        facts: facts(strip),
        lead: lead(strip),
        contents,
    };
    let mut out = page.head();
    out += &section("course", "Course of the episode", &courses(strip));
    out += &section("moments", "Moments", &moments(strip));
    if let Some(found) = &strip.deletion {
        out += &section("deletion", "Do the objects named decide?", &deletion(found));
    }
    out += &section("reading", "How to read it", READING);
    out + &foot(&strip.version, " The same figures are in strip.json.")
}

fn facts(strip: &StripRecord) -> Vec<(&'static str, String)> {
    let mut out = vec![
        ("Policy", escape(&strip.model.file)),
        ("Episode", format!("seed {}", strip.seed)),
    ];
    if !strip.attack.is_empty() {
        out.push(("Attack", escape(&strip.attack)));
    }
    out
}

fn lead(strip: &StripRecord) -> String {
    let row = |r: &StripRow| format!("{} {}", escape(&r.name), number(r.value));
    let rows: Vec<String> = strip.rows.iter().map(row).collect();
    format!(
        "<p class=\"lead\">The moments of one episode in which most was at stake, or something was \
            earned. Returns: {}.</p>",
        listed(&rows)
    )
}

/// Largest size of all consensus values of a strip.
fn largest<'a>(maps: impl Iterator<Item = &'a WorldMap>) -> f64 {
    let values = maps.flat_map(|m| m.values.iter().flatten());
    values.fold(0.0f64, |m, v| m.max(v.abs()))
}

fn moments(strip: &StripRecord) -> String {
    let frames = || strip.rows.iter().flat_map(|r| &r.frames);
    let together = largest(frames().flat_map(|f| [&f.consensus, &f.disagreement]));
    let signed = stops(diverging, [-1.0, 1.0]).join(",");
    let positive = stops(sequential, [0.0, 1.0]).join(",");
    let mut out = format!(
        "<div class=\"keys\"><span class=\"scale-key\" style=\"--colours:{signed}\">against the \
            action<i></i>for the action</span><span class=\"scale-key\" \
            style=\"--colours:{positive}\">agents differ little<i></i>much</span></div>"
    );
    let count = strip.rows.first().map_or(0, |r| r.frames.len());
    for at in 0..count {
        let shown: Vec<(usize, &StripRow, &StripFrame)> = strip
            .rows
            .iter()
            .enumerate()
            .filter_map(|(i, r)| Some((i, r, r.frames.get(at)?)))
            .collect();
        let Some((_, _, first)) = shown.first() else {
            continue;
        };
        let rows: String = shown.iter().map(|s| moment(strip, *s, together)).collect();
        out += &format!(
            "<div class=\"moment\"><h3>Step {}</h3>{rows}</div>",
            first.step
        );
    }
    out
}

fn moment(
    strip: &StripRecord,
    (at, row, frame): (usize, &StripRow, &StripFrame),
    together: f64,
) -> String {
    let places = 3 + frame.agents.len();
    let events: Vec<String> = frame.events.iter().map(|e| escape(e)).collect();
    let events = match events.len() {
        0 => String::new(),
        _ => format!("<br>{}", capital(&listed(&events))),
    };
    let mut cells = format!(
        "<div class=\"who\"><b class=\"{}\">{}</b>return so far {}{events}</div>",
        if at == 0 { "" } else { "warn" },
        escape(&row.name),
        number(frame.value),
    );
    cells += &place("World", &world(&frame.scene, None, "the world"), "");
    for (i, agent) in frame.agents.iter().enumerate() {
        let over = Over {
            map: &agent.map,
            colours: MapColours::Signed(largest(std::iter::once(&agent.map))),
        };
        let title = format!(
            "<i style=\"background:{}\"></i>Agent {i}",
            AGENTS[i % AGENTS.len()]
        );
        let label = format!("evidence of agent {i}");
        let picture = world(&frame.scene, Some(over), &label);
        cells += &place(&title, &picture, &words(strip, agent));
    }
    let consensus = Over {
        map: &frame.consensus,
        colours: MapColours::Signed(together),
    };
    let picture = world(&frame.scene, Some(consensus), "consensus of the team");
    cells += &place("Team consensus", &picture, "");
    let apart = Over {
        map: &frame.disagreement,
        colours: MapColours::Positive(together),
    };
    let picture = world(&frame.scene, Some(apart), "disagreement of the team");
    cells += &place("Disagreement", &picture, "");
    format!("<div class=\"strip-row\" style=\"--places:{places}\">{cells}</div>")
}

fn place(title: &str, picture: &str, below: &str) -> String {
    format!("<div><h4>{title}</h4>{picture}{below}</div>")
}

/// What an agent did, and the objects behind it.
fn words(strip: &StripRecord, agent: &AgentFrame) -> String {
    let of = |name: &str| {
        let at = strip.actions.iter().position(|a| a == name);
        at.and_then(|i| agent.probabilities.get(i))
            .copied()
            .unwrap_or(0.0)
    };
    let drawn = if agent.action == agent.greedy {
        format!(
            "<b>{}</b> ({}) over {}",
            escape(&agent.greedy),
            percent(of(&agent.greedy)),
            escape(&agent.against)
        )
    } else {
        format!(
            "drew <b>{}</b> ({}); explained: {} ({}) over {}",
            escape(&agent.action),
            percent(of(&agent.action)),
            escape(&agent.greedy),
            percent(of(&agent.greedy)),
            escape(&agent.against)
        )
    };
    let changed = largest(std::iter::once(&agent.changed));
    let class = if changed > 0.0 {
        "says changed"
    } else {
        "says"
    };
    let reason = |(what, value): &(String, f64)| {
        let sign = if *value > 0.0 { "+" } else { "" };
        format!("<li><b>{sign}{}</b>{}</li>", decimal(*value), escape(what))
    };
    let reasons: String = agent.objects.iter().map(reason).collect();
    format!("<p class=\"{class}\">{drawn}</p><ul class=\"reasons\">{reasons}</ul>")
}

const READING: &str = "<dl class=\"readings\"><div><dt>Map of an agent</dt><dd>Orange cells hold \
    objects that speak for the likeliest action over the runner-up, blue ones speak against it. \
    Objects are erased or moved to find out, never blurred: a policy has not seen half an onion. A \
    part along gradients has to agree.</dd></div><div><dt>Numbers under it</dt><dd>Exact Shapley \
    values of the objects, in logits of the likeliest action less the runner-up: what each object \
    adds, over all orders in which objects could appear.</dd></div><div><dt>Team consensus</dt><dd>\
    Maps of all agents on one scale, weighted by what each has at stake, kept where their signs \
    agree.</dd></div><div><dt>Disagreement</dt><dd>How far the agents' evidence about a cell lies \
    apart. Two agents with two jobs may differ and both be right; it is a place to look, no \
    alarm.</dd></div><div><dt>Attacked rows</dt><dd>The same seed and the same draws. The world \
    differs from the clean one by what the attack has made the team do until then.</dd></div></dl>";

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_record::{AgentRecord, ModelFile, SceneRecord, ThingRecord};

    fn map(values: [f64; 2]) -> WorldMap {
        WorldMap {
            values: values.map(Some).to_vec(),
        }
    }

    fn strip() -> StripRecord {
        let agent = AgentFrame {
            action: "east".into(),
            greedy: "west".into(),
            against: "stay".into(),
            probabilities: vec![0.25, 0.625, 0.125],
            stake: 0.5,
            map: map([1.0, -0.5]),
            objects: vec![("onion <1>".into(), 1.5), ("dish".into(), -0.25)],
            changed: WorldMap::default(),
        };
        let frame = StripFrame {
            step: 17,
            value: 20.0,
            scene: SceneRecord {
                tiles: vec![vec!["floor".into(), "pot".into()]],
                things: vec![ThingRecord {
                    at: [0, 1],
                    what: "soup".into(),
                    note: "7".into(),
                }],
                agents: vec![AgentRecord {
                    at: [0, 0],
                    facing: [0, 1],
                    holds: Some("dish".into()),
                }],
            },
            agents: vec![agent],
            consensus: map([0.5, -0.5]),
            disagreement: map([0.0, 0.25]),
            events: vec!["agent 0 potted".into()],
        };
        StripRecord {
            version: "0.1.0".into(),
            model: ModelFile {
                file: "a<b>.onnx".into(),
                sha256: "00".into(),
                preprocessing: None,
                output: None,
                input_size: None,
            },
            env: "kitchen".into(),
            actions: ["east", "west", "stay"].map(str::to_owned).to_vec(),
            seed: 3,
            attack: String::new(),
            rows: vec![StripRow {
                name: "clean".into(),
                value: 40.0,
                course: vec![0.0, 20.0, 40.0],
                stakes: vec![0.5, 0.25, 1.0],
                frames: vec![frame],
            }],
            deletion: None,
        }
    }

    #[test]
    fn a_page_says_what_was_done_and_why() {
        let page = render_strip(&strip());
        for text in [
            "Step 17",
            "drew <b>east</b> (25.0%); explained: west (62.5%) over stay",
            "<b>+1.500</b>onion &lt;1&gt;",
            "a&lt;b&gt;.onnx",
            "Agent 0 potted",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("<1>") && !page.contains("src=\"http"));
        assert!(!page.contains("id=\"deletion\""));
    }

    #[test]
    fn damaged_records_are_drawn_without_a_panic() {
        let mut broken = strip();
        broken.rows[0].course = vec![f64::NAN];
        broken.rows[0].frames[0].agents[0].probabilities.clear();
        broken.rows[0].frames[0].consensus.values = vec![Some(f64::INFINITY), None, Some(1.0)];
        broken.rows[0].frames[0].scene = SceneRecord::default();
        assert!(render_strip(&broken).contains("Step 17"));
        broken.rows.clear();
        assert!(render_strip(&broken).contains("How to read it"));
    }
}
