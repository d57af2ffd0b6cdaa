//! Mutants of files, each from its number and a seed alone. A mutant is read. Where it is accepted
//! and small, it is compiled and run once, with the gradient.
//!
//! `FGMF_FUZZ_MUTANTS` says how many (some thousand without it). `FGMF_FUZZ_SEED` sets the seed.
//! `FGMF_FUZZ_ONLY` makes one mutant again, by number.

use super::damage::{Dice, mutate};
use super::proto::*;
use super::{FIXTURES, path};
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Network, Precision, Rules, Session, Tensor, onnx};
use prost::Message;
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

const MUTANTS: u64 = 12_000;
const SEED: u64 = 20_261_127;
/// Numbers that a mutant may hold, and multiplications, to be run.
const SMALL: usize = 1 << 20;
const CHEAP: u64 = 1 << 27;

/// Operators of one or two inputs that a node may turn into.
const OPERATORS: [&str; 44] = [
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Gelu",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "HardSwish",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Neg",
    "Abs",
    "Reciprocal",
    "Round",
    "Identity",
    "Clip",
    "Min",
    "Max",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Gemm",
    "MatMul",
    "Softmax",
    "LogSoftmax",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Concat",
    "TopK",
];

/// Lists of sizes that operators look for.
const LISTS: [&str; 6] = [
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "perm",
    "axes",
];
const NUMBERS: [&str; 6] = ["axis", "group", "ceil_mode", "transA", "transB", "keepdims"];

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap(),
        Err(_) => default,
    }
}

/// Size of an axis, a pad, a position: small, so that most mutants fit somewhere.
fn size(dice: &mut Dice) -> i64 {
    [-2, -1, 0, 1, 1, 2, 2, 3, 4, 5, 8, 16][dice.below(12)]
}

fn attribute(dice: &mut Dice) -> AttributeProto {
    if dice.below(2) == 0 {
        return AttributeProto {
            name: NUMBERS[dice.below(6)].to_owned(),
            i: Some(size(dice)),
            r#type: kind::INT,
            ..Default::default()
        };
    }
    let len = [1, 2, 2, 3, 4, 4][dice.below(6)];
    AttributeProto {
        name: LISTS[dice.below(6)].to_owned(),
        ints: (0..len).map(|_| size(dice)).collect(),
        r#type: kind::INTS,
        ..Default::default()
    }
}

/// Changes that leave most of a graph sensible.
fn shift(graph: &mut GraphProto, dice: &mut Dice) {
    let nodes = graph.node.len();
    if nodes == 0 {
        return;
    }
    let at = dice.below(nodes);
    match dice.below(7) {
        0 => graph.node[at].op_type = OPERATORS[dice.below(OPERATORS.len())].to_owned(),
        1 => {
            let new = attribute(dice);
            let node = &mut graph.node[at];
            node.attribute.retain(|a| a.name != new.name);
            node.attribute.push(new);
        }
        // An operator between two others.
        2 | 3 => {
            let node = &mut graph.node[at];
            let Some(input) = node.input.first_mut().filter(|i| !i.is_empty()) else {
                return;
            };
            let name = format!("new{}", dice.below(1 << 30));
            let from = std::mem::replace(input, name.clone());
            let twice = dice.below(3) == 0;
            let new = NodeProto {
                op_type: OPERATORS[dice.below(OPERATORS.len())].to_owned(),
                input: vec![from; 1 + usize::from(twice)],
                output: vec![name],
                attribute: (0..dice.below(3)).map(|_| attribute(dice)).collect(),
                ..Default::default()
            };
            graph.node.insert(at, new);
        }
        // A stored array of small whole numbers: a shape, axes, positions.
        4 | 5 => {
            let whole: Vec<usize> = (0..graph.initializer.len())
                .filter(|&i| graph.initializer[i].data_type == dtype::INT64)
                .collect();
            if let Some(&i) = dice.of(&whole) {
                let t = &mut graph.initializer[i];
                let len = t.raw_data.len() / 8;
                if len > 0 {
                    let slot = dice.below(len) * 8;
                    t.raw_data[slot..slot + 8].copy_from_slice(&size(dice).to_le_bytes());
                }
            }
        }
        // A node left out.
        _ => {
            let node = graph.node[at].clone();
            if let (Some(from), Some(to)) = (node.input.first(), node.output.first()) {
                for input in graph.node.iter_mut().flat_map(|n| &mut n.input) {
                    if input == to {
                        input.clone_from(from);
                    }
                }
                graph.node.remove(at);
            }
        }
    }
}

