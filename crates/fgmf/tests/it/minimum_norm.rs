//! Minimum-norm, estimated-gradient and transfer attacks against closed forms on linear models.

use fgmf::attack::{
    Attack, BlackBox, CarliniWagnerParams, DdnParams, DeepFoolParams, Ending, EvolutionParams,
    FmnParams, HopSkipJumpParams, MiFgsmParams, NesParams, PgdParams, SpsaParams, Transfer,
    WhiteBox, run_attack, run_attack_within,
};
use fgmf::data::Batch;
use fgmf::data::{Dataset, Split, load};
use fgmf::model::Oracle;
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Precision, Session, Tensor};
use fgmf_testkit::toys;

const WEIGHTS: [[f64; 4]; 3] = [
    [0.9, -0.4, 0.3, 0.2],
    [-0.2, 0.5, 0.1, -0.6],
    [0.1, 0.3, -0.7, 0.4],
];
const BIAS: [f64; 3] = [-0.3, 0.0, 0.1];
/// Two images that the model puts in class 0, far enough from the bounds that the box does not
/// matter.
const IMAGES: [[f64; 4]; 2] = [[0.55, 0.45, 0.5, 0.52], [0.6, 0.4, 0.45, 0.5]];

/// The first `k` classes.
fn model(k: usize) -> Session {
    toys::linear(&weights(k), &BIAS[..k], [1, 2, 2]).cast(Precision::F32)
}

fn weights(k: usize) -> Vec<Vec<f64>> {
    WEIGHTS[..k].iter().map(|w| w.to_vec()).collect()
}

fn batch() -> Batch {
    let x = IMAGES.concat().iter().map(|v| *v as f32).collect();
    Batch {
        x: Tensor::new::<f32>(&[2, 1, 2, 2], x),
        labels: vec![0, 0],
        index: vec![4, 9],
    }
}

fn boundary(k: usize, i: usize, norm: toys::Norm) -> f64 {
    toys::linear_margin_distance(&weights(k), &BIAS[..k], &IMAGES[i], 0, norm)
}

fn white(a: impl WhiteBox + 'static) -> Attack {
    Attack::White(Box::new(a))
}

fn black(a: impl BlackBox + 'static) -> Attack {
    Attack::Black(Box::new(a))
}

