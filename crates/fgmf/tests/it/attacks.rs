//! Attacks against closed forms, and the contract every attack keeps.

use fgmf::attack::suite::{Job, run_suite, suite};
use fgmf::attack::{
    ApgdParams, Attack, AttackLoss, Batch, Ending, FabParams, PgdParams, RandomSearchParams, SquareParams, Start, StepLoss, misclassified,
    run_attack,
};
use fgmf::attack::{
    CarliniWagnerParams, DdnParams, DeepFoolParams, EotPgdParams, HopSkipJumpParams, MiFgsmParams, NesParams, SpsaParams, Transfer,
};
use fgmf::data::{Dataset, Split};
use fgmf::oracle::{Oracle, Scores};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
use fgmf_net::{Network, Precision, Tensor};
use fgmf_testkit::toys;

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

fn square(p: SquareParams) -> Attack {
    Attack::Black(Box::new(p.check().unwrap()))
}

/// Every attack of the registry, short.
fn all() -> Vec<Attack> {
    let margin = PgdParams { steps: 5, restarts: 2, loss: StepLoss::Margin, ..PgdParams::default() };
    let random = RandomSearchParams { draws: 7 }.check().unwrap();
    let mut all = vec![white(PgdParams::fgsm()), white(PgdParams { steps: 6, ..PgdParams::default() }), white(margin)];
    for loss in [AttackLoss::CrossEntropy, AttackLoss::Dlr, AttackLoss::TargetedDlr] {
        all.push(apgd(ApgdParams { steps: 10, restarts: 2, targets: 2, loss, ..ApgdParams::default() }));
    }
    for targets in [Some(2), None] {
        all.push(fab(FabParams { steps: 6, restarts: 2, targets, ..FabParams::default() }));
    }
    all.push(square(SquareParams { queries: 30, restarts: 2, ..SquareParams::default() }));
    all.push(Attack::Black(Box::new(random)));
    all.extend(further());
    all
}

fn further() -> Vec<Attack> {
    let surrogate = cnn();
    vec![
        Attack::White(Box::new(
            CarliniWagnerParams { searches: 2, steps: 5, first: 1.0, ..CarliniWagnerParams::default() }.check().unwrap(),
        )),
        Attack::White(Box::new(DdnParams { steps: 6, first: 0.3, ..DdnParams::default() }.check().unwrap())),
        Attack::White(Box::new(DeepFoolParams { steps: 3, ..DeepFoolParams::default() }.check().unwrap())),
        Attack::White(Box::new(EotPgdParams { steps: 3, samples: 2, step_size: None }.check().unwrap())),
        Attack::White(Box::new(MiFgsmParams { steps: 4, ..MiFgsmParams::default() }.check().unwrap())),
        Attack::Black(Box::new(NesParams { steps: 3, pairs: 2, ..NesParams::default() }.check().unwrap())),
        Attack::Black(Box::new(SpsaParams { steps: 3, pairs: 2, ..SpsaParams::default() }.check().unwrap())),
        Attack::Black(Box::new(HopSkipJumpParams { steps: 2, samples: 5, starts: 5 }.check().unwrap())),
        Attack::Black(Box::new(Transfer::new(surrogate, Box::new(MiFgsmParams::default().check().unwrap())))),
    ]
}

fn cnn() -> Network {
    let config = ZooConfig {
        architecture: Architecture::CnnTiny,
        activation: Activation::Relu,
        image: [1, 12, 12],
        classes: 4,
        mean: vec![0.5],
        deviation: vec![0.25],
        seed: 11,
    };
    build(&config).unwrap()
}

/// Images that the network classifies as labelled, so that every attack has work to do.
fn batch(net: &Network, n: usize) -> Batch {
    let [c, h, w] = net.image_shape();
    let x = (0..n * c * h * w).map(|i| ((i * 7919 + i / 13) % 256) as f32 / 255.0).collect();
    let x = Tensor::new::<f32>(&[n, c, h, w], x);
    let labels = fgmf::attack::predictions(&net.logits(&x).unwrap());
    Batch { x, labels, index: (100..100 + n as u64).collect() }
}

