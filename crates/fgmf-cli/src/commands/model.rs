//! Models as users have them: read, with what lies beside them, and guarded.

use crate::arguments::ModelInput;
use crate::console;
use crate::console::one_line;
use anyhow::Result;
use fgmf::data::{Dataset, Fit, Interpolation, Scaling, class_names, name_classes};
use fgmf::input::{Beside, better_setting, find_beside, options_beside, preprocessed, read_labels};
use fgmf::remote::Address;
use fgmf::store::{network_of, read_files};
use fgmf_net::Network;
use fgmf_net::onnx::ReadOptions;
use fgmf_record::{ModelFile, Preprocessing, hash};
use std::path::Path;

/// What the guard's error says was being done.
pub(crate) const GUARDED: &str = "prepare the images as the model takes them";

/// A model behind its preprocessing.
pub(crate) struct UserModel {
    pub(crate) net: Network,
    pub(crate) file: ModelFile,
    /// What is done with pictures of other sizes.
    pub(crate) fit: Fit,
    /// Lines about what was found beside it.
    pub(crate) notes: Vec<String>,
    /// Its own graph, until it was guarded.
    bare: Option<Network>,
}

impl UserModel {
    /// Reads a model, and what flags and the files beside it say. Networks that this tool trained
    /// hold their preprocessing, so nothing is looked for.
    pub(crate) fn read(path: &Path, input: &ModelInput) -> Result<Self> {
        if Address::parse(&path.to_string_lossy())?.is_some() {
            let expected = "a file here: attack, explain and predict take addresses";
            return Err(fgmf::Error::parameter("MODEL", expected, path.display()).into());
        }
        let options = ReadOptions {
            output: input.output.clone(),
            size: input.input_size,
        };
        let (files, sha256) = read_files(path)?;
        let free = files.leaves_size_free();
        let (options, said) = options_beside(path, options, free)?;
        let mut net = network_of(files, path, &options)?;
        let own = net.metadata.contains_key("fgmf.objective");
        let beside = if own {
            Beside::default()
        } else {
            find_beside(path, &net)?
        };
        let mut notes = std::mem::take(&mut net.notes);
        notes.extend(said);
        notes.extend(beside.notes);
        let settings = path.with_file_name("fgmf.toml");
        if own && settings.is_file() {
            let settings = settings.display();
            notes.push(format!(
                "{settings} is not used: a network trained here says it itself"
            ));
        }
        let fit = fit(input, net.image_shape(), beside.scaling, &mut notes)?;
        let [channels, ..] = net.image_shape();
        let stated = stated(input, channels);
        let guarded = !input.as_it_is && (!own || stated.is_some());
        let preprocessing = match (stated, beside.preprocessing) {
            (Some(stated), _) => stated,
            (None, Some((found, place))) => {
                notes.push(format!("images as {place} says: {}", found.flags()));
                found
            }
            (None, None) => Preprocessing::none(channels),
        };
        let labels = match &input.labels {
            Some(file) => Some(read_labels(file, net.classes())?),
            None if class_names(&net).is_some() && !beside.labels_stated => None,
            None => beside.labels.map(|(labels, place)| {
                notes.push(format!("class names of {place}"));
                labels
            }),
        };
        if let Some(labels) = labels {
            name_classes(&mut net, &labels)?;
        }
        let bare = guarded.then(|| net.clone());
        if !preprocessing.is_none() {
            net = preprocessed(&net, &preprocessing)?;
        }
        let file = ModelFile {
            file: path.display().to_string(),
            sha256,
            preprocessing: (!preprocessing.is_none()).then_some(preprocessing),
            output: options.output,
            input_size: options.size.filter(|_| free),
        };
        Ok(Self {
            net,
            file,
            fit,
            notes,
            bare,
        })
    }

    /// [`read`](Self::read) that says what it found.
    pub(crate) fn open(path: &Path, input: &ModelInput) -> Result<Self> {
        let model = Self::read(path, input)?;
        for note in &model.notes {
            console::say(false, &format!("note: {}", one_line(note)));
        }
        Ok(model)
    }

    /// Refuses a model that is right far more often on these images when they are prepared in
    /// another way.
    pub(crate) fn guard(&mut self, data: &Dataset) -> Result<()> {
        let Some(bare) = self.bare.take() else {
            return Ok(());
        };
        let [channels, ..] = bare.image_shape();
        let none = Preprocessing::none(channels);
        let given = self.file.preprocessing.as_ref().unwrap_or(&none);
        let Some(better) = better_setting(&bare, given, data)? else {
            return Ok(());
        };
        let (right, n) = (better.right.count, better.right.n);
        let expected = format!("{right} of {n} right, as with {}", better.setting.flags());
        let found = format!("{} right with {}", better.given.count, given.flags());
        Err(fgmf::Error::mismatch(GUARDED, expected, found).into())
    }
}

/// What decides the answers of a model: its file, how images are prepared for it, and what was
/// taken of the file.
pub(crate) fn identity(file: &ModelFile) -> String {
    let said = [
        file.preprocessing.as_ref().map(Preprocessing::flags),
        file.output.as_ref().map(|name| format!("--output {name}")),
        file.input_size
            .map(|[h, w]| format!("--input-size {h}x{w}")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    match said.as_slice() {
        [] => file.sha256.clone(),
        said => hash::sha256(format!("{} {}", file.sha256, said.join(" ")).as_bytes()),
    }
}

/// [`identity`] field by field, as records name them.
pub(crate) fn identity_fields(file: &ModelFile) -> serde_json::Value {
    serde_json::json!({
        "sha256": file.sha256,
        "preprocessing": file.preprocessing,
        "output": file.output,
        "input_size": file.input_size,
    })
}

/// The flags for another model of the same task, whose outputs have names of their own.
pub(crate) fn input_of_another(input: &ModelInput) -> ModelInput {
    ModelInput {
        output: None,
        ..input.clone()
    }
}

/// What is done with pictures of other sizes than this: what flags say, else what was found beside
/// the model, else what `--resize` does.
pub(crate) fn fit(
    input: &ModelInput,
    shape: [usize; 3],
    beside: Option<(Scaling, String)>,
    notes: &mut Vec<String>,
) -> Result<Fit> {
    if input.crop_pct.is_some() || input.interpolation.is_some() {
        let interpolation = input.interpolation.unwrap_or(Interpolation::Bilinear);
        let scaling = Scaling::cropped(shape, input.crop_pct.unwrap_or(1.0), interpolation)?;
        return Ok(Fit::Scaled { scaling, all: true });
    }
    let all = input.resize;
    Ok(match beside {
        Some((scaling, place)) => {
            let which = if all {
                "pictures"
            } else {
                "pictures of other sizes"
            };
            notes.push(format!("{which} as {place} says: {}", scaling.words()));
            Fit::Scaled { scaling, all }
        }
        None if all => Fit::Middle,
        None => Fit::Refused,
    })
}

/// What the flags state; `None` where there is none of them.
fn stated(input: &ModelInput, channels: usize) -> Option<Preprocessing> {
    let none = Preprocessing::none(channels);
    let all = |list: &Option<Vec<f64>>, otherwise: Vec<f64>| match list.as_deref() {
        None => otherwise,
        Some([one]) => vec![*one; channels],
        Some(list) => list.to_vec(),
    };
    let any = input.mean.is_some() || input.std.is_some() || input.scale.is_some() || input.bgr;
    any.then(|| Preprocessing {
        scale: input.scale.unwrap_or(none.scale),
        mean: all(&input.mean, none.mean),
        std: all(&input.std, none.std),
        bgr: input.bgr,
    })
}
