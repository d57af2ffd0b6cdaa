//! Each command on real images, and the promise that threads change nothing.

use super::{attack_record, ok, refused, run, small_model, text};
use serde_json::Value;

/// The issue's own check: train PGD-AT, attack, on one thread and on two; the same numbers, to the
/// byte.
#[test]
fn training_and_attack_are_the_same_on_one_thread_and_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let result = |threads: &str| {
        let (trained, attacked) = (
            folder.path().join(format!("t{threads}")),
            folder.path().join(format!("a{threads}")),
        );
        ok(&[
            "train",
            "--data",
            "fashion-mnist-mini",
            "--arch",
            "cnn-tiny",
            "--objective",
            "pgd-at",
            "--eps",
            "0.1",
            "--limit",
            "640",
            "--epochs",
            "3",
            "--threads",
            threads,
            "--quiet",
            "--out",
            text(&trained),
        ]);
        let model = trained.join("model.onnx");
        ok(&[
            "attack",
            text(&model),
            "--data",
            "fashion-mnist-mini",
            "--eps",
            "0.1",
            "--suite",
            "quick",
            "--limit",
            "200",
            "--threads",
            threads,
            "--quiet",
            "--out",
            text(&attacked),
        ]);
        let mut record = attack_record(&attacked);
        record["model"]["file"] = Value::Null;
        (std::fs::read(model).unwrap(), record)
    };
    let (model, record) = result("1");
    assert!(
        result("2") == (model.clone(), record.clone()),
        "two threads differ from one"
    );
    assert_eq!(record["overall"]["n"], 200);
    assert_eq!(record["examples"].as_array().unwrap().len(), 200);
    let right = record["examples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["robust"] == true)
        .count();
    assert!(
        (record["overall"]["robust_accuracy"].as_f64().unwrap() - right as f64 / 200.0).abs()
            < 1e-12
    );
}

