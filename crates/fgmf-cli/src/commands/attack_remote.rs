//! `fgmf attack` on a model behind an address.

use crate::arguments::{Arguments, Attack};
use crate::commands::address::{ANSWERS, ModelAtAddress};
use crate::commands::attack_table::ended_with;
use crate::commands::model::{UserModel, input_of_another};
use crate::commands::shared::{data_for, data_record, threat_on, warn_of_chance};
use crate::console;
use crate::outcome::Outcome;
use anyhow::Result;
use fgmf::Error;
use fgmf::store::{Folder, build, refuse_another, remove, write};
use fgmf::study::{RemoteJob, black_box_suite, run_remote_suite, transfer};
use fgmf::threat::Norm;
use fgmf_net::Session;
use fgmf_record::{Accuracy, AttackRecord, QueryRecord, RobustAccuracy};
use serde_json::json;

pub(super) fn run(
    global: &Arguments,
    a: &Attack,
    at: ModelAtAddress,
    norm: Norm,
) -> Result<Outcome> {
    let refused = [
        ("curve", a.curve.is_some()),
        ("stop-early", a.stop_early),
        ("memory", a.memory.is_some()),
    ];
    if let Some((flag, _)) = refused.into_iter().find(|(_, given)| *given) {
        let expected = "a model file: a model behind an address is attacked without it";
        return Err(Error::parameter(flag, expected, &at.file.file).into());
    }
    if a.queries_per_image == Some(0) {
        return Err(Error::parameter("queries-per-image", "1 or more", 0).into());
    }
    let ModelAtAddress {
        model,
        net,
        file,
        fit,
    } = at;
    let data = data_for(&net, &a.data, &a.split, a.limit, fit)?;
    let threat = threat_on(norm, a.eps, net.image_shape())?;
    let suite = a.suite.as_deref();
    let mut entries = black_box_suite(suite, &threat, net.classes(), model.scores())?;
    let surrogate = match &a.surrogate {
        Some(path) => {
            let read = UserModel::open(path, &input_of_another(&a.input))?;
            Some(Session::new(read.net))
        }
        None => None,
    };
    if let Some(surrogate) = &surrogate {
        // It costs one image each, so it goes first.
        entries.insert(0, transfer(surrogate)?);
    }
    let suite = suite.map_or_else(
        || {
            entries
                .iter()
                .map(|e| e.name.clone())
                .collect::<Vec<_>>()
                .join(",")
        },
        str::to_owned,
    );
    let _claim = Folder::claim(&a.out)?;
    let out = a.out.join("attack.json");
    let budget = json!({ "budget": a.remote.queries, "per_image": a.queries_per_image });
    let mut own = json!({
        "model": { "sha256": file.sha256 },
        "data": { "sha256": data.sha256() },
        "threat": threat.record(),
        "suite": suite,
        "seed": a.seed,
        "queries": budget,
    });
    refuse_another(&out, &own)?;
    let settings: Vec<_> = entries
        .iter()
        .map(|e| (&e.name, e.attack.parameters()))
        .collect();
    own["suite"] = json!(settings);
    // A run may go on with another budget.
    own["queries"] = json!({ "per_image": a.queries_per_image });
    own["build"] = json!(build());
    let answers = a.out.join(ANSWERS);
    model.keep_in(&answers, &own)?;
    let job = RemoteJob {
        model: &model,
        data: &data,
        threat: &threat,
        seed: a.seed,
        per_image: a.queries_per_image,
    };
    let bar = console::bar(global.quiet, entries.len() * data.len(), "attacking");
    let mut watch = |done: usize, _: usize| {
        bar.set_position(done as u64);
        bar.set_message(format!("{} images asked about", model.queries().asked));
    };
    let outcome = run_remote_suite(&entries, &job, &mut watch)?;
    bar.finish_and_clear();
    outcome.save_adversarial(&job, &a.out.join("adversarial.safetensors"))?;
    let in_8_bits = outcome.in_8_bits(&job)?.filter(|kept| kept.n > 0);
    if outcome.like_probabilities {
        let text = "warning: every answer is a row of probabilities; if the model gives these, \
            `--scores probabilities`, or `\"scores\": \"probabilities\"` of a command, says so";
        console::say(false, text);
    }
    let cut_short = outcome.cut_short;
    let outcome = outcome.suite;
    let (clean, overall) = (outcome.clean(), outcome.overall());
    warn_of_chance(clean.count, clean.n, net.classes());
    let record = AttackRecord {
        model: file,
        data: data_record(&data),
        threat: threat.record(),
        suite,
        seed: a.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        clean: Accuracy {
            accuracy: clean.value,
            n: clean.n,
            interval: clean.interval,
        },
        attacks: outcome.rows,
        overall: RobustAccuracy {
            robust_accuracy: overall.value,
            interval: overall.interval,
            n: overall.n,
        },
        verdict: outcome.verdict,
        examples: outcome.examples,
        in_8_bits,
        stopped_early: false,
        curve: Vec::new(),
        queries: Some(QueryRecord {
            per_image: a.queries_per_image,
            cut_short,
            ..model.queries()
        }),
    };
    let text = serde_json::to_string_pretty(&record)?;
    write(&out, text.as_bytes())?;
    remove(&answers)?;
    ended_with(global, a, &record, text, data.left_out())
}
