//! Small models as text.

use crate::onnx::proto::*;
use crate::onnx::tiny::{model, node, value, weight};

/// A model of images `x [n, 2, 4, 6]`, whose value `f` a dense layer turns into three logits.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Operator set.
    pub(super) set: i64,
    /// Numbers of `f` for one image.
    pub(super) size: i64,
    /// `Operator a b -> y | key=value …`, separated by `;`.
    pub(super) nodes: &'static str,
    /// `name:type:sizes=values`, separated by `;`; the types are f, i, b for truth values. Without
    /// values they are small and distinct.
    pub(super) stored: &'static str,
    /// Whether the gradient is that of the differences.
    pub(super) smooth: bool,
    /// The batch is fixed at this, 0 for free.
    pub(super) batch: i64,
}

/// A case with a free batch that has a gradient.
pub(super) const fn case(
    name: &'static str,
    set: i64,
    size: i64,
    nodes: &'static str,
    stored: &'static str,
) -> Case {
    Case {
        name,
        set,
        size,
        nodes,
        stored,
        smooth: true,
        batch: 0,
    }
}

impl Case {
    pub(super) fn model(&self) -> ModelProto {
        let mut nodes: Vec<NodeProto> = parts(self.nodes, ';').map(parsed).collect();
        nodes.extend([node("Flatten f -> flat"), node("MatMul flat head -> y")]);
        let mut stored: Vec<TensorProto> = parts(self.stored, ';').map(array).collect();
        stored.push(weight("head", &[self.size, 3]));
        let mut m = model(nodes, stored);
        m.opset_import[0].version = Some(self.set);
        let contrib = OperatorSetIdProto {
            domain: "com.microsoft".to_owned(),
            version: Some(1),
        };
        let graph = m.graph.as_mut().unwrap();
        if graph.node.iter().any(|n| !n.domain.is_empty()) {
            m.opset_import.push(contrib);
        }
        graph.input = vec![value("x", &[self.batch, 2, 4, 6])];
        graph.output = vec![value("y", &[self.batch, 3])];
        m
    }
}

fn parts(text: &str, by: char) -> impl Iterator<Item = &str> {
    text.split(by).map(str::trim).filter(|p| !p.is_empty())
}

fn parsed(line: &str) -> NodeProto {
    let (line, attributes) = line.split_once('|').unwrap_or((line, ""));
    let mut made = node(line);
    if let Some((domain, operator)) = made.op_type.clone().rsplit_once('.') {
        made.domain = domain.to_owned();
        made.op_type = operator.to_owned();
    }
    made.attribute = attributes.split_whitespace().map(attribute).collect();
    made
}

fn attribute(text: &str) -> AttributeProto {
    let (name, value) = text.split_once('=').unwrap();
    let mut a = AttributeProto {
        name: name.to_owned(),
        ..Default::default()
    };
    let list = value.strip_prefix('[').map(|v| v.trim_end_matches(']'));
    let float = |v: &str| v.contains('.');
    match (list, value.strip_prefix('\'')) {
        (Some(list), _) if float(list) => {
            (a.floats, a.r#type) = (parts(list, ',').map(|v| v.parse().unwrap()).collect(), 6)
        }
        (Some(list), _) => {
            a.ints = parts(list, ',').map(|v| v.parse().unwrap()).collect();
            a.r#type = kind::INTS;
        }
        (_, Some(text)) => {
            a.s = Some(text.trim_end_matches('\'').replace('~', " ").into_bytes());
            a.r#type = kind::STRING;
        }
        _ if float(value) => (a.f, a.r#type) = (Some(value.parse().unwrap()), kind::FLOAT),
        _ => (a.i, a.r#type) = (Some(value.parse().unwrap()), kind::INT),
    }
    a
}

fn array(text: &str) -> TensorProto {
    let (head, values) = text.split_once('=').unwrap_or((text, ""));
    let words: Vec<&str> = head.split(':').collect();
    let dims: Vec<i64> = parts(words[2], ',').map(|d| d.parse().unwrap()).collect();
    let mut t = weight(words[0], &dims);
    if !values.is_empty() {
        t.float_data = parts(values, ',').map(|v| v.parse().unwrap()).collect();
    }
    if words[1] == "f" {
        return t;
    }
    let numbers = std::mem::take(&mut t.float_data);
    match words[1] {
        "i" => {
            t.data_type = dtype::INT64;
            t.int64_data = numbers.iter().map(|&v| v as i64).collect();
        }
        "b" => {
            t.data_type = dtype::BOOL;
            t.int32_data = numbers.iter().map(|&v| v as i32).collect();
        }
        other => panic!("no type `{other}`"),
    }
    t
}
