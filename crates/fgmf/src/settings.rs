//! Settings of methods as JSON.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Settings from JSON; an error names what is wrong.
pub(crate) fn read<P: DeserializeOwned>(parameters: Value) -> Result<P> {
    let shown = parameters.to_string();
    if !parameters.is_object() {
        return Err(Error::parameter(
            "parameters",
            "an object of settings by name",
            shown,
        ));
    }
    serde_json::from_value(parameters).map_err(|e| {
        Error::parameter(
            "parameters",
            format!("the settings of the method by name ({e})"),
            shown,
        )
    })
}

/// [`read`], where what is left out is as in `base`.
pub(crate) fn read_over<P: Serialize + DeserializeOwned>(base: &P, given: Value) -> Result<P> {
    let mut all = serde_json::json!(base);
    match (all.as_object_mut(), given) {
        (Some(fields), Value::Object(given)) => fields.extend(given),
        (_, given) => {
            return Err(Error::parameter(
                "parameters",
                "an object of settings by name",
                given,
            ));
        }
    }
    read(all)
}

/// Checks the settings of a method that has none.
pub(crate) fn nothing(given: Value) -> Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    read::<Nothing>(given).map(|Nothing {}| ())
}

/// JSON whose objects keep the order of their fields. [`Value`] sorts them, and a record must have
/// them in the order of the struct that they came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ordered {
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
    Plain(Value),
}

impl Ordered {
    /// What serde writes for these settings.
    pub(crate) fn of(settings: &impl Serialize) -> Result<Self> {
        let cannot = |e: serde_json::Error| Error::mismatch("settings", "JSON", e);
        let text = serde_json::to_string(settings).map_err(cannot)?;
        serde_json::from_str(&text).map_err(cannot)
    }
}

/// All settings of a method, those that are left out with their defaults.
pub(crate) fn complete<P: Serialize + DeserializeOwned>(given: Value) -> Result<Ordered> {
    Ordered::of(&read::<P>(given)?)
}

impl Serialize for Ordered {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Object(fields) => to.collect_map(fields.iter().map(|(name, v)| (name, v))),
            Self::List(values) => to.collect_seq(values),
            Self::Plain(value) => value.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> serde::de::Visitor<'de> for Reader {
    type Value = Ordered;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Ordered, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Ordered::Object(fields))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Ordered, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Ordered::List(values))
    }

    fn visit_unit<E>(self) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(Value::Null))
    }

    fn visit_bool<E>(self, v: bool) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(v.into()))
    }

    fn visit_str<E>(self, v: &str) -> std::result::Result<Ordered, E> {
        Ok(Ordered::Plain(v.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_numbers_their_digits() {
        let text = r#"{"z":1,"a":{"y":0.1,"b":[1.0,-2,null,true,"x"]},"m":1e-300}"#;
        let ordered: Ordered = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&ordered).unwrap(), text);
    }
}
