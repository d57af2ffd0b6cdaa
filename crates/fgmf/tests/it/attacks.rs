//! Attacks against closed forms, and the contract every attack keeps.

use fgmf::attack::{
    ApgdParams, Attack, AttackLoss, Candidate, Ending, FabParams, PgdParams, Seed, Start, WhiteBox,
    run_attack, run_attack_within, run_white_box,
};
use fgmf::data::Batch;
use fgmf::data::{Dataset, Split};
use fgmf::defend::{
    AdditiveNoiseParams, LyingGateParams, ResizePadParams, served_rules, with_lying_gate,
};
use fgmf::model::misclassified;
use fgmf::model::{
    Averaged, Counted, Expected, FeatureGradient, Gradients, Oracle, Scores, Served, error_rate,
};
use fgmf::registry::{Family, Registered, of};
use fgmf::study::{SuiteJob, SuiteOutcome, curve, lone, run_suite, run_suite_until, suite};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::head::Head;
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Network, Precision, Session, Tensor, ValueId};
use fgmf_testkit::toys;
use std::sync::atomic::{AtomicU64, Ordering};

const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];

fn white(p: PgdParams) -> Attack {
    Attack::White(Box::new(p.check().unwrap()))
}

fn apgd(p: ApgdParams) -> Attack {
    Attack::White(Box::new(p.check().unwrap()))
}

fn fab(p: FabParams) -> Attack {
    Attack::White(Box::new(p.check().unwrap()))
}

/// Every attack of the registry with the settings of its example, which are short, and forms of
/// some that the examples do not have.
fn all() -> Vec<Attack> {
    let margin = PgdParams {
        steps: 5,
        restarts: 2,
        loss: AttackLoss::Margin,
        ..PgdParams::default()
    };
    let short = |loss| ApgdParams {
        steps: 10,
        restarts: 2,
        targets: 2,
        loss,
        ..ApgdParams::default()
    };
    let boundary = FabParams {
        steps: 6,
        restarts: 2,
        targets: Some(2),
        ..FabParams::default()
    };
    let mut all = vec![
        white(PgdParams::fgsm()),
        white(PgdParams {
            steps: 6,
            ..PgdParams::default()
        }),
        white(margin),
        apgd(short(AttackLoss::CrossEntropy)),
        apgd(short(AttackLoss::TargetedDlr)),
        fab(boundary),
    ];
    let surrogate = cnn();
    let example = |m: &Registered| {
        let settings = serde_json::from_str(m.example).unwrap();
        fgmf::attack::with_surrogate(m.id, settings, &surrogate).unwrap()
    };
    all.extend(of(Family::Attack).map(example));
    all
}

pub(crate) fn cnn() -> Session {
    let config = ZooConfig {
        architecture: Architecture::CnnTiny,
        activation: Activation::Relu,
        image: [1, 12, 12],
        classes: 4,
        mean: vec![0.5],
        deviation: vec![0.25],
        seed: 11,
    };
    Session::new(build(&config).unwrap())
}

/// Images that the network classifies as labelled, so that every attack has work to do.
fn batch(net: &Session, n: usize) -> Batch {
    let [c, h, w] = net.image_shape();
    let x = (0..n * c * h * w)
        .map(|i| ((i * 7919 + i / 13) % 256) as f32 / 255.0)
        .collect();
    let x = Tensor::new::<f32>(&[n, c, h, w], x);
    let labels = fgmf::model::predictions(&net.logits(&x).unwrap());
    Batch {
        x,
        labels,
        index: (100..100 + n as u64).collect(),
    }
}

fn threat(norm: Norm) -> ThreatModel {
    let eps = match norm {
        Norm::Linf => 0.05,
        Norm::L2 => 0.5,
        Norm::L1 => 3.0,
    };
    ThreatModel::new(norm, eps, [0.0, 1.0]).unwrap()
}

