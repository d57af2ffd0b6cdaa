//! `fgmf explain`.

use crate::arguments::{Arguments, Explain};
use crate::commands::address::at_address;
use crate::commands::attacked::Attacker;
use crate::commands::chosen::{Settings, chosen, metrics};
use crate::commands::class::class_of;
use crate::commands::explain::block::Block;
use crate::commands::explain::calibrated::calibrated;
use crate::commands::explain::gallery::{BLOCK, GalleryJob, claimed, write_gallery};
use crate::commands::explain::remote;
use crate::commands::images::Images;
use crate::commands::memory::{images_at_once, work_of};
use crate::commands::model::{UserModel, identity};
use crate::commands::shared::ExplainedModel;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::data::class_names;
use fgmf::explain::{Context, Explainer, applicable, ids, with_parameters};
use fgmf::model::Oracle;
use fgmf::study::promise_sentence;
use fgmf_record::MethodRecord;
use serde_json::{Value, json};

pub(crate) fn run(global: &Arguments, a: &Explain) -> Result<Outcome> {
    if let Some(at) = at_address(&a.model, &a.input, &a.remote)? {
        return remote::run(global, a, &at);
    }
    let settings = Settings::read(a.settings.as_deref())?;
    let mut user = UserModel::open(&a.model, &a.input)?;
    let mut images = Images::new(&a.inputs, Some(a.limit), user.fit, &user.net)?;
    if let Some(data) = images.data() {
        user.guard(data)?;
    }
    let mut model = ExplainedModel::new(user)?;
    let net = &mut model.net;
    let names = class_names(net);
    let class = a.class.as_deref();
    let class = class.map(|text| class_of(text, names.as_deref(), net.classes()));
    let class = class.transpose()?;
    let wanted = if a.metrics == ["none"] {
        &[][..]
    } else {
        a.metrics.as_slice()
    };
    let metrics = metrics(wanted, &settings)?;
    let [c, h, w] = net.image_shape();
    // A block, attacked, in both precisions, and its maps.
    let held = BLOCK * (8 * c + 8 * a.methods.len()) * h * w;
    let (mib, work) = (a.memory.memory, work_of(&a.methods, &metrics));
    let cap = images_at_once(&mut [&mut *net], mib, a.memory.cap, held, work)?;
    let oracle = Oracle::new(&model.net);
    let explainers = explainers(a, &settings, &oracle, cap)?;
    settings.check(
        &explainers
            .iter()
            .map(|e| e.id())
            .chain(metrics.iter().map(|m| m.info().id))
            .collect::<Vec<_>>(),
    )?;
    let (data, of) = (images.data(), identity(&model.file));
    let attacker = Attacker::new(&a.attacked, "none", [c, h, w], data, &of, a.seed)?;
    images.check(&model.net)?;
    let calibration = calibrated(a, &model.file, &explainers)?;
    let _claims = claimed(&a.out)?;
    let context = Context {
        seed: a.seed,
        names: None,
        cap,
    };
    let method = |id: &str, parameters| MethodRecord {
        id: id.into(),
        parameters,
    };
    let job = GalleryJob {
        out: &a.out,
        images: &images,
        net: &model.net,
        file: &model.file,
        explainers: &explainers,
        metrics: metrics
            .iter()
            .map(|m| method(m.info().id, m.parameters()))
            .collect(),
        threat: attacker.threat(),
        seed: a.seed,
        promise: calibration.as_ref().map(promise_sentence),
    };
    write_gallery(global, &job, &mut |x, start| {
        let inputs = attacker.inputs(&oracle, x, start, class)?;
        let threat = attacker.threat();
        let mut block = Block::new(
            &model,
            &oracle,
            &explainers,
            &metrics,
            &inputs,
            threat,
            context,
        )?;
        if let Some(calibration) = &calibration {
            block.withhold(calibration);
        }
        Ok((inputs, block))
    })
}

fn explainers(
    a: &Explain,
    settings: &Settings,
    oracle: &Oracle<'_>,
    cap: usize,
) -> Result<Vec<Box<dyn Explainer>>> {
    let layer = a.layer.as_ref().map(|l| ("layer", "layer", json!(l)));
    let grid = a.grid.map(|g| ("grid", "token_grid", json!(g)));
    let flags: Vec<(&'static str, &'static str, Value)> = layer.into_iter().chain(grid).collect();
    let takes = |id: &str, key: &str, value: &Value| {
        with_parameters(id, json!({ key: value.clone() })).is_ok()
    };
    let make = |id: &str| {
        let mut parameters = settings.of(id);
        for (_, key, value) in &flags {
            if takes(id, key, value)
                && let Some(fields) = parameters.as_object_mut()
            {
                fields.insert((*key).into(), value.clone());
            }
        }
        with_parameters(id, parameters)
    };
    let all = if a.methods == ["all"] {
        applicable(oracle, cap, &make)
    } else {
        Vec::new()
    };
    for (flag, key, value) in &flags {
        let mut used = a
            .methods
            .iter()
            .map(String::as_str)
            .chain(all.iter().copied());
        if !used.any(|id| takes(id, key, value)) {
            let mut able = ids();
            able.retain(|id| takes(id, key, value));
            let expected = format!("a method that looks at a layer: {}", able.join(", "));
            return Err(Error::parameter(flag, expected, a.methods.join(", ")).into());
        }
    }
    chosen(&a.methods, &all, make)
}
