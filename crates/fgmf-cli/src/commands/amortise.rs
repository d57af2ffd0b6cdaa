//! `fgmf amortise`: a model learns to draw its own maps.

use crate::arguments::{Amortise, Arguments};
use crate::commands::chosen::Settings;
use crate::commands::memory::check_training;
use crate::commands::model::UserModel;
use crate::commands::shared::{data_for, ended_without, threat_on};
use crate::commands::train::train;
use crate::console;
use crate::console::one_line;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::data::{Dataset, class_names};
use fgmf::explain::{Context, Inner, SgamMapParams, make};
use fgmf::model::{Oracle, Scores, predictions};
use fgmf::study::{AmortisedError, amortised_error};
use fgmf::train::{
    AmortisedExplanationParams, GivenModel, ObjectiveConfig, TrainConfig, training_bytes,
};
use fgmf_net::{Network, Session, Tensor};
use serde_json::json;

/// The objective.
const OBJECTIVE: &str = "amortised-explanation";

pub(crate) fn run(global: &Arguments, a: &Amortise) -> Result<Outcome> {
    let settings = Settings::read(a.settings.as_deref())?;
    settings.check(&[&a.teacher])?;
    let teacher = Inner {
        id: a.teacher.clone(),
        parameters: settings.of(&a.teacher),
    };
    let mut user = UserModel::open(&a.model, &a.input)?;
    let config = config(a, &user, &teacher)?;
    config.check()?;
    let data = data_for(&user.net, &a.data, "train", a.limit, user.fit)?;
    let tests = match a.judge {
        0 => None,
        n => Some(data_for(&user.net, &a.data, "test", Some(n), user.fit)?),
    };
    threat_on(config.norm, config.eps, user.net.image_shape())?;
    user.guard(&data)?;
    let start = GivenModel::read(&config, &a.model, class_names(&user.net))?;
    let threads = rayon::current_num_threads();
    let least = || Ok(training_bytes(&config, Some(&start), &data, threads)?);
    check_training(a.memory, least)?;
    drop(user);
    let (net, run) = train(global, &config, Some(&start), &data, &a.out, "amortising")?;
    for note in &run.notes {
        console::say(false, &format!("note: {}", one_line(note)));
    }
    let judged = tests
        .as_ref()
        .map(|tests| judge(net, tests, &teacher, a.seed))
        .transpose()?;
    let file = a.out.join("model.onnx");
    if global.json {
        let both = json!({ "run": run, "judged": judged });
        console::result(&serde_json::to_string_pretty(&both)?)?;
    } else {
        let mut lines = Vec::new();
        if let Some(found) = &judged {
            lines.push(format!(
                "maps of {} test images, beside the teacher's: relative squared error {:.3} \
                 [{:.3}, {:.3}] (0: the teacher's expected map, 1: a map of zeros); the model \
                 expects {:.3}",
                found.n, found.error, found.interval[0], found.interval[1], found.expected
            ));
        }
        lines.push(file.display().to_string());
        console::result(&lines.join("\n"))?;
    }
    let mut left_out = data.left_out().to_vec();
    left_out.extend(tests.iter().flat_map(Dataset::left_out).cloned());
    Ok(ended_without(&left_out))
}

fn config(a: &Amortise, user: &UserModel, teacher: &Inner) -> Result<TrainConfig> {
    let defaults = AmortisedExplanationParams::default();
    let unsaid = teacher.id == defaults.teacher.id && teacher.parameters == json!({});
    let teacher = if unsaid { &defaults.teacher } else { teacher };
    let attacked = if a.eps > 0.0 { defaults.attacked } else { 0.0 };
    let objective = ObjectiveConfig::parse(OBJECTIVE)?
        .with("teacher", teacher)?
        .with("attacked", attacked)?;
    let mut config = TrainConfig::going_on(&a.data, user.file.clone(), objective, a.eps);
    config.sgam_map = Some(SgamMapParams {
        cells: a.cells,
        width: a.width,
    });
    config.validation = None;
    config.limit = a.limit;
    config.norm = a.norm.parse()?;
    config.epochs = a.epochs;
    config.batch = a.batch;
    config.learning_rate = a.lr;
    config.seed = a.seed;
    Ok(config)
}

/// The error of the maps on test images, for the classes that the model answers with. The teacher
/// has the settings of the command line, not those in which it taught without any.
fn judge(net: Network, tests: &Dataset, teacher: &Inner, seed: u64) -> Result<AmortisedError> {
    let net = Session::new(net);
    let oracle = Oracle::new(&net);
    let [c, h, w] = tests.shape();
    let rows: Vec<usize> = (0..tests.len()).collect();
    let x = Tensor::new::<f32>(&[tests.len(), c, h, w], tests.images(&rows)?);
    let targets = predictions(&oracle.logits(&x)?);
    let teacher = make(teacher)?;
    let context = Context {
        seed,
        ..Context::default()
    };
    Ok(amortised_error(
        &oracle,
        teacher.as_ref(),
        [&x, &x],
        &targets,
        &context,
    )?)
}