/// Mutant `number` of a seed.
fn mutant(originals: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut dice = Dice(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // The first numbers of neighbours are alike.
    (0..4).for_each(|_| _ = dice.below(2));
    let original = &originals[dice.below(originals.len())];
    let mut model = ModelProto::decode(original.as_slice()).unwrap();
    for _ in 0..=dice.below(4) {
        match &mut model.graph {
            Some(graph) if dice.below(4) > 0 => shift(graph, &mut dice),
            _ => mutate(&mut model, &mut dice),
        }
    }
    let mut bytes = model.encode_to_vec();
    if dice.below(8) == 0 {
        for _ in 0..=dice.below(3) {
            let (at, bit) = (dice.below(bytes.len().min(4000)), dice.below(8));
            bytes[at] ^= 1 << bit;
        }
    }
    bytes
}

fn is_small(net: &Network) -> bool {
    net.numbers_per_image() < SMALL && net.stored_numbers() < SMALL && net.flops() < CHEAP
}

/// Whether the mutant was read, and whether it ran.
fn exercise(bytes: &[u8], images: usize) -> [bool; 2] {
    let Ok(net) = onnx::from_bytes(bytes) else {
        return [false; 2];
    };
    if !is_small(&net) {
        return [true, false];
    }
    let [c, h, w] = net.image_shape();
    let pixels = (0..images * c * h * w).map(|i| (i * 37 % 101) as f32 / 101.0);
    let x = Tensor::new(&[images, c, h, w], pixels.collect::<Vec<f32>>());
    let session = Session::new(net);
    let head = CrossEntropy::labels(&vec![0; images]);
    let at = [session.input()];
    let found = session
        .loss_gradients(&x, &head, &at, &Rules::exact())
        .unwrap();
    assert_eq!(found.gradients[0].shape(), x.shape());
    assert_eq!(found.logits.precision(), Precision::F32);
    [true, true]
}

#[test]
fn mutants_are_refused_or_run() {
    let hostile = ["panic_flatten_then_unary", "panic_attention_merged_batch"];
    let hostile = hostile.map(|name| path(&format!("../hostile/{name}.onnx")));
    let fixtures = FIXTURES.map(|name| path(&format!("{name}.onnx")));
    let originals: Vec<Vec<u8>> = fixtures
        .iter()
        .chain(&hostile)
        .map(|p| std::fs::read(p).unwrap())
        .collect();
    let seed = number("FGMF_FUZZ_SEED", SEED);
    let only = std::env::var("FGMF_FUZZ_ONLY").map(|text| text.parse::<u64>().unwrap());
    let numbers = match only {
        Ok(one) => one..one + 1,
        Err(_) => 0..number("FGMF_FUZZ_MUTANTS", MUTANTS),
    };
    let judged: Vec<(u64, Option<[bool; 2]>)> = numbers
        .into_par_iter()
        .map(|i| {
            let bytes = mutant(&originals, seed, i);
            let images = 1 + (i % 2) as usize;
            let run = AssertUnwindSafe(|| exercise(&bytes, images));
            (i, catch_unwind(run).ok())
        })
        .collect();
    let panicked: Vec<u64> = judged
        .iter()
        .filter_map(|(i, found)| found.is_none().then_some(*i))
        .collect();
    let [read, run] = [0, 1].map(|k| judged.iter().filter(|j| j.1.is_some_and(|f| f[k])).count());
    println!("{} mutants, {read} read, {run} run", judged.len());
    assert!(
        panicked.is_empty(),
        "mutants {panicked:?} of seed {seed} panicked: make one again with FGMF_FUZZ_ONLY"
    );
    assert!(only.is_ok() || run * 10 > judged.len(), "few mutants run");
}
