//! A small synthetic report for the tests, and a check of HTML.

use fgmf_record::{
    CaseRecord, CaseView, CurvePoint, DataRecord, EpochRecord, Figure, MachineRecord, MapFacts,
    MapRecord, MeanRecord, ModelRecord, MonitorRecord, Norm, Proportion, ReportRecord, Split,
    ThreatRecord,
};

/// Two models, one image, one figure of each kind; the masked PGCA map is withheld after the
/// attack.
pub(crate) fn report() -> ReportRecord {
    ReportRecord {
        version: "0.1.0".to_owned(),
        command: "fgmf demo --seed 7".to_owned(),
        seed: 7,
        seconds: 91.4,
        machine: MachineRecord {
            cpu: "a processor".to_owned(),
            threads: 2,
        },
        train: data(Split::Train, 6000),
        test: data(Split::Test, 1700),
        threat: ThreatRecord {
            norm: Norm::Linf,
            eps: 0.1,
            bounds: [0.0, 1.0],
        },
        attack: "PGD, 20 steps, 1 restart".to_owned(),
        models: vec![
            model("fgmf", "Hardened", [1421, 1224]),
            model("standard", "Standard", [1540, 51]),
        ],
        explanations: vec![mean("fgmf", 0.63), mean("standard", 0.31)],
        cases: vec![CaseRecord {
            index: 3,
            label: 1,
            image: map(0.0),
            views: vec![view("fgmf", true), view("standard", false)],
        }],
        settings: serde_json::json!({
            "pgd": {"steps": 20, "step": 0.025},
            "pgca": {"fills": ["zero", "noise"]},
        }),
        pending: Vec::new(),
        shortened: String::new(),
    }
}

/// A 4 x 4 map in `[0, 1]` moved by `shift`.
pub(crate) fn map(shift: f32) -> MapRecord {
    MapRecord {
        channels: 1,
        height: 4,
        width: 4,
        values: (0..16).map(|i| i as f32 / 15.0 + shift).collect(),
    }
}

fn data(split: Split, n: usize) -> DataRecord {
    let classes = vec!["Shirt".to_owned(), "Boot".to_owned()];
    DataRecord {
        name: "fashion-mnist-mini".to_owned(),
        split,
        n,
        sha256: "ab".repeat(32),
        classes,
        chosen: None,
        left_out: vec![],
    }
}

fn model(id: &str, title: &str, right: [usize; 2]) -> ModelRecord {
    let epoch = |epoch: usize| EpochRecord {
        epoch,
        learning_rate: 3e-3 / epoch as f64,
        parts: vec![
            ("loss".to_owned(), 1.0 / epoch as f64),
            ("curvature".to_owned(), 0.02 * epoch as f64),
        ],
        train_accuracy: 1.0 - 0.4 / epoch as f64,
        seconds: 6.5,
        validation: None,
        monitor: Some(MonitorRecord {
            robust: 0.5,
            collapsed: false,
            recovered: false,
            salient: 2.0,
            rest: 3.0 / epoch as f64,
            alignment: 0.25,
            curvature: Some(0.5 * epoch as f64),
        }),
    };
    ModelRecord {
        id: id.to_owned(),
        title: title.to_owned(),
        architecture: "cnn-tiny".to_owned(),
        objective: "SCOR-PIO 2.0".to_owned(),
        file: format!("{id}.onnx"),
        sha256: "cd".repeat(32),
        parameters: 54_321,
        training: (1..=8).map(epoch).collect(),
        clean: Proportion::new(right[0], 1700),
        clean_loss: Some(0.4375),
        curve: [0.05, 0.1]
            .map(|eps| CurvePoint {
                eps,
                robust: Proportion::new(right[1], 1700),
                proved: (id == "fgmf").then(|| Proportion::new(right[1] / 2, 1700)),
            })
            .to_vec(),
        attacks: vec!["pgd-20".into()],
        unbounded: String::new(),
        checks: vec!["zero-gradient".into()],
        flags: vec![],
        settings: serde_json::json!({"epochs": 8, "optimiser": {"name": "adam", "peak": 0.003}}),
    }
}

fn facts(withheld: Option<&str>, doubts: &[&str]) -> MapFacts {
    MapFacts {
        layer: None,
        note: None,
        withheld: withheld.map(str::to_owned),
        doubts: doubts.iter().map(|&d| d.to_owned()).collect(),
    }
}

fn mean(model: &str, mean: f64) -> MeanRecord {
    MeanRecord {
        model: model.to_owned(),
        name: "overlap of PGCA, clean against attacked".to_owned(),
        reading: "1 is the same place, 0 is another place.".to_owned(),
        mean,
        interval: [mean - 0.02, mean + 0.02],
        n: 300,
    }
}

fn view(model: &str, masked: bool) -> CaseView {
    let figure = Figure {
        name: "agreement (Spearman)".to_owned(),
        value: 0.71,
        reading: "One sentence on agreement.".to_owned(),
    };
    CaseView {
        model: model.to_owned(),
        clean_prediction: (1, 0.93),
        attacked_prediction: (usize::from(masked), 0.58),
        perturbation: map(-0.5),
        attacked: map(0.0),
        mask: masked.then(|| [map(0.0), map(0.0)]),
        pgca: [map(0.0), map(0.0)],
        integrated_gradients: [map(-0.5), map(-0.4)],
        figures: vec![figure],
        facts: [
            [
                facts(None, &[]),
                facts((!masked).then_some("agreement 0.08 is below 0.2"), &[]),
            ],
            [facts(None, &["a doubt"]), facts(None, &[])],
        ],
    }
}

/// Elements that are open at the end, or the first that closes in the wrong place.
pub(crate) fn unbalanced(page: &str) -> Option<String> {
    const VOID: [&str; 4] = ["meta", "img", "br", "!doctype"];
    let mut open: Vec<String> = Vec::new();
    for piece in page.split('<').skip(1) {
        let Some((tag, text)) = piece.split_once('>') else {
            return Some(format!("<{piece}"));
        };
        let name = tag
            .split([' ', '\n', '/'])
            .find(|n| !n.is_empty())
            .unwrap_or_default()
            .to_lowercase();
        if text.contains('>') && name != "style" {
            return Some(format!("stray > after <{tag}>: {text}"));
        }
        if tag.starts_with('/') {
            if open.pop().as_ref() != Some(&name) {
                return Some(format!("</{name}> inside {open:?}"));
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    open.pop()
}