#[test]
fn info_explain_and_thresholds() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let facts: Value = serde_json::from_str(&ok(&["info", text(&model), "--json"])).unwrap();
    assert_eq!(
        (&facts["classes"], &facts["image"]),
        (&10.into(), &serde_json::json!([1, 28, 28]))
    );
    assert!(ok(&["info", text(&model)]).contains("conv2"));

    let image = folder.path().join("image.png");
    let data = fgmf::data::load("fashion-mnist-mini", fgmf::data::Split::Test).unwrap();
    let bytes: Vec<u8> = data
        .image(0)
        .unwrap()
        .iter()
        .map(|v| (v * 255.0).round() as u8)
        .collect();
    fgmf_testkit::images::write_grey_png(&image, 28, 28, &bytes);
    for method in fgmf::explain::ids() {
        let out = folder.path().join(method);
        let wants = match method {
            "attention-rollout" | "transformer-attribution" => Some("a network with attention"),
            "sgam" => Some("fgmf amortise"),
            _ => None,
        };
        if let Some(wants) = wants {
            let told = refused(&[
                "explain",
                text(&model),
                text(&image),
                "--methods",
                method,
                "--out",
                text(&out),
            ]);
            assert!(told.contains(wants), "{told}");
            continue;
        }
        let base = [
            "explain",
            text(&model),
            text(&image),
            "--methods",
            method,
            "--metrics",
            "none",
            "--json",
            "--quiet",
            "--out",
            text(&out),
        ];
        let gallery: Value = serde_json::from_str(&ok(&base)).unwrap();
        assert_eq!(gallery["explainers"][0]["id"], method);
        let mut maps: Vec<_> = std::fs::read_dir(out.join("maps"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        maps.sort();
        assert!(
            maps.len() == 2 && maps[1].extension().is_some_and(|e| e == "png"),
            "{maps:?}"
        );
        let map: Value = serde_json::from_slice(&std::fs::read(&maps[0]).unwrap()).unwrap();
        assert_eq!(
            map["attribution"]["values"]["values"]
                .as_array()
                .unwrap()
                .len(),
            784
        );
    }
    let out = folder.path().join("attack");
    let attack = |extra: &[&str]| {
        let base = [
            "attack",
            text(&model),
            "--data",
            "fashion-mnist-mini",
            "--suite",
            "quick",
            "--limit",
            "32",
            "--quiet",
            "--out",
            text(&out),
        ];
        run(&[&base, extra].concat()).status.code()
    };
    assert_eq!(attack(&[]), Some(0));
    assert_eq!(attack(&["--min-robust", "1"]), Some(1));
    assert_eq!(
        attack(&["--min-robust", "1", "--stop-early", "--curve", "0,0.2"]),
        Some(1)
    );
    let record = attack_record(&out);
    let right = |v: &Value| v["count"].as_u64().unwrap();
    assert_eq!(record["curve"].as_array().unwrap().len(), 2);
    assert!(right(&record["curve"][0]["robust"]) >= right(&record["curve"][1]["robust"]));
    assert!(
        std::fs::metadata(out.join("adversarial.safetensors"))
            .unwrap()
            .len()
            > 32 * 784 * 4
    );
    assert_eq!(attack(&["--curve", "0,-1"]), Some(2));
    assert_eq!(attack(&["--stop-early"]), Some(2));
}

/// Images of a data set, before and after an attack: one page for all, one PNG each, and the
/// figures that `evaluate` gives. The same on one thread and on two.
#[test]
fn explain_writes_a_gallery() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let gallery = |threads: &str| {
        let out = folder.path().join(format!("gallery{threads}"));
        let base = [
            "explain",
            text(&model),
            "--data",
            "fashion-mnist-mini",
            "-n",
            "3",
            "--attack",
            "pgd",
            "--seed",
            "3",
            "--threads",
            threads,
        ];
        let shown = ok(&[
            &base[..],
            &[
                "--methods",
                "pgca,integrated-gradients",
                "--quiet",
                "--out",
                text(&out),
            ],
        ]
        .concat());
        assert!(
            shown.contains("gallery.html") && shown.contains("shift-top-k"),
            "{shown}"
        );
        (
            out.clone(),
            std::fs::read_to_string(out.join("gallery.html")).unwrap(),
        )
    };
    let (out, page) = gallery("1");
    assert!(gallery("2").1 == page, "two threads differ from one");
    assert!(
        !page.contains("<script") && !page.contains("src=\"http") && page.contains("Ankle boot")
    );
    let record: fgmf_record::GalleryRecord =
        serde_json::from_slice(&std::fs::read(out.join("gallery.json")).unwrap()).unwrap();
    assert_eq!((record.images.len(), record.inputs.len()), (3, 2));
    for image in &record.images {
        let path = out.join(format!("pages/{}.png", image.stem));
        let [channels, height, width] = fgmf::data::read_image(&path).unwrap().shape;
        assert!(
            channels == 3 && height > 700 && width == 1344,
            "{channels} x {height} x {width}"
        );
        assert!(page.contains(&format!("href=\"pages/{}.png\"", image.stem)));
    }
    assert_eq!(
        std::fs::read_dir(out.join("maps")).unwrap().count(),
        3 * 2 * 2 * 2
    );
    assert_eq!(
        std::fs::read_dir(&out).unwrap().count(),
        5,
        "gallery.html, gallery.json, explain.files.txt, maps, pages"
    );

    let scores = folder.path().join("scores");
    let base = [
        "evaluate",
        text(&model),
        "--data",
        "fashion-mnist-mini",
        "-n",
        "3",
        "--seed",
        "3",
        "--quiet",
        "--out",
        text(&scores),
    ];
    ok(&[
        &base[..],
        &[
            "--explainers",
            "pgca,integrated-gradients",
            "--metrics",
            "lerf-minus-morf,sparseness",
        ],
    ]
    .concat());
    let judged: fgmf_record::EvaluationRecord =
        serde_json::from_slice(&std::fs::read(scores.join("evaluation.json")).unwrap()).unwrap();
    for row in &judged.rows {
        assert!(
            record.rows.contains(row),
            "{} of {} on {} differs",
            row.figure,
            row.explainer,
            row.input
        );
    }
    assert_eq!(
        record.rows.len(),
        judged.rows.len() + 2 + 2,
        "agreement of one method and gap of the other on two inputs"
    );
}

