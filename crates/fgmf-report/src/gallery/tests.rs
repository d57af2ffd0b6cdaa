use super::*;
use crate::colormap::{diverging, sequential};
use crate::escape::{decimal, number};
use crate::fixture::{self, unbalanced};
use crate::panel::Below;
use fgmf_record::{
    Direction, FigureRow, GalleryRecord, ImageRecord, MapFacts, MapPicture, MethodRecord,
    ModelFile, ViewPictures, ViewRecord,
};

/// One image, clean and attacked; PGCA, withheld after the attack, and a signed method.
fn gallery() -> (GalleryRecord, Vec<ViewPictures>) {
    let report = fixture::report();
    let method = |id: &str| MethodRecord {
        id: id.into(),
        parameters: serde_json::json!({ "steps": 64 }),
    };
    let row = |explainer: &str, figure: &str, input: &str, value| {
        FigureRow::new(
            [explainer, figure, figure, input],
            Direction::Higher,
            vec![value],
        )
    };
    let facts = |withheld: bool| MapFacts {
        layer: None,
        note: None,
        withheld: withheld.then(|| "agreement 0.08 is below 0.2".into()),
        doubts: if withheld {
            vec!["a doubt".into()]
        } else {
            vec![]
        },
    };
    let view = |withheld| ViewRecord {
        predicted: 1,
        probability: 0.931,
        explained: 1,
        maps: vec![facts(withheld), facts(false)],
    };
    let about = GalleryRecord {
        version: "0.1.0".into(),
        model: ModelFile {
            file: "net.onnx".into(),
            sha256: "cd".repeat(32),
            preprocessing: None,
            output: None,
            input_size: None,
        },
        data: Some(report.test),
        threat: Some(report.threat),
        seed: 0,
        inputs: vec![method("clean"), method("pgd")],
        explainers: vec![method("pgca"), method("integrated-gradients")],
        metrics: vec![method("lerf-minus-morf")],
        rows: vec![
            row("pgca", "lerf-minus-morf", "clean", Some(0.4321)),
            row("pgca", "lerf-minus-morf", "pgd", Some(-0.0712)),
            row(
                "integrated-gradients",
                "lerf-minus-morf",
                "clean",
                Some(0.2513),
            ),
            row(
                "integrated-gradients",
                "completeness-gap",
                "clean",
                Some(0.0167),
            ),
            row("integrated-gradients", "completeness-gap", "pgd", None),
        ],
        images: vec![ImageRecord {
            name: "shoe.png".into(),
            stem: "shoe".into(),
            truth: Some(1),
            views: vec![view(false), view(true)],
        }],
        classes: vec![],
        left_out: vec![],
        promise: None,
    };
    let picture = |shift: f32| ViewPictures {
        image: fixture::map(0.0),
        maps: vec![
            MapPicture {
                values: fixture::map(0.0),
                signed: false,
                disagreement: Some(fixture::map(-0.5)),
            },
            MapPicture {
                values: fixture::map(shift),
                signed: true,
                disagreement: None,
            },
        ],
    };
    (about, vec![picture(-0.5), picture(-2.0)])
}

/// A promise stands at the top of the page, as text.
#[test]
fn a_promise_is_on_the_page() {
    let (mut about, pictures) = gallery();
    assert!(!page(&about, &pictures).contains("at most 10%"));
    about.promise = Some("Of the maps shown, at most 10% are bad & few <b>.".into());
    let text = page(&about, &pictures);
    assert!(
        text.contains("<p class=\"lead\">Of the maps shown, at most 10% are bad &amp; few &lt;b")
    );
}

fn page(about: &GalleryRecord, pictures: &[ViewPictures]) -> String {
    gallery_head(about) + &gallery_image(about, 0, pictures) + &gallery_tail(about)
}

fn decode(png: &[u8]) -> image::RgbImage {
    image::load_from_memory_with_format(png, image::ImageFormat::Png)
        .unwrap()
        .to_rgb8()
}

