//! The list of metrics: ids, and how each is made from its settings.

use crate::error::{Error, Result};
use crate::method::{Family, List};
use crate::metric::base::{Metric, MetricBuild};
use crate::metric::parts::info::{Figure, Info};

/// All metrics; the build script writes the list.
pub(crate) static LIST: List<MetricBuild> = List::new(
    Family::Metric,
    "metrics",
    include!(concat!(env!("OUT_DIR"), "/metric.rs")),
);

/// All metrics as data: those of a family together, by id.
pub fn infos() -> Vec<&'static Info> {
    let mut all: Vec<&Info> = LIST.methods().iter().map(|m| m.build.info).collect();
    all.sort_by_key(|i| i.family);
    all
}

/// The metric of that id, with default parameters. `map-shift` has none: the evaluation adds it
/// where there are two inputs.
pub fn by_id(id: &str) -> Option<Box<dyn Metric>> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The metric of that id with these parameters, by name as in [`Metric::parameters`]; what is left
/// out has its default.
///
/// An error names an unknown metric, an unknown parameter, or one out of range.
pub fn with_parameters(id: &str, parameters: serde_json::Value) -> Result<Box<dyn Metric>> {
    let unknown = || Error::parameter("metrics", ids().join(", "), id);
    let mut methods = LIST.methods().into_iter().filter(|m| m.id == id);
    let make = methods.find_map(|m| m.build.make).ok_or_else(unknown)?;
    make(parameters)
}

/// Ids that [`by_id`] knows: those of a family together, by id.
pub fn ids() -> Vec<&'static str> {
    let methods = LIST.methods();
    let made = |i: &&Info| {
        methods
            .iter()
            .any(|m| m.id == i.id && m.build.make.is_some())
    };
    infos().into_iter().filter(made).map(|i| i.id).collect()
}

/// `docs/metrics.md`: the list as Markdown.
pub fn table() -> String {
    fn name(v: &impl serde::Serialize) -> String {
        serde_json::json!(v).as_str().unwrap_or_default().to_owned()
    }
    let bound = |v: f64| match v {
        f64::INFINITY => "∞".into(),
        f64::NEG_INFINITY => "−∞".into(),
        v => v.to_string(),
    };
    let row = |info: &Info, figure: &Figure| {
        let needs: Vec<String> = info.needs.iter().map(name).collect();
        format!(
            "| [`{0}`](methods/{0}.md) | {1} | `{2}` | {3} | {4} to {5} | {6} | `{7}` |\n",
            info.id,
            name(&info.family),
            figure.id,
            name(&figure.better),
            bound(figure.range[0]),
            bound(figure.range[1]),
            if needs.is_empty() {
                "–".into()
            } else {
                needs.join(", ")
            },
            info.reference
        )
    };
    let rows: String = infos()
        .into_iter()
        .flat_map(|i| i.figures.iter().map(|f| row(i, f)))
        .collect();
    format!(
        "# Metrics of explanations\n\nGenerated from the list of \
            metrics, as `docs/methods/` is. A metric gives one or more \
            figures for each example; `needs` is what it asks for besides images, maps and scores \
            of the model.\n\n| metric | family | figure | better | range | needs | reference |\n| \
            --- | --- | --- | --- | --- | --- | --- |\n{rows}"
    )
}
