//! How a report of models side by side judges one of them: accuracy against the radius, and signs
//! of masking.

use crate::attack::{Attack, PgdParams, RandomSearchParams};
use crate::data::Dataset;
use crate::data::batch::batch_of;
use crate::defend::{MaskKnowledge, has_mask, unsquashed};
use crate::error::Result;
use crate::record::ModelRecord;
use crate::study::curve::{Curve, curve};
use crate::study::entry::{Entry, SuiteJob};
use crate::study::report_model::ReportModel;
use crate::threat::ThreatModel;
use fgmf_net::Session;
use std::path::Path;

/// Radii of the demo.
pub const RADII: [f64; 8] = [0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3];

/// Images asked about at a time.
const CALL: usize = 256;

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
        clean_loss: Some(clean_loss(&subject.net, data)?).filter(|v| v.is_finite()),
        curve: points,
        attacks: entries.iter().map(|e| e.name.clone()).collect(),
        flags: flags.collect(),
        checks: verdict.map(|v| v.checks).unwrap_or_default(),
        settings: subject.settings.clone(),
    })
}

/// Mean over the images of −log softmax(z)_y, z the scores before what squashes them at the end, if
/// something does.
fn clean_loss(net: &Session, data: &Dataset) -> Result<f64> {
    let bare = unsquashed(net)?.map(|found| Session::new(found.network));
    let net = bare.as_ref().unwrap_or(net);
    let rows: Vec<usize> = (0..data.len()).collect();
    let mut sum = 0.0;
    for rows in rows.chunks(CALL) {
        let batch = batch_of(data, rows)?;
        let logits = net.logits(&batch.x)?.to_f32();
        for (z, &label) in logits.chunks_exact(net.classes()).zip(&batch.labels) {
            let largest = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let terms = z.iter().map(|v| f64::from(v - largest).exp());
            sum += terms.sum::<f64>().ln() - f64::from(z[label] - largest);
        }
    }
    Ok(sum / data.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{EMBEDDED, load};
    use crate::record::Split;
    use fgmf_net::op::{Binary, Flatten, Op, Reduce, ReduceKind, Softmax};
    use fgmf_net::{Builder, Network, Tensor};

    /// The same scores for every image, 3 for class 0 and 0 for the nine others; with a softmax
    /// behind them or not.
    fn constant(squashed: bool) -> Network {
        let mut b = Builder::new("m", "image", [1, 28, 28]).unwrap();
        let x = b.input();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[x])
            .unwrap();
        let sum = Reduce {
            kind: ReduceKind::Sum,
            axes: vec![1],
            keep: true,
        };
        let sum = b.node("sum", Op::Reduce(sum), &[flat]).unwrap();
        let none = Tensor::new::<f32>(&[1, 10], vec![0.0; 10]);
        let none = b.parameter("none", none, false).unwrap();
        let zeros = b
            .node("zeros", Op::Binary(Binary::Mul), &[sum, none])
            .unwrap();
        let scores = (0..10).map(|k| if k == 0 { 3.0 } else { 0.0 }).collect();
        let scores = Tensor::new::<f32>(&[1, 10], scores);
        let scores = b.parameter("scores", scores, false).unwrap();
        let mut z = b
            .node("z", Op::Binary(Binary::Add), &[zeros, scores])
            .unwrap();
        if squashed {
            let softmax = Softmax {
                axis: -1,
                log: false,
            };
            z = b.node("p", Op::Softmax(softmax), &[z]).unwrap();
        }
        b.finish(z).unwrap()
    }

    #[test]
    fn the_clean_loss_is_the_cross_entropy_of_the_logits() {
        let data = load(EMBEDDED, Split::Test).unwrap();
        let first = data.labels().iter().filter(|&&y| y == 0).count();
        let share = first as f64 / data.len() as f64;
        let expected = (3f64.exp() + 9.0).ln() - 3.0 * share;
        for squashed in [false, true] {
            let found = clean_loss(&Session::new(constant(squashed)), &data).unwrap();
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