#[test]
fn the_page_is_balanced_and_asks_for_nothing() {
    let (about, pictures) = gallery();
    let page = page(&about, &pictures);
    assert_eq!(unbalanced(&page), None);
    for (at, _) in page
        .match_indices("src=")
        .chain(page.match_indices("href="))
    {
        let rest = page[at..].split_once('=').unwrap().1;
        assert!(
            ["\"data:image/png;base64,", "\"#", "\"pages/shoe.png\""]
                .iter()
                .any(|s| rest.starts_with(s)),
            "{}",
            &rest[..30]
        );
    }
    assert!(
        ["<script", "http:", "https:", "@import", "url("]
            .iter()
            .all(|word| !page.contains(word))
    );
}

/// Under the pictures and in the table of means stands what the record holds, and a change of the
/// record changes it.
#[test]
fn figures_are_those_of_the_record() {
    let (mut about, pictures) = gallery();
    let check = |about: &GalleryRecord| {
        let (tail, image) = (gallery_tail(about), gallery_image(about, 0, &pictures));
        for row in &about.rows {
            let value = row.values[0].map_or("\u{2013}".to_owned(), number);
            let shown = format!("<dt>{}</dt><dd>{value}</dd>", row.figure);
            assert_eq!(image.matches(&shown).count(), 1, "{shown}");
            assert!(row.n == 0 || tail.contains(&format!("<b>{}</b>", decimal(row.mean))));
        }
        assert!(
            image.contains("<dt>predicted</dt><dd>Boot</dd>")
                && image.contains("<dt>probability</dt><dd>93.1%</dd>")
        );
    };
    check(&about);
    about.rows[1] = FigureRow::new(
        ["pgca", "lerf-minus-morf", "lerf-minus-morf", "pgd"],
        Direction::Higher,
        vec![Some(0.8765)],
    );
    check(&about);
    let json = serde_json::to_string(&about).unwrap();
    assert_eq!(serde_json::from_str::<GalleryRecord>(&json).unwrap(), about);
}

/// The counts above the images are links to views, and an image says in which views it is.
#[test]
fn counts_are_links_to_the_images_that_they_count() {
    let (mut about, pictures) = gallery();
    let mut other = about.images[0].clone();
    other.truth = Some(0);
    other.views[1].predicted = 0;
    other
        .views
        .iter_mut()
        .flat_map(|v| &mut v.maps)
        .for_each(|m| {
            (m.withheld, m.doubts) = (None, vec![]);
        });
    about.images.push(other);
    let page = gallery_head(&about);
    for link in [
        "<a href=\"#images\">all <b>2</b></a>",
        "<a href=\"#wrong\">wrong answer <b>1</b></a>",
        "<a href=\"#changed\">answer changed by the attack <b>1</b></a>",
        "<a href=\"#withheld\">map withheld <b>1</b></a>",
        "<a href=\"#doubted\">map in doubt <b>1</b></a>",
    ] {
        assert!(page.contains(link), "{link}");
    }
    let classes = |at: usize| {
        let image = gallery_image(&about, at, &pictures);
        image.split('"').nth(1).map(str::to_owned).unwrap()
    };
    assert_eq!(
        [classes(0), classes(1)],
        ["case is-withheld is-doubted", "case is-wrong is-changed"]
    );
    about.images.truncate(1);
    let page = gallery_head(&about);
    assert!(page.contains("<li>wrong answer <b>0</b></li>"));
}

/// Headings go down by one level at a time, and images come before everything but the top.
#[test]
fn the_outline_has_no_gap_and_pictures_come_first() {
    let (about, pictures) = gallery();
    for page in [
        page(&about, &pictures),
        crate::render_html(&fixture::report()),
    ] {
        let starts = page.match_indices("<h").filter_map(|(at, _)| {
            let level = page.as_bytes()[at + 2];
            level.is_ascii_digit().then_some(level - b'0')
        });
        let levels: Vec<u8> = starts.collect();
        assert_eq!((levels[0], levels.iter().max()), (1, Some(&3)));
        assert!(levels.windows(2).all(|w| w[1] <= w[0] + 1), "{levels:?}");
        let scrolling = page
            .matches("<div class=\"scroll\" role=\"region\"")
            .count();
        assert_eq!(scrolling, page.matches("class=\"scroll\"").count());
        assert_eq!(scrolling, page.matches("tabindex=\"0\"").count());
    }
    let page = page(&about, &pictures);
    assert!(page.find("<img").unwrap() < page.find("id=\"answers\"").unwrap());
}

