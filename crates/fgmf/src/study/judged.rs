//! How a report of models side by side judges one of them: accuracy against the radius, and signs
//! of masking.

use crate::attack::{Attack, PgdParams, RandomSearchParams};
use crate::data::Dataset;
use crate::data::batch::batch_of;
use crate::defend::{MaskKnowledge, has_mask, unsquashed};
use crate::error::Result;
use crate::record::{CurvePoint, ModelRecord, Norm, Proof, Proportion};
use crate::study::bracket::{prove_balls, unbounded};
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
        mut points,
        verdict,
        ..
    } = curve(&entries, &job, radii, true, &[], state, watch)?;
    let why = prove_curve(&job, &mut points)?;
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
        unbounded: why,
        flags: flags.collect(),
        checks: verdict.map(|v| v.checks).unwrap_or_default(),
        settings: subject.settings.clone(),
    })
}

/// Proves by interval bounds what can be proved at each radius of a curve. Returns why nothing can;
/// empty where bounds were computed.
fn prove_curve(job: &SuiteJob<'_>, points: &mut [CurvePoint]) -> Result<String> {
    if job.threat.norm() != Norm::Linf {
        let norm = job.threat.norm();
        return Ok(format!(
            "a box around a ball of {norm} is far larger than the ball"
        ));
    }
    if let Some(why) = unbounded(job.net)? {
        return Ok(why);
    }
    for point in points {
        let threat = job.threat.with_eps(point.eps)?;
        let job = SuiteJob {
            threat: &threat,
            ..*job
        };
        let proofs = prove_balls(&job, None, &mut |_, _| ())?.images;
        let right = proofs.iter().filter(|(_, p)| *p == Proof::Right).count();
        point.proved = Some(Proportion::new(right, proofs.len()));
    }
    Ok(String::new())
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

    fn job_on<'a>(net: &'a Session, data: &'a Dataset, threat: &'a ThreatModel) -> SuiteJob<'a> {
        SuiteJob {
            net,
            model_sha256: "",
            data,
            threat,
            seed: 0,
            cap: usize::MAX,
        }
    }

    fn points(radii: &[f64]) -> Vec<CurvePoint> {
        let point = |&eps: &f64| CurvePoint {
            eps,
            robust: Proportion::new(0, 0),
            proved: None,
        };
        radii.iter().map(point).collect()
    }

    /// Bounds of a linear model are exact: an image is proved where the worst corner of its box
    /// still has a margin.
    #[test]
    fn what_is_proved_of_a_linear_model_is_that_of_the_closed_form() {
        let mut data = load(EMBEDDED, Split::Test).unwrap();
        data.truncate(60).unwrap();
        // Each class is told by its own stripe.
        let row = |k: usize| (0..784).map(move |i| if i / 79 == k { 0.1 } else { 0.0 });
        let weights: Vec<Vec<f64>> = (0..10).map(|k| row(k).collect()).collect();
        let net = fgmf_testkit::toys::linear(&weights, &[0.0; 10], [1, 28, 28]);
        let net = Session::new(net.cast(fgmf_net::Precision::F32).into_network());
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let mut found = points(&[0.0, 0.02, 0.1]);
        let why = prove_curve(&job_on(&net, &data, &threat), &mut found).unwrap();
        assert_eq!(why, "");
        let all = data.images(&(0..data.len()).collect::<Vec<_>>()).unwrap();
        let mut shares = Vec::new();
        for point in &found {
            let worst = |(x, &y): (&[f32], &usize)| {
                let gap = |j: usize| -> f64 {
                    let pixels = x.iter().zip(&weights[y]).zip(&weights[j]);
                    let least = pixels.map(|((&x, a), b)| {
                        let (slope, x) = (a - b, f64::from(x));
                        let by = if slope > 0.0 { -point.eps } else { point.eps };
                        slope * (x + by).clamp(0.0, 1.0)
                    });
                    least.sum()
                };
                (0..10)
                    .filter(|&j| j != y)
                    .map(gap)
                    .fold(f64::INFINITY, f64::min)
            };
            let margins: Vec<f64> = all
                .chunks_exact(784)
                .zip(data.labels())
                .map(worst)
                .collect();
            let above = |least: f64| margins.iter().filter(|m| **m > least).count();
            let proved = point.proved.unwrap();
            assert!(
                (above(0.02)..=above(0.0)).contains(&proved.count),
                "{proved:?}"
            );
            shares.push(proved.count);
        }
        assert!(shares[0] > shares[1] && shares[1] > shares[2], "{shares:?}");
    }

    #[test]
    fn why_nothing_is_proved_is_said() {
        let mut data = load(EMBEDDED, Split::Test).unwrap();
        data.truncate(4).unwrap();
        let shape = fgmf_net::zoo::ZooConfig {
            architecture: fgmf_net::zoo::Architecture::VitTiny,
            activation: fgmf_net::zoo::Activation::Relu,
            image: [1, 28, 28],
            classes: 10,
            mean: vec![0.0],
            deviation: vec![1.0],
            seed: 0,
        };
        let vit = Session::new(fgmf_net::zoo::build(&shape).unwrap());
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let mut found = points(&[0.0, 0.1]);
        let why = prove_curve(&job_on(&vit, &data, &threat), &mut found).unwrap();
        assert!(why.contains("LayerNormalization"), "{why}");
        let linear = Session::new(constant(false));
        let euclidean = ThreatModel::new(Norm::L2, 0.1, [0.0, 1.0]).unwrap();
        let why = prove_curve(&job_on(&linear, &data, &euclidean), &mut found).unwrap();
        assert!(why.contains("l2"), "{why}");
        assert!(found.iter().all(|p| p.proved.is_none()));
    }
}
