//! A user's model as the start of training, and the way back into its file.
//!
//! What trains is the model's graph behind its preprocessing, without what squashes its scores at
//! the end, so that images have values from 0 to 1 and losses see logits. What is written is the
//! model's own file with other numbers: its preprocessing stays outside, as before, and its end
//! stays on it. With SGAM, or with maps that the network is to draw, the graph is another one, so
//! that the file is written anew, with the mask layer behind the preprocessing or the maps beside
//! the scores.

use crate::data::labelling::name_classes;
use crate::defend::knowledge::unsquashed;
use crate::defend::sgam::with_sgam;
use crate::error::{Error, Result};
use crate::explain::sgam::branch::{MAP_KEY, taught_by, train_map_alone, with_map};
use crate::input::beside::PREPROCESSING_KEY;
use crate::input::front::preprocessed;
use crate::record::ModelFile;
use crate::store::model::{network_of, read_files};
use crate::train::config::TrainConfig;
use fgmf_net::onnx::{OUTPUT_KEY, ReadOptions, SIZE_KEY};
use fgmf_net::op::Op;
use fgmf_net::{Network, ValueId, onnx};
use std::path::{Path, PathBuf};

/// Where a hardened file says how it came to be.
const HARDENED_KEY: &str = "fgmf.hardened";

/// A model that training goes on from.
pub struct GivenModel {
    path: PathBuf,
    file: ModelFile,
    names: Option<Vec<String>>,
    net: Network,
    notes: Vec<String>,
}

/// The bytes of a hardened file.
pub(super) struct Hardened {
    pub(super) bytes: Vec<u8>,
    /// What a user should know of them.
    pub(super) notes: Vec<String>,
}

impl GivenModel {
    /// The model at `path`, of which `config.start` says what it is and how images are prepared for
    /// it; `names` are its class names, if they are known.
    ///
    /// # Errors
    /// Those of reading a model; [`Error::Record`] when the file is another one than the settings
    /// name; [`Error::Parameter`] when a pattern of `config.freeze` names no array that trains, or
    /// images are to be shifted by more than their size; [`Error::Mismatch`] when nothing is left
    /// to train.
    pub fn read(config: &TrainConfig, path: &Path, names: Option<Vec<String>>) -> Result<Self> {
        let file = config.start.clone();
        let file = file
            .ok_or_else(|| Error::mismatch("training settings", "a model to start from", "none"))?;
        let own = own(path, &file, names.as_deref())?.1;
        let notes = notes(&own);
        let mut written = extended(own, config)?;
        let mut net = as_used(written.clone(), &file)?;
        // Numbers go back by name.
        if !take_numbers(&mut written, &net)?.is_empty() {
            let expected = "a model whose stored arrays have names of their own";
            let found = "names that nodes put in front of it have, too";
            return Err(Error::mismatch("train", expected, found));
        }
        if config.sgam_map.is_some() {
            train_map_alone(&mut net);
        }
        freeze(&mut net, &config.freeze)?;
        config.augment.check(net.image_shape())?;
        if let Some(masks) = &config.mask_augment {
            masks.check(net.image_shape())?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            names,
            net,
            notes,
        })
    }

    /// The network that trains: images from 0 to 1 in, logits out.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// What is known of the model, in plain words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The network of a file that [`hardened`](Self::hardened) gave, as it trained.
    pub(super) fn reread(&self, path: &Path) -> Result<(Network, String)> {
        let (files, sha256) = read_files(path)?;
        let mut options = options(&self.file);
        // A graph that was written anew has one output, which may be called otherwise.
        options.output = options.output.filter(|name| files.has_output(name));
        let net = network_of(files, path, &options)?;
        Ok((as_used(net, &self.file)?, sha256))
    }

    /// The model's file with the numbers of `trained`. Its metadata say how images are prepared,
    /// what the classes are called, and how it came to be.
    pub(super) fn hardened(&self, trained: &Network, config: &TrainConfig) -> Result<Hardened> {
        let (files, own) = own(&self.path, &self.file, self.names.as_deref())?;
        let mut net = extended(own, config)?;
        let changed = take_numbers(&mut net, trained)?;
        if let Some(p) = &self.file.preprocessing {
            let text = serde_json::json!(p).to_string();
            net.metadata.insert(PREPROCESSING_KEY.into(), text);
        }
        let made = serde_json::json!({
            "from": self.file.sha256,
            "objective": config.objective,
            "norm": config.norm,
            "eps": config.eps,
            "epochs": config.epochs,
        });
        net.metadata.insert(HARDENED_KEY.into(), made.to_string());
        if let Some(name) = &self.file.output {
            net.metadata.insert(OUTPUT_KEY.into(), name.clone());
        }
        if let Some([h, w]) = self.file.input_size {
            net.metadata.insert(SIZE_KEY.into(), format!("{h}x{w}"));
        }
        // Maps of other weights mean nothing. An entry of the file goes only if it is written over.
        if let Some(taught) = net.metadata.get_mut(MAP_KEY) {
            taught.clear();
        }
        let (_, objective) = config.check()?;
        if let Some(teacher) = objective.teaches_map() {
            taught_by(&mut net, teacher);
        }
        let mut notes = Vec::new();
        let own_file = match (&config.sgam, &config.sgam_map) {
            (Some(_), _) => Err("it has a mask layer now".to_owned()),
            (None, Some(_)) => Err("it draws maps now".to_owned()),
            (None, None) => files
                .with_numbers(&net, &changed)
                .map_err(|e| e.to_string()),
        };
        let bytes = match own_file {
            Ok(bytes) => bytes,
            Err(reason) => {
                notes.push(format!("the graph was written anew: {reason}"));
                for key in [OUTPUT_KEY, SIZE_KEY] {
                    net.metadata.remove(key);
                }
                onnx::to_bytes(&net)?
            }
        };
        Ok(Hardened { bytes, notes })
    }
}