/// In the ball and the bounds, finite, same seed same bytes, batch equals singles, success equals
/// re-evaluation, distances and counters right, input untouched, radius 0 the identity.
#[test]
fn contract() {
    let net = cnn();
    let batch = batch(&net, 9);
    let before = batch.x.to_f32();
    for attack in all() {
        for norm in NORMS {
            let (threat, name) = (threat(norm), format!("{} {norm:?}", attack.id()));
            let run = |b: &Batch, t: &ThreatModel, seed| {
                run_attack(&attack, &Oracle::new(&net), b, t, seed).unwrap()
            };
            let a = run(&batch, &threat, 1);
            let points = a.adversarial.to_f32();
            for (i, (o, x)) in before
                .chunks_exact(144)
                .zip(points.chunks_exact(144))
                .enumerate()
            {
                assert!(
                    x.iter().all(|v| v.is_finite()) && threat.contains(o, x),
                    "{name}: example {i} left the threat"
                );
                assert!(
                    (a.distance[i] - threat.distance(o, x)).abs() < 1e-12,
                    "{name}"
                );
                assert_eq!(
                    a.success[i],
                    a.endings[i] == Ending::Converged,
                    "{name}: example {i}"
                );
            }
            assert_eq!(
                a.success,
                misclassified(&net.logits(&a.adversarial).unwrap(), &batch.labels),
                "{name}"
            );
            assert_eq!(
                points,
                run(&batch, &threat, 1).adversarial.to_f32(),
                "{name}: same seed, other bytes"
            );
            for i in 0..batch.len() {
                assert_eq!(
                    run(&batch.select(&[i]), &threat, 1).adversarial.to_f32(),
                    points[i * 144..(i + 1) * 144],
                    "{name}: single {i}"
                );
            }
            let still = run(&batch, &threat.with_eps(0.0).unwrap(), 1);
            assert_eq!(
                still.adversarial.to_f32(),
                before,
                "{name}: radius 0 moved the image"
            );
            assert!(!still.success.contains(&true), "{name}");
            assert_eq!(batch.x.to_f32(), before, "{name}: the input was changed");
            assert!(
                a.passes.forward > 0
                    && (a.passes.backward > 0) == matches!(attack, Attack::White(_)),
                "{name}: {:?}",
                a.passes
            );
        }
    }
}

#[test]
fn counters_are_exact_where_nothing_breaks() {
    let net = cnn();
    let batch = batch(&net, 5);
    let tiny = ThreatModel::new(Norm::Linf, 1e-7, [0.0, 1.0]).unwrap();
    let oracle = Oracle::new(&net);
    let a = run_attack(
        &white(PgdParams {
            steps: 4,
            restarts: 3,
            ..PgdParams::default()
        }),
        &oracle,
        &batch,
        &tiny,
        0,
    )
    .unwrap();
    assert!(!a.success.contains(&true));
    assert_eq!(
        (a.passes.forward, a.passes.backward),
        (5 * 3 * 5, 5 * 3 * 4)
    );
}

/// On a linear model PGD ends at the known optimum, and breaks exactly the examples whose boundary
/// is inside the ball.
#[test]
fn linear_optimum_in_every_norm() {
    let weights = vec![vec![0.9, -0.4, 0.3, 0.2], vec![-0.2, 0.5, 0.1, -0.6]];
    // A margin small enough that the box is never reached.
    let bias = [-0.5, 0.0];
    let net = toys::linear(&weights, &bias, [1, 2, 2]).cast(Precision::F32);
    let x = [0.55, 0.45, 0.5, 0.52];
    let toy = |norm| match norm {
        Norm::Linf => toys::Norm::Linf,
        Norm::L2 => toys::Norm::L2,
        Norm::L1 => toys::Norm::L1,
    };
    let batch = Batch {
        x: Tensor::new(&[1, 1, 2, 2], x.map(|v| v as f32).to_vec()),
        labels: vec![0],
        index: vec![0],
    };
    for norm in NORMS {
        let distance = toys::linear_margin_distance(&weights, &bias, &x, 0, toy(norm));
        for (factor, broken) in [(0.97, false), (1.03, true)] {
            let threat = ThreatModel::new(norm, distance * factor, [0.0, 1.0]).unwrap();
            let attack = white(PgdParams {
                steps: 200,
                start: Start::Clean,
                loss: AttackLoss::Margin,
                ..PgdParams::default()
            });
            let a = run_attack(&attack, &Oracle::new(&net), &batch, &threat, 0).unwrap();
            assert_eq!(
                a.success,
                [broken],
                "{norm:?} at {factor} of the distance {distance}"
            );
            let z = net.logits(&a.adversarial).unwrap().to_f64();
            let (_, margin) =
                toys::linear_worst_case(&weights, &bias, &x, 0, toy(norm), threat.eps());
            assert!(
                broken || (z[0] - z[1] - margin).abs() < 0.02 * distance,
                "{norm:?}: margin {} against the optimum {margin}",
                z[0] - z[1]
            );
        }
    }
}

