//! Models of a few nodes, made by hand.

use super::proto::*;
use prost::Message;

/// A float array of the shape, with distinct small numbers.
pub(super) fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let n: i64 = dims.iter().product();
    floats(
        name,
        dims,
        &(0..n)
            .map(|i| ((i * 37 + 11) % 23) as f32 / 23.0 - 0.4)
            .collect::<Vec<_>>(),
    )
}

pub(super) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: dtype::FLOAT,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn ints(name: &str, values: &[i64]) -> TensorProto {
    let dims = vec![values.len() as i64];
    TensorProto {
        name: name.to_owned(),
        dims,
        data_type: dtype::INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        r#type: kind::INT,
        ..Default::default()
    }
}

pub(super) fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        r#type: kind::INTS,
        ..Default::default()
    }
}

pub(super) fn text_attribute(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: Some(value.as_bytes().to_vec()),
        r#type: kind::STRING,
        ..Default::default()
    }
}

/// `Operator a b -> y z`.
pub(super) fn node(line: &str) -> NodeProto {
    let (left, right) = line.split_once("->").unwrap();
    let mut words = left.split_whitespace().map(str::to_owned);
    let op_type = words.next().unwrap();
    let input = words
        .map(|w| if w == "_" { String::new() } else { w })
        .collect();
    NodeProto {
        op_type,
        input,
        output: right.split_whitespace().map(str::to_owned).collect(),
        ..Default::default()
    }
}

pub(super) fn with(line: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        attribute,
        ..node(line)
    }
}

fn dimension(d: i64) -> DimensionProto {
    DimensionProto {
        value: Some(if d == 0 {
            Size::Param("n".to_owned())
        } else {
            Size::Value(d)
        }),
    }
}

/// A float value; size 0 means a free axis.
pub(super) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let shape = Some(TensorShapeProto {
        dim: dims.iter().map(|&d| dimension(d)).collect(),
    });
    let tensor_type = Some(TensorTypeProto {
        elem_type: dtype::FLOAT,
        shape,
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type }),
    }
}

/// A model of images `x [n, 2, 4, 6]` that returns `y`.
pub(super) fn model(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto {
        node,
        initializer,
        name: "tiny".to_owned(),
        input: vec![value("x", &[0, 2, 4, 6])],
        output: vec![value("y", &[0, 3])],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto {
        domain: String::new(),
        version: Some(18),
    }];
    ModelProto {
        ir_version: Some(8),
        opset_import,
        graph: Some(graph),
        ..Default::default()
    }
}

/// A model that ends in the mean over `f`'s spatial axes and a dense layer to 3 classes; `f` has 2
/// channels.
pub(super) fn classifier(mut nodes: Vec<NodeProto>, mut stored: Vec<TensorProto>) -> ModelProto {
    nodes.extend([
        node("GlobalAveragePool f -> pooled"),
        node("Flatten pooled -> flat"),
        node("Gemm flat head -> y"),
    ]);
    stored.push(weight("head", &[2, 3]));
    model(nodes, stored)
}

pub(super) fn bytes(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
