//! The list of metrics: ids, and how each is made from its settings.

use crate::error::{Error, Result};
use crate::metric::attacked_stability::AttackedStabilityParams;
use crate::metric::base::Metric;
use crate::metric::certified_top_k::CertifiedTopKParams;
use crate::metric::criteria::CriteriaParams;
use crate::metric::deletion::Deletion;
use crate::metric::efficient_mprt::EfficientMprtParams;
use crate::metric::entropy::Entropy;
use crate::metric::faithfulness_correlation::FaithfulnessCorrelationParams;
use crate::metric::infidelity::InfidelityParams;
use crate::metric::insertion::Insertion;
use crate::metric::lerf_morf::LerfMinusMorf;
use crate::metric::max_sensitivity::MaxSensitivity;
use crate::metric::mosaic::MosaicParams;
use crate::metric::mprt::MprtParams;
use crate::metric::parts::info::{Figure, Info};
use crate::metric::relative_stability::RelativeStability;
use crate::metric::road::RoadParams;
use crate::metric::sensitivity_n::SensitivityNParams;
use crate::metric::smooth_mprt::SmoothMprtParams;
use crate::metric::sparseness::Sparseness;
use crate::metric::sufficiency::SufficiencyParams;
use crate::metric::{
    attacked_stability, certified_top_k, criteria, deletion, efficient_mprt, entropy,
    faithfulness_correlation, infidelity, insertion, lerf_morf, map_shift, max_sensitivity, mosaic,
    mprt, relative_stability, road, sensitivity_n, smooth_mprt, sparseness, sufficiency,
};
use crate::settings::{read, read_over};

/// All metrics as data, in the order of the documentation.
pub const INFOS: [&Info; 20] = [
    &deletion::INFO,
    &insertion::INFO,
    &lerf_morf::INFO,
    &road::INFO,
    &infidelity::INFO,
    &faithfulness_correlation::INFO,
    &sensitivity_n::INFO,
    &sufficiency::INFO,
    &attacked_stability::INFO,
    &map_shift::INFO,
    &max_sensitivity::INFO,
    &relative_stability::INFO,
    &sparseness::INFO,
    &entropy::INFO,
    &mosaic::INFO,
    &mprt::INFO,
    &smooth_mprt::INFO,
    &efficient_mprt::INFO,
    &criteria::INFO,
    &certified_top_k::INFO,
];

/// The metric of that id, with default parameters. `map-shift` has none: [`evaluate`] adds it where
/// there are two inputs.
pub fn by_id(id: &str) -> Option<Box<dyn Metric>> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The metric of that id with these parameters, by name as in [`Metric::parameters`]; what is left
/// out has its default.
///
/// An error names an unknown metric, an unknown parameter, or one out of range.
pub fn with_parameters(id: &str, parameters: serde_json::Value) -> Result<Box<dyn Metric>> {
    Ok(match id {
        "deletion" => Box::new(Deletion::new(read_over(&Deletion::DEFAULT, parameters)?)?),
        "insertion" => Box::new(Insertion::new(read_over(&Insertion::DEFAULT, parameters)?)?),
        "lerf-minus-morf" => Box::new(LerfMinusMorf::new(read_over(
            &LerfMinusMorf::DEFAULT,
            parameters,
        )?)?),
        "road" => Box::new(read::<RoadParams>(parameters)?.check()?),
        "infidelity" => Box::new(read::<InfidelityParams>(parameters)?.check()?),
        "faithfulness-correlation" => {
            Box::new(read::<FaithfulnessCorrelationParams>(parameters)?.check()?)
        }
        "sensitivity-n" => Box::new(read::<SensitivityNParams>(parameters)?.check()?),
        "sufficiency" => Box::new(read::<SufficiencyParams>(parameters)?.check()?),
        "attacked-stability" => Box::new(read::<AttackedStabilityParams>(parameters)?.check()?),
        "max-sensitivity" => Box::new(MaxSensitivity::new(read_over(
            &MaxSensitivity::DEFAULT,
            parameters,
        )?)?),
        "relative-stability" => Box::new(RelativeStability::new(read_over(
            &RelativeStability::DEFAULT,
            parameters,
        )?)?),
        "mosaic" => Box::new(read::<MosaicParams>(parameters)?.check()?),
        "mprt" => Box::new(read::<MprtParams>(parameters)?.check()?),
        "smooth-mprt" => Box::new(read::<SmoothMprtParams>(parameters)?.check()?),
        "efficient-mprt" => Box::new(read::<EfficientMprtParams>(parameters)?.check()?),
        "criteria" => Box::new(read::<CriteriaParams>(parameters)?.check()?),
        "certified-top-k" => Box::new(read::<CertifiedTopKParams>(parameters)?.check()?),
        "sparseness" => Box::new(read::<Nothing>(parameters).map(|_| Sparseness)?),
        "entropy" => Box::new(read::<Nothing>(parameters).map(|_| Entropy)?),
        _ => return Err(Error::parameter("metrics", ids().join(", "), id)),
    })
}

/// Settings of a metric that has none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Ids that [`by_id`] knows, in order.
pub fn ids() -> Vec<&'static str> {
    INFOS
        .iter()
        .map(|i| i.id)
        .filter(|id| *id != map_shift::INFO.id)
        .collect()
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
    let rows: String = INFOS
        .iter()
        .flat_map(|i| i.figures.iter().map(|f| row(i, f)))
        .collect();
    format!(
        "# Metrics of explanations\n\nGenerated from `INFOS` in \
            `crates/fgmf/src/evaluate/mod.rs`, as `docs/methods/` is. A metric gives one or more \
            figures for each example; `needs` is what it asks for besides images, maps and scores \
            of the model.\n\n| metric | family | figure | better | range | needs | reference |\n| \
            --- | --- | --- | --- | --- | --- | --- |\n{rows}"
    )
}
