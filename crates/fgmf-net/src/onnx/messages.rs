//! Attributes as messages, made from values.

use super::proto::{AttributeProto, kind};

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind::INT,
        i: Some(value),
        ..Default::default()
    }
}

pub(super) fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind::FLOAT,
        f: Some(value as f32),
        ..Default::default()
    }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind::INTS,
        ints: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: kind::STRING,
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}