fn threat(norm: Norm) -> ThreatModel {
    let eps = match norm {
        Norm::Linf => 0.05,
        Norm::L2 => 0.5,
        Norm::L1 => 3.0,
    };
    ThreatModel::new(norm, eps, [0.0, 1.0]).unwrap()
}

/// In the ball and the bounds, finite, same seed same bytes, batch equals singles, success equals re-evaluation, distances
/// and counters right, input untouched, radius 0 the identity.
#[test]
fn contract() {
    let net = cnn();
    let batch = batch(&net, 9);
    let before = batch.x.to_f32();
    for attack in all() {
        for norm in NORMS {
            let (threat, name) = (threat(norm), format!("{} {norm:?}", attack.id()));
            let run = |b: &Batch, t: &ThreatModel, seed| run_attack(&attack, &Oracle::new(&net), b, t, seed).unwrap();
            let a = run(&batch, &threat, 1);
            let points = a.adversarial.to_f32();
            for (i, (o, x)) in before.chunks_exact(144).zip(points.chunks_exact(144)).enumerate() {
                assert!(x.iter().all(|v| v.is_finite()) && threat.contains(o, x), "{name}: example {i} left the threat");
                assert!((a.distance[i] - threat.distance(o, x)).abs() < 1e-12, "{name}");
                assert_eq!(a.success[i], a.endings[i] == Ending::Converged, "{name}: example {i}");
            }
            assert_eq!(a.success, misclassified(&net.logits(&a.adversarial).unwrap(), &batch.labels), "{name}");
            assert_eq!(points, run(&batch, &threat, 1).adversarial.to_f32(), "{name}: same seed, other bytes");
            for i in 0..batch.len() {
                assert_eq!(run(&batch.select(&[i]), &threat, 1).adversarial.to_f32(), points[i * 144..(i + 1) * 144], "{name}: single {i}");
            }
            let still = run(&batch, &threat.with_eps(0.0).unwrap(), 1);
            assert_eq!(still.adversarial.to_f32(), before, "{name}: radius 0 moved the image");
            assert!(!still.success.contains(&true), "{name}");
            assert_eq!(batch.x.to_f32(), before, "{name}: the input was changed");
            assert!(a.passes.forward > 0 && (a.passes.backward > 0) == matches!(attack, Attack::White(_)), "{name}: {:?}", a.passes);
        }
    }
}

#[test]
fn counters_are_exact_where_nothing_breaks() {
    let net = cnn();
    let batch = batch(&net, 5);
    let tiny = ThreatModel::new(Norm::Linf, 1e-7, [0.0, 1.0]).unwrap();
    let oracle = Oracle::new(&net);
    let a = run_attack(&white(PgdParams { steps: 4, restarts: 3, ..PgdParams::default() }), &oracle, &batch, &tiny, 0).unwrap();
    assert!(!a.success.contains(&true));
    assert_eq!((a.passes.forward, a.passes.backward), (5 * 3 * 5, 5 * 3 * 4));
}

