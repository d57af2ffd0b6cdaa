//! Defences that hide what the classes show, without a mark that an evaluator could know: attackers
//! who read inner values find it. `experiments/planted/trial.py` has more kinds.

use fgmf::data::{Dataset, Split, load};
use fgmf::defend::{cuts, fronts, read_at};
use fgmf::study::{SuiteJob, SuiteOutcome, run_suite, suite};
use fgmf::threat::{Norm, ThreatModel};
use fgmf::verdict::Level;
use fgmf_net::op::{
    Binary, Flatten, MaxPool, Op, Reduce, ReduceKind, Softmax, Unary, Unsqueeze, Window,
};
use fgmf_net::{Builder, Network, Session, Tensor, ValueId, onnx};
use std::path::Path;

const N: usize = 32;

fn standard() -> Network {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autoattack");
    onnx::read(&fixtures.join("standard.onnx")).unwrap()
}

fn data() -> Dataset {
    let mut data = load("fashion-mnist-mini", Split::Test).unwrap();
    data.truncate(N).unwrap();
    data
}

/// A graph in the making.
struct Maker(Builder);

impl Maker {
    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.0.fresh("made");
        self.0.node(&name, op, inputs).unwrap()
    }

    fn with(&mut self, op: Binary, value: ValueId, number: f32) -> ValueId {
        let name = self.0.fresh("number");
        let number = Tensor::new::<f32>(&[1], vec![number]);
        let number = self.0.parameter(&name, number, false).unwrap();
        self.op(Op::Binary(op), &[value, number])
    }

    /// min(max(slope v + ½, 0), 1): a steep ramp in the place of a step.
    fn step(&mut self, value: ValueId, slope: f32) -> ValueId {
        let steep = self.with(Binary::Mul, value, slope);
        let moved = self.with(Binary::Add, steep, 0.5);
        self.op(Op::Unary(Unary::Clip { min: 0.0, max: 1.0 }), &[moved])
    }
}

/// The standard network between a front and a tail.
fn made(
    tail: impl Fn(&mut Maker, ValueId) -> ValueId,
    front: impl Fn(&mut Maker, ValueId) -> ValueId,
) -> Session {
    let net = standard();
    let mut m = Maker(Builder::new("hidden", "image", net.image_shape()).unwrap());
    let input = m.0.input();
    let image = front(&mut m, input);
    let logits = net.graft(&mut m.0, image).unwrap();
    let out = tail(&mut m, logits);
    Session::new(m.0.finish(out).unwrap())
}

fn nothing(_: &mut Maker, value: ValueId) -> ValueId {
    value
}

/// Eight levels by steep ramps.
fn ramps(m: &mut Maker, input: ValueId) -> ValueId {
    let ramp = |m: &mut Maker, k: usize| {
        let moved = m.with(Binary::Sub, input, (k as f32 + 0.5) / 7.0);
        m.step(moved, 1e3)
    };
    let mut sum = ramp(m, 0);
    for k in 1..7 {
        let next = ramp(m, k);
        sum = m.op(Op::Binary(Binary::Add), &[sum, next]);
    }
    m.with(Binary::Mul, sum, 1.0 / 7.0)
}

/// The largest value of each window of 3 by 3, and of these the smallest: dark spots close.
fn closing(m: &mut Maker, input: ValueId) -> ValueId {
    let window = Window {
        stride: [1, 1],
        pads: [1; 4],
        ..Window::square(3)
    };
    let up = m.op(Op::MaxPool(MaxPool(window.clone())), &[input]);
    let turned = m.op(Op::Unary(Unary::Neg), &[up]);
    let down = m.op(Op::MaxPool(MaxPool(window)), &[turned]);
    m.op(Op::Unary(Unary::Neg), &[down])
}

/// How many other scores each score is above: constant almost everywhere, the same class.
fn ranks(m: &mut Maker, z: ValueId) -> ValueId {
    let rows = m.op(Op::Unsqueeze(Unsqueeze { axes: vec![2] }), &[z]);
    let columns = m.op(Op::Unsqueeze(Unsqueeze { axes: vec![1] }), &[z]);
    let gaps = m.op(Op::Binary(Binary::Sub), &[rows, columns]);
    let above = m.step(gaps, 1e5);
    let sum = Reduce {
        kind: ReduceKind::Sum,
        axes: vec![2],
        keep: false,
    };
    m.op(Op::Reduce(sum), &[above])
}

fn attacked(net: &Session, names: &str) -> SuiteOutcome {
    let (data, threat) = (
        data(),
        ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap(),
    );
    let job = SuiteJob {
        net,
        model_sha256: "of a test",
        data: &data,
        threat: &threat,
        seed: 0,
        cap: usize::MAX,
    };
    let entries = suite(names, net, Norm::Linf).unwrap();
    run_suite(&entries, &job, None, &mut |_, _, _| {}).unwrap()
}

