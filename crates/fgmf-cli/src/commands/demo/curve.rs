//! Accuracy against eps.

use super::Subject;
use crate::arguments::Arguments;
use crate::console;
use anyhow::Result;
use fgmf::attack::{Attack, PgdParams, RandomSearchParams};
use fgmf::data::Dataset;
use fgmf::defend::{MaskKnowledge, has_mask};
use fgmf::study::{Entry, SuiteJob, run_suite};
use fgmf::threat::ThreatModel;
use fgmf_record::{CurvePoint, Proportion};

/// Radii measured.
const RADII: [f64; 8] = [0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3];

/// The attack in words.
pub(super) const ATTACK: &str = "PGD, 20 steps, random start; where the model has a mask layer again with the mask \
    frozen at each step, worst case per image; then random search, 50 draws";

pub(super) struct Measured {
    pub(super) clean: Proportion,
    pub(super) points: Vec<CurvePoint>,
    pub(super) checks: Vec<String>,
    pub(super) flags: Vec<String>,
}

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

pub(super) fn settings() -> Result<serde_json::Value> {
    let all = entries(true)?;
    let row = |e: &Entry| serde_json::json!({ "name": e.name, "mask": e.knowledge, "settings": e.attack.parameters() });
    Ok(serde_json::json!({ "radii": RADII, "attacks": all.iter().map(row).collect::<Vec<_>>() }))
}

pub(super) fn measure(
    global: &Arguments,
    s: &Subject,
    data: &Dataset,
    threat: &ThreatModel,
    seed: u64,
) -> Result<Measured> {
    let (entries, at) = (entries(has_mask(&s.net))?, threat.eps());
    let bar = console::bar(
        global.quiet,
        RADII.len() * data.len(),
        &format!("{} eps", s.id),
    );
    let mut out = Measured {
        clean: Proportion::new(0, 0),
        points: Vec::new(),
        checks: Vec::new(),
        flags: Vec::new(),
    };
    for (i, eps) in RADII.into_iter().enumerate() {
        let mut watch =
            |done: usize, _: usize, _: usize| bar.set_position((i * data.len() + done) as u64);
        let threat = threat.with_eps(eps)?;
        let job = SuiteJob {
            net: &s.net,
            model_sha256: &s.run.model_sha256,
            data,
            threat: &threat,
            seed,
        };
        let outcome = run_suite(&entries, &job, None, &mut watch)?;
        out.clean = outcome.clean();
        out.points.push(CurvePoint {
            eps,
            robust: outcome.overall(),
        });
        if (eps - at).abs() < 1e-12 {
            out.checks.clone_from(&outcome.verdict.checks);
            out.flags.extend(
                outcome
                    .verdict
                    .flags
                    .iter()
                    .map(|f| format!("{} at eps {eps}: {} ({})", f.id, f.advice, f.evidence)),
            );
        }
    }
    bar.finish_and_clear();
    // A larger ball contains the smaller one: an attack that gets weaker with it is being misled.
    for pair in out.points.windows(2) {
        let lost = pair[1].robust.value - pair[0].robust.value;
        if lost > 0.002 {
            let text = format!(
                "larger-eps-does-not-help: accuracy rises by {:.1} points from eps {} to {}",
                100.0 * lost,
                pair[0].eps,
                pair[1].eps
            );
            out.flags.push(text);
        }
    }
    Ok(out)
}
