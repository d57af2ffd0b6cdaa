//! Typed access to the attributes of a node.

use super::proto::{AttributeProto, TensorProto, kind};

/// Longest list of axes, sizes or pads that a node may have.
pub(super) const MOST_AXES: usize = 16;

/// Attributes of one node. Errors name the attribute.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [AttributeProto]);

impl<'a> Attributes<'a> {
    pub(super) fn find(self, name: &str) -> Option<&'a AttributeProto> {
        self.0.iter().find(|a| a.name == name)
    }

    fn typed<T>(
        self,
        name: &str,
        expected: &str,
        get: impl Fn(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let found = self.find(name).map(|a| {
            get(a).ok_or_else(|| {
                format!(
                    "expected attribute `{name}` to hold {expected}, found another type ({})",
                    a.r#type
                )
            })
        });
        found.transpose()
    }

    pub(super) fn int(self, name: &str) -> Result<Option<i64>, String> {
        self.typed(name, "an integer", |a| {
            a.i.or((a.r#type == kind::INT).then_some(0))
        })
    }

    pub(super) fn int_or(self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub(super) fn flag(self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int_or(name, i64::from(default))? != 0)
    }

    pub(super) fn float_or(self, name: &str, default: f64) -> Result<f64, String> {
        let found = self.typed(name, "a number", |a| {
            a.f.or((a.r#type == kind::FLOAT).then_some(0.0))
        })?;
        Ok(found.map_or(default, widen))
    }

    pub(super) fn string_or(self, name: &str, default: &'a str) -> Result<&'a str, String> {
        let text = |a: &'a AttributeProto| {
            std::str::from_utf8(
                a.s.as_deref()
                    .or((a.r#type == kind::STRING).then_some(b""))?,
            )
            .ok()
        };
        Ok(self.typed(name, "text", text)?.unwrap_or(default))
    }

    /// A list with one entry or a few per axis.
    pub(super) fn ints(self, name: &str) -> Result<Option<Vec<i64>>, String> {
        let list = |a: &'a AttributeProto| {
            (!a.ints.is_empty() || a.r#type == kind::INTS).then(|| a.ints.clone())
        };
        let found = self.typed(name, "a list of integers", list)?;
        found.map(|list| short(name, list)).transpose()
    }

    pub(super) fn tensor(self, name: &str) -> Result<Option<&'a TensorProto>, String> {
        self.typed(name, "an array", |a| a.t.as_ref())
    }

    /// Two positive or zero integers, for rows and columns.
    pub(super) fn pair(self, name: &str, default: [usize; 2]) -> Result<[usize; 2], String> {
        match self.ints(name)? {
            None => Ok(default),
            Some(list) => two(name, &list),
        }
    }

    /// An error unless the attribute is absent or has its harmless value.
    pub(super) fn require(self, name: &str, only: i64) -> Result<(), String> {
        match self.int_or(name, only)? {
            v if v == only => Ok(()),
            v => Err(format!(
                "expected attribute `{name}` to be {only}, found {v}"
            )),
        }
    }
}

/// The list, unless it is longer than any sensible number of axes.
pub(super) fn short(what: &str, list: Vec<i64>) -> Result<Vec<i64>, String> {
    if list.len() <= MOST_AXES {
        return Ok(list);
    }
    Err(format!(
        "expected at most {MOST_AXES} entries in `{what}`, found {}",
        list.len()
    ))
}

/// Exactly two numbers that are not negative.
pub(super) fn two(name: &str, list: &[i64]) -> Result<[usize; 2], String> {
    match list {
        [a, b] => match (usize::try_from(*a), usize::try_from(*b)) {
            (Ok(a), Ok(b)) => Ok([a, b]),
            _ => Err(format!(
                "expected numbers that are not negative in `{name}`, found {list:?}"
            )),
        },
        _ => Err(format!(
            "expected 2 spatial axes in `{name}`, found {} (only 2-D operators are supported)",
            list.len()
        )),
    }
}

/// The shortest decimal that means this number, at double precision, so that 0.9 written in single
/// precision reads as 0.9.
pub(super) fn widen(v: f32) -> f64 {
    let decimal = v.to_string().parse::<f64>().unwrap_or(f64::NAN);
    if (decimal as f32).to_bits() == v.to_bits() {
        decimal
    } else {
        f64::from(v)
    }
}
