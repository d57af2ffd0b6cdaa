//! Folders of images, radii, odd pictures, and folders of results that are used again.

use super::{ok, refused, run, small_model, text};
use fgmf::data::{EMBEDDED, Split, load};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// `n` test images of each of these classes, in folders named by them.
fn class_folders(dir: &Path, classes: &[&str], n: usize) -> PathBuf {
    let data = load(EMBEDDED, Split::Test).unwrap();
    let out = dir.join("pictures");
    for class in classes {
        let folder = out.join("test").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        let label = data.classes().iter().position(|name| name == class);
        let rows = (0..data.len()).filter(|&i| Some(data.label(i)) == label);
        for i in rows.take(n) {
            let bytes: Vec<u8> = data
                .image(i)
                .unwrap()
                .iter()
                .map(|v| (v * 255.0) as u8)
                .collect();
            let grey = image::GrayImage::from_raw(28, 28, bytes).unwrap();
            grey.save(folder.join(format!("{i:04}.png"))).unwrap();
        }
    }
    out
}

fn attack<'a>(model: &'a str, data: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "attack", model, "--data", data, "--out", out, "--suite", "fgsm",
    ];
    [&usual, more].concat()
}

/// Two of ten classes keep the labels of the model, and a limit takes some images of each.
#[test]
fn class_folders_are_matched_by_name_and_limits_are_spread() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let data = class_folders(folder.path(), &["Trouser", "Bag"], 12);
    let out = folder.path().join("out");
    let arguments = attack(
        text(&model),
        text(&data),
        text(&out),
        &["--limit", "8", "--json"],
    );
    let record: fgmf_record::AttackRecord = serde_json::from_str(&ok(&arguments)).unwrap();
    assert_eq!((record.data.classes.len(), record.data.n), (10, 8));
    assert!(record.data.chosen.is_some());
    // As labels 0 and 1 the images would be wrong but for accidents.
    assert!(record.clean.accuracy >= 0.5, "{}", record.clean.accuracy);
    std::fs::rename(data.join("test/Bag"), data.join("test/cat")).unwrap();
    let message = refused(&attack(text(&model), text(&data), text(&out), &[]));
    assert!(
        message.contains("Ankle boot") && message.contains("it does not know cat"),
        "{message}"
    );
    assert!(ok(&["info", text(&model)]).contains("classes     10: T-shirt/top, Trouser"));
    // The record of embedded data has no new key.
    let other = folder.path().join("other");
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&other),
        &["--limit", "4", "--json"],
    );
    assert!(!ok(&arguments).contains("\"chosen\""));
}

#[test]
fn radii_are_fractions_and_no_larger_than_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("out");
    let with = |more: &[&'static str]| {
        let all = [&["--limit", "4", "--json"], more].concat();
        attack(text(&model), EMBEDDED, text(&out), &all)
            .iter()
            .map(|&s| s.to_owned())
            .collect::<Vec<_>>()
    };
    let refuse = |more: &[&'static str]| {
        let arguments = with(more);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let message = refuse(&["--eps", "8"]);
    assert!(
        message.contains("`eps`: expected at most 1, the largest linf distance of two images")
            && message.contains("8/255 is what papers write as 8"),
        "{message}"
    );
    assert!(refuse(&["--curve", "0.1,2"]).contains("8/255"));
    assert!(refuse(&["--eps", "29", "--norm", "l2"]).contains("at most 28"));
    assert!(refuse(&["--eps", "8/x"]).contains("such as 0.03 or 8/255"));
    let arguments = with(&["--eps", "8/255"]);
    let printed = ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let record: fgmf_record::AttackRecord = serde_json::from_str(&printed).unwrap();
    assert_eq!(record.threat.eps.to_bits(), (8.0_f64 / 255.0).to_bits());
    let wide = [
        "train",
        "--data",
        EMBEDDED,
        "--limit",
        "8",
        "--eps",
        "8",
        "--out",
        text(&out),
    ];
    assert!(refused(&wide).contains("8/255"));
}

/// A model that gives every image the class 0.
fn constant_model(folder: &Path, shape: [usize; 3]) -> PathBuf {
    let mut bias = [0.0; 10];
    bias[0] = 1.0;
    let weights = vec![vec![0.0; shape.iter().product()]; 10];
    let net = fgmf_testkit::toys::linear(&weights, &bias, shape);
    let model = folder.join("constant.onnx");
    fgmf::store::write_model(&model, &net.cast(fgmf_net::Precision::F32)).unwrap();
    model
}