#[test]
fn a_budget_ends_the_search_and_is_recorded() {
    let net = cnn();
    let batch = batch(&net, 4);
    let tiny = ThreatModel::new(Norm::Linf, 1e-7, [0.0, 1.0]).unwrap();
    let oracle = Oracle::new(&net);
    let attack = white(PgdParams {
        steps: 50,
        ..PgdParams::default()
    });
    let a = run_attack_within(&attack, &oracle, &batch, &tiny, 0, Some(10)).unwrap();
    assert_eq!(a.endings, vec![Ending::BudgetExhausted; 4]);
    let counted = Counted::new(&oracle).budget(4);
    assert!(counted.logits(&batch.x).is_ok());
    assert!(counted.logits(&batch.x).is_err());
    assert_eq!(counted.passes().forward, 4);
}

#[test]
fn zero_gradients_are_named() {
    let net =
        toys::linear(&[vec![0.0; 4], vec![0.0; 4]], &[1.0, 0.0], [1, 2, 2]).cast(Precision::F32);
    let batch = Batch {
        x: Tensor::new(&[1, 1, 2, 2], vec![0.5f32; 4]),
        labels: vec![0],
        index: vec![0],
    };
    let a = run_attack(
        &white(PgdParams::default()),
        &Oracle::new(&net),
        &batch,
        &threat(Norm::Linf),
        0,
    )
    .unwrap();
    assert_eq!(a.endings, [Ending::ZeroGradient]);
}

#[test]
fn bad_batches_are_refused() {
    let net = cnn();
    let good = batch(&net, 2);
    let attack = white(PgdParams::fgsm());
    let refused =
        |b: &Batch| run_attack(&attack, &Oracle::new(&net), b, &threat(Norm::Linf), 0).is_err();
    assert!(refused(&Batch {
        labels: vec![0, 9],
        ..good.clone()
    }));
    assert!(refused(&Batch {
        labels: vec![0],
        ..good.clone()
    }));
    assert!(refused(&Batch {
        x: Tensor::new(&[2, 1, 6, 24], good.x.to_f32()),
        ..good.clone()
    }));
    assert!(refused(&Batch {
        x: good.x.affine(2.0, 0.0),
        ..good.clone()
    }));
    assert!(refused(&Batch {
        x: good.x.affine(f64::NAN, 0.0),
        ..good
    }));
    for p in [
        PgdParams {
            steps: 0,
            ..PgdParams::default()
        },
        PgdParams {
            step_size: Some(f64::NAN),
            ..PgdParams::default()
        },
        PgdParams {
            restarts: 0,
            ..PgdParams::default()
        },
        PgdParams {
            loss: AttackLoss::TargetedMargin,
            ..PgdParams::default()
        },
    ] {
        assert!(p.check().is_err());
    }
}

fn job_on<'a>(net: &'a Session, data: &'a Dataset, threat: &'a ThreatModel) -> SuiteJob<'a> {
    SuiteJob {
        net,
        model_sha256: "",
        data,
        threat,
        seed: 3,
        cap: usize::MAX,
    }
}

