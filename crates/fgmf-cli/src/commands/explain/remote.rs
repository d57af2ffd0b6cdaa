//! `fgmf explain` on a model behind an address.

use crate::arguments::{Arguments, Explain};
use crate::commands::address::{ANSWERS, ModelAtAddress};
use crate::commands::chosen::{Settings, chosen};
use crate::commands::class::class_of;
use crate::commands::explain::block::Block;
use crate::commands::explain::gallery::{GalleryJob, claimed, write_gallery};
use crate::commands::images::Images;
use crate::commands::shared::threat_on;
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::class_names;
use fgmf::explain::{Context, with_parameters};
use fgmf::model::{Scores, predictions};
use fgmf::store::remove;
use fgmf::study::EvaluationInput;
use serde_json::json;

/// Explainers that ask for scores alone, or have a part that does.
const BY_SCORES: [&str; 5] = ["occlusion", "rise", "kernel-shap", "pgca", "pgca-published"];

pub(super) fn run(global: &Arguments, a: &Explain, at: &ModelAtAddress) -> Result<Outcome> {
    let settings = Settings::read(a.settings.as_deref())?;
    let by_scores = |id: &String| BY_SCORES.contains(&id.as_str());
    if let Some(id) = a.methods.iter().find(|id| !by_scores(id)) {
        let expected = format!("methods that ask for scores only: {}", BY_SCORES.join(", "));
        return Err(Error::parameter("methods", expected, id).into());
    }
    let attacked = a
        .attacked
        .attack
        .as_deref()
        .is_some_and(|attack| attack != "none");
    let refused = [
        ("attack", attacked),
        ("adversarial", a.attacked.adversarial.is_some()),
        ("layer", a.layer.is_some()),
        ("grid", a.grid.is_some()),
        ("calibration", a.calibration.is_some()),
        ("memory", a.memory.memory.is_some()),
    ];
    if let Some((flag, _)) = refused.into_iter().find(|(_, given)| *given) {
        let expected = "a model file: a model behind an address is explained without it";
        return Err(Error::parameter(flag, expected, &at.file.file).into());
    }
    let explainers = chosen(&a.methods, &[], |id| with_parameters(id, settings.of(id)))?;
    settings.check(&explainers.iter().map(|e| e.id()).collect::<Vec<_>>())?;
    if a.memory.cap == 0 {
        return Err(Error::parameter("cap", "1 or more", 0).into());
    }
    let mut images = Images::new(&a.inputs, Some(a.limit), at.fit, &at.net)?;
    let (names, classes) = (class_names(&at.net), at.net.classes());
    let class = a.class.as_deref();
    let class = class
        .map(|text| class_of(text, names.as_deref(), classes))
        .transpose()?;
    let threat = threat_on(
        a.attacked.norm.parse()?,
        a.attacked.eps,
        at.net.image_shape(),
    )?;
    images.check(&at.net)?;
    at.model.check_budget(images.len())?;
    if a.metrics != ["none"] {
        let text = "note: the maps of a model behind an address are not judged by metrics";
        console::say(global.quiet, text);
    }
    let _claims = claimed(&a.out)?;
    let answers = a.out.join(ANSWERS);
    // An answer depends on the image alone, whatever it is asked for.
    at.model
        .keep_in(&answers, &json!({ "command": "explain" }))?;
    let context = Context {
        seed: a.seed,
        names: None,
        cap: a.memory.cap,
    };
    let job = GalleryJob {
        out: &a.out,
        images: &images,
        net: &at.net,
        file: &at.file,
        explainers: &explainers,
        metrics: Vec::new(),
        threat: &threat,
        seed: a.seed,
        promise: None,
    };
    let outcome = write_gallery(global, &job, &mut |x, _| {
        let logits = at.model.logits(x)?;
        let targets = predictions(&logits);
        let targets = class.map_or(targets, |c| vec![c; x.shape()[0]]);
        let input = EvaluationInput {
            name: "clean".into(),
            parameters: json!({}),
            x: x.clone(),
            targets,
        };
        let block = Block::by_scores(at, &logits, &explainers, &input, context)?;
        Ok((vec![input], block))
    })?;
    remove(&answers)?;
    Ok(outcome)
}
