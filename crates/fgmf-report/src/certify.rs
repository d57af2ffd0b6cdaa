//! The page of a run of proofs against patches.

use crate::colormap::Rgb;
use crate::error::{Error, Result};
use crate::escape::{count, escape, listed};
use crate::facts::{data, model_file};
use crate::html::{inline_png, interval_words, list, proportion_cell, section, table};
use crate::page::{Page, foot};
use crate::picture::Picture;
use fgmf_record::{
    CertifiedImage, CertifiedPicture, CertifyRecord, MapRecord, Proof, Proportion, Rectangle,
};

pub(crate) const STYLE: &str = concat!(
    include_str!("page.css"),
    ".proofs { display: grid; grid-template-columns: repeat(auto-fill, minmax(232px, 1fr)); \
        gap: 24px; }\n.proofs figure { margin: 0; }\n.proofs img { image-rendering: pixelated; \
        margin-right: 8px; }\n"
);

/// Edges of masks and of patches.
pub(crate) const MASK: Rgb = [0, 114, 178];
const PATCH: Rgb = [213, 94, 0];

/// Side that pictures are enlarged to, in pixels, by whole factors.
const SIDE: usize = 112;

/// The page of `certify.json`. It loads nothing and runs no script.
///
/// # Errors
/// A picture that cannot be drawn, or that is of no image of the record.
pub fn certify_page(record: &CertifyRecord) -> Result<String> {
    let [rows, columns] = record.threat.size;
    let patches = match record.threat.count {
        1 => format!("One patch of {rows} x {columns} pixels"),
        n => format!("{n} patches of {rows} x {columns} pixels"),
    };
    let page = Page {
        class: "",
        style: STYLE,
        kind: "FGMF proofs",
        title: "Proofs against patches",
        subject: escape(&record.model.file),
        facts: vec![
            ("Images", count(record.images.len())),
            ("Threat", format!("{patches}, any values, any place")),
            ("Proved right", interval_words(&record.proved_right)),
        ],
        lead: lead(record),
        contents: vec![
            ("shares", "Shares"),
            ("images", "Images and the masks that decided"),
            ("parameters", "Every parameter"),
        ],
    };
    Ok([
        page.head(),
        section("shares", "Shares", &shares(record)),
        section(
            "images",
            "Images and the masks that decided",
            &images(record)?,
        ),
        section("parameters", "Every parameter", &parameters(record)),
        foot(&record.version, " Every image is in certify.json."),
    ]
    .concat())
}

fn lead(record: &CertifyRecord) -> String {
    let fell = record.attack.as_ref().map_or(0, |a| a.contradictions.len());
    let fault = match fell {
        0 => String::new(),
        n => format!(
            "<p class=\"lead warn\">{} proved images fell to a patch. The proofs of this run \
                cannot be believed: please report it.</p>",
            count(n)
        ),
    };
    format!(
        "<p class=\"lead\">The defended model asks about an image with a mask over each part of \
            it, one of which hides the patch. <b>Proved right</b>: its answer is the label, \
            whatever stands in the patch. <b>Proved detected</b>: the detector answers with the \
            label or gives the alarm. Both hold for the defended model, not for the bare \
            one.</p>{fault}"
    )
}

fn shares(record: &CertifyRecord) -> String {
    let row = |name: &str, p: &Proportion| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>",
            proportion_cell(p)
        )
    };
    let mut rows = vec![
        row("Right, bare model", &record.clean),
        row("Right, defended model", &record.defended),
        row("False alarms of the detector", &record.false_alarms),
        row("Proved right", &record.proved_right),
        row("Proved right or detected", &record.proved_detected),
    ];
    if let Some(attack) = &record.attack {
        rows.push(row("Right under attack, bare model", &attack.bare));
        rows.push(row("Right under attack, defended model", &attack.defended));
        rows.push(row(
            "Right or alarm under attack, detector",
            &attack.detected,
        ));
    }
    let heads = "<th scope=\"col\">Images</th><th scope=\"col\">Share, Wilson 95% interval</th>";
    let labels = ["Shares of images", ""];
    format!(
        "{}<p>{} forward passes, {:.1} s.</p>",
        table("", labels, heads, &rows.concat()),
        count(record.passes.forward as usize),
        record.seconds
    )
}