fn dataset(n: usize) -> Dataset {
    let pixels = (0..n * 144)
        .map(|i| ((i * 31 + i / 7) % 256) as u8)
        .collect();
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    Dataset::new(
        "toy",
        Split::Test,
        classes,
        [1, 12, 12],
        pixels,
        (0..n).map(|i| i % 4).collect(),
    )
    .unwrap()
}

/// The adversarial image of each example, the clean one where nothing broke it.
fn images_of(outcome: &SuiteOutcome, data: &Dataset) -> Tensor {
    let [c, h, w] = data.shape();
    let image = |i: usize| {
        outcome
            .found
            .get(i)
            .unwrap()
            .unwrap_or_else(|| data.image(i).unwrap())
    };
    let all: Vec<f32> = (0..data.len()).flat_map(image).collect();
    Tensor::new(&[data.len(), c, h, w], all)
}

/// A suite stopped after any block, with the last line of its state cut short, ends like one that
/// was not stopped.
#[test]
fn suites_resume_to_the_same_result() {
    let (net, data, threat) = (cnn(), dataset(300), threat(Norm::Linf));
    let entries = suite("quick", &net, Norm::Linf).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.jsonl");
    let job = |model_sha256| SuiteJob {
        net: &net,
        model_sha256,
        data: &data,
        threat: &threat,
        seed: 3,
        cap: usize::MAX,
    };
    let run = |state: Option<&std::path::Path>| {
        run_suite(&entries, &job("model"), state, &mut |_, _, _| {})
    };
    let whole = run(None).unwrap();
    run(Some(&path)).unwrap();
    let lines: Vec<String> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let images = std::fs::read(path.with_extension("f32")).unwrap();
    let broken = whole
        .examples
        .iter()
        .filter(|e| e.broken_by.is_some())
        .count();
    assert_eq!(
        (lines.len(), images.len()),
        (1 + 2 * entries.len(), 4 * 144 * broken)
    );
    assert!(broken > 10, "too little to resume: {broken}");
    for kept in 0..lines.len() {
        let torn = &lines[kept][..lines[kept].len() / 2];
        // Images are written before their line: some may be there without it.
        for extra in [0, images.len() / 3] {
            let whole_lines: String = lines[..kept].iter().map(|l| format!("{l}\n")).collect();
            let of = |line: &String| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["broken"]
                    .as_array()
                    .map_or(0, Vec::len)
            };
            let used = 4 * 144 * lines[..kept].iter().map(of).sum::<usize>();
            std::fs::write(&path, whole_lines + torn).unwrap();
            std::fs::write(
                path.with_extension("f32"),
                &images[..(used + extra).min(images.len())],
            )
            .unwrap();
            let again = run(Some(&path)).unwrap();
            assert_eq!(again.examples, whole.examples, "{kept} lines kept");
            assert_eq!(
                images_of(&again, &data).to_f32(),
                images_of(&whole, &data).to_f32(),
                "{kept} lines kept"
            );
        }
    }
    // A line whose images are gone is made anew.
    std::fs::write(path.with_extension("f32"), &images[..images.len() / 2]).unwrap();
    assert_eq!(run(Some(&path)).unwrap().examples, whole.examples);
    let other = run_suite(
        &entries,
        &job("another model"),
        Some(&path),
        &mut |_, _, _| {},
    );
    assert!(other.is_err(), "the state of another model was accepted");
}

