//! Damaged files: the reader answers with a network or an error, and a network that it returns
//! runs.

use super::path;
use super::proto::*;
use fgmf_net::op::{Mode, Op};
use fgmf_net::{Network, Session, Tensor, onnx};
use fgmf_testkit::corrupt::corruptions;
use prost::Message;

/// Runs one image, unless damage made the network big.
fn run_if_small(net: &Network) {
    let values: usize = net
        .values()
        .iter()
        .map(|v| {
            v.shape
                .iter()
                .map(|d| {
                    if let fgmf_net::Dim::Fixed(d) = d {
                        *d
                    } else {
                        1
                    }
                })
                .product::<usize>()
        })
        .sum();
    let windows = |op: &Op| match op {
        Op::MaxPool(p) => p.0.kernel.iter().product(),
        Op::AveragePool(p) => p.window.kernel.iter().product(),
        _ => 1,
    };
    let widest: usize = net
        .nodes()
        .iter()
        .map(|n| windows(&n.op))
        .max()
        .unwrap_or(1);
    if values < 1 << 22 && widest < 1 << 10 && net.flops() < 1 << 30 {
        let [c, h, w] = net.image_shape();
        let x = Tensor::full(&[1, c, h, w], 0.5, fgmf_net::Precision::F32);
        let session = Session::new(net.clone());
        session.logits(&x).unwrap();
        session.forward(&x.into(), Mode::Train).unwrap();
        onnx::to_bytes(net).unwrap();
    }
}

/// Number of damaged files that still read.
pub(super) fn bytes_of(seed: u64, count: usize) -> usize {
    let mut read = 0;
    for (i, name) in ["maths", "concat_resize", "vit_dynamo", "cnn_bn"]
        .iter()
        .enumerate()
    {
        let original = std::fs::read(path(&format!("{name}.onnx"))).unwrap();
        for (_, bytes) in corruptions(&original, seed + i as u64, count) {
            if let Ok(net) = onnx::from_bytes(&bytes) {
                run_if_small(&net);
                read += 1;
            }
        }
    }
    read
}

#[test]
fn damaged_bytes_do_not_panic() {
    assert!(bytes_of(1, 320) > 0);
}

const EXTREMES: [i64; 14] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    64,
    1 << 20,
    1 << 31,
    1 << 40,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];

/// A small generator: the sequence is the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }

    pub(super) fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() {
            None
        } else {
            Some(&list[self.below(list.len())])
        }
    }

    fn integer(&mut self) -> i64 {
        EXTREMES[self.below(EXTREMES.len())]
    }
}

fn mutate_array(t: &mut TensorProto, dice: &mut Dice) {
    match dice.below(6) {
        0 if !t.dims.is_empty() => {
            let at = dice.below(t.dims.len());
            t.dims[at] = dice.integer();
        }
        0 | 1 => t.dims.push(dice.integer()),
        2 => t.dims.reverse(),
        3 => t.data_type = dice.below(24) as i32,
        4 => t.raw_data.truncate(dice.below(t.raw_data.len() + 1)),
        // An integer of the array, if it is one of integers.
        _ if t.data_type == dtype::INT64 && t.raw_data.len() >= 8 => {
            let at = dice.below(t.raw_data.len() / 8) * 8;
            t.raw_data[at..at + 8].copy_from_slice(&dice.integer().to_le_bytes());
        }
        _ => (t.dims, t.raw_data, t.float_data) = (vec![], vec![], vec![1e30]),
    }
}

fn mutate_attribute(a: &mut AttributeProto, dice: &mut Dice) {
    match dice.below(4) {
        0 => a.i = Some(dice.integer()),
        1 if !a.ints.is_empty() => {
            let at = dice.below(a.ints.len());
            a.ints[at] = dice.integer();
        }
        1 => a.f = Some([f32::NAN, f32::INFINITY, -1.0, 0.0, 1e38][dice.below(5)]),
        2 => a.ints.push(dice.integer()),
        _ => match &mut a.t {
            Some(t) => mutate_array(t, dice),
            None => a.name.push('x'),
        },
    }
}

fn mutate_node(graph: &mut GraphProto, dice: &mut Dice) {
    let nodes = graph.node.len();
    let at = dice.below(nodes);
    let earlier: Vec<String> = graph.node[..at]
        .iter()
        .flat_map(|n| n.output.clone())
        .chain(graph.initializer.iter().map(|t| t.name.clone()))
        .chain(["input".to_owned(), String::new()])
        .collect();
    let operators: Vec<String> = graph.node.iter().map(|n| n.op_type.clone()).collect();
    let other = dice.below(nodes);
    let node = &mut graph.node[at];
    match dice.below(7) {
        0 | 1 if !node.input.is_empty() => {
            let slot = dice.below(node.input.len());
            node.input[slot] = dice.of(&earlier).cloned().unwrap_or_default();
        }
        0 | 1 => node
            .input
            .push(dice.of(&earlier).cloned().unwrap_or_default()),
        2 => node.op_type = dice.of(&operators).cloned().unwrap_or_default(),
        3 => node.input.truncate(dice.below(node.input.len() + 1)),
        4 => node
            .input
            .push(dice.of(&earlier).cloned().unwrap_or_default()),
        5 => node
            .attribute
            .truncate(dice.below(node.attribute.len() + 1)),
        _ => graph.node.swap(at, other),
    }
}

pub(super) fn mutate(model: &mut ModelProto, dice: &mut Dice) {
    let Some(graph) = model.graph.as_mut() else {
        return;
    };
    match dice.below(10) {
        0..=2 if !graph.initializer.is_empty() => {
            let at = dice.below(graph.initializer.len());
            mutate_array(&mut graph.initializer[at], dice);
        }
        0..=5 => {
            let with: Vec<usize> = (0..graph.node.len())
                .filter(|&i| !graph.node[i].attribute.is_empty())
                .collect();
            if let Some(&at) = dice.of(&with) {
                let attributes = &mut graph.node[at].attribute;
                let which = dice.below(attributes.len());
                mutate_attribute(&mut attributes[which], dice);
            }
        }
        9 => {
            let shape = graph.input[0]
                .r#type
                .as_mut()
                .and_then(|t| t.tensor_type.as_mut())
                .and_then(|t| t.shape.as_mut());
            if let Some(shape) = shape {
                let at = dice.below(shape.dim.len());
                shape.dim[at].value = Some(Size::Value(dice.integer()));
            }
        }
        _ => mutate_node(graph, dice),
    }
}

/// Number of damaged models that still read, and that are refused.
pub(super) fn messages(seed: u64, count: usize) -> (usize, usize) {
    let (mut read, mut refused) = (0, 0);
    for (i, name) in super::FIXTURES.iter().enumerate() {
        let original =
            ModelProto::decode(&*std::fs::read(path(&format!("{name}.onnx"))).unwrap()).unwrap();
        let mut dice = Dice(seed + i as u64);
        for _ in 0..count {
            let mut model = original.clone();
            for _ in 0..=dice.below(3) {
                mutate(&mut model, &mut dice);
            }
            match onnx::from_bytes(&model.encode_to_vec()) {
                Ok(net) => {
                    run_if_small(&net);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    (read, refused)
}

#[test]
fn damaged_messages_do_not_panic() {
    let (read, refused) = messages(1, 200);
    assert!(
        read > 100 && refused > 100,
        "{read} read, {refused} refused"
    );
}