/// Names that a file system allows are text on the page and harmless in addresses.
#[test]
fn names_of_files_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let image = folder.path().join("<b>&\"'#?.png");
    fgmf_testkit::images::write_grey_png(&image, 28, 28, &[90; 784]);
    let out = folder.path().join("out");
    ok(&[
        "explain",
        text(&model),
        text(&image),
        text(&image),
        "--methods",
        "saliency",
        "--quiet",
        "--out",
        text(&out),
    ]);
    let page = std::fs::read_to_string(out.join("gallery.html")).unwrap();
    assert!(page.contains("&lt;b&gt;&amp;&quot;&#39;#?.png") && !page.contains("<b>&"));
    let pages: Vec<String> = std::fs::read_dir(out.join("pages"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        pages.len() == 2
            && pages
                .iter()
                .all(|p| page.contains(&format!("href=\"pages/{p}\""))),
        "{pages:?}"
    );
}

/// An evaluation on clean, attacked and stored adversarial images; the same bytes on one thread and
/// on two, and after going on from a state that was cut off.
#[test]
fn evaluate_scores_explainers_on_clean_and_attacked_images() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("evaluation");
    let evaluate = |out: &std::path::Path, extra: &[&str]| {
        let base = [
            "evaluate",
            text(&model),
            "--data",
            "fashion-mnist-mini",
            "-n",
            "6",
            "--seed",
            "3",
            "--quiet",
            "--out",
            text(out),
        ];
        let few = [
            "--explainers",
            "grad-cam-pp,integrated-gradients",
            "--metrics",
            "sparseness,lerf-minus-morf,criteria",
        ];
        ok(&[&base[..], &few, extra].concat())
    };
    let shown = evaluate(&out, &["--threads", "1"]);
    assert!(
        shown.contains("lerf-minus-morf") && shown.contains("n = 6"),
        "{shown}"
    );
    let path = text(&model);
    let longest = shown.lines().filter(|l| *l != path).map(str::len).max();
    assert!(longest <= Some(100), "{shown}");
    let bytes = std::fs::read(out.join("evaluation.json")).unwrap();
    let record: fgmf_record::EvaluationRecord = serde_json::from_slice(&bytes).unwrap();
    // A block a figure, a line an explainer.
    for row in &record.rows {
        let block = shown
            .split("\n\n")
            .find(|b| b.starts_with(&format!("{} (", row.figure)));
        let mut lines = block.unwrap().lines();
        let line = lines.find(|l| l.starts_with(&row.explainer)).unwrap();
        let mean = format!("{:.3} [", row.mean);
        assert!(
            row.mean.abs() < 1e-3 || line.contains(&mean),
            "{mean} in {line}"
        );
    }
    // 7 figures on two inputs and 4 of the shift, for each of two explainers.
    assert_eq!(
        (record.rows.len(), record.inputs.len(), record.data.n),
        (2 * (7 * 2 + 4), 2, 6)
    );
    assert!(
        record.rows.iter().all(|r| r.values.len() == 6)
            && record.input_tests.len() == 14
            && record.explainer_tests.len() == 18
    );
    assert!(!out.join("evaluation.state.jsonl").exists());
    let again = folder.path().join("again");
    evaluate(&again, &["--threads", "2"]);
    assert!(
        std::fs::read(again.join("evaluation.json")).unwrap() == bytes,
        "two threads differ from one"
    );

    let attack = folder.path().join("attack");
    let base = [
        "attack",
        text(&model),
        "--data",
        "fashion-mnist-mini",
        "--suite",
        "quick",
        "--limit",
        "8",
        "--quiet",
        "--out",
    ];
    ok(&[&base[..], &[text(&attack)]].concat());
    let kept = attack.join("adversarial.safetensors");
    let stored = folder.path().join("stored");
    evaluate(
        &stored,
        &["--adversarial", text(&kept), "--explain", "own", "--json"],
    );
    let record: fgmf_record::EvaluationRecord =
        serde_json::from_slice(&std::fs::read(stored.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(record.inputs[1].explained, record.inputs[1].predicted);

    let wrong = |extra: &[&str]| {
        refused(
            &[
                &[
                    "evaluate",
                    text(&model),
                    "--data",
                    "fashion-mnist-mini",
                    "-n",
                    "2",
                    "--out",
                    text(&out),
                ],
                extra,
            ]
            .concat(),
        )
    };
    assert!(wrong(&["--metrics", "magic"]).contains("lerf-minus-morf"));
    assert!(wrong(&["--explainers", "magic"]).contains("pgca"));
    assert!(wrong(&["--attack", "magic"]).contains("pgd, apgd or none"));
    assert!(wrong(&["--adversarial", text(&model)]).contains("model.onnx"));
    assert!(
        wrong(&["--eps", "nan"]).contains("`eps`")
            && wrong(&["-n", "0"]).contains("limit")
            && wrong(&["--cap", "0"]).contains("cap")
    );
    assert!(wrong(&["--memory", "1"]).contains("parameter `memory`: expected at least"));
    assert!(wrong(&["--memory", "64", "--cap", "4"]).contains("--cap"));
}

/// A masking defence fails the run that asks for an honest figure; the model without it passes.
#[test]
fn masking_fails_the_run_that_forbids_it() {
    let folder = tempfile::tempdir().unwrap();
    let plain = small_model(folder.path());
    let masked = folder.path().join("masked.onnx");
    let net = fgmf_net::onnx::read(&plain).unwrap();
    let bits = fgmf::defend::BitDepthParams { bits: 3 };
    let net = fgmf::defend::with_bit_depth(&net, &bits).unwrap();
    fgmf::store::write_model(&masked, &net).unwrap();
    let attack = |model: &std::path::Path, extra: &[&str]| {
        let name = model.file_stem().unwrap().to_string_lossy();
        let out = folder.path().join(format!("attack-{name}"));
        let base = [
            "attack",
            text(model),
            "--data",
            "fashion-mnist-mini",
            "--suite",
            "quick",
            "--limit",
            "64",
            "--quiet",
            "--out",
            text(&out),
        ];
        let code = run(&[&base, extra].concat()).status.code();
        (code, attack_record(&out)["verdict"].clone())
    };
    let (code, verdict) = attack(&plain, &["--fail-on-masking"]);
    assert_eq!(
        (code, &verdict["level"]),
        (Some(0), &"trustworthy".into()),
        "{verdict}"
    );
    let (code, verdict) = attack(&masked, &["--fail-on-masking"]);
    assert_eq!(
        (code, &verdict["level"]),
        (Some(1), &"masked".into()),
        "{verdict}"
    );
    let flags: Vec<&str> = verdict["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["id"].as_str().unwrap())
        .collect();
    assert!(
        flags.contains(&"zero-gradient") && flags.contains(&"bypass-beats-plain"),
        "{flags:?}"
    );
    assert_eq!(
        attack(&masked, &[]).0,
        Some(0),
        "without the flag the verdict is printed, not enforced"
    );
}

/// A surrogate's examples are one attack more, and one check more.
#[test]
fn another_model_can_attack() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let out = folder.path().join("attack");
    let base = [
        "attack",
        text(&model),
        "--data",
        "fashion-mnist-mini",
        "--suite",
        "fgsm",
        "--limit",
        "32",
        "--quiet",
        "--out",
        text(&out),
    ];
    ok(&[&base[..], &["--surrogate", text(&model)]].concat());
    let record = attack_record(&out);
    assert_eq!(
        record["attacks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["name"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["fgsm", "transfer"]
    );
    assert!(
        record["verdict"]["checks"]
            .as_array()
            .unwrap()
            .contains(&"transfer-beats-white-box".into())
    );
    assert!(
        refused(&[&base[..], &["--surrogate", "nowhere.onnx"]].concat()).contains("nowhere.onnx")
    );
}

/// Distillation in two stages, and k-winners-take-all, from the command line to files that other
/// commands read.
#[test]
fn planted_training_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        let base = [
            "train",
            "--data",
            "fashion-mnist-mini",
            "--limit",
            "128",
            "--epochs",
            "2",
            "--quiet",
            "--out",
            text(&out),
        ];
        ok(&[&base, extra].concat());
        out.join("model.onnx")
    };
    let teacher = train(
        "teacher",
        &["--objective", "distillation", "--temperature", "10"],
    );
    let student = train(
        "student",
        &[
            "--objective",
            "distillation",
            "--temperature",
            "10",
            "--teacher",
            text(&teacher),
        ],
    );
    let k_wta = train("k-wta", &["--objective", "standard", "--k-wta", "0.2"]);
    let (moved, plain) = (
        train("moved", &["--objective", "standard", "--resize-pad", "0.7"]),
        train("plain", &["--objective", "standard"]),
    );
    assert_ne!(
        std::fs::read(&moved).unwrap(),
        std::fs::read(plain).unwrap()
    );
    let run: Value =
        serde_json::from_slice(&std::fs::read(moved.with_file_name("run.json")).unwrap()).unwrap();
    assert_eq!(run["config"]["resize_pad"]["least"], 0.7);
    let run: Value =
        serde_json::from_slice(&std::fs::read(student.with_file_name("run.json")).unwrap())
            .unwrap();
    assert_eq!(run["config"]["objective"]["temperature"], 10.0);
    assert!(run["config"]["objective"]["teacher_sha256"].is_string());
    assert!(ok(&["info", text(&k_wta)]).contains("TopK"));
    let out = folder.path().join("no");
    let wrong = |extra: &[&str]| {
        refused(
            &[
                &["train", "--data", "fashion-mnist-mini", "--out", text(&out)],
                extra,
            ]
            .concat(),
        )
    };
    assert!(wrong(&["--objective", "standard", "--temperature", "10"]).contains("distillation"));
    assert!(
        wrong(&["--objective", "distillation", "--temperature", "0"]).contains("`temperature`")
    );
    assert!(wrong(&["--objective", "standard", "--k-wta", "2"]).contains("`share`"));
    assert!(wrong(&["--objective", "standard", "--resize-pad", "0"]).contains("`least`"));
    assert!(wrong(&["--objective", "scor-pio", "--resize-pad", "0.8"]).contains("visit to visit"));
}

