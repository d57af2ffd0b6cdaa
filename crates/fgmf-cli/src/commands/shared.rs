//! What commands share: files of models, facts of data and machine.

use crate::commands::model::UserModel;
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::{DataRequest, Dataset, Fit, class_names, load_part};
use fgmf::defend::unsquashed;
use fgmf::model::softmax;
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Network, Session};
use fgmf_record::{DataRecord, MachineRecord, ModelFile, Proportion, ThreatRecord};

/// A model as it is explained.
pub(crate) struct ExplainedModel {
    pub(crate) net: Session,
    pub(crate) file: ModelFile,
    /// What the model does to its scores at the end, if it squashes them: the scores before are
    /// explained.
    pub(crate) before: Option<String>,
    /// Whether each class has a probability of its own (a sigmoid at the end).
    independent: bool,
}

impl ExplainedModel {
    /// A model that was guarded, if there was data; says so if its scores are squashed at the end.
    pub(crate) fn new(model: UserModel) -> Result<Self> {
        let file = model.file;
        let net = Session::new(model.net);
        let Some(found) = unsquashed(&net)? else {
            return Ok(Self {
                net,
                file,
                before: None,
                independent: false,
            });
        };
        let before = found.operators.join(", ");
        console::say(
            false,
            &format!("note: the model ends in {before}; the values before it are explained"),
        );
        Ok(Self {
            net: Session::new(found.network),
            file,
            independent: found.operators == ["Sigmoid"],
            before: Some(before),
        })
    }

    /// Probabilities of all classes.
    pub(crate) fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        if self.independent {
            scores.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect()
        } else {
            softmax(scores)
        }
    }
}

/// The part of a data set that is wanted, with the labels of the model; an error unless it is what
/// the model takes. What was done to images while they were read is said.
pub(crate) fn data_for(
    net: &Network,
    source: &str,
    split: &str,
    limit: Option<usize>,
    fit: Fit,
) -> Result<Dataset> {
    let wanted = DataRequest::new(limit, Some(net.image_shape())).fitted(fit);
    let mut data = load_part(source, split.parse()?, &wanted)?;
    data.relabel(class_names(net).as_deref(), net.classes())?;
    for note in data.notes() {
        console::say(false, &format!("note: {note}"));
    }
    Ok(data)
}

/// The threat, unless its radius is larger than the largest distance of two images of this shape.
pub(crate) fn threat_on(norm: Norm, eps: f64, [c, h, w]: [usize; 3]) -> Result<ThreatModel> {
    let threat = ThreatModel::new(norm, eps, [0.0, 1.0])?;
    let widest = threat.widest(c * h * w);
    if eps <= widest {
        return Ok(threat);
    }
    let expected = format!("at most {widest}, the largest {norm} distance of two images");
    Err(fgmf::Error::parameter("eps", expected, eps).into())
}

/// Warns of a model that answers clean images no better than by chance.
pub(crate) fn warn_of_chance(right: usize, n: usize, classes: usize) {
    let clean = Proportion::new(right, n);
    if clean.is_at_chance(classes) {
        console::say(
            false,
            &format!(
                "warning: clean accuracy {} on {n} images is no better than chance among {classes} \
                 classes; likely causes: normalisation (it belongs into the model), the order of \
                 the classes, the value range (the model gets values in [0, 1])",
                percent(clean.value)
            ),
        );
    }
}

pub(crate) fn data_record(data: &Dataset) -> DataRecord {
    DataRecord {
        name: data.name().into(),
        split: data.split(),
        n: data.len(),
        sha256: data.sha256(),
        classes: data.classes().to_vec(),
        chosen: data.chosen().map(str::to_owned),
        left_out: data.left_out().to_vec(),
    }
}

/// How a command ends that worked without these files: it lists them.
pub(crate) fn ended_without(left_out: &[String]) -> Outcome {
    if left_out.is_empty() {
        return Outcome::Done;
    }
    console::say(false, &format!("left out: {}", left_out.len()));
    for file in left_out {
        console::say(false, &format!("  {}", one_line(file)));
    }
    Outcome::Incomplete
}

/// An interval of shares.
pub(crate) fn interval(i: [f64; 2]) -> String {
    format!("[{}, {}]", percent(i[0]), percent(i[1]))
}

/// The first line of a table: which model, on what, in which ball.
pub(crate) fn heading(model: &ModelFile, data: &DataRecord, threat: &ThreatRecord) -> String {
    format!(
        "{} on {} ({}, n = {}{}), {} eps {}",
        one_line(&model.file),
        one_line(&data.name),
        data.split,
        data.n,
        how_chosen(data),
        threat.norm,
        threat.eps
    )
}

/// How the images were chosen, for a line that tells their number.
pub(crate) fn how_chosen(data: &DataRecord) -> String {
    let chosen = data.chosen.as_ref();
    chosen.map_or_else(String::new, |how| format!(", {}", one_line(how)))
}

pub(crate) fn machine() -> MachineRecord {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned());
    MachineRecord {
        cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        threads: rayon::current_num_threads(),
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