fn images(record: &CertifyRecord) -> Result<String> {
    let figures = record.pictures.iter().map(|p| figure(record, p));
    let figures = figures.collect::<Result<Vec<String>>>()?;
    Ok(format!(
        "<p>Blue edges are masks: the first pair found under which the answer is not the label, \
            so that the image is not proved right. Orange edges are patches that an attack \
            found.</p><div class=\"proofs\">{}</div>",
        figures.concat()
    ))
}

fn figure(record: &CertifyRecord, picture: &CertifiedPicture) -> Result<String> {
    let none = || Error::new("proof", "a picture of an image of the record", picture.at);
    let image = record.images.get(picture.at).ok_or_else(none)?;
    let title = format!(
        "Image {}, {}: {}",
        image.index,
        escape(&record.data.class_name(image.label)),
        state(image)
    );
    let bounds = record.threat.bounds;
    let plain = drawn(&picture.image, bounds, &[], MASK, "the image")?;
    let mut pictures = vec![plain];
    let mut words = vec![said("Bare answer", record, image.prediction)];
    words.push(said("Defended answer", record, image.defended));
    if let (Some(masked), Some(refuted)) = (&picture.masked, &image.refuted) {
        let alt = "the image under the masks that decided";
        pictures.push(drawn(masked, bounds, &refuted.hidden, MASK, alt)?);
        words.push(said("Answer under these masks", record, refuted.answer));
    }
    if let (Some(with), Some(patched)) = (&picture.patched, &image.patched) {
        let places: Vec<Rectangle> = patched.patches.iter().map(|(place, _)| *place).collect();
        pictures.push(drawn(
            with,
            bounds,
            &places,
            PATCH,
            "the image with a patch",
        )?);
        words.push(said(
            "Bare answer with the patch",
            record,
            patched.prediction,
        ));
        words.push(said(
            "Defended answer with the patch",
            record,
            patched.defended,
        ));
        let alarm = if patched.alarm { "yes" } else { "no" };
        words.push(("Alarm with the patch", alarm.to_owned()));
    }
    Ok(format!(
        "<figure><h3>{title}</h3>{}<figcaption>{}</figcaption></figure>",
        pictures.concat(),
        list("detail", words)
    ))
}

/// What is known of an image in words.
fn state(image: &CertifiedImage) -> &'static str {
    match image.proof {
        Proof::Right => "proved right",
        _ if image.is_broken() => "broken",
        Proof::Detected => "proved detected",
        Proof::Open => "not proved",
    }
}

fn said<'n>(name: &'n str, record: &CertifyRecord, answer: Option<usize>) -> (&'n str, String) {
    let word = answer.map_or_else(|| "none".to_owned(), |k| record.data.class_name(k));
    (name, escape(&word))
}

/// An image, enlarged, with the edges of rectangles.
pub(crate) fn drawn(
    image: &MapRecord,
    bounds: [f64; 2],
    rectangles: &[Rectangle],
    ink: Rgb,
    alt: &str,
) -> Result<String> {
    let small = Picture::of_image(image, bounds)?;
    let factor = (SIDE / small.width().max(small.height())).max(1);
    let mut large = small.enlarged(factor);
    for r in rectangles {
        let [top, left] = [r.top * factor, r.left * factor];
        let [height, width] = [r.height * factor, r.width * factor];
        for thick in 0..2 {
            for x in left..left + width {
                large.blend([x, top + thick], ink, 1.0);
                large.blend([x, (top + height).saturating_sub(1 + thick)], ink, 1.0);
            }
            for y in top..top + height {
                large.blend([left + thick, y], ink, 1.0);
                large.blend([(left + width).saturating_sub(1 + thick), y], ink, 1.0);
            }
        }
    }
    Ok(inline_png(
        &large.png()?,
        (large.width(), large.height()),
        alt,
    ))
}