#[test]
fn misuse_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let (model, out) = (text(&model), folder.path().join("out"));
    let attack = |extra: &[&str]| {
        refused(
            &[
                &[
                    "attack",
                    model,
                    "--data",
                    "fashion-mnist-mini",
                    "--out",
                    text(&out),
                ],
                extra,
            ]
            .concat(),
        )
    };
    assert!(attack(&["--eps=-1"]).contains("`eps`"));
    assert!(attack(&["--eps", "nan"]).contains("`eps`"));
    assert!(attack(&["--norm", "l7"]).contains("linf, l2 or l1"));
    assert!(attack(&["--suite", "all"]).contains("quick, standard, adaptive, plus, rand"));
    assert!(attack(&["--limit", "0"]).contains("limit"));
    assert!(attack(&["--split", "both"]).contains("both"));
    for command in ["predict", "explain"] {
        let message = refused(&[command, model, text(folder.path()), "--out", text(&out)]);
        assert!(message.contains("--data"), "{message}");
    }
    let train = |extra: &[&str]| {
        refused(
            &[
                &["train", "--data", "fashion-mnist-mini", "--out", text(&out)],
                extra,
            ]
            .concat(),
        )
    };
    assert!(train(&["--arch", "cnn-huge"]).contains("cnn-tiny"));
    assert!(train(&["--objective", "magic"]).contains("pgd-at"));
    assert!(train(&["--epochs", "0"]).contains("`epochs`"));
    assert!(train(&["--lr", "nan"]).contains("`learning_rate`"));
    assert!(
        refused(&[
            "train",
            "--data",
            text(&folder.path().join("nothing")),
            "--out",
            text(&out)
        ])
        .contains("nothing")
    );
    assert!(
        refused(&[
            "explain",
            model,
            text(&folder.path().join("none.png")),
            "--out",
            text(&out)
        ])
        .contains("none.png")
    );
    let explain = |extra: &[&str]| {
        refused(&[&["explain", model, model, "--out", text(&out)], extra].concat())
    };
    assert!(explain(&["--methods", "tea-leaves"]).contains("pgca"));
    assert!(explain(&["--methods", "rise", "--layer", "act1"]).contains("score-cam"));
    assert!(
        explain(&[
            "--methods",
            "rise",
            "--settings",
            "{\"rise\": {\"maskz\": 3}}"
        ])
        .contains("maskz")
    );
    assert!(
        explain(&[
            "--methods",
            "rise",
            "--settings",
            "{\"rise\": {\"masks\": 0}}"
        ])
        .contains("`masks`")
    );
    assert!(explain(&["--settings", "{\"rise\": {}}"]).contains("ids that are used: pgca"));
    assert!(
        explain(&["--settings", "[1]"]).contains("JSON object")
            && explain(&["--settings", "{"]).contains("JSON object")
    );
    assert!(
        explain(&["--metrics", "magic"]).contains("lerf-minus-morf")
            && explain(&["--attack", "magic"]).contains("pgd, apgd or none")
    );
    assert!(
        explain(&["--adversarial", model]).contains("--data")
            && explain(&["--class", "10"]).contains("below 10")
    );
    assert!(explain(&["--data", "fashion-mnist-mini"]).contains("--data"));
    let stored = |extra: &[&str]| {
        refused(
            &[
                &[
                    "explain",
                    model,
                    "--data",
                    "fashion-mnist-mini",
                    "--out",
                    text(&out),
                ],
                extra,
            ]
            .concat(),
        )
    };
    assert!(
        stored(&["-n", "0"]).contains("limit")
            && stored(&["--eps", "nan", "--attack", "pgd"]).contains("`eps`")
    );
    assert!(stored(&["--adversarial", model]).contains("model.onnx"));
    assert!(refused(&["info", text(folder.path())]).contains("error"));
}

