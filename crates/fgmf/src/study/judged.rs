//! How a report of models side by side judges one of them: accuracy against the radius, and signs
//! of masking.

use crate::attack::{Attack, PgdParams, RandomSearchParams};
use crate::data::Dataset;
use crate::defend::{MaskKnowledge, has_mask};
use crate::error::Result;
use crate::record::ModelRecord;
use crate::study::curve::{Curve, curve};
use crate::study::entry::{Entry, SuiteJob};
use crate::study::report_model::ReportModel;
use crate::threat::ThreatModel;
use std::path::Path;

/// Radii of the demo.
pub const RADII: [f64; 8] = [0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3];

/// The attacks in words.
pub const ATTACK: &str = "PGD, 20 steps, random start; where the model has a mask layer again \
    with the mask frozen at each step, worst case per image; then random search, 50 draws";

fn entries(masked: bool) -> Result<Vec<Entry>> {
    let pgd = |name: &str, knowledge| -> Result<Entry> {
        Ok(Entry {
            name: name.into(),
            attack: Attack::White(Box::new(PgdParams::default().check()?)),
            knowledge,
        })
    };
    let mut out = vec![pgd("pgd-20", MaskKnowledge::EndToEnd)?];
    if masked {
        out.push(pgd("pgd-20-frozen-mask", MaskKnowledge::FrozenMask)?);
    }
    let random = Attack::Black(Box::new(RandomSearchParams { draws: 50 }.check()?));
    out.push(Entry {
        name: "random-search".into(),
        attack: random,
        knowledge: MaskKnowledge::EndToEnd,
    });
    Ok(out)
}

/// Radii and attacks, for the record.
pub fn judge_settings(radii: &[f64]) -> Result<serde_json::Value> {
    let row = |e: &Entry| {
        let settings = e.attack.parameters();
        serde_json::json!({ "name": e.name, "mask": e.knowledge, "settings": settings })
    };
    let all: Vec<_> = entries(true)?.iter().map(row).collect();
    Ok(serde_json::json!({ "radii": radii, "attacks": all }))
}

/// Judges a model at every one of the `radii`; the verdict is that of the threat's radius.
///
/// `state` and `watch` are those of [`curve`].
pub fn judge_model(
    subject: &ReportModel,
    data: &Dataset,
    (threat, radii): (&ThreatModel, &[f64]),
    seed: u64,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<ModelRecord> {
    let entries = entries(has_mask(&subject.net))?;
    let job = SuiteJob {
        net: &subject.net,
        model_sha256: &subject.sha256,
        data,
        threat,
        seed,
        cap: usize::MAX,
    };
    let Curve {
        clean,
        points,
        verdict,
        ..
    } = curve(&entries, &job, radii, true, &[], state, watch)?;
    let flags = verdict.iter().flat_map(|v| &v.flags).map(|f| {
        let eps = threat.eps();
        format!("{} at eps {eps}: {} ({})", f.id, f.advice, f.evidence)
    });
    Ok(ModelRecord {
        id: subject.id.into(),
        title: subject.title.into(),
        architecture: subject.architecture.clone(),
        objective: subject.objective.clone(),
        file: subject.file.clone(),
        sha256: subject.sha256.clone(),
        parameters: subject.net.parameter_count(),
        training: subject.log.clone(),
        clean,
        curve: points,
        attacks: entries.iter().map(|e| e.name.clone()).collect(),
        flags: flags.collect(),
        checks: verdict.map(|v| v.checks).unwrap_or_default(),
        settings: subject.settings.clone(),
    })
}