fn parameters(record: &CertifyRecord) -> String {
    let masks = &record.masks;
    let [height, width] = masks.size;
    let mut items = vec![
        ("Model", model_file(&record.model)),
        ("Data", data(&record.data)),
        (
            "Masks",
            format!(
                "{} of {height} x {width} pixels, every {} rows and {} columns; {} pairs",
                count(masks.masks),
                masks.stride[0],
                masks.stride[1],
                count(masks.pairs)
            ),
        ),
        ("Fill", escape(&record.fill)),
        ("Seed", record.seed.to_string()),
    ];
    if let Some(attack) = &record.attack {
        let one = |a: &fgmf_record::MethodRecord| escape(&format!("{} {}", a.id, a.parameters));
        let all: Vec<String> = attack.attacks.iter().map(one).collect();
        items.push(("Attacks", listed(&all)));
    }
    list("facts", items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_record::{
        BuildRecord, DataRecord, MaskSetRecord, ModelFile, Passes, PatchAttackRecord,
        PatchThreatRecord, PatchedImage, Refutation, Split,
    };

    fn record() -> CertifyRecord {
        let share = Proportion::new(1, 2);
        let place = Rectangle {
            top: 1,
            left: 2,
            height: 2,
            width: 2,
        };
        let map = MapRecord {
            channels: 1,
            height: 4,
            width: 4,
            values: vec![0.5; 16],
        };
        CertifyRecord {
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
            threat: PatchThreatRecord {
                size: [2, 2],
                count: 1,
                bounds: [0.0, 1.0],
            },
            masks: MaskSetRecord {
                per_axis: 2,
                stride: [2, 2],
                size: [3, 3],
                masks: 4,
                pairs: 10,
            },
            fill: "0.5".into(),
            seed: 0,
            version: "0".into(),
            build: BuildRecord::default(),
            clean: share,
            defended: share,
            false_alarms: share,
            proved_right: share,
            proved_detected: share,
            passes: Passes::default(),
            seconds: 1.0,
            attack: Some(PatchAttackRecord {
                attacks: Vec::new(),
                bare: share,
                defended: share,
                detected: share,
                passes: Passes::default(),
                seconds: 1.0,
                contradictions: Vec::new(),
            }),
            images: vec![CertifiedImage {
                index: 7,
                label: 0,
                prediction: Some(0),
                defended: Some(0),
                alarm: true,
                proof: Proof::Open,
                refuted: Some(Refutation {
                    hidden: vec![place],
                    answer: None,
                }),
                passes: 4,
                patched: Some(PatchedImage {
                    attack: "patch-pgd".into(),
                    patches: vec![(place, vec![1.0; 4])],
                    prediction: Some(1),
                    defended: Some(1),
                    alarm: true,
                    shared: None,
                }),
            }],
            pictures: vec![CertifiedPicture {
                at: 0,
                image: map.clone(),
                masked: Some(map.clone()),
                patched: Some(map),
            }],
        }
    }

    #[test]
    fn the_page_says_what_is_known_and_escapes_names() {
        let page = certify_page(&record()).unwrap();
        assert!(page.contains("Image 7, &lt;cat&gt;: broken"), "{page}");
        assert!(page.contains("&lt;m&gt;.onnx") && !page.contains("<m>"));
        assert_eq!(page.matches("<img ").count(), 3);
        assert!(!page.contains("cannot be believed") && !page.contains("<script"));
        let mut fell = record();
        fell.attack.as_mut().unwrap().contradictions.push(7);
        assert!(certify_page(&fell).unwrap().contains("cannot be believed"));
        let mut lost = record();
        lost.pictures[0].at = 3;
        assert!(certify_page(&lost).is_err());
    }

    /// Edges lie on the border of the rectangle, and nowhere else.
    #[test]
    fn edges_are_drawn_where_the_mask_is() {
        let map = MapRecord {
            channels: 1,
            height: 2,
            width: 2,
            values: vec![1.0; 4],
        };
        let all = Rectangle {
            top: 0,
            left: 0,
            height: 2,
            width: 2,
        };
        let plain = drawn(&map, [0.0, 1.0], &[], MASK, "a").unwrap();
        let edged = drawn(&map, [0.0, 1.0], &[all], MASK, "a").unwrap();
        assert_ne!(plain, edged);
        assert!(plain.contains("width=\"112\" height=\"112\""));
    }
}