/// A quick demo grows one page: with the first model it is there and says what is to come, at the
/// end it says that the run was a short one.
#[test]
fn quick_demo_has_a_page_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let page = out.join("report.html");
    let mut run = super::fgmf(&["demo", "--quick", "--out", text(&out)]);
    run.args(["--limit", "200", "--epochs", "1", "--quiet"]);
    let mut child = run.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut unfinished = false;
    while child.try_wait().unwrap().is_none() {
        let seen = std::fs::read_to_string(&page).unwrap_or_default();
        unfinished |= seen.contains("This page is not finished") && seen.contains("</html>");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    assert!(unfinished, "no page before the end");
    let done = std::fs::read_to_string(&page).unwrap();
    assert!(!done.contains("not finished"));
    assert!(done.contains("A short run.") && done.contains("judged on 200"));
    let report: fgmf_record::ReportRecord =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report.models[0].id, "fgmf");
    assert!(report.models.iter().all(|m| m.clean.n == 200));
    assert!(!report.cases.is_empty());
    assert_eq!(std::fs::read_dir(out.join("fgmf")).unwrap().count(), 3);
}

/// Report and gallery give the same marks to the same image, from the same figures.
#[test]
fn report_and_gallery_agree_on_what_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let few = [
        "--limit",
        "200",
        "--epochs",
        "1",
        "--quiet",
        "--out",
        text(&out),
    ];
    ok(&[&["demo", "--quick"][..], &few].concat());
    let report: fgmf_record::ReportRecord =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    // In the order of the data; two are enough.
    let cases = &report.cases[..2];
    let n = cases[1].index + 1;
    let mut marks = 0;
    for model in &report.models {
        let (file, gallery) = (out.join(&model.id).join("model.onnx"), out.join("gallery"));
        ok(&[
            "explain",
            text(&file),
            "--data",
            "fashion-mnist-mini",
            "-n",
            &n.to_string(),
            "--methods",
            "pgca-published,integrated-gradients",
            "--attack",
            "pgd",
            "--quiet",
            "--out",
            text(&gallery),
        ]);
        let about: fgmf_record::GalleryRecord =
            serde_json::from_slice(&std::fs::read(gallery.join("gallery.json")).unwrap()).unwrap();
        for case in cases {
            let view = case.views.iter().find(|v| v.model == model.id).unwrap();
            for (input, seen) in about.images[case.index].views.iter().enumerate() {
                assert_eq!(seen.explained, case.label);
                for (method, map) in seen.maps.iter().enumerate() {
                    assert_eq!(view.facts[method][input], *map, "image {}", case.index);
                    marks += map.marks().len();
                }
            }
        }
    }
    assert!(marks > 0, "nothing is marked, so nothing is compared");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains(", in doubt: ") || page.contains(", withheld: "));
}

