//! The list of objectives, and an objective chosen with its settings.

use crate::error::{Error, Result};
use crate::method::{Family, List};
use crate::settings::Ordered;
use crate::train::base::{Objective, ObjectiveBuild};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// All objectives; the build script writes the list.
pub(crate) static LIST: List<ObjectiveBuild> = List::new(
    Family::Objective,
    "objective",
    include!(concat!(env!("OUT_DIR"), "/train.rs")),
);

/// The setting that holds an objective inside another.
const INNER: &str = "inner";

/// Ids of all objectives, for [`ObjectiveConfig::parse`].
pub fn ids() -> Vec<&'static str> {
    LIST.ids()
}

/// Which objective, with all its settings. In JSON it is one object: the id as `name`, and the
/// settings beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveConfig {
    name: &'static str,
    settings: Vec<(String, Ordered)>,
}

impl ObjectiveConfig {
    /// The objective of that id with these settings; what is left out has its default. Ranges are
    /// checked by [`ObjectiveConfig::check`].
    pub fn new(id: &str, settings: &impl Serialize) -> Result<Self> {
        let method = LIST.find(id)?;
        let found = (method.build.complete)(json!(settings))?;
        let mut settings = match found {
            Ordered::Object(fields) => fields,
            other => {
                return Err(Error::mismatch(
                    "settings",
                    "an object",
                    format!("{other:?}"),
                ));
            }
        };
        // An objective inside another is told with all its settings too.
        for (_, inner) in settings.iter_mut().filter(|(name, _)| name == INNER) {
            *inner = Ordered::of(&Self::inside(inner)?)?;
        }
        Ok(Self {
            name: method.id,
            settings,
        })
    }

    /// The objective of that id with its default settings.
    pub fn parse(id: &str) -> Result<Self> {
        Self::new(id, &json!({}))
    }

    /// Its id.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its id, and that of the objective inside it: `ibp around scor-pio`.
    pub fn title(&self) -> String {
        let inner = self.settings.iter().find(|(name, _)| name == INNER);
        match inner.and_then(|(_, inner)| Self::inside(inner).ok()) {
            Some(inner) => format!("{} around {}", self.name, inner.title()),
            None => self.name.to_owned(),
        }
    }

    /// Share of a run over which the radius grows, where nothing else is asked for. Bounds are
    /// looser than what an attack finds, and the network needs longer to follow them: at 0.2 `ibp`
    /// left cnn-tiny 2.8 points behind 0.5.
    pub fn eps_warmup(&self) -> f64 {
        if self.name == "ibp" { 0.5 } else { 0.2 }
    }

    /// Whether the objective has a setting of that name.
    pub fn has(&self, field: &str) -> bool {
        self.settings.iter().any(|(name, _)| name == field)
    }

    /// The objective with one setting changed. An error if it has none of that name.
    pub fn with(&self, field: &str, value: impl Serialize) -> Result<Self> {
        let mut settings = self.values();
        settings.insert(field.to_owned(), json!(value));
        Self::new(self.name, &settings)
    }

    /// The checked objective.
    pub fn check(&self) -> Result<Box<dyn Objective>> {
        let mut made = (LIST.find(self.name)?.build.make)(Value::Object(self.values()))?;
        if let Some((_, inner)) = self.settings.iter().find(|(name, _)| name == INNER) {
            made.take(Self::inside(inner)?.check()?)?;
        }
        Ok(made)
    }

    /// The objective that the setting `inner` names.
    fn inside(inner: &Ordered) -> Result<Self> {
        let given = json!(inner);
        Self::deserialize(&given).map_err(|e| {
            let expected = format!("an objective: its `name`, and its settings beside it ({e})");
            Error::parameter(INNER, expected, &given)
        })
    }

    fn values(&self) -> serde_json::Map<String, Value> {
        let one = |(name, v): &(String, Ordered)| (name.clone(), json!(v));
        self.settings.iter().map(one).collect()
    }
}

impl Serialize for ObjectiveConfig {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1 + self.settings.len()))?;
        map.serialize_entry("name", self.name)?;
        for (name, value) in &self.settings {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ObjectiveConfig {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut fields = serde_json::Map::<String, Value>::deserialize(from)?;
        let name = fields.remove("name");
        let name = name.as_ref().and_then(Value::as_str);
        let name = name.ok_or_else(|| D::Error::missing_field("name"))?;
        Self::new(name, &fields).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that the enum of earlier versions wrote, field by field.
    #[test]
    fn json_is_what_it_was() {
        let texts = [
            r#"{"name":"standard"}"#,
            r#"{"name":"pgd-at","steps":7,"step_size":0.25}"#,
            r#"{"name":"distillation","temperature":20.0,"teacher":null,"teacher_sha256":null}"#,
            concat!(
                r#"{"name":"scor-pio","steps":1,"persistent":true,"gamma":0.5,"recycle":0.5,"#,
                r#""curvature":0.0,"#,
                r#""salience":{"by":"integrated-gradients","share":0.2,"steps":8,"refresh":5}}"#
            ),
        ];
        for text in texts {
            let read: ObjectiveConfig = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!(read, ObjectiveConfig::parse(read.name()).unwrap());
        }
    }

    #[test]
    fn an_objective_inside_another_is_completed_and_checked() {
        let text = r#"{"name":"awp","inner":{"name":"trades","steps":3},"gamma":0.01}"#;
        let read: ObjectiveConfig = serde_json::from_str(text).unwrap();
        let full = concat!(
            r#"{"name":"awp","inner":{"name":"trades","beta":6.0,"steps":3,"step_size":0.25},"#,
            r#""gamma":0.01}"#
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), full);
        assert!(read.check().unwrap().attacked().is_some());
        assert_eq!(read.title(), "awp around trades");
        let wrong = |inner: Value| {
            let config = ObjectiveConfig::new("awp", &json!({ "inner": inner }));
            config
                .and_then(|c| c.check().map(|_| ()))
                .unwrap_err()
                .to_string()
        };
        for inner in [
            json!("pgd-at"),
            json!({}),
            json!({"name": "magic"}),
            json!({"name": "standard"}),
        ] {
            let told = wrong(inner.clone());
            assert!(told.contains("`inner`"), "{inner}: {told}");
        }
        assert!(wrong(json!({"name": "trades", "steps": 0})).contains("`steps`"));
    }

    #[test]
    fn settings_are_set_by_name_or_refused() {
        let base = ObjectiveConfig::parse("pgd-at").unwrap();
        let changed = base.with("steps", 3).unwrap();
        let text = serde_json::to_string(&changed).unwrap();
        assert_eq!(text, r#"{"name":"pgd-at","steps":3,"step_size":0.25}"#);
        assert!(base.has("steps") && !base.has("teacher"));
        assert!(base.with("teacher", "x.onnx").is_err());
        assert!(base.with("steps", 0).unwrap().check().is_err());
        for wrong in [
            r#"{"steps":3}"#,
            r#"{"name":"magic"}"#,
            r#"{"name":"pgd-at","stepz":3}"#,
            r#"{"name":"standard","steps":3}"#,
        ] {
            assert!(
                serde_json::from_str::<ObjectiveConfig>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