/// The images of the outcome are what the record says of them.
#[test]
fn suites_hand_back_the_adversarial_images() {
    let (net, data, threat) = (cnn(), dataset(40), threat(Norm::L2));
    let entries = suite("quick", &net, Norm::L2).unwrap();
    let job = job_on(&net, &data, &threat);
    let outcome = run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap();
    let labels: Vec<usize> = outcome.examples.iter().map(|e| e.label).collect();
    let images = images_of(&outcome, &data);
    let wrong = misclassified(&net.logits(&images).unwrap(), &labels);
    let points = images.to_f32();
    for (i, e) in outcome.examples.iter().enumerate() {
        let (clean, point) = (data.image(i).unwrap(), &points[i * 144..(i + 1) * 144]);
        assert_eq!(wrong[i], !e.robust, "example {i}");
        assert!(threat.contains(&clean, point), "example {i}");
        match e.distance {
            Some(d) => assert!(
                (d - threat.distance(&clean, point)).abs() < 1e-12,
                "example {i}"
            ),
            None => assert_eq!(clean, point, "example {i}"),
        }
    }
}

/// What probes find counts: behind a rounding in front, FGSM and PGD see no gradient, and the probe
/// that goes around it does.
#[test]
fn what_a_probe_breaks_is_broken() {
    let (data, threat) = (dataset(60), threat(Norm::Linf));
    let bits = fgmf::defend::BitDepthParams { bits: 3 };
    let net = Session::new(fgmf::defend::with_bit_depth(&cnn(), &bits).unwrap());
    let entries = suite("quick", &net, Norm::Linf).unwrap();
    let job = job_on(&net, &data, &threat);
    let outcome = run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap();
    let probed = |e: &&fgmf::record::ExampleRecord| {
        e.broken_by
            .as_ref()
            .is_some_and(|f| f.starts_with("probe:"))
    };
    let found = outcome.examples.iter().filter(probed).count();
    assert!(found > 0, "{:?}", outcome.verdict);
    let row = outcome.rows.last().unwrap();
    assert!(row.name.starts_with("probe:"), "{row:?}");
    assert!((row.robust_accuracy - outcome.overall().value).abs() < 1e-12);
    let labels: Vec<usize> = outcome.examples.iter().map(|e| e.label).collect();
    let images = images_of(&outcome, &data);
    let wrong = misclassified(&net.logits(&images).unwrap(), &labels);
    let points = images.to_f32();
    for (i, e) in outcome.examples.iter().enumerate() {
        assert_eq!(wrong[i], !e.robust, "example {i}");
        assert!(threat.contains(&data.image(i).unwrap(), &points[i * 144..(i + 1) * 144]));
    }
}

/// An image that falls in a smaller ball has fallen in the suite's, and one that the suite broke
/// has fallen at every larger radius of a curve.
#[test]
fn balls_are_nested_across_a_curve_and_its_suite() {
    let (net, data, threat) = (cnn(), dataset(40), threat(Norm::Linf));
    let entries = suite("fgsm", &net, Norm::Linf).unwrap();
    let job = job_on(&net, &data, &threat);
    let mut outcome = run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap();
    let radii = [0.25 * threat.eps(), 0.5 * threat.eps(), 3.0 * threat.eps()];
    let mut never = |_: usize, _: usize| {};
    let known = outcome.examples.clone();
    let found = curve(&entries, &job, &radii, false, &known, None, &mut never).unwrap();
    let before = outcome.overall().count;
    assert!(found.points[2].robust.count <= before);
    outcome.admit(&job, &found.breaches).unwrap();
    assert!(outcome.overall().count <= found.points[1].robust.count);
    assert!(outcome.overall().count <= before);
}

