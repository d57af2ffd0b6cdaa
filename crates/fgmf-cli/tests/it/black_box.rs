//! Models behind an address: what answers there is a linear classifier that is also a file, so
//! that every figure is known.

use super::{fgmf, ok, refused, run, text};
use fgmf_net::{Precision, Session, Tensor, onnx};
use fgmf_record::{AttackRecord, Level, PredictionRecord};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIDE: usize = 8;
const CLASSES: usize = 3;

/// A classifier, as a file and as what answers, and images that it names rightly.
struct Fixture {
    folder: tempfile::TempDir,
    file: PathBuf,
    data: PathBuf,
    net: Session,
}

/// Numbers in [0, 1) that look like noise.
fn noise(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / (1u64 << 24) as f64
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Rows that add up to 0, so that brightness says nothing.
        let row = |k: usize| {
            let all: Vec<f64> = (0..SIDE * SIDE).map(|i| noise(64 * k + i)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            all.into_iter().map(|v| v - mean).collect()
        };
        let weights: Vec<Vec<f64>> = (0..CLASSES).map(row).collect();
        let image = [1, SIDE, SIDE];
        let net = fgmf_testkit::toys::linear(&weights, &[0.0; CLASSES], image);
        let net = net.cast(Precision::F32);
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, onnx::to_bytes(&net).unwrap()).unwrap();
        // What Python reads are the very numbers of the file.
        let single: Vec<Vec<f32>> = weights
            .iter()
            .map(|row| row.iter().map(|v| *v as f32).collect())
            .collect();
        let text = serde_json::to_string(&json!(single)).unwrap();
        std::fs::write(folder.path().join("weights.json"), text).unwrap();
        let data = folder.path().join("data");
        let mut count = [0; CLASSES];
        for i in 0..12 {
            let pixel = |p: usize| {
                let v = 0.5 + 0.2 * (noise(1000 * (i + 1) + p) - 0.5);
                ((v + 0.08 * weights[i % CLASSES][p]) * 255.0) as u8
            };
            let pixels: Vec<u8> = (0..SIDE * SIDE).map(pixel).collect();
            let x: Vec<f32> = pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
            let z = net.logits(&Tensor::new(&[1, 1, SIDE, SIDE], x)).unwrap();
            let class = fgmf::model::predictions(&z)[0];
            count[class] += 1;
            let place = data.join("test").join(class.to_string());
            std::fs::create_dir_all(&place).unwrap();
            let path = place.join(format!("{i:02}.png"));
            fgmf_testkit::images::write_grey_png(&path, SIDE as u32, SIDE as u32, &pixels);
        }
        assert!(count.iter().all(|n| *n > 0), "{count:?}");
        Self {
            folder,
            file,
            data,
            net,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of the script, with what it gives and its faults.
    fn pipe(&self, words: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/serve.py");
        let folder = text(self.folder.path());
        format!("pipe:python3 '{}' '{folder}' {words}", text(&script))
    }

    /// Images that the script was asked about, over all its lives.
    fn asked(&self) -> usize {
        let log = std::fs::read_to_string(self.at("asked.txt")).unwrap_or_default();
        log.lines().count()
    }

    fn forget(&self) {
        _ = std::fs::remove_file(self.at("asked.txt"));
    }

    fn attack<'a>(&'a self, model: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let usual = [
            "attack",
            model,
            "--data",
            text(&self.data),
            "--out",
            text(out),
            "--eps",
            "0.08",
            "--quiet",
        ];
        [&usual, more].concat()
    }
}

fn record(out: &Path) -> AttackRecord {
    let bytes = std::fs::read(out.join("attack.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn images(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adversarial.safetensors")).unwrap()
}

/// The adversarial images, without what says which model they are of.
fn points(out: &Path) -> Vec<u8> {
    let all = images(out);
    let header = u64::from_le_bytes(all[..8].try_into().unwrap()) as usize;
    all[8 + header..].to_vec()
}