/// The decoder panics on a palette of 16 bytes. That is an error of the file, and no bug.
#[test]
fn a_picture_that_breaks_its_decoder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = constant_model(folder.path(), [3, 7, 9]);
    let picture = folder.path().join("palette.png");
    let bytes = include_bytes!("../../../fgmf/tests/fixtures/palette_length.png");
    std::fs::write(&picture, bytes).unwrap();
    let out = folder.path().join("out");
    let usual = ["explain", text(&model), text(&picture), "--out", text(&out)];
    let message = refused(&[&usual[..], &["--methods", "saliency"]].concat());
    assert!(
        message.contains("palette.png: expected a whole PNG, JPEG or WebP image"),
        "{message}"
    );
    assert!(!message.contains("bug"), "{message}");
}

/// What the second run into a folder did not write is gone, and other people's files are not.
#[test]
fn a_folder_of_explanations_can_be_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let data = class_folders(folder.path(), &["Bag"], 2);
    let out = folder.path().join("out");
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(data.join("test/Bag"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pictures.sort();
    let explain = |picture: &Path, method: &str| {
        let (model, picture) = (text(&model), text(picture));
        let usual = ["explain", model, picture, "--metrics", "none", "--quiet"];
        ok(&[&usual[..], &["--methods", method, "--out", text(&out)]].concat());
    };
    explain(&pictures[0], "saliency");
    let theirs = out.join("maps/theirs.png");
    std::fs::write(&theirs, "").unwrap();
    explain(&pictures[1], "grad-cam");
    let names = |part: &str| {
        let mut names: Vec<String> = std::fs::read_dir(out.join(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let stem = format!("Bag-{}", pictures[1].file_stem().unwrap().to_str().unwrap());
    assert_eq!(names("pages"), [format!("{stem}.png")]);
    assert_eq!(
        names("maps"),
        [
            format!("{stem}.grad-cam.clean.json"),
            format!("{stem}.grad-cam.clean.png"),
            "theirs.png".to_owned()
        ]
    );
}

#[test]
fn a_model_at_chance_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let model = constant_model(folder.path(), [1, 28, 28]);
    let out = folder.path().join("out");
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&out),
        &["--limit", "60", "--quiet"],
    );
    let text_of = said(&arguments);
    assert!(
        text_of.contains("no better than chance among 10 classes")
            && text_of.contains("value range"),
        "{text_of}"
    );
    let out = folder.path().join("few");
    let arguments = attack(
        text(&model),
        EMBEDDED,
        text(&out),
        &["--limit", "40", "--quiet"],
    );
    assert!(!said(&arguments).contains("chance"));
    let out = folder.path().join("evaluated");
    let judged = [
        "--explainers",
        "saliency",
        "--metrics",
        "sparseness",
        "-n",
        "60",
    ];
    let usual = [
        "evaluate",
        text(&model),
        "--data",
        EMBEDDED,
        "--out",
        text(&out),
        "--quiet",
    ];
    let text_of = said(&[&usual[..], &judged].concat());
    assert!(text_of.contains("no better than chance"), "{text_of}");
}

/// The first pictures of the embedded data as files, and one of each kind that a model of 28 x 28
/// grey pixels cannot take as it is.
fn pictures(dir: &Path) -> Vec<PathBuf> {
    let data = class_folders(dir, &["Bag"], 1).join("test/Bag");
    let good = std::fs::read_dir(data).unwrap().next().unwrap().unwrap();
    let wide = dir.join("wide.png");
    let colours = image::RgbImage::from_fn(80, 40, |x, y| {
        image::Rgb([(3 * x) as u8, (6 * y) as u8, 90])
    });
    colours.save(&wide).unwrap();
    let gif = dir.join("gif.png");
    std::fs::write(&gif, b"GIF89a\x01\0\x01\0").unwrap();
    vec![good.path(), wide, gif]
}

/// One bad picture of many is left out and named at the end; pictures are made to fit where that is
/// asked for; only bad pictures are an error.
#[test]
fn pictures_are_left_out_or_made_to_fit() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let files = pictures(folder.path());
    let [good, wide, gif] = files.as_slice() else {
        panic!("three files");
    };
    let out = folder.path().join("out");
    let explain = |files: &[&Path], more: &[&str]| {
        let files: Vec<&str> = files.iter().map(|f| text(f)).collect();
        let usual = ["--methods", "saliency", "--quiet", "--out", text(&out)];
        let done = run(&[&["explain", text(&model)][..], &files, &usual, more].concat());
        let said = String::from_utf8(done.stderr).unwrap();
        (done.status.code(), said)
    };
    let record = || -> fgmf_record::GalleryRecord {
        serde_json::from_slice(&std::fs::read(out.join("gallery.json")).unwrap()).unwrap()
    };
    let (code, said) = explain(&[gif, good, wide], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("left out: 2")
            && said
                .contains("gif.png: expected a whole PNG, JPEG or WebP image, found a GIF picture")
            && said.contains("wide.png: expected an image of 1x28x28"),
        "{said}"
    );
    let about = record();
    assert_eq!((about.images.len(), about.left_out.len()), (1, 2));
    assert_eq!(about.images[0].name, text(good));
    let page = std::fs::read_to_string(out.join("gallery.html")).unwrap();
    assert!(page.contains("1 files, 2 more left out") && page.contains("found a GIF picture"));

    let (code, said) = explain(&[good, wide], &["--resize"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("wide.png: cut to its middle")
            && said.contains("wide.png: resized")
            && said.contains("wide.png: made grey")
            && !said.contains("Bag"),
        "{said}"
    );
    assert_eq!(record().images.len(), 2);
    let (code, said) = explain(&[gif, wide], &[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("found a GIF picture") && said.contains("as a PNG file"));
    assert!(explain(&[wide], &[]).1.contains("--resize"));
}

/// A class goes in and comes out by the name that the model carries.
#[test]
fn classes_have_the_names_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let good = &pictures(folder.path())[0];
    let out = folder.path().join("out");
    let usual = [
        "explain",
        text(&model),
        text(good),
        "--out",
        text(&out),
        "--quiet",
    ];
    let explain =
        |class: &str| ok(&[&usual[..], &["--methods", "saliency", "--class", class]].concat());
    let shown = explain("Ankle boot");
    assert!(
        shown.contains("explained Ankle boot") && !shown.contains("class 9"),
        "{shown}"
    );
    let page = std::fs::read_to_string(out.join("gallery.html")).unwrap();
    assert!(page.contains("<dt>explained</dt><dd>Ankle boot</dd>") && !page.contains("class 9"));
    assert_eq!(explain("9"), shown);
    assert_eq!(explain("ankle boot"), shown);
    let message = refused(&[&usual[..], &["--class", "Boot"]].concat());
    assert!(
        message.contains("below 10, or one of T-shirt/top, Trouser") && message.contains("Boot"),
        "{message}"
    );
}

/// Settings come from the record of a run, with a byte-order mark or without; a flag beside them is
/// named.
#[test]
fn settings_come_from_the_record_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let record = folder.path().join("run.json");
    let train = |config: &Path, name: &str| {
        let out = folder.path().join(name);
        ok(&[
            "train",
            "--config",
            text(config),
            "--quiet",
            "--out",
            text(&out),
        ]);
        std::fs::read(out.join("model.onnx")).unwrap()
    };
    let trained = std::fs::read(&model).unwrap();
    assert!(train(&record, "again") == trained, "from run.json");
    let marked = folder.path().join("marked.json");
    let run: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    std::fs::write(&marked, format!("\u{feff}{}", run["config"])).unwrap();
    assert!(
        train(&marked, "marked") == trained,
        "with a byte-order mark"
    );

    let beside = |flag: &[&str]| {
        let out = folder.path().join("beside");
        let usual = ["train", "--config", text(&record), "--out", text(&out)];
        refused(&[&usual[..], flag].concat())
    };
    for flag in [
        &["--eps", "0.2"][..],
        &["--data", "fashion-mnist-mini"],
        &["--sgam"],
        &["--seed", "0"],
        &["--optimiser", "sgd"],
        &["--resize-pad", "0.8"],
    ] {
        let message = beside(flag);
        assert!(
            message.contains("--config") && message.contains(flag[0]),
            "{message}"
        );
    }
}