/// With a ball that holds every image, the distance found is |margin| / ‖w‖, to the tolerance of
/// each method.
#[test]
fn distances_are_those_to_the_boundary() {
    let net = model(3);
    let everything = |norm| ThreatModel::new(norm, 4.0, [0.0, 1.0]).unwrap();
    let cases = [
        (
            white(
                CarliniWagnerParams {
                    steps: 500,
                    ..CarliniWagnerParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::L2,
            0.01,
        ),
        // Cross-entropy pulls towards all classes, so that DDN does not end at the nearest point
        // exactly.
        (
            white(
                DdnParams {
                    steps: 500,
                    gamma: 0.01,
                    first: 0.1,
                }
                .check()
                .unwrap(),
            ),
            Norm::L2,
            0.1,
        ),
        (
            white(
                FmnParams {
                    steps: 300,
                    ..FmnParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::L2,
            0.01,
        ),
        (
            white(
                FmnParams {
                    steps: 300,
                    ..FmnParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::Linf,
            0.01,
        ),
        (
            white(
                FmnParams {
                    steps: 300,
                    ..FmnParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::L1,
            0.01,
        ),
        (
            white(DeepFoolParams::default().check().unwrap()),
            Norm::L2,
            0.03,
        ),
        (
            white(DeepFoolParams::default().check().unwrap()),
            Norm::Linf,
            0.03,
        ),
        (
            black(
                HopSkipJumpParams {
                    steps: 30,
                    ..HopSkipJumpParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::L2,
            0.02,
        ),
        (
            black(
                HopSkipJumpParams {
                    steps: 30,
                    ..HopSkipJumpParams::default()
                }
                .check()
                .unwrap(),
            ),
            Norm::Linf,
            0.1,
        ),
    ];
    for (attack, norm, tolerance) in cases {
        let found =
            run_attack(&attack, &Oracle::new(&net), &batch(), &everything(norm), 3).unwrap();
        for i in 0..2 {
            let toy = match norm {
                Norm::Linf => toys::Norm::Linf,
                Norm::L2 => toys::Norm::L2,
                Norm::L1 => toys::Norm::L1,
            };
            let best = boundary(3, i, toy);
            let ratio = found.distance[i] / best;
            assert!(
                found.success[i],
                "{} {norm:?}: example {i} stands",
                attack.id()
            );
            assert!(
                ratio > 1.0 - 1e-4 && ratio < 1.0 + tolerance,
                "{} {norm:?}: {} against {best}",
                attack.id(),
                found.distance[i]
            );
        }
    }
}

/// Attacks in a ball break exactly the examples whose boundary lies inside it. With two classes
/// cross-entropy and margin have one direction.
#[test]
fn searches_in_a_ball_find_the_boundary() {
    let net = model(2);
    let attacks = || {
        [
            white(
                MiFgsmParams {
                    steps: 40,
                    ..MiFgsmParams::default()
                }
                .check()
                .unwrap(),
            ),
            black(
                NesParams {
                    steps: 60,
                    pairs: 20,
                    ..NesParams::default()
                }
                .check()
                .unwrap(),
            ),
            black(
                SpsaParams {
                    steps: 60,
                    pairs: 8,
                    rate: 0.005,
                    ..SpsaParams::default()
                }
                .check()
                .unwrap(),
            ),
            black(
                EvolutionParams {
                    queries: 400,
                    tile: 1,
                }
                .check()
                .unwrap(),
            ),
            black(Transfer::new(
                net.clone(),
                Box::new(
                    PgdParams {
                        steps: 40,
                        ..PgdParams::default()
                    }
                    .check()
                    .unwrap(),
                ),
            )),
        ]
    };
    let nearest = boundary(2, 0, toys::Norm::Linf).min(boundary(2, 1, toys::Norm::Linf));
    let farthest = boundary(2, 0, toys::Norm::Linf).max(boundary(2, 1, toys::Norm::Linf));
    for (eps, broken) in [(0.97 * nearest, false), (1.05 * farthest, true)] {
        let threat = ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap();
        for attack in attacks() {
            let found = run_attack(&attack, &Oracle::new(&net), &batch(), &threat, 1).unwrap();
            assert_eq!(found.success, [broken; 2], "{} at {eps}", attack.id());
        }
    }
}

/// Every attack stops at a budget and says so; what it found before is kept.
#[test]
fn budgets_end_every_search() {
    let net = model(3);
    let tiny = ThreatModel::new(Norm::L2, 1e-6, [0.0, 1.0]).unwrap();
    let cases = [
        white(MiFgsmParams::default().check().unwrap()),
        white(
            CarliniWagnerParams {
                first: 1e-6,
                ..CarliniWagnerParams::default()
            }
            .check()
            .unwrap(),
        ),
        white(
            DdnParams {
                first: 1e-6,
                ..DdnParams::default()
            }
            .check()
            .unwrap(),
        ),
        white(
            FmnParams {
                step: 1e-6,
                ..FmnParams::default()
            }
            .check()
            .unwrap(),
        ),
        black(EvolutionParams::default().check().unwrap()),
        black(NesParams::default().check().unwrap()),
        black(SpsaParams::default().check().unwrap()),
    ];
    for attack in cases {
        let found =
            run_attack_within(&attack, &Oracle::new(&net), &batch(), &tiny, 1, Some(5)).unwrap();
        assert_eq!(
            found.endings,
            [Ending::BudgetExhausted; 2],
            "{}",
            attack.id()
        );
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    assert!(
        MiFgsmParams {
            decay: 1.1,
            ..MiFgsmParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        MiFgsmParams {
            steps: 0,
            ..MiFgsmParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        CarliniWagnerParams {
            rate: f64::NAN,
            ..CarliniWagnerParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        CarliniWagnerParams {
            confidence: -1.0,
            ..CarliniWagnerParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        FmnParams {
            gamma: 1.0,
            ..FmnParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        FmnParams {
            step: f64::NAN,
            ..FmnParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        EvolutionParams {
            tile: 0,
            ..EvolutionParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        DdnParams {
            gamma: 1.0,
            ..DdnParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        DeepFoolParams {
            overshoot: f64::NAN,
            ..DeepFoolParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        HopSkipJumpParams {
            starts: 0,
            ..HopSkipJumpParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        NesParams {
            sigma: 0.0,
            ..NesParams::default()
        }
        .check()
        .is_err()
    );
    assert!(
        SpsaParams {
            rate: -0.1,
            ..SpsaParams::default()
        }
        .check()
        .is_err()
    );
    let other =
        toys::linear(&[vec![0.0; 4], vec![1.0; 4]], &[0.0, 0.0], [1, 2, 2]).cast(Precision::F32);
    let transfer = black(Transfer::new(
        other,
        Box::new(PgdParams::default().check().unwrap()),
    ));
    let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
    assert!(
        run_attack(&transfer, &Oracle::new(&model(3)), &batch(), &threat, 0).is_err(),
        "a surrogate with other classes"
    );
}

/// Results of Foolbox and torchattacks, made by `parity/minimum_norm_reference.py`.
#[derive(serde::Deserialize)]
struct Reference {
    index: Vec<u64>,
    l2_distance: std::collections::BTreeMap<String, Vec<f64>>,
    fmn_distance: std::collections::BTreeMap<String, Vec<f64>>,
    mi_fgsm: Momentum,
}

#[derive(serde::Deserialize)]
struct Momentum {
    eps: f64,
    steps: usize,
    index: Vec<u64>,
    points: Vec<f32>,
}

fn trained() -> (Reference, Session, Dataset) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let reference =
        serde_json::from_slice(&std::fs::read(folder.join("minimum_norm.json")).unwrap()).unwrap();
    let net = fgmf_net::onnx::read(&folder.join("autoattack/adversarial.onnx")).unwrap();
    let net = Session::new(net);
    (
        reference,
        net,
        load("fashion-mnist-mini", Split::Test).unwrap(),
    )
}

fn images(data: &Dataset, index: &[u64]) -> Batch {
    let rows: Vec<usize> = index.iter().map(|&i| i as usize).collect();
    let x = Tensor::new::<f32>(&[rows.len(), 1, 28, 28], data.images(&rows).unwrap());
    Batch {
        x,
        labels: rows.iter().map(|&i| data.label(i)).collect(),
        index: index.to_vec(),
    }
}

/// Step by step the same points where no example ends early: all but a few pixels, whose gradient
/// is at rounding from 0.
#[test]
fn mi_fgsm_follows_torchattacks() {
    let (reference, net, data) = trained();
    let m = reference.mi_fgsm;
    let threat = ThreatModel::new(Norm::Linf, m.eps, [0.0, 1.0]).unwrap();
    let attack = white(
        MiFgsmParams {
            steps: m.steps,
            decay: 1.0,
        }
        .check()
        .unwrap(),
    );
    let found = run_attack(
        &attack,
        &Oracle::new(&net),
        &images(&data, &m.index),
        &threat,
        0,
    )
    .unwrap();
    assert_eq!(found.success, vec![false; m.index.len()]);
    let points = found.adversarial.to_f32();
    let apart = points
        .iter()
        .zip(&m.points)
        .filter(|(a, b)| (*a - *b).abs() > 1e-6)
        .count();
    assert!(
        apart * 100 <= points.len(),
        "{apart} of {} values differ",
        points.len()
    );
}

/// Distances against Foolbox's. The searches stop at different points of the same walk, so means
/// over the images are compared, to 5%, and every image to a quarter; Carlini & Wagner may be
/// nearer than Foolbox's, never 5% farther.
#[test]
fn distances_are_those_of_foolbox() {
    let (reference, net, data) = trained();
    let batch = images(&data, &reference.index);
    let everything = ThreatModel::new(Norm::L2, 28.0, [0.0, 1.0]).unwrap();
    let attacks = [
        white(DdnParams::default().check().unwrap()),
        white(DeepFoolParams::default().check().unwrap()),
        white(CarliniWagnerParams::default().check().unwrap()),
    ];
    for attack in attacks {
        let expected = &reference.l2_distance[attack.id()];
        let found = run_attack(&attack, &Oracle::new(&net), &batch, &everything, 0).unwrap();
        let mean = |d: &[f64]| d.iter().sum::<f64>() / d.len() as f64;
        let ratio = mean(&found.distance) / mean(expected);
        assert!(found.success.iter().all(|s| *s), "{}", attack.id());
        assert!(
            ratio < 1.05 && (ratio > 0.95 || attack.id() == "carlini-wagner"),
            "{}: {ratio}",
            attack.id()
        );
        let worst = found
            .distance
            .iter()
            .zip(expected)
            .map(|(a, b)| a / b)
            .fold(0.0, f64::max);
        assert!(worst < 1.25, "{}: {worst}", attack.id());
    }
}

/// FMN's distances against Foolbox's in Linf, and in L2, where Foolbox's never projects, against
/// the nearest of the other attacks. A few images may be left when the steps have grown short
/// before a first adversarial point was met.
#[test]
fn fmn_is_as_near_as_the_others() {
    let (reference, net, data) = trained();
    let batch = images(&data, &reference.index);
    let of = |name: &str| reference.l2_distance[name].iter().copied();
    let l2: Vec<f64> = of("carlini-wagner")
        .zip(of("ddn"))
        .map(|(a, b)| a.min(b))
        .collect();
    for (norm, expected) in [
        (Norm::Linf, &reference.fmn_distance["linf"]),
        (Norm::L2, &l2),
    ] {
        let everything = ThreatModel::new(norm, 784.0, [0.0, 1.0]).unwrap();
        let found = run_attack(
            &white(FmnParams::default().check().unwrap()),
            &Oracle::new(&net),
            &batch,
            &everything,
            0,
        )
        .unwrap();
        let broken: Vec<usize> = (0..batch.len()).filter(|&i| found.success[i]).collect();
        let sum = |d: &[f64]| broken.iter().map(|&i| d[i]).sum::<f64>();
        let ratio = sum(&found.distance) / sum(expected);
        assert!(
            broken.len() * 10 >= batch.len() * 9 && ratio < 1.05,
            "{norm:?}: {} broken, {ratio} of the distance",
            broken.len()
        );
    }
}