/// A server of the protocol in front of the network. `status` says how the request of a number is
/// answered: 200, or a fault.
fn serve(
    net: Session,
    status: impl Fn(usize) -> u16 + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v2/models/m", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let answer = one_request(&mut stream, &net, &count);
            let status = if answer.is_ok() { status(number) } else { 400 };
            let body = answer.unwrap_or_default();
            let body = if status == 200 { body } else { "no".into() };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            _ = stream.write_all((head + &body).as_bytes());
        }
    });
    (address, asked)
}

fn one_request(
    stream: &mut TcpStream,
    net: &Session,
    asked: &AtomicUsize,
) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    if first.starts_with("GET") {
        let about = json!({
            "name": "m", "versions": ["1"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, SIDE, SIDE]}],
            "outputs": [{"name": "z", "datatype": "FP32", "shape": [-1, CLASSES]}],
        });
        return Ok(about.to_string());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body)?;
    let input = &request["inputs"][0];
    let x: Vec<f32> = serde_json::from_value(input["data"].clone())?;
    let shape: Vec<usize> = serde_json::from_value(input["shape"].clone())?;
    asked.fetch_add(shape[0], Ordering::SeqCst);
    let z = net.logits(&Tensor::new(&shape, x)).unwrap();
    let out = json!({ "outputs": [{
        "name": "z", "datatype": "FP32", "shape": z.shape(), "data": z.to_f32(),
    }]});
    Ok(out.to_string())
}

fn predicted(model: &str, data: &Path, more: &[&str]) -> PredictionRecord {
    let usual = ["predict", model, "--data", text(data), "--json", "--quiet"];
    serde_json::from_str(&ok(&[&usual, more].concat())).unwrap()
}

#[test]
fn predictions_are_those_of_the_file() {
    let f = Fixture::new();
    let (server, _) = serve(f.net.clone(), |_| 200);
    let file = predicted(text(&f.file), &f.data, &[]);
    assert!(file.accuracy.as_ref().unwrap().accuracy > 0.99);
    let labels = f.at("names.txt");
    std::fs::write(&labels, "cat\ndog\nfox\n").unwrap();
    for (address, named) in [(f.pipe("logits"), true), (server, false)] {
        let more = ["--labels", text(&labels)];
        let own = predicted(&address, &f.data, if named { &more } else { &[] });
        assert_eq!(own.accuracy, file.accuracy);
        for (a, b) in own.images.iter().zip(&file.images) {
            assert_eq!((a.class, a.label), (b.class, b.label));
            for (a, b) in a.top.iter().zip(&b.top) {
                assert_eq!(a.class, b.class);
                assert!((a.logit - b.logit).abs() < 1e-5, "{} {}", a.logit, b.logit);
                assert_eq!(a.name.is_some(), named);
            }
        }
    }
    // Logarithms of probabilities are logits less a constant: the same probabilities.
    let own = predicted(&f.pipe("probabilities"), &f.data, &[]);
    for (a, b) in own.images.iter().zip(&file.images) {
        assert!((a.top[0].probability - b.top[0].probability).abs() < 1e-5);
    }
    let own = predicted(&f.pipe("label"), &f.data, &[]);
    for (a, b) in own.images.iter().zip(&file.images) {
        assert_eq!((a.class, a.top[0].probability), (b.class, 1.0));
    }
}