/// The files of a model, and its own graph with its class names.
fn own(path: &Path, file: &ModelFile, names: Option<&[String]>) -> Result<(onnx::Files, Network)> {
    let (files, sha256) = read_files(path)?;
    if sha256 != file.sha256 {
        return Err(Error::record(
            path,
            "expected the model that training began with, found another file; put it back and run \
                again",
        ));
    }
    let mut net = files.clone().network_with(&options(file))?;
    if let Some(names) = names {
        name_classes(&mut net, names)?;
    }
    Ok((files, net))
}

/// What was taken of a model's file.
fn options(file: &ModelFile) -> ReadOptions {
    ReadOptions {
        output: file.output.clone(),
        size: file.input_size,
    }
}

/// The graph behind the mask layer or with maps beside it, if one is asked for.
fn extended(own: Network, config: &TrainConfig) -> Result<Network> {
    match (&config.sgam, &config.sgam_map) {
        (Some(sgam), _) => with_sgam(&own, sgam, config.seed),
        (None, Some(map)) => with_map(&own, map, config.seed),
        (None, None) => Ok(own),
    }
}

/// A graph of the file behind its preprocessing, without what squashes its scores.
fn as_used(own: Network, file: &ModelFile) -> Result<Network> {
    let net = unsquashed(&own)?.map_or(own, |found| found.network);
    match &file.preprocessing {
        Some(p) => preprocessed(&net, p),
        None => Ok(net),
    }
}

/// Gives `net` the numbers of the parameters of `trained` of the same names; those that changed.
fn take_numbers(net: &mut Network, trained: &Network) -> Result<Vec<ValueId>> {
    let names: Vec<String> = net.values().iter().map(|v| v.name.clone()).collect();
    let mut changed = Vec::new();
    for name in names {
        let of = |net: &Network| net.find(&name).filter(|&id| net.parameter(id).is_some());
        let (Some(id), Some(from)) = (of(net), of(trained)) else {
            continue;
        };
        let (Some(old), Some(new)) = (net.parameter(id), trained.parameter(from)) else {
            continue;
        };
        let bits =
            |t: &fgmf_net::Tensor| t.to_f32().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if bits(old) != bits(new) {
            net.set_parameter(id, new.clone())?;
            changed.push(id);
        }
    }
    Ok(changed)
}

/// What a user should know of a model before it trains.
fn notes(net: &Network) -> Vec<String> {
    let has = |of: fn(&Op) -> bool| net.nodes().iter().any(|n| of(&n.op));
    let convolves = has(|op| matches!(op, Op::Conv(_)));
    let normalises = has(|op| matches!(op, Op::BatchNorm(_) | Op::LayerNorm(_)));
    let mut notes = Vec::new();
    if convolves && !normalises {
        notes.push(
            "no normalisation in the graph: exporters fold it into the convolutions, and it trains \
             like that; an export for training (PyTorch: training=TrainingMode.PRESERVE, \
             do_constant_folding=False) keeps it"
                .to_owned(),
        );
    }
    let (trains, all) = (net.parameter_count(), net.stored_numbers());
    // A few numbers of preprocessing are no news.
    if (trains as f64) < 0.99 * all as f64 {
        notes.push(format!("{trains} of {all} stored numbers train"));
    }
    notes
}

/// Takes the arrays that a pattern names out of training.
fn freeze(net: &mut Network, patterns: &[String]) -> Result<()> {
    for pattern in patterns {
        let trains = net.trainable();
        let named = |id: &ValueId| matches(pattern, &net.value(*id).name);
        let found: Vec<ValueId> = trains.iter().copied().filter(named).collect();
        if found.is_empty() {
            let some: Vec<&str> = trains
                .iter()
                .map(|&id| net.value(id).name.as_str())
                .collect();
            let some = some.iter().take(8).copied().collect::<Vec<_>>().join(", ");
            let expected = format!("the name of an array that trains, such as {some}");
            return Err(Error::parameter("freeze", expected, pattern));
        }
        found.iter().for_each(|&id| net.set_trainable(id, false));
    }
    if net.trainable().is_empty() {
        return Err(Error::mismatch(
            "train",
            "a model with stored arrays that train",
            "one in which none does",
        ));
    }
    Ok(())
}

/// Whether a name is of a pattern, in which `*` stands for any letters, also none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, name, expected) in [
            ("conv1.weight", "conv1.weight", true),
            ("conv1", "conv1.weight", false),
            ("conv1*", "conv1.weight", true),
            ("*.bias", "layer1.0.bn.bias", true),
            ("*.bias", "bias", false),
            ("layer*.bn*.w*", "layer1.0.bn2.weight", true),
            ("layer*.bn*.w*", "layer1.0.conv2.weight", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*ba*b", "abab", true),
            ("a*ba*b", "aab", false),
            ("a*b*b", "abbb", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