/// Ranked scores, behind the network alone and with ramps in front of it as well: gradients break
/// nearly nothing, the readout breaks what breaks the network without the defence, and the verdict
/// says so.
#[test]
fn readouts_see_behind_ranks_and_ramps() {
    let bare = attacked(&made(nothing, nothing), "apgd-ce");
    let twin = bare.overall().count;
    assert!(twin <= N / 8, "the twin falls: {twin}");
    for (front, net) in [
        ("none", made(ranks, nothing)),
        ("ramps", made(ranks, ramps)),
    ] {
        let outcome = attacked(&net, "apgd-ce,apgd-ce-readout");
        let [own, read] = &outcome.rows[..2] else {
            panic!("two rows");
        };
        assert!(own.broken <= N / 8, "gradients are flat: {}", own.broken);
        assert!(
            read.robust_accuracy * N as f64 <= twin as f64 + 2.0,
            "front {front}: {} left, {twin} of the twin",
            read.robust_accuracy
        );
        let flags: Vec<&str> = outcome
            .verdict
            .flags
            .iter()
            .map(|f| f.id.as_str())
            .collect();
        assert!(flags.contains(&"readout-beats-plain"), "{flags:?}");
        assert_eq!(outcome.verdict.level, Level::Masked);
    }
}

/// Closing hides nothing. Its gradient is not that of the loss at an image with a black ground,
/// where many pixels are equal: a kink there is no contradiction beside it.
#[test]
fn an_honest_filter_is_no_alarm() {
    let outcome = attacked(&made(nothing, closing), "apgd-ce,square");
    let verdict = outcome.verdict;
    assert!(verdict.checks.iter().any(|c| c == "gradient-contradicted"));
    assert_eq!(verdict.level, Level::Trustworthy, "{:?}", verdict.flags);
}

/// log(softmax(30 z) + 10⁻⁶) has no slope in single precision where the network is sure, and a
/// small one in double precision.
#[test]
fn double_precision_follows_what_single_precision_loses() {
    let squashed = |m: &mut Maker, z: ValueId| {
        let sharp = m.with(Binary::Mul, z, 30.0);
        let p = m.op(
            Op::Softmax(Softmax {
                axis: 1,
                log: false,
            }),
            &[sharp],
        );
        let above = m.with(Binary::Add, p, 1e-6);
        m.op(Op::Unary(Unary::Log), &[above])
    };
    let outcome = attacked(&made(squashed, nothing), "apgd-ce,apgd-ce-double");
    let [single, double] = &outcome.rows[..2] else {
        panic!("two rows");
    };
    assert!(
        double.broken >= 4,
        "{} after {}",
        double.broken,
        single.broken
    );
    assert_eq!(double.params["mask"], "double");
}

/// The cuts of a plain network are its earlier layers: its output has nothing behind it. With a
/// defence behind, the first cut is what the network gave before.
#[test]
fn cuts_are_where_weights_end() {
    let names = |net: &Network| -> Vec<Vec<String>> {
        let name = |id: &ValueId| net.value(*id).name.clone();
        cuts(net)
            .iter()
            .map(|c| c.iter().map(name).collect())
            .collect()
    };
    let plain = made(nothing, nothing);
    assert_eq!(names(&plain), [["dense1"], ["conv2"]]);
    let hidden = made(ranks, ramps);
    assert_eq!(names(&hidden), [["logits"], ["dense1"]]);
    assert!(fronts(&plain).is_empty());
    assert_eq!(fronts(&hidden).len(), 1);
    // What is read are the values and their positive parts.
    let read = Session::new(read_at(&hidden, &cuts(&hidden)[0], None).unwrap());
    let x = Tensor::new::<f32>(&[2, 1, 28, 28], data().images(&[0, 1]).unwrap());
    let found = read.logits(&x).unwrap().to_f32();
    let id = hidden.find("logits").unwrap();
    let logits = hidden.values_at(&x, &[id]).unwrap().swap_remove(0).to_f32();
    for (row, z) in found.chunks_exact(20).zip(logits.chunks_exact(10)) {
        assert_eq!(&row[..10], z);
        let positive: Vec<f32> = z.iter().map(|z| z.max(0.0)).collect();
        assert_eq!(&row[10..], positive);
    }
}

/// A network without an inner value to read has no such attack, and says so.
#[test]
fn a_linear_network_has_nothing_to_read() {
    let mut m = Maker(Builder::new("linear", "image", [1, 2, 2]).unwrap());
    let image = m.0.input();
    let flat = m.op(Op::Flatten(Flatten { axis: 1 }), &[image]);
    let net = Session::new(m.0.finish(flat).unwrap());
    assert!(cuts(&net).is_empty());
    let refused = suite("apgd-ce-readout", &net, Norm::Linf);
    let words = refused.err().unwrap().to_string();
    assert!(words.contains("inner values"), "{words}");
    let adaptive = suite("adaptive", &net, Norm::Linf).unwrap();
    assert!(adaptive.iter().all(|e| e.knowledge.cut().is_none()));
}