/// Every suite, whole, on a linear model: it breaks the examples whose boundary is inside the ball,
/// and no others.
#[test]
fn suites_break_what_is_within_the_radius() {
    let weights: Vec<Vec<f64>> = (0..4)
        .map(|k| fgmf_testkit::finite::uniform(k, 144, -1.0, 1.0))
        .collect();
    let net = toys::linear(&weights, &[0.0; 4], [1, 12, 12]).cast(Precision::F32);
    let pixels: Vec<u8> = (0..24 * 144)
        .map(|i| (90 + (i * 31 + i / 7) % 76) as u8)
        .collect();
    let images: Vec<Vec<f64>> = pixels
        .chunks_exact(144)
        .map(|x| x.iter().map(|v| f64::from(*v) / 255.0).collect())
        .collect();
    let score = |x: &[f64], k: usize| weights[k].iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    let label = |x: &Vec<f64>| {
        (0..4)
            .max_by(|&a, &b| score(x, a).total_cmp(&score(x, b)))
            .unwrap()
    };
    let labels: Vec<usize> = images.iter().map(label).collect();
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let data = Dataset::new(
        "toy",
        Split::Test,
        classes,
        [1, 12, 12],
        pixels,
        labels.clone(),
    )
    .unwrap();
    for (norm, toy) in [
        (Norm::Linf, toys::Norm::Linf),
        (Norm::L2, toys::Norm::L2),
        (Norm::L1, toys::Norm::L1),
    ] {
        let distance = |(x, &y): (&Vec<f64>, &usize)| {
            toys::linear_margin_distance(&weights, &[0.0; 4], x, y, toy)
        };
        let distances: Vec<f64> = images.iter().zip(&labels).map(distance).collect();
        let mut sorted = distances.clone();
        sorted.sort_by(f64::total_cmp);
        // In the widest gap of the middle half, so that no example is at the radius.
        let middle = &sorted[6..18];
        let gap = middle
            .windows(2)
            .max_by(|a, b| (a[1] / a[0]).total_cmp(&(b[1] / b[0])))
            .unwrap();
        assert!(gap[1] / gap[0] > 1.04, "{norm:?}: {gap:?}");
        let threat = ThreatModel::new(norm, (gap[0] * gap[1]).sqrt(), [0.0, 1.0]).unwrap();
        let within: Vec<bool> = distances.iter().map(|d| *d < threat.eps()).collect();
        let job = SuiteJob {
            net: &net,
            model_sha256: "",
            data: &data,
            threat: &threat,
            seed: 1,
            cap: usize::MAX,
        };
        for name in ["standard", "adaptive", "plus", "rand"] {
            let entries = suite(name, &net, norm).unwrap();
            let outcome = run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap();
            let broken: Vec<bool> = outcome.examples.iter().map(|e| !e.robust).collect();
            assert_eq!(broken, within, "{name}, {norm:?}");
            // Each attack has its row, and meets what those before it left.
            let mut left = 24;
            for (row, entry) in outcome.rows.iter().zip(&entries) {
                assert_eq!(
                    (&row.name, row.attempted),
                    (&entry.name, left),
                    "{name}, {norm:?}"
                );
                left -= row.broken;
            }
            assert_eq!(
                (outcome.rows.len(), outcome.overall().count),
                (entries.len(), left),
                "{name}, {norm:?}"
            );
        }
    }
}

/// A threshold that is known to hold or to fail after the first block ends the run there.
#[test]
fn suites_stop_when_the_answer_is_known() {
    let (net, data) = (cnn(), dataset(600));
    let entries = suite("quick", &net, Norm::Linf).unwrap();
    let run = |eps, threshold| {
        let threat = ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap();
        let job = SuiteJob {
            net: &net,
            model_sha256: "",
            data: &data,
            threat: &threat,
            seed: 3,
            cap: usize::MAX,
        };
        let outcome = run_suite_until(&entries, &job, None, threshold, &mut |_, _, _| {}).unwrap();
        (outcome.stopped, outcome.overall())
    };
    let (stopped, all) = run(0.0, None);
    assert!(!stopped && all.n == 600 && all.count > 100, "{all:?}");
    let (stopped, few) = run(0.0, Some(0.05));
    assert!(stopped && few.n == 256 && few.count >= 30, "{few:?}");
    let (stopped, high) = run(0.3, Some(0.9));
    assert!(stopped && high.n == 256, "{high:?}");
    assert!(!run(0.0, Some(all.value)).0 || all.count <= few.count);
}