/// The whole demo, small: both models, the curve, the pictures, one page that loads nothing.
#[test]
fn demo_writes_one_self_contained_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    ok(&[
        "demo",
        "--epochs",
        "1",
        "--limit",
        "256",
        "--quiet",
        "--out",
        text(&out),
    ]);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(
        page.contains("data:image/png;base64,")
            && !page.contains("<script")
            && !page.contains("src=\"http")
    );
    let report: fgmf_record::ReportRecord =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report.models.len(), 2);
    assert!(
        report
            .models
            .iter()
            .all(|m| m.clean.n == 1000 && m.curve.len() == 8)
    );
    let attacks = report.models.iter().map(|m| m.attacks.len());
    assert_eq!(attacks.collect::<Vec<_>>(), [2, 2]);
    assert!(page.contains("They come from 2 attacks"));
    for model in &report.models {
        assert_eq!(model.unbounded, "");
        for point in &model.curve {
            assert!(
                point.proved.unwrap().count <= point.robust.count,
                "{point:?}"
            );
        }
    }
    assert!(out.join("fgmf/model.onnx").exists() && out.join("standard/model.onnx").exists());
}

/// A finished record stays as it is when another run is asked to write into its folder.
#[test]
fn a_finished_record_of_another_run_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_model(folder.path());
    let masked = folder.path().join("masked.onnx");
    let net = fgmf_net::onnx::read(&model).unwrap();
    let bits = fgmf::defend::BitDepthParams { bits: 3 };
    let net = fgmf::defend::with_bit_depth(&net, &bits).unwrap();
    fgmf::store::write_model(&masked, &net).unwrap();
    let data = ["--data", "fashion-mnist-mini", "--quiet", "--out"];
    let commands: [(&str, &[&str]); 2] = [
        ("attack", &["--suite", "fgsm", "--limit", "8"]),
        (
            "evaluate",
            &[
                "--explainers",
                "saliency",
                "--metrics",
                "entropy",
                "-n",
                "4",
            ],
        ),
    ];
    for (command, settings) in commands {
        let out = folder.path().join(command);
        let arguments = |model, extra: &[&'static str]| -> Vec<String> {
            let all = [
                &[command, text(model)],
                settings,
                &data,
                &[text(&out)],
                extra,
            ]
            .concat();
            all.iter().map(|a| (*a).to_owned()).collect()
        };
        let run = |model, extra: &[&'static str]| {
            let owned = arguments(model, extra);
            let borrowed: Vec<&str> = owned.iter().map(String::as_str).collect();
            super::run(&borrowed)
        };
        let record = out.join(format!(
            "{}.json",
            if command == "attack" {
                command
            } else {
                "evaluation"
            }
        ));
        assert!(run(&model, &[]).status.success());
        let bytes = std::fs::read(&record).unwrap();
        for (model, extra, named) in [
            (&masked, &[][..], "model.sha256"),
            (&model, &["--seed", "9"], "seed"),
        ] {
            let found = run(model, extra);
            let said = String::from_utf8_lossy(&found.stderr).into_owned();
            assert_eq!(found.status.code(), Some(2), "{said}");
            assert!(
                said.contains(named) && said.contains("another folder"),
                "{said}"
            );
            assert!(std::fs::read(&record).unwrap() == bytes);
        }
        // The same run may be made again.
        assert!(run(&model, &[]).status.success());
    }
}