/// On a linear model PGD ends at the known optimum, and breaks exactly the examples whose boundary is inside the ball.
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
    let batch = Batch { x: Tensor::new(&[1, 1, 2, 2], x.map(|v| v as f32).to_vec()), labels: vec![0], index: vec![0] };
    for norm in NORMS {
        let distance = toys::linear_margin_distance(&weights, &bias, &x, 0, toy(norm));
        for (factor, broken) in [(0.97, false), (1.03, true)] {
            let threat = ThreatModel::new(norm, distance * factor, [0.0, 1.0]).unwrap();
            let attack = white(PgdParams { steps: 200, start: Start::Clean, loss: StepLoss::Margin, ..PgdParams::default() });
            let a = run_attack(&attack, &Oracle::new(&net), &batch, &threat, 0).unwrap();
            assert_eq!(a.success, [broken], "{norm:?} at {factor} of the distance {distance}");
            let z = net.logits(&a.adversarial).unwrap().to_f64();
            let (_, margin) = toys::linear_worst_case(&weights, &bias, &x, 0, toy(norm), threat.eps());
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
    let oracle = Oracle::new(&net).budget(10);
    let a = run_attack(&white(PgdParams { steps: 50, ..PgdParams::default() }), &oracle, &batch, &tiny, 0).unwrap();
    assert_eq!(a.endings, vec![Ending::BudgetExhausted; 4]);
    assert!(oracle.logits(&batch.x).is_err());
}

#[test]
fn zero_gradients_are_named() {
    let net = toys::linear(&[vec![0.0; 4], vec![0.0; 4]], &[1.0, 0.0], [1, 2, 2]).cast(Precision::F32);
    let batch = Batch { x: Tensor::new(&[1, 1, 2, 2], vec![0.5f32; 4]), labels: vec![0], index: vec![0] };
    let a = run_attack(&white(PgdParams::default()), &Oracle::new(&net), &batch, &threat(Norm::Linf), 0).unwrap();
    assert_eq!(a.endings, [Ending::ZeroGradient]);
}

#[test]
fn bad_batches_are_refused() {
    let net = cnn();
    let good = batch(&net, 2);
    let attack = white(PgdParams::fgsm());
    let refused = |b: &Batch| run_attack(&attack, &Oracle::new(&net), b, &threat(Norm::Linf), 0).is_err();
    assert!(refused(&Batch { labels: vec![0, 9], ..good.clone() }));
    assert!(refused(&Batch { labels: vec![0], ..good.clone() }));
    assert!(refused(&Batch { x: Tensor::new(&[2, 1, 6, 24], good.x.to_f32()), ..good.clone() }));
    assert!(refused(&Batch { x: good.x.affine(2.0, 0.0), ..good.clone() }));
    assert!(refused(&Batch { x: good.x.affine(f64::NAN, 0.0), ..good }));
    for p in [
        PgdParams { steps: 0, ..PgdParams::default() },
        PgdParams { step_size: Some(f64::NAN), ..PgdParams::default() },
        PgdParams { restarts: 0, ..PgdParams::default() },
    ] {
        assert!(p.check().is_err());
    }
}

fn dataset(n: usize) -> Dataset {
    let pixels = (0..n * 144).map(|i| ((i * 31 + i / 7) % 256) as u8).collect();
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    Dataset::new("toy", Split::Test, classes, [1, 12, 12], pixels, (0..n).map(|i| i % 4).collect()).unwrap()
}

/// A suite stopped after any block, with the last line of its state cut short, ends like one that was not stopped.
#[test]
fn suites_resume_to_the_same_result() {
    let (net, data, threat) = (cnn(), dataset(150), threat(Norm::Linf));
    let entries = suite("quick", &net).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.jsonl");
    let job = |model_sha256| Job { net: &net, model_sha256, data: &data, threat: &threat, seed: 3 };
    let run = |state: Option<&std::path::Path>| run_suite(&entries, &job("model"), state, &mut |_, _, _| {});
    let whole = run(None).unwrap();
    run(Some(&path)).unwrap();
    let lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1 + 150usize.div_ceil(64));
    for kept in 0..lines.len() {
        let torn = &lines[kept][..lines[kept].len() / 2];
        std::fs::write(&path, lines[..kept].iter().map(|l| format!("{l}\n")).collect::<String>() + torn).unwrap();
        assert_eq!(run(Some(&path)).unwrap().examples, whole.examples, "{kept} lines kept");
    }
    let other = run_suite(&entries, &job("another model"), Some(&path), &mut |_, _, _| {});
    assert!(other.is_err(), "the state of another model was accepted");
}