/// Square with the same seed finds the same points through an address and through the file. The
/// verdict claims nothing.
#[test]
fn square_finds_the_points_that_it_finds_through_the_file() {
    let f = Fixture::new();
    let (server, asked) = serve(f.net.clone(), |_| 200);
    let suite = ["--suite", "square"];
    let (file, piped, served) = (f.at("file"), f.at("piped"), f.at("served"));
    // Few queries would do; the file's attack has the same settings.
    ok(&f.attack(text(&f.file), &file, &suite));
    let limit = ["--suite", "square", "--queries-per-image", "300"];
    ok(&f.attack(&server, &served, &limit));
    let table = ok(&f.attack(&f.pipe("logits"), &piped, &limit));
    let own = record(&file);
    assert!(own.attacks[0].broken > 3, "{:?}", own.attacks[0]);
    for out in [&served, &piped] {
        let r = record(out);
        let broken = |r: &AttackRecord| {
            let of = r.examples.iter().filter(|e| e.broken_by.is_some());
            of.map(|e| e.index).collect::<Vec<usize>>()
        };
        assert_eq!(broken(&r), broken(&own));
        let pixels = |all: Vec<u8>| -> Vec<f32> {
            // Behind a label and a digest for each image, and before the digest of each point.
            let n = 12;
            let all = &all[n * (8 + 64)..all.len() - n * 64];
            all.chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        let (a, b) = (pixels(points(out)), pixels(points(&file)));
        // Python adds up in double precision: where two points are equal but for rounding, it may
        // prefer the other one.
        let slack = if out == &piped { 1e-6 } else { 0.0 };
        assert!(
            a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= slack),
            "{}",
            out.display()
        );
        assert_eq!(r.verdict.level, Level::Suspicious);
        assert_eq!(r.verdict.flags[0].id, "black-box");
        assert!(!out.join("answers.jsonl").exists());
    }
    let queries = record(&served).queries.unwrap();
    assert_eq!(queries.asked as usize, asked.load(Ordering::SeqCst));
    assert_eq!((queries.unanswered, queries.per_image), (0, Some(300)));
    assert_eq!(record(&piped).queries.unwrap().asked as usize, f.asked());
    assert!(
        table.contains("upper bound") && table.contains("images asked about"),
        "{table}"
    );
    let lone = f.attack(
        &server,
        &served,
        &["--suite", "square", "--fail-on-masking"],
    );
    assert_eq!(
        run(&lone).status.code(),
        Some(2),
        "another run's record stands there"
    );
}

/// The command dies again and again. Each run says so, ends with 2 and keeps what it has; the end
/// is that of a run that nothing happened to.
#[test]
fn a_command_that_dies_costs_nothing_but_what_it_was_asked() {
    let f = Fixture::new();
    let (whole, broken) = (f.at("whole"), f.at("broken"));
    let more = ["--suite", "square", "--queries", "2000", "--retries", "0"];
    // The address is part of what a run is, so its faults are told by a file.
    let script = f.at("flaky.sh");
    let write = |fault: &str| {
        let command = f.pipe("logits")["pipe:".len()..].to_owned();
        std::fs::write(&script, format!("exec {command} {fault}\n")).unwrap();
    };
    let address = format!("pipe:sh '{}'", text(&script));
    write("");
    ok(&f.attack(&address, &whole, &more));
    f.forget();
    for _ in 0..3 {
        write("die 4");
        let message = refused(&f.attack(&address, &broken, &more));
        assert!(
            message.contains("the command ended (exit status: 3)"),
            "{message}"
        );
        assert!(broken.join("answers.jsonl").exists() && !broken.join("attack.json").exists());
    }
    // Another run does not take its answers.
    let other = f.attack(&address, &broken, &["--suite", "square", "--seed", "7"]);
    assert!(refused(&other).contains("another settings.seed"));
    write("");
    ok(&f.attack(&address, &broken, &more));
    assert_eq!(images(&whole), images(&broken));
    let (mut a, mut b) = (record(&whole), record(&broken));
    let (first, second) = (a.queries.take().unwrap(), b.queries.take().unwrap());
    assert!(second.unanswered > 0);
    assert_eq!(second.asked, first.asked + second.unanswered);
    assert_eq!(second.asked as usize, f.asked());
    assert!(second.asked <= 2000);
    for r in [&mut a, &mut b] {
        r.attacks.iter_mut().for_each(|row| row.seconds = 0.0);
    }
    assert_eq!(a, b);
}

