//! The page of proofs and attacks on the same ball.

use crate::certify::{MASK, STYLE, drawn};
use crate::error::{Error, Result};
use crate::escape::{count, escape};
use crate::facts::{data, model_file};
use crate::html::{interval_words, list, proportion_cell, section, table};
use crate::page::{Page, foot};
use fgmf_record::{BracketImage, BracketPicture, BracketRecord, Proof, Proportion};

/// The page of `certify.json` of a norm ball. It loads nothing and runs no script.
///
/// # Errors
/// A picture that cannot be drawn, or that is of no image of the record.
pub fn bracket_page(record: &BracketRecord) -> Result<String> {
    let threat = format!("{} within {}", record.threat.norm, record.threat.eps);
    let page = Page {
        class: "",
        style: STYLE,
        kind: "FGMF proofs",
        title: "Proved and attacked",
        subject: escape(&record.model.file),
        facts: vec![
            ("Images", count(record.images.len())),
            ("Threat", threat),
            ("Proved right", interval_words(&record.proved)),
        ],
        lead: lead(record),
        contents: vec![
            ("shares", "Shares"),
            ("images", "Images"),
            ("parameters", "Every parameter"),
        ],
    };
    Ok([
        page.head(),
        section("shares", "Shares", &shares(record)),
        section("images", "Images", &images(record)?),
        section("parameters", "Every parameter", &parameters(record)),
        foot(&record.version, " Every image is in certify.json."),
    ]
    .concat())
}

fn lead(record: &BracketRecord) -> String {
    let fault = match record.contradictions.len() {
        0 => String::new(),
        n => format!(
            "<p class=\"lead warn\">{} proved images fell to an attack. The proofs of this run \
                cannot be believed: please report it.</p>",
            count(n)
        ),
    };
    format!(
        "<p class=\"lead\"><b>Proved right</b>: bounds of the network show that every image of the \
            ball has the label. <b>Broken</b>: an attack found an image of the ball that has not. \
            Robust accuracy on these images is between the share that is proved and the share that \
            stands.</p>{fault}"
    )
}

fn shares(record: &BracketRecord) -> String {
    let row = |name: &str, p: &Proportion| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>",
            proportion_cell(p)
        )
    };
    let rows = [
        row("Right", &record.clean),
        row("Right under attack", &record.attacked),
        row("Proved right", &record.proved),
    ];
    let heads = "<th scope=\"col\">Images</th><th scope=\"col\">Share, Wilson 95% interval</th>";
    format!(
        "{}<p>Bounds took {:.1} s.</p>",
        table("", ["Shares of images", ""], heads, &rows.concat()),
        record.seconds
    )
}

fn images(record: &BracketRecord) -> Result<String> {
    let figures = record.pictures.iter().map(|p| figure(record, p));
    let figures = figures.collect::<Result<Vec<String>>>()?;
    Ok(format!(
        "<p>Behind a broken image stands the one that an attack found.</p>\
            <div class=\"proofs\">{}</div>",
        figures.concat()
    ))
}

fn figure(record: &BracketRecord, picture: &BracketPicture) -> Result<String> {
    let none = || Error::new("proof", "a picture of an image of the record", picture.at);
    let image = record.images.get(picture.at).ok_or_else(none)?;
    let title = format!(
        "Image {}, {}: {}",
        image.example.index,
        escape(&record.data.class_name(image.example.label)),
        state(image)
    );
    let bounds = record.threat.bounds;
    let mut pictures = vec![drawn(&picture.image, bounds, &[], MASK, "the image")?];
    if let Some(attacked) = &picture.attacked {
        pictures.push(drawn(attacked, bounds, &[], MASK, "the image as attacked")?);
    }
    let margin = image
        .margin
        .map_or("none".to_owned(), |m| format!("{m:.3}"));
    let mut words = vec![("Lower bound of the margin", margin)];
    if let Some(by) = &image.example.broken_by {
        words.push(("Broken by", escape(by)));
    }
    if let Some(distance) = image.example.distance {
        words.push(("Distance", format!("{distance:.4}")));
    }
    Ok(format!(
        "<figure><h3>{title}</h3>{}<figcaption>{}</figcaption></figure>",
        pictures.concat(),
        list("detail", words)
    ))
}

/// What is known of an image in words.
fn state(image: &BracketImage) -> &'static str {
    match image.proof {
        Proof::Right => "proved right",
        _ if image.example.broken_by.is_some() => "broken",
        _ if image.example.robust => "not proved, stands",
        _ => "wrong",
    }
}

fn parameters(record: &BracketRecord) -> String {
    let attacks = record.attacks.iter().map(|a| {
        let found = format!("{} of {} broken", count(a.broken), count(a.attempted));
        format!(
            "{} {}: {found}",
            escape(&a.name),
            escape(&a.params.to_string())
        )
    });
    let attacks: Vec<String> = attacks.collect();
    let items = vec![
        ("Model", model_file(&record.model)),
        ("Data", data(&record.data)),
        ("Bounds", escape(&record.bounds)),
        ("Suite", escape(&record.suite)),
        ("Seed", record.seed.to_string()),
        ("Attacks", attacks.join("<br>")),
    ];
    list("facts", items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_record::{
        BuildRecord, DataRecord, ExampleRecord, MapRecord, ModelFile, Norm, Passes, Split,
        ThreatRecord,
    };

    fn record() -> BracketRecord {
        let share = Proportion::new(1, 2);
        let map = MapRecord {
            channels: 1,
            height: 4,
            width: 4,
            values: vec![0.5; 16],
        };
        BracketRecord {
            model: ModelFile {
                file: "<m>.onnx".into(),
                sha256: "ab".into(),
                preprocessing: None,
                output: None,
                input_size: None,
            },
            data: DataRecord {
                name: "d".into(),
                split: Split::Test,
                n: 1,
                sha256: "cd".into(),
                classes: vec!["<cat>".into(), "dog".into()],
                chosen: None,
                left_out: Vec::new(),
            },
            threat: ThreatRecord {
                norm: Norm::Linf,
                eps: 0.1,
                bounds: [0.0, 1.0],
            },
            bounds: "ibp".into(),
            suite: "quick".into(),
            seed: 0,
            version: "0".into(),
            build: BuildRecord::default(),
            clean: share,
            proved: share,
            attacked: share,
            passes: Passes::default(),
            seconds: 1.0,
            attacks: Vec::new(),
            contradictions: Vec::new(),
            images: vec![BracketImage {
                example: ExampleRecord {
                    index: 7,
                    label: 0,
                    clean_prediction: 0,
                    robust: false,
                    broken_by: Some("<pgd>".into()),
                    distance: Some(0.1),
                },
                margin: None,
                proof: Proof::Open,
            }],
            pictures: vec![BracketPicture {
                at: 0,
                image: map.clone(),
                attacked: Some(map),
            }],
        }
    }

    #[test]
    fn the_page_says_what_is_known_and_escapes_names() {
        let page = bracket_page(&record()).unwrap();
        assert!(page.contains("Image 7, &lt;cat&gt;: broken"), "{page}");
        assert!(page.contains("&lt;m&gt;.onnx") && page.contains("&lt;pgd&gt;"));
        assert_eq!(page.matches("<img ").count(), 2);
        assert!(!page.contains("cannot be believed") && !page.contains("<script"));
        let mut fell = record();
        fell.contradictions.push(7);
        assert!(bracket_page(&fell).unwrap().contains("cannot be believed"));
        let mut lost = record();
        lost.pictures[0].at = 3;
        assert!(bracket_page(&lost).is_err());
    }
}