/// A list of attacks is a suite; what scores alone break counts against gradients only where
/// gradients had their turn before.
#[test]
fn suites_can_be_lists_of_attacks() {
    let (net, data, threat) = (cnn(), dataset(40), threat(Norm::Linf));
    let run = |name: &str| {
        let entries = suite(name, &net, Norm::Linf).unwrap();
        let job = SuiteJob {
            net: &net,
            model_sha256: "",
            data: &data,
            threat: &threat,
            seed: 3,
            cap: usize::MAX,
        };
        run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap()
    };
    let checks = |outcome: &fgmf::study::SuiteOutcome| {
        outcome
            .verdict
            .checks
            .contains(&"black-box-beats-white-box".to_owned())
    };
    let outcome = run("fgsm, evolution");
    assert_eq!(
        outcome
            .rows
            .iter()
            .map(|r| r.name.as_str())
            .collect::<Vec<_>>(),
        ["fgsm", "evolution"]
    );
    assert!(checks(&outcome) && !checks(&run("evolution,fgsm")) && !checks(&run("evolution")));
    for name in ["fgsm,fgsm", "fgsm,", "lucky-guess", ""] {
        assert!(suite(name, &net, Norm::Linf).is_err(), "{name}");
    }
}

#[test]
fn curves_fall() {
    let (net, data, threat) = (cnn(), dataset(60), threat(Norm::Linf));
    let entries = suite("quick", &net, Norm::Linf).unwrap();
    let job = job_on(&net, &data, &threat);
    let mut watch = |_: usize, _: usize| {};
    let measured = curve(
        &entries,
        &job,
        &[0.0, 0.02, 0.5],
        false,
        &[],
        None,
        &mut watch,
    )
    .unwrap();
    let points = measured.points;
    let clean = run_suite(&entries, &job, None, &mut |_, _, _| {})
        .unwrap()
        .clean();
    assert_eq!((points[0].eps, points[0].robust), (0.0, clean));
    assert!(
        points[0].robust.count > points[1].robust.count && points[2].robust.count == 0,
        "{points:?}"
    );
}

/// Hands back a point far outside the ball, and says that it has won.
struct Stray;

impl WhiteBox for Stray {
    fn id(&self) -> &'static str {
        "stray"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn perturb(
        &self,
        _: &dyn Gradients,
        batch: &Batch,
        _: &ThreatModel,
        _: Seed,
    ) -> fgmf::Result<Candidate> {
        let away = |v: f32| if v > 0.5 { -3.0 } else { 4.0 };
        let x = batch.x.to_f32().into_iter().map(away).collect();
        Ok(Candidate {
            x: Tensor::new::<f32>(batch.x.shape(), x),
            endings: vec![Ending::Converged; batch.len()],
        })
    }
}

/// What comes back is inside the ball and judged by the model itself, whatever the model is.
#[test]
fn a_point_outside_the_ball_is_projected_and_judged_again_on_every_kind_of_model() {
    let net = cnn();
    let batch = batch(&net, 6);
    let oracle = Oracle::new(&net);
    // So little noise that an answer is the same each time.
    let noise = AdditiveNoiseParams { deviation: 1e-7 }.check().unwrap();
    let pad = ResizePadParams { least: 0.7 }.check().unwrap();
    let served = Served::new(&oracle, &noise, 1);
    let averaged = Averaged::new(&served, 3).unwrap();
    let expected = Expected::new(&oracle, &pad).unwrap();
    let gated = Session::new(with_lying_gate(&net, &LyingGateParams::default()).unwrap());
    let planted = Oracle::with_rules(&gated, served_rules(&gated).unwrap());
    let models: [(&str, &dyn Gradients); 5] = [
        ("network", &oracle),
        ("served", &served),
        ("averaged", &averaged),
        ("expected", &expected),
        ("planted", &planted),
    ];
    let mut both = [false; 2];
    for (name, model) in models {
        for norm in NORMS {
            let threat = threat(norm);
            let found = run_white_box(&Stray, model, &batch, &threat, 0).unwrap();
            let (clean, moved) = (batch.x.to_f32(), found.adversarial.to_f32());
            let size = clean.len() / batch.len();
            for (o, x) in clean.chunks_exact(size).zip(moved.chunks_exact(size)) {
                let distance = threat.distance(o, x);
                assert!(
                    distance <= threat.eps() * (1.0 + 1e-5),
                    "{name}: {distance}"
                );
                assert!(x.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
            }
            let again = error_rate(model, &found.adversarial, &batch.labels).unwrap();
            assert_eq!(found.error_rate, again, "{name} {norm:?}");
            for (i, &won) in found.success.iter().enumerate() {
                assert_eq!(won, again[i] > 0.5, "{name} {norm:?}");
                both[usize::from(won)] = true;
                if !won {
                    assert_eq!(found.endings[i], Ending::StepsExhausted, "{name} {norm:?}");
                }
            }
        }
    }
    assert!(both[0], "some point that claims to have won has not");
}

/// Answers at random: rightly, but for one query.
struct Lucky<'a> {
    net: &'a Session,
    wrong_at: u64,
    queries: AtomicU64,
}

