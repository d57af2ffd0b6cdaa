//! Models behind an address in the place of a file.

use crate::arguments::{ModelInput, Remote};
use crate::commands::model::fit;
use crate::console;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::{Fit, name_classes};
use fgmf::input::read_labels;
use fgmf::model::{Gradients, Scores, softmax};
use fgmf::remote::{Address, Limits, RemoteModel, ScoreKind};
use fgmf_net::Network;
use fgmf_record::ModelFile;
use std::path::Path;

/// Where the answers of a run stand until it is done, in its folder.
pub(super) const ANSWERS: &str = "answers.jsonl";

/// A model behind an address, reached.
pub(super) struct ModelAtAddress {
    pub(super) model: RemoteModel,
    /// A graph with its images, classes and their names, and nothing else of it.
    pub(super) net: Network,
    pub(super) file: ModelFile,
    /// What is done with pictures of other sizes.
    pub(super) fit: Fit,
}

impl ModelAtAddress {
    /// Probabilities of all classes; of a model that gives labels 1 for the class named.
    pub(super) fn probabilities(&self, scores: &[f64]) -> Vec<f64> {
        match self.model.scores() {
            ScoreKind::Label => scores.to_vec(),
            _ => softmax(scores),
        }
    }
}

/// The model that a text on the command line names, if it is an address. It prepares its images
/// itself, so what says how is refused; and so is what is about addresses, where it is a file.
pub(super) fn at_address(
    path: &Path,
    input: &ModelInput,
    flags: &Remote,
) -> Result<Option<ModelAtAddress>> {
    let text = path.to_string_lossy();
    let Some(address) = Address::parse(&text)? else {
        let given = [
            ("queries", flags.queries.is_some()),
            ("rate", flags.rate.is_some()),
            ("timeout", flags.timeout.is_some()),
            ("retries", flags.retries.is_some()),
            ("at-once", flags.at_once.is_some()),
            ("scores", flags.scores.is_some()),
        ];
        return match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                let expected = "an address as MODEL: pipe:COMMAND or http://HOST/v2/models/NAME";
                Err(Error::parameter(flag, expected, text).into())
            }
            None => Ok(None),
        };
    };
    let stated = [
        ("mean", input.mean.is_some()),
        ("std", input.std.is_some()),
        ("scale", input.scale.is_some()),
        ("bgr", input.bgr),
        ("output", input.output.is_some()),
        ("input-size", input.input_size.is_some()),
    ];
    if let Some((flag, _)) = stated.into_iter().find(|(_, given)| *given) {
        let expected = "a model file: what answers at an address prepares its images itself, from \
            pixels of 0 to 1, has one output, and states its size";
        return Err(Error::parameter(flag, expected, text).into());
    }
    let scores = match (&address, flags.scores.as_deref()) {
        (Address::Pipe(_), Some(given)) => {
            let expected = "an http address: a command says itself what it answers with";
            return Err(Error::parameter("scores", expected, given).into());
        }
        (_, None | Some("logits")) => ScoreKind::Logits,
        (_, Some("probabilities")) => ScoreKind::Probabilities,
        (_, Some(other)) => {
            return Err(Error::parameter("scores", "logits or probabilities", other).into());
        }
    };
    let usual = Limits::default();
    let limits = Limits {
        queries: flags.queries,
        rate: flags.rate,
        timeout: flags.timeout.unwrap_or(usual.timeout),
        retries: flags.retries.unwrap_or(usual.retries),
        at_once: flags.at_once.unwrap_or(usual.at_once),
    };
    let model = RemoteModel::open(&text, &address, scores, limits)?;
    let mut net = model.network().clone();
    if let Some(labels) = &input.labels {
        name_classes(&mut net, &read_labels(labels, model.classes())?)?;
    }
    match model.scores() {
        ScoreKind::Logits => {}
        ScoreKind::Probabilities => {
            console::say(
                false,
                "note: the model gives probabilities; their logarithms are taken",
            );
        }
        ScoreKind::Label => console::say(
            false,
            "note: the model gives labels; a class scores 1 where it is named, and 0 elsewhere",
        ),
    }
    let file = ModelFile {
        file: text.into_owned(),
        sha256: model.sha256(),
        preprocessing: None,
        output: None,
        input_size: None,
    };
    let fit = fit(input, net.image_shape(), None, &mut Vec::new())?;
    Ok(Some(ModelAtAddress {
        model,
        net,
        file,
        fit,
    }))
}
