//! `--memory`: what is asked is kept or refused, and no result depends on it; and images of an
//! earlier run, which are taken only where they belong.

use super::{attack_record, fgmf, ok, refused, small_model, text};
use std::path::Path;
use std::process::Stdio;

/// The MiB that a refusal of `--memory 1` says would do.
fn least(arguments: &[&str]) -> String {
    let told = refused(&[arguments, &["--memory", "1"]].concat());
    let (_, rest) = told.split_once("expected at least ").unwrap();
    // A little more, because the size of a process is not the same each time.
    let least: u64 = rest.split_once(" MiB").unwrap().0.parse().unwrap();
    (least + 4).to_string()
}

/// Runs with this limit; the most MiB that the process was seen with. 0 where the system does not
/// say.
fn peak(arguments: &[&str], limit: &str) -> u64 {
    let mut command = fgmf(&[arguments, &["--memory", limit]].concat());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        most = most.max(kib.unwrap_or(0) / 1024);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success(), "{arguments:?}");
    most
}

fn data<'a>(command: &'a str, model: &'a str, out: &'a str) -> Vec<&'a str> {
    let data = ["--data", "fashion-mnist-mini", "--quiet", "--out", out];
    [&[command, model][..], &data].concat()
}

fn borrowed(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// Metrics that need copies of a network with 11 million numbers once took three times the limit.
#[test]
fn copies_of_a_large_network_stay_below_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("large.onnx");
    let net = fgmf_net::zoo::build(&fgmf_net::zoo::ZooConfig {
        architecture: fgmf_net::zoo::Architecture::PreactResnet18,
        activation: fgmf_net::zoo::Activation::Relu,
        image: [1, 28, 28],
        classes: 10,
        mean: vec![0.3],
        deviation: vec![0.3],
        seed: 0,
    });
    std::fs::write(&model, fgmf_net::onnx::to_bytes(&net.unwrap()).unwrap()).unwrap();
    let out = folder.path().join("out");
    let settings = r#"{"smooth-mprt": {"stages": 2, "samples": 1}}"#;
    let base = data("evaluate", text(&model), text(&out));
    let few = ["-n", "1", "--explainers", "saliency", "--attack", "none"];
    let copied = "mprt,smooth-mprt,efficient-mprt";
    let metrics = ["--metrics", copied, "--settings", settings];
    let all = [&base[..], &few, &metrics].concat();
    let limit = least(&all);
    let most = peak(&all, &limit);
    assert!(most <= limit.parse().unwrap(), "{most} MiB of {limit}");
}

#[test]
fn results_are_the_same_under_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let [free, tight] = ["free", "tight"].map(|name| folder.path().join(name));
    let at = |out: &Path, extra: &[&str], command: &str| -> Vec<String> {
        let all = [&data(command, text(&model), text(out))[..], extra].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let attack = ["--limit", "40", "--suite", "quick", "--eps", "0.02"];
    ok(&borrowed(&at(&free, &attack, "attack")));
    let limited = at(&tight, &attack, "attack");
    let limit = least(&borrowed(&limited));
    let most = peak(&borrowed(&limited), &limit);
    assert!(most <= limit.parse().unwrap(), "{most} MiB of {limit}");
    let bytes = |out: &Path, name: &str| std::fs::read(out.join(name)).unwrap();
    assert_eq!(attack_record(&free), attack_record(&tight));
    let images = "adversarial.safetensors";
    assert!(bytes(&free, images) == bytes(&tight, images));

    let explain = [
        "-n",
        "3",
        "--explainers",
        "saliency",
        "--metrics",
        "mprt,deletion",
    ];
    ok(&borrowed(&at(&free, &explain, "evaluate")));
    let limited = at(&tight, &explain, "evaluate");
    let limit = least(&borrowed(&limited));
    let most = peak(&borrowed(&limited), &limit);
    assert!(most <= limit.parse().unwrap(), "{most} MiB of {limit}");
    let record = "evaluation.json";
    assert!(bytes(&free, record) == bytes(&tight, record));
}