/// A damaged file among twenty is left out and named, and exit code 1 says that something is
/// missing.
#[test]
fn a_damaged_file_of_a_folder_is_left_out_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let data = class_folders(folder.path(), &["Trouser", "Bag"], 10);
    let class = std::fs::read_dir(data.join("test/Bag")).unwrap();
    let first = class.map(|e| e.unwrap().path()).min().unwrap();
    std::fs::write(&first, "damaged").unwrap();
    let name = first.file_name().unwrap().to_str().unwrap();
    let out = folder.path().join("out");
    let ended = run(&attack(text(&model), text(&data), text(&out), &["--json"]));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("left out: 1") && said.contains(name),
        "{said}"
    );
    let record: fgmf_record::AttackRecord = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((record.data.n, record.data.left_out.len()), (19, 1));
    let out = folder.path().join("maps");
    let usual = ["explain", text(&model), "--data", text(&data)];
    let more = ["--methods", "saliency", "--out", text(&out), "--json"];
    let ended = run(&[&usual[..], &more].concat());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("left out: 1") && said.contains(name),
        "{said}"
    );
}

/// How many adversarial images survive being saved with 8 bits is what a run on the saved files
/// finds.
#[test]
fn adversarial_images_saved_with_8_bits_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("out");
    // Its points lie just behind the boundary: rounding takes some of them back.
    let suite = ["--suite", "deepfool", "--limit", "60", "--json", "--quiet"];
    let usual = ["attack", text(&model), "--out", text(&out)];
    let data = ["--data", EMBEDDED, "--norm", "l2", "--eps", "1"];
    let words = [&usual[..], &data, &suite].concat();
    let record: fgmf_record::AttackRecord = serde_json::from_str(&ok(&words)).unwrap();
    let kept = record.in_8_bits.unwrap();
    let broken = record.examples.iter().enumerate();
    let broken: Vec<_> = broken.filter(|(_, e)| e.broken_by.is_some()).collect();
    assert_eq!(kept.n, broken.len());
    let bytes = std::fs::read(out.join("adversarial.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let arrays: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let begin = arrays["adversarial"]["data_offsets"][0].as_u64().unwrap() as usize;
    let begin = 8 + header + begin;
    let pictures = folder.path().join("saved");
    for (row, example) in &broken {
        let image = &bytes[begin + 4 * 784 * row..][..4 * 784];
        let grey = image.as_chunks::<4>().0.iter();
        let grey = grey.map(|v| (f32::from_le_bytes(*v) * 255.0).round() as u8);
        let grey = image::GrayImage::from_raw(28, 28, grey.collect()).unwrap();
        let class = record.data.classes[example.label].replace('/', "_");
        let class = pictures.join("test").join(class);
        std::fs::create_dir_all(&class).unwrap();
        grey.save(class.join(format!("{row:04}.png"))).unwrap();
    }
    let again = folder.path().join("again");
    let words = attack(
        text(&model),
        text(&pictures),
        text(&again),
        &["--eps", "0", "--json", "--quiet"],
    );
    let saved: fgmf_record::AttackRecord = serde_json::from_str(&ok(&words)).unwrap();
    let right = (saved.clean.accuracy * saved.clean.n as f64).round() as usize;
    assert_eq!((saved.clean.n, saved.clean.n - right), (kept.n, kept.count));
    assert!(0 < kept.count && kept.count < kept.n, "{kept:?}");
}

/// A file beside the model says how pictures are resized: no flag is needed, and it is said.
#[test]
fn pictures_are_scaled_as_the_files_beside_the_model_say() {
    let folder = tempfile::tempdir().unwrap();
    let model = constant_model(folder.path(), [1, 28, 28]);
    let wide = pictures(folder.path()).swap_remove(1);
    let predict = |more: &[&str]| {
        let out = folder.path().join("predicted");
        let usual = ["predict", text(&model), text(&wide), "--out", text(&out)];
        let done = run(&[&usual[..], more].concat());
        let said = String::from_utf8(done.stderr).unwrap();
        (done.status.code(), said)
    };
    let (code, said) = predict(&[]);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = predict(&["--resize", "--crop-pct", "0.875"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("cut to its middle, after it was scaled"),
        "{said}"
    );
    assert!(predict(&["--crop-pct", "0.875"]).1.contains("--resize"));
    let (code, said) = predict(&["--resize", "--crop-pct", "1.5"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("`crop_pct`: expected above 0, at most 1"),
        "{said}"
    );
    let config = r#"{"pretrained_cfg": {"crop_pct": 0.9, "interpolation": "bicubic"}}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let (code, said) = predict(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("config.json says: scaled to a shorter side of 31 (bicubic)"),
        "{said}"
    );
    let settings = folder.path().join("fgmf.toml");
    std::fs::write(&settings, "crop_pct = 0.5\nscale = 255\n").unwrap();
    let (code, said) = predict(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("fgmf.toml says: scaled to a shorter side of 56"),
        "{said}"
    );
    assert!(
        said.contains("images as") && said.contains("--scale 255"),
        "{said}"
    );
    std::fs::write(&settings, "crop = 0.5\n").unwrap();
    let (code, said) = predict(&[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("interpolation, output, input_size, found `crop`"),
        "{said}"
    );
}