impl Lucky<'_> {
    fn answer(&self, logits: Tensor) -> Tensor {
        if self.queries.fetch_add(1, Ordering::Relaxed) != self.wrong_at {
            return logits;
        }
        let (mut z, k) = (logits.to_f32(), self.net.classes());
        z.chunks_exact_mut(k).for_each(<[f32]>::reverse);
        Tensor::new(logits.shape(), z)
    }
}

impl Scores for Lucky<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.net.image_shape()
    }

    fn classes(&self) -> usize {
        self.net.classes()
    }

    fn logits(&self, x: &Tensor) -> fgmf::Result<Tensor> {
        Ok(self.answer(self.net.logits(x)?))
    }

    fn draws(&self) -> bool {
        true
    }
}

impl Gradients for Lucky<'_> {
    fn network(&self) -> &Network {
        self.net
    }

    fn feature_gradient(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: ValueId,
    ) -> fgmf::Result<FeatureGradient> {
        let found = Oracle::new(self.net).feature_gradient(x, head, at)?;
        let logits = self.answer(found.logits.clone());
        let (losses, _) = head.evaluate(&logits.clone().into(), 0..x.shape()[0]);
        Ok(FeatureGradient {
            losses,
            logits,
            ..found
        })
    }
}

/// One lucky answer of a model that answers at random settles nothing: no attack of the list stops
/// at it, and none is believed.
#[test]
fn one_lucky_answer_ends_no_search() {
    let weights = vec![
        vec![0.9, -0.4, 0.3, 0.2],
        vec![-0.2, 0.5, 0.1, -0.6],
        vec![-0.5, 0.2, -0.4, 0.3],
        vec![-0.3, -0.2, 0.4, 0.1],
    ];
    let bias = [0.5, 0.0, -0.1, -0.2];
    let net = toys::linear(&weights, &bias, [1, 2, 2]).cast(Precision::F32);
    let batch = Batch {
        x: Tensor::new(&[1, 1, 2, 2], vec![0.55f32, 0.45, 0.5, 0.52]),
        labels: vec![0],
        index: vec![0],
    };
    let tiny = ThreatModel::new(Norm::Linf, 0.01, [0.0, 1.0]).unwrap();
    for name in fgmf::attack::names() {
        let attack = lone(&name, Norm::Linf, 4).unwrap();
        let passes = |wrong_at| {
            let model = Lucky {
                net: &net,
                wrong_at,
                queries: AtomicU64::new(0),
            };
            let found = run_attack(&attack, &model, &batch, &tiny, 0).unwrap();
            assert_eq!(found.success, [false], "{name} at {wrong_at}");
            found.passes.forward
        };
        let never = passes(u64::MAX);
        for wrong_at in [0, 1, 5] {
            let lucky = passes(wrong_at);
            assert!(
                2 * lucky >= never,
                "{name} stops at {lucky} of {never} passes after a lucky answer"
            );
        }
    }
}