/// Without a flag the limit is a share of what is left; it refuses as a stated one does, and
/// changes nothing.
#[test]
fn a_usual_limit_is_named_and_changes_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let [free, tight] = ["free", "tight"].map(|name| folder.path().join(name));
    let few = ["--limit", "20", "--suite", "quick", "--eps", "0.02"];
    let at = |out: &Path, available: &str| {
        let all = [&data("attack", text(&model), text(out))[..], &few].concat();
        let mut command = fgmf(&all);
        command
            .env("FGMF_AVAILABLE_MIB", available)
            .output()
            .unwrap()
    };
    let told = at(&tight, "1");
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(2), "{said}");
    assert!(said.contains("which is the default; --memory "), "{said}");
    let (_, rest) = said.split_once("expected at least ").unwrap();
    let least: u64 = rest.split_once(" MiB").unwrap().0.parse().unwrap();
    // More is left than is needed, and less than what makes no difference.
    let near = (least * 4 / 3 + 4).to_string();
    for (out, available) in [(&free, "1000000"), (&tight, near.as_str())] {
        let output = at(out, available);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{available}: {said}");
    }
    assert_eq!(attack_record(&free), attack_record(&tight));
    let bytes = |out: &Path| std::fs::read(out.join("adversarial.safetensors")).unwrap();
    assert!(bytes(&free) == bytes(&tight));
    let train = [
        "train",
        "--data",
        "fashion-mnist-mini",
        "--out",
        "unused",
        "--quiet",
    ];
    let output = fgmf(&train)
        .env("FGMF_AVAILABLE_MIB", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("which is the default"), "{said}");
}

/// Chunks of training are fixed, so a limit is kept or refused.
#[test]
fn training_keeps_to_a_limit_or_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let train = [
        "train",
        "--data",
        "fashion-mnist-mini",
        "--arch",
        "cnn-tiny",
        "--objective",
        "pgd-at",
        "--limit",
        "64",
        "--epochs",
        "1",
        "--quiet",
        "--out",
        text(&out),
    ];
    let limit = least(&train);
    assert!(!out.exists());
    let most = peak(&train, &limit);
    assert!(most <= limit.parse().unwrap(), "{most} MiB of {limit}");
}

/// Adversarial images are taken for the model, the data and the threat that they were made with;
/// those of another model on purpose only, and the record says so.
#[test]
fn images_of_another_run_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let [run, out] = ["run", "out"].map(|name| folder.path().join(name));
    let attack = data("attack", text(&model), text(&run));
    ok(&[&attack[..], &["--limit", "6", "--suite", "quick"]].concat());
    let kept = run.join("adversarial.safetensors");
    let other = folder.path().join("other.onnx");
    let mut net = fgmf_net::onnx::read(&model).unwrap();
    net.metadata.insert("changed".into(), "yes".into());
    std::fs::write(&other, fgmf_net::onnx::to_bytes(&net).unwrap()).unwrap();

    let evaluate = |model: &Path, extra: &[&str]| -> Vec<String> {
        let base = data("evaluate", text(model), text(&out));
        let more = [
            "-n",
            "4",
            "--explainers",
            "saliency",
            "--metrics",
            "sparseness",
        ];
        let kept = ["--adversarial", text(&kept)];
        let all = [&base[..], &more, &kept, extra].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let told = |model: &Path, extra: &[&str]| {
        let all = evaluate(model, extra);
        refused(&borrowed(&all))
    };
    let train = told(&model, &["--split", "train"]);
    assert!(
        train.contains("made with split train, found test"),
        "{train}"
    );
    let eps = told(&model, &["--eps", "0.2"]);
    assert!(eps.contains("made with eps 0.2, found 0.1"), "{eps}");
    let strange = told(&other, &[]);
    assert!(strange.contains("those of another model"), "{strange}");

    let all = evaluate(&other, &["--transferred"]);
    ok(&borrowed(&all));
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("evaluation.json")).unwrap()).unwrap();
    let made_of = &record["inputs"][1]["parameters"]["transferred_from"]["model_sha256"];
    let first = std::fs::read(&model).unwrap();
    assert_eq!(*made_of, fgmf_record::hash::sha256(&first));

    // A pixel of 1e9 in the first image.
    let mut bytes = std::fs::read(&kept).unwrap();
    let begin = bytes.len() - 4 * 6 * 784;
    bytes[begin..begin + 4].copy_from_slice(&1e9f32.to_le_bytes());
    std::fs::write(&kept, bytes).unwrap();
    let wild = told(&model, &[]);
    assert!(
        wild.contains("image 0 with values from 0 to 1, found 1000000000"),
        "{wild}"
    );
}