/// A budget that is too small for the search is kept to the image, over kills too, and the record
/// says who was given up.
#[test]
fn a_budget_is_never_passed() {
    let f = Fixture::new();
    let address = f.pipe("logits slow");
    let out = f.at("out");
    let more = [
        "--suite",
        "square,nes",
        "--queries",
        "100",
        "--eps",
        "0.001",
    ];
    let words: Vec<&str> = f.attack(&address, &out, &[]);
    let words: Vec<&str> = [&words[..6], &["--quiet"], &more].concat();
    // Killed once so many images were asked about. A run that ended is another matter: the same
    // command is then a new run, with a budget of its own.
    for target in [5, 30, 60] {
        let mut child = fgmf(&words).spawn().unwrap();
        while f.asked() < target {
            assert!(
                child.try_wait().unwrap().is_none(),
                "ended before {target} images"
            );
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "ended before it was killed"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(out.join("answers.jsonl").exists() && !out.join("attack.json").exists());
    }
    ok(&words);
    let r = record(&out);
    let queries = r.queries.unwrap();
    let standing = r.examples.iter().filter(|e| e.robust).count();
    assert_eq!((queries.budget, queries.cut_short), (Some(100), standing));
    // A kill may come between what is counted and what is sent, never the other way round.
    assert!(
        f.asked() as u64 <= queries.asked,
        "{} {queries:?}",
        f.asked()
    );
    assert!(queries.asked > 50 && queries.asked <= 100, "{queries:?}");
    let none = f.at("none");
    let message = refused(&f.attack(&address, &none, &["--queries", "5"]));
    assert!(
        message.contains("12 or more, one for each image"),
        "{message}"
    );
}

/// What answers falsely or not at all is named, with what was expected of it.
#[test]
fn false_and_missing_answers_are_errors_that_say_what_was_expected() {
    let f = Fixture::new();
    let told = |words: &str, more: &[&str]| {
        let address = f.pipe(words);
        let usual = ["predict", &address, "--data", text(&f.data), "--quiet"];
        refused(&[&usual, more].concat())
    };
    for (fault, more, parts) in [
        ("logits nan", &[][..], ["expected finite scores", "NaN"]),
        ("logits shape", &[], ["scores of shape [12, 3]", "[12, 4]"]),
        (
            "logits hang",
            &["--timeout", "5", "--retries", "1"],
            ["within 5 s", "1 retries"],
        ),
        (
            "logits mute",
            &["--timeout", "0.5"],
            ["within 0.5 s", "found none"],
        ),
        ("logits chat", &[], ["a line of JSON", "loading the model"]),
        ("neither", &[], ["a first line such as", "neither"]),
    ] {
        let message = told(fault, more);
        assert!(
            parts.iter().all(|part| message.contains(part)),
            "{fault}: {message}"
        );
    }
    // An error that passes is asked again.
    let address = f.pipe("logits error 1");
    let own = predicted(&address, &f.data, &[]);
    assert!(own.accuracy.unwrap().accuracy > 0.99);
    let message = refused(&["predict", "pipe:/no/such/program", "--data", text(&f.data)]);
    assert!(
        message.contains("a command that can be started"),
        "{message}"
    );
    let message = refused(&["info", &address]);
    assert!(
        message.contains("attack, explain and predict take addresses"),
        "{message}"
    );
    let message = refused(&[
        "predict",
        &address,
        "--data",
        text(&f.data),
        "--mean",
        "0.5",
    ]);
    assert!(message.contains("prepares its images itself"), "{message}");
    let message = refused(&[
        "predict",
        text(&f.file),
        "--data",
        text(&f.data),
        "--queries",
        "5",
    ]);
    assert!(message.contains("an address as MODEL"), "{message}");
}

#[test]
fn a_server_that_fails_is_asked_again_and_not_for_ever() {
    let f = Fixture::new();
    // The first request is for what the model is; the second, of images, fails once.
    let (address, asked) = serve(f.net.clone(), |n| if n == 1 { 500 } else { 200 });
    let own = predicted(&address, &f.data, &[]);
    assert!(own.accuracy.unwrap().accuracy > 0.99);
    assert_eq!(asked.load(Ordering::SeqCst), 24);
    let (address, asked) = serve(f.net.clone(), |n| if n == 0 { 200 } else { 500 });
    let usual = [
        "predict",
        &address,
        "--data",
        text(&f.data),
        "--retries",
        "1",
    ];
    let message = refused(&usual);
    let parts = ["HTTP status 500", "after 1 retries", "black-box.md"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    assert_eq!(asked.load(Ordering::SeqCst), 24);
    // A retry is a query.
    let (address, asked) = serve(f.net.clone(), |n| if n == 0 { 200 } else { 500 });
    let usual = [
        "predict",
        &address,
        "--data",
        text(&f.data),
        "--queries",
        "20",
    ];
    assert!(refused(&usual).contains("leaves no image for a retry"));
    assert_eq!(asked.load(Ordering::SeqCst), 12);
    let (address, _) = serve(f.net.clone(), |n| if n == 0 { 200 } else { 404 });
    let message = refused(&["predict", &address, "--data", text(&f.data)]);
    assert!(
        message.contains("HTTP status 404") && !message.contains("retries"),
        "{message}"
    );
}

/// Labels are enough for HopSkipJump, and for nothing else.
#[test]
fn labels_alone_are_attacked_by_labels_alone() {
    let f = Fixture::new();
    let (address, out) = (f.pipe("label"), f.at("out"));
    let output = run(&f.attack(&address, &out, &["--suite", "square"]));
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("square, which needs scores"), "{message}");
    let more = ["--limit", "2", "--queries-per-image", "400"];
    ok(&f.attack(&address, &out, &more));
    let r = record(&out);
    assert_eq!(r.suite, "hop-skip-jump");
    assert!(f.asked() as u64 <= 2 * 401 + 2, "{}", f.asked());
}

/// Maps of a black box: those of the file for occlusion, and half of PGCA.
#[test]
fn maps_by_scores_are_those_of_the_file() {
    let f = Fixture::new();
    let address = f.pipe("logits");
    let (file, piped) = (f.at("file-maps"), f.at("piped-maps"));
    let explain = |model: &str, out: &Path| {
        ok(&[
            "explain",
            model,
            "--data",
            text(&f.data),
            "-n",
            "2",
            "--methods",
            "occlusion,pgca",
            "--metrics",
            "none",
            "--quiet",
            "--out",
            text(out),
        ]);
    };
    explain(text(&f.file), &file);
    explain(&address, &piped);
    assert!(!piped.join("answers.jsonl").exists());
    let map = |out: &Path, method: &str| -> Value {
        let path = out.join(format!("maps/test-00000.{method}.clean.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let values = |map: &Value| -> Vec<f32> {
        serde_json::from_value(map["attribution"]["values"]["values"].clone()).unwrap()
    };
    let (a, b) = (map(&file, "occlusion"), map(&piped, "occlusion"));
    let (a, b) = (values(&a), values(&b));
    assert!(a.iter().any(|v| v.abs() > 1e-3));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    let half = map(&piped, "pgca");
    let note = half["attribution"]["note"].as_str().unwrap();
    assert!(note.contains("perturbation map alone"), "{note}");
    assert_eq!(half["attribution"]["agreement"], Value::Null);
    let gradients = f.at("gradients");
    let message = refused(&[
        "explain",
        &address,
        "--data",
        text(&f.data),
        "--methods",
        "saliency",
        "--out",
        text(&gradients),
    ]);
    assert!(
        message.contains("occlusion, rise, kernel-shap, pgca"),
        "{message}"
    );
}
