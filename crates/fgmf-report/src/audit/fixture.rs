//! An audit for tests of what is drawn from one.

use fgmf_record::{
    AuditAttack, AuditCheck, AuditExample, AuditFigure, AuditRecord, BuildRecord, CalibrationBin,
    CheckOutcome, Coverage, CoverageItem, DataRecord, Direction, GraphFacts, IntervalKind, Level,
    ModelFile, Norm, PairedCounts, Passes, PolicyRecord, Proportion, ResilienceRow, RobustnessRow,
    Split, ThreatRecord, ThresholdRecord, VerdictRecord,
};

fn share(id: &str, count: usize, n: usize) -> AuditFigure {
    let p = Proportion::new(count, n);
    AuditFigure {
        id: id.into(),
        what: format!("what {id} is"),
        value: p.value,
        interval: p.interval,
        interval_by: IntervalKind::Wilson,
        n,
        count: Some(count),
        better: Direction::Higher,
        limits: "a share of these images".into(),
    }
}

pub(crate) fn audit() -> AuditRecord {
    let eps = "8/255";
    AuditRecord {
        format: 1,
        title: "Door camera".into(),
        version: "0.1.0".into(),
        build: BuildRecord {
            numerics: 2,
            instruction_set: "avx2".into(),
        },
        policy: PolicyRecord {
            sha256: "ab".repeat(32),
            suite: "adaptive".into(),
            thresholds: vec![ThresholdRecord {
                figure: format!("robust-accuracy@{eps}"),
                least: Some(0.6),
                most: None,
            }],
            worst_verdict: Level::Suspicious,
        },
        model: ModelFile {
            file: "models/door.onnx".into(),
            sha256: "cd".repeat(32),
            preprocessing: None,
            output: None,
            input_size: None,
        },
        graph: GraphFacts {
            image: [1, 28, 28],
            classes: 2,
            stored_numbers: 12_345,
            scores_squashed_by: Vec::new(),
        },
        data: DataRecord {
            name: "doors".into(),
            split: Split::Test,
            n: 1000,
            sha256: "ef".repeat(32),
            classes: vec!["Shirt".into(), "Boot".into()],
            chosen: None,
            left_out: Vec::new(),
        },
        class_counts: vec![500, 500],
        seed: 0,
        outcome: CheckOutcome::Passed,
        checks: vec![AuditCheck {
            id: format!("robust-accuracy@{eps}"),
            condition: format!("robust-accuracy@{eps} is at least 0.6"),
            outcome: CheckOutcome::Passed,
            found: "0.7200".into(),
        }],
        figures: vec![
            share("accuracy", 850, 1000),
            share("worst-recall", 350, 500),
            share("recall:Shirt", 350, 500),
            share("recall:Boot", 500, 500),
            AuditFigure {
                interval_by: IntervalKind::Bootstrap,
                count: None,
                ..share("calibration-error", 30, 1000)
            },
            share(&format!("robust-accuracy@{eps}"), 720, 1000),
            share(&format!("worst-robust-recall@{eps}"), 300, 500),
            share("accuracy:blur-2", 600, 1000),
            share("non-finite-noticed", 32, 32),
        ],
        confusion: vec![vec![350, 150], vec![0, 500]],
        calibration: vec![CalibrationBin {
            above: 0.5,
            up_to: 1.0,
            n: 1000,
            right: 850,
            confidence: 0.88,
        }],
        robustness: vec![RobustnessRow {
            threat: ThreatRecord {
                norm: Norm::Linf,
                eps: 8.0 / 255.0,
                bounds: [0.0, 1.0],
            },
            eps: eps.into(),
            attacks: vec![AuditAttack {
                name: "apgd-ce".into(),
                attempted: 850,
                broken: 130,
                passes: Passes {
                    forward: 1000,
                    backward: 1000,
                    hessian: 0,
                },
                settings: serde_json::json!({ "steps": 100 }),
            }],
            verdict: VerdictRecord {
                level: Level::Trustworthy,
                checks: vec!["one".into()],
                flags: Vec::new(),
            },
            adversarial: "adversarial-1.safetensors".into(),
            adversarial_sha256: "01".repeat(32),
        }],
        resilience: vec![ResilienceRow {
            id: "blur-2".into(),
            what: "Gaussian blur, deviation 2 pixels".into(),
            against_clean: PairedCounts {
                n: 1000,
                only_first: 260,
                only_second: 10,
                difference: -0.25,
                interval: [-0.28, -0.22],
                p: 1e-40,
            },
        }],
        shifts: Vec::new(),
        explainers: Vec::new(),
        coverage: Coverage {
            vocabularies: vec!["MITRE ATLAS 5.6.1".into()],
            tested: vec![CoverageItem {
                id: "AML.T0015".into(),
                name: "Evade AI Model".into(),
                by: "apgd-ce".into(),
            }],
            not_tested: vec![CoverageItem {
                id: "AML.T0020".into(),
                name: "Poison Training Data".into(),
                by: "not looked at".into(),
            }],
        },
        examples: vec![AuditExample {
            index: 0,
            label: 0,
            predicted: 0,
            right: true,
            robust: vec![true],
        }],
    }
}