#[test]
fn hostile_strings_stay_text() {
    let (mut about, pictures) = gallery();
    let evil = "</title><script>alert('x')</script><img src=\"http://evil\" onerror=x>";
    about.images[0].name = evil.into();
    about.model.file = evil.into();
    about.explainers[0].id = evil.into();
    about.inputs[1].id = evil.into();
    about.data.as_mut().unwrap().classes[1] = evil.into();
    about.images[0].views[1].maps[1].doubts = vec![evil.into()];
    about.images[0].views[1].maps[1].note = Some(evil.into());
    let page = page(&about, &pictures);
    assert_eq!(unbalanced(&page), None);
    assert!(
        !page.contains("<script")
            && !page.contains("<img src=\"http")
            && page.contains("&lt;script&gt;")
    );
    assert!(page_png(&about, 0, &pictures).is_ok());
}

/// Image with change (2 places), PGCA (3), the signed method (2), of 168 pixels each, with 8
/// between pictures and 36 between cells; colour bars ten pixels thick and as wide as their
/// picture, from end to end of the scale, once an input.
#[test]
fn the_png_has_its_size_and_its_bars_the_colours_of_the_ends() {
    let (about, pictures) = gallery();
    let sheet = decode(&page_png(&about, 0, &pictures).unwrap());
    assert_eq!(
        sheet.width(),
        2 * 32 + (2 * 176 - 8) + 36 + (3 * 176 - 8) + 36 + (2 * 176 - 8)
    );
    let bars = |x: u32, ends: [[u8; 3]; 2]| {
        (0..sheet.height())
            .filter(|&y| [sheet.get_pixel(x, y).0, sheet.get_pixel(x + 167, y).0] == ends)
            .count()
    };
    assert_eq!(bars(412, [sequential(0.0), sequential(1.0)]), 20);
    assert_eq!(bars(412 + 2 * 176, [diverging(-1.0), diverging(1.0)]), 20);
    assert_eq!(bars(968, [diverging(-1.0), diverging(1.0)]), 20);
    // Four lines stand below the image; the seventh below a map makes the page taller by three, of
    // 18 pixels.
    let mut more = about.clone();
    for figure in ["a", "b", "c", "d", "e", "f"] {
        more.rows.push(FigureRow::new(
            ["pgca", figure, figure, "clean"],
            Direction::Lower,
            vec![Some(1.0)],
        ));
    }
    let taller = decode(&page_png(&more, 0, &pictures).unwrap());
    assert_eq!(taller.height(), sheet.height() + 3 * 18);
}

#[test]
fn signed_maps_have_one_scale_before_and_after() {
    let (about, pictures) = gallery();
    let lines = super::lines::lines(&about, 0, &pictures);
    // The clean map ends at 0.5, the attacked one at -2.
    for line in &lines {
        let Below::Bar(bar) = &line.cells[2].tiles[0].below else {
            panic!("a signed map has a bar");
        };
        assert_eq!(bar.numbers[2], "+1.995");
    }
    let clean = lines[0].cells[2].tiles[0].picture.as_ref().unwrap();
    let scale = 1.995;
    assert_eq!(
        [clean.at([0, 0]), clean.at([3, 3])],
        [diverging(-0.5 / scale), diverging(0.5 / scale)]
    );
}

#[test]
fn gaps_are_named() {
    let (mut about, mut pictures) = gallery();
    pictures[0].maps[0].values.values[3] = f32::NAN;
    pictures[1].image.values.pop();
    about.images[0].views[0].predicted = 77;
    let page = page(&about, &pictures);
    assert_eq!(unbalanced(&page), None);
    assert!(page.matches("no data").count() >= 4 && page.contains("class 77"));
    assert!(page_png(&about, 0, &pictures).is_ok());
    (about.rows, about.threat, about.data) = (vec![], None, None);
    about.inputs.truncate(1);
    about.images[0].views.truncate(1);
    assert_eq!(unbalanced(&self::page(&about, &pictures)), None);
}
