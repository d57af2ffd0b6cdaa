//! Probes: a handful of cheap passes that gather the evidence for the masking
//! [`verdict`](crate::verdict).
//!
//! On the examples that are right before any attack, with L the cross-entropy and m the margin
//! max_{i≠y} z_i − z_y:
//!
//! 1. the same query five times; outputs that look like probabilities;
//! 2. ∇L at the image: exactly 0, not finite; lost to rounding (0 where ∇m is not, or cosine below
//!    ½ with ∇L in `f64`);
//! 3. (m(x + h s) − m(x − h s)) / 2h against ‖∇m‖₁, s = sign ∇m, h = 0.002 of the value range (in
//!    images of more than 3072 numbers, a step of the same length in L2): what the gradient
//!    promises against what the scores do, less than half is a contradiction; at two
//!    random points x beside the image (the image itself may be a kink of an honest model: equal
//!    pixels of a black ground under a maximum);
//! 4. steps down L against steps up; one step of eps against many of 2.5 eps / steps; at twice eps,
//!    examples broken and largest loss reached; with eps the whole range (times √d for L2, d for
//!    L1);
//! 5. the rise of L over the last tenth of the many steps, as a share of its whole rise, for
//!    examples that stand; four times the steps where it still rises;
//! 6. |m(x + δ) − m(x)| / |m(x)|, capped at 1, δ uniform with |δᵢ| at most 8/255 of the range, mean
//!    over directions and examples that stand (one beside the boundary changes by much and proves
//!    nothing);
//! 7. where the caller has them: rules that go around a defence, another model's examples, a search
//!    by scores alone.
//!
//! Cost: at most 5 (steps + 1) + directions + 13 forward passes an example, and about as many
//! backward passes as steps.
//!
//! Differences from Pintor et al. 2022: (1) instability is measured on the margin, which does not
//! vanish where the loss does, and on what stands; (2) the last tenth of the search stands for
//! their last 10 steps. Reference: `pintor2022`.

use crate::attack::base::BlackBox;
use crate::attack::sealed::{check, run_black_box};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::measure::similarity::cosine;
use crate::model::access::{Gradients, LossGradient};
use crate::model::answer::{misclassified, undecided};
use crate::rng::{Purpose, Stream};
use crate::threat::{Norm, ThreatModel};
use crate::verdict::evidence::{Evidence, Found, Versus, Wider};
use crate::verdict::probe_walk::{Way, walk};
use crate::verdict::threshold::RANDOM_GAP;
use fgmf_net::head::{CrossEntropy, Head, Margin};
use fgmf_net::{Precision, Tensor};
use serde::{Deserialize, Serialize};

/// Times that each image is asked for, to see whether answers differ (AutoAttack's 5).
const QUERIES: usize = 5;

/// Random points beside an image at which gradients are compared with differences.
const BESIDE: u64 = 2;

/// Settings of [`gather`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `examples` | 128 | 1 or more: the first so many of the batch |
/// | `steps` | 50 | 10 to 10,000 |
/// | `directions` | 100 | 1 to 10,000 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeParams {
    /// Examples looked at.
    pub examples: usize,
    /// Steps of the searches.
    pub steps: usize,
    /// Random directions an example.
    pub directions: usize,
}

impl Default for ProbeParams {
    fn default() -> Self {
        Self {
            examples: 128,
            steps: 50,
            directions: 100,
        }
    }
}

impl ProbeParams {
    fn check(&self) -> Result<()> {
        if self.examples == 0 {
            return Err(Error::parameter("examples", "1 or more", 0));
        }
        if !(10..=10_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "10 to 10000", self.steps));
        }
        if !(1..=10_000).contains(&self.directions) {
            return Err(Error::parameter(
                "directions",
                "1 to 10000",
                self.directions,
            ));
        }
        Ok(())
    }
}

/// The model as it is served, and what an attacker may hold against it.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// As served.
    pub model: &'a dyn Gradients,
    /// With rules that go around a defence, or averaged over its draws.
    pub bypass: Option<&'a dyn Gradients>,
    /// In `f64`.
    pub double: Option<&'a dyn Gradients>,
    /// Another model of the same task.
    pub surrogate: Option<&'a dyn Gradients>,
    /// A search by scores alone, run on what gradients leave.
    pub black_box: Option<&'a dyn BlackBox>,
}

impl<'a> Target<'a> {
    /// A model of which nothing else is known.
    pub fn new(model: &'a dyn Gradients) -> Self {
        Self {
            model,
            bypass: None,
            double: None,
            surrogate: None,
            black_box: None,
        }
    }
}

/// What the probes saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Probes {
    /// For [`judge`](crate::verdict::judge()).
    pub evidence: Evidence,
    /// The first adversarial point within the threat that a probe found, one an example.
    pub broken: Vec<ProbePoint>,
}

/// An adversarial point that a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbePoint {
    /// Position of the example in the data set.
    pub index: u64,
    /// The probe.
    pub probe: &'static str,
    /// The image.
    pub point: Vec<f32>,
}

/// Gathers evidence on the first examples of a batch.
pub fn gather(
    target: &Target<'_>,
    batch: &Batch,
    threat: &ThreatModel,
    params: &ProbeParams,
    seed: u64,
) -> Result<Probes> {
    params.check()?;
    check(target.model, batch, threat)?;
    let batch = batch.select(&(0..batch.len().min(params.examples)).collect::<Vec<_>>());
    let mut e = Evidence {
        classes: target.model.classes(),
        ..Evidence::default()
    };
    let first = target.model.logits(&batch.x)?;
    let mut differs = vec![false; batch.len()];
    for _ in 1..QUERIES {
        let again = target.model.logits(&batch.x)?;
        differs
            .iter_mut()
            .zip(gaps(&first, &again))
            .for_each(|(d, gap)| *d |= gap);
    }
    e.randomised = Some(found(&batch.index, &differs));
    e.probabilities = Some(found(&batch.index, &probabilities(&first)));
    e.undecided = Some(found(&batch.index, &undecided(&first)));
    let wrong = misclassified(&first, &batch.labels);
    let right: Vec<usize> = (0..batch.len()).filter(|&i| !wrong[i]).collect();
    if right.is_empty() {
        return Ok(Probes {
            evidence: e,
            broken: Vec::new(),
        });
    }
    let batch = batch.select(&right);
    let random = e
        .randomised
        .as_ref()
        .is_some_and(|f| !f.examples.is_empty());
    at_the_image(target, &batch, threat, random, seed, &mut e)?;
    let (broken, left) = searches(target, &batch, threat, params.steps, seed, &mut e)?;
    if !left.is_empty() {
        e.instability = Some(instability(
            target.model,
            &batch.select(&left),
            threat,
            params.directions,
            seed,
        )?);
    }
    Ok(Probes {
        evidence: e,
        broken,
    })
}

fn found(index: &[u64], hit: &[bool]) -> Found {
    Found {
        examples: index
            .iter()
            .zip(hit)
            .filter(|(_, h)| **h)
            .map(|(i, _)| *i)
            .collect(),
        of: hit.len(),
    }
}

fn named(index: &[u64], hit: &[bool]) -> Vec<u64> {
    found(index, hit).examples
}

/// Rows that differ by more than rounding explains, relative to their length.
fn gaps(a: &Tensor, b: &Tensor) -> Vec<bool> {
    let k = a.shape()[1];
    let (a, b) = (a.to_f64(), b.to_f64());
    let row = |(x, y): (&[f64], &[f64])| {
        let gap = Norm::L2.of(x.iter().zip(y).map(|(x, y)| x - y));
        gap > RANDOM_GAP * Norm::L2.of(x.iter().copied()).max(1e-10)
    };
    a.chunks_exact(k).zip(b.chunks_exact(k)).map(row).collect()
}

fn probabilities(logits: &Tensor) -> Vec<bool> {
    let k = logits.shape()[1];
    let row = |z: &[f64]| {
        z.iter().all(|v| (0.0..=1.0).contains(v)) && (z.iter().sum::<f64>() - 1.0).abs() < 1e-5
    };
    logits.to_f64().chunks_exact(k).map(row).collect()
}

/// Probes 2 and 3. A model that answers at random is spared the comparisons between queries.
fn at_the_image(
    target: &Target<'_>,
    batch: &Batch,
    threat: &ThreatModel,
    random: bool,
    seed: u64,
    e: &mut Evidence,
) -> Result<()> {
    let head = CrossEntropy::labels(&batch.labels);
    let LossGradient {
        losses, gradient, ..
    } = target.model.loss_gradient(&batch.x, &head)?;
    let margin = target
        .model
        .loss_gradient(&batch.x, &Margin::new(&batch.labels))?;
    let size = gradient.len() / batch.len();
    let (g, gm) = (gradient.to_f64(), margin.gradient.to_f64());
    let rows =
        |v: &[f64], f: &dyn Fn(&[f64]) -> bool| v.chunks_exact(size).map(f).collect::<Vec<bool>>();
    let zero = rows(&g, &|g| g.iter().all(|v| *v == 0.0));
    let flat = rows(&gm, &|g| g.iter().all(|v| *v == 0.0));
    let finite = rows(&g, &|g| g.iter().all(|v| v.is_finite()));
    e.zero_gradients = Some(found(&batch.index, &zero));
    let bad: Vec<bool> = (0..batch.len())
        .map(|i| !finite[i] || !losses[i].is_finite())
        .collect();
    e.non_finite = Some(found(&batch.index, &bad));
    let mut lost: Vec<bool> = (0..batch.len()).map(|i| zero[i] && !flat[i]).collect();
    if let Some(double) = target.double.filter(|_| !random) {
        let twin = double
            .loss_gradient(&batch.x.cast(Precision::F64), &head)?
            .gradient
            .to_f64();
        for i in 0..batch.len() {
            let (a, b) = (
                &g[i * size..(i + 1) * size],
                &twin[i * size..(i + 1) * size],
            );
            let silent = b.iter().all(|v| *v == 0.0);
            let turned = !silent && cosine(a, b).is_ok_and(|c| c < 0.5);
            lost[i] |= zero[i] != silent || turned;
        }
    }
    e.saturated = Some(found(&batch.index, &lost));
    if !random {
        e.contradicted = Some(found(
            &batch.index,
            &contradicted(target.model, batch, threat, seed)?,
        ));
    }
    Ok(())
}

/// Probe 3, one an example: whether the gradient of the margin is contradicted beside it.
fn contradicted(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<Vec<bool>> {
    let mut any = vec![false; batch.len()];
    for round in 0..BESIDE {
        let x = beside(batch, threat, seed, round);
        let head = Margin::new(&batch.labels);
        let gradient = model.loss_gradient(&x, &head)?.gradient.to_f64();
        let here = contradicted_at(model, &x, &batch.labels, threat, &gradient)?;
        any.iter_mut()
            .zip(here)
            .for_each(|(any, here)| *any |= here);
    }
    Ok(any)
}

/// The images with uniform noise of at most 8/255 of the range, the same for an image each time.
fn beside(batch: &Batch, threat: &ThreatModel, seed: u64, round: u64) -> Tensor {
    let [lo, hi] = threat.bounds();
    let radius = ((hi - lo) * 8.0 / 255.0) as f32;
    let x = batch.x.to_f32();
    let noisy = |(x, &index): (&[f32], &u64)| {
        let mut rng = Stream::new(seed, Purpose::Evaluation, round, index);
        x.iter()
            .map(|v| (v + radius * rng.symmetric()).clamp(lo as f32, hi as f32))
            .collect::<Vec<f32>>()
    };
    let images = x.chunks_exact(x.len() / batch.len());
    let moved = images.zip(&batch.index).flat_map(noisy).collect();
    Tensor::new::<f32>(batch.x.shape(), moved)
}

/// Numbers of an image from which on the step of probe 3 shrinks, to the same length in L2: those
/// of 3x32x32. An image of 224x224 would otherwise move by seven times as much, and the margin of
/// an honest network bends on the way (EfficientNet-Lite0: 12 of 18 images contradicted).
const LARGE: f64 = 3072.0;

/// One an example; examples without a gradient promise nothing.
fn contradicted_at(
    model: &dyn Gradients,
    x: &Tensor,
    labels: &[usize],
    threat: &ThreatModel,
    gradient: &[f64],
) -> Result<Vec<bool>> {
    let [lo, hi] = threat.bounds();
    let (shape, x) = (x.shape(), x.to_f64());
    let numbers = (x.len() / labels.len()) as f64;
    let h = 0.002 * (hi - lo) * (LARGE / numbers).sqrt().min(1.0);
    let sign = |g: f64| if g == 0.0 { 0.0 } else { g.signum() };
    let margins = |side: f64| -> Result<Vec<f64>> {
        let moved = x
            .iter()
            .zip(gradient)
            .map(|(x, g)| x + side * h * sign(*g))
            .collect();
        margins_at(
            model,
            &Tensor::new(shape, moved).cast(Precision::F32),
            labels,
        )
    };
    let (up, down) = (margins(1.0)?, margins(-1.0)?);
    let promised = gradient
        .chunks_exact(x.len() / labels.len())
        .map(|g| Norm::L1.of(g.iter().copied()));
    // Written so that a promise that is not finite contradicts.
    let kept = |((p, up), down): ((f64, f64), f64)| p == 0.0 || (up - down) / (2.0 * h) >= 0.5 * p;
    Ok(promised.zip(up).zip(down).map(|v| !kept(v)).collect())
}

fn margins_at(model: &dyn Gradients, x: &Tensor, labels: &[usize]) -> Result<Vec<f64>> {
    Ok(Margin::new(labels)
        .evaluate(&model.logits(x)?.into(), 0..labels.len())
        .0)
}

/// Probe 6: mean over examples and directions.
fn instability(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    directions: usize,
    seed: u64,
) -> Result<f64> {
    let base = margins_at(model, &batch.x, &batch.labels)?;
    let mut sum = 0.0;
    for k in 0..directions {
        let moved = beside(batch, threat, seed, k as u64);
        let margins = margins_at(model, &moved, &batch.labels)?;
        sum += margins
            .iter()
            .zip(&base)
            .map(|(m, b)| ((m - b).abs() / b.abs().max(1e-12)).min(1.0))
            .sum::<f64>();
    }
    Ok(sum / (directions * batch.len()) as f64)
}

/// Positions of what was hit.
fn hits(hit: &[bool]) -> impl Iterator<Item = usize> {
    (0..hit.len()).filter(|&i| hit[i])
}

/// Probes 4, 5 and 7; returns what was broken within the threat, and the rows that the many steps
/// left.
fn searches(
    target: &Target<'_>,
    batch: &Batch,
    threat: &ThreatModel,
    steps: usize,
    seed: u64,
    e: &mut Evidence,
) -> Result<(Vec<ProbePoint>, Vec<usize>)> {
    let walk_on = |model: &dyn Gradients, threat: &ThreatModel, steps: usize| {
        walk(model, batch, threat, steps, Way::Up)
    };
    let mut broken: Vec<ProbePoint> = Vec::new();
    let mut take = |probe: &'static str, row: usize, point: &[f32]| {
        let index = batch.index[row];
        if broken.iter().all(|b| b.index != index) {
            let point = point.to_vec();
            broken.push(ProbePoint {
                index,
                probe,
                point,
            });
        }
    };
    let many = walk_on(target.model, threat, steps)?;
    hits(&many.broken).for_each(|i| take("ascent", i, &many.points[i]));
    let reference = named(&batch.index, &many.broken);
    let versus = |challenger: Vec<u64>| Versus {
        challenger,
        reference: reference.clone(),
        of: batch.len(),
    };
    let down = walk(target.model, batch, threat, steps, Way::Down)?;
    hits(&down.broken).for_each(|i| take("descent", i, &down.points[i]));
    e.descent = Some(versus(named(&batch.index, &down.broken)));
    let one = walk_on(target.model, threat, 1)?;
    hits(&one.broken).for_each(|i| take("one-step", i, &one.points[i]));
    e.one_step = Some(versus(named(&batch.index, &one.broken)));
    if threat.eps() > 0.0 {
        let wider = walk_on(target.model, &threat.with_eps(2.0 * threat.eps())?, steps)?;
        let stands: Vec<usize> = (0..batch.len()).filter(|&i| !many.broken[i]).collect();
        let stuck = stands
            .iter()
            .filter(|&&i| !wider.broken[i] && wider.reached[i] <= many.reached[i]);
        let count = |w: &[bool]| w.iter().filter(|b| **b).count();
        e.wider = Some(Wider {
            broken: count(&many.broken),
            broken_at_twice: count(&wider.broken),
            stuck: Found {
                examples: stuck.map(|&i| batch.index[i]).collect(),
                of: stands.len(),
            },
        });
    }
    let whole = threat.widest(batch.x.len() / batch.len());
    let anywhere = walk_on(target.model, &threat.with_eps(whole)?, steps)?;
    let standing: Vec<bool> = anywhere.broken.iter().map(|b| !b).collect();
    e.unbounded = Some(found(&batch.index, &standing));
    let left: Vec<usize> = (0..batch.len()).filter(|&i| !many.broken[i]).collect();
    let of_left = |hit: &[bool]| left.iter().map(|&i| hit[i]).collect::<Vec<_>>();
    let left_index: Vec<u64> = left.iter().map(|&i| batch.index[i]).collect();
    e.unfinished = Some(found(&left_index, &of_left(&many.unfinished)));
    let open: Vec<usize> = left
        .iter()
        .copied()
        .filter(|&i| many.unfinished[i])
        .collect();
    if !open.is_empty() {
        let part = batch.select(&open);
        let longer = walk(target.model, &part, threat, 4 * steps, Way::Up)?;
        let hit: Vec<usize> = (0..open.len()).filter(|&j| longer.broken[j]).collect();
        e.longer = Some(versus(hit.iter().map(|&j| part.index[j]).collect()));
        for j in hit {
            take("longer", open[j], &longer.points[j]);
        }
    }
    if let Some(model) = target.bypass {
        let around = walk_on(model, threat, steps)?;
        e.bypass = Some(versus(named(&batch.index, &around.broken)));
        hits(&around.broken).for_each(|i| take("bypass", i, &around.points[i]));
    }
    if let Some(model) = target.surrogate {
        let theirs = walk_on(model, threat, steps)?.points;
        let x = Tensor::new::<f32>(batch.x.shape(), theirs.concat());
        let moved = misclassified(&target.model.logits(&x)?, &batch.labels);
        hits(&moved).for_each(|i| take("transfer", i, &theirs[i]));
        e.transfer = Some(versus(named(&batch.index, &moved)));
    }
    if let Some(search) = target.black_box {
        let mut won = Vec::new();
        if !left.is_empty() {
            let part = batch.select(&left);
            let outcome = run_black_box(search, target.model, &part, threat, seed)?;
            won = named(&part.index, &outcome.success);
            let size = outcome.adversarial.len() / part.len();
            let found = outcome.adversarial.to_f32();
            for (j, &i) in left.iter().enumerate().filter(|(j, _)| outcome.success[*j]) {
                take("black-box", i, &found[j * size..(j + 1) * size]);
            }
        }
        e.black_box = Some(versus(won));
    }
    broken.sort_by_key(|b| b.index);
    Ok((broken, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::base::{Candidate, Ending, Seed};
    use crate::attack::random::RandomSearchParams;
    use crate::defend::bit_depth::{BitDepthParams, with_bit_depth};
    use crate::defend::knowledge::{bypass_rules, served_rules};
    use crate::defend::logit_scaling::LogitScalingParams;
    use crate::defend::logit_scaling::with_logit_scaling;
    use crate::defend::lying_gate::LyingGateParams;
    use crate::defend::lying_gate::with_lying_gate;
    use crate::defend::noise::AdditiveNoiseParams;
    use crate::model::access::Scores;
    use crate::model::answer::predictions;
    use crate::model::averaged::Averaged;
    use crate::model::oracle::Oracle;
    use crate::model::served::Served;
    use crate::verdict::judge::{Level, judge};
    use crate::verdict::sign::Sign;
    use fgmf_net::op::{Binary, Op, Softmax};
    use fgmf_net::{Builder, Session};
    use fgmf_testkit::finite::{uniform, uniform_tensor};
    use fgmf_testkit::toys;

    /// Linear, so that its gradients are honest and every class is in reach of every image.
    fn net() -> Session {
        let weights: Vec<Vec<f64>> = (0..4).map(|k| uniform(k, 64, -1.0, 1.0)).collect();
        toys::linear(&weights, &[0.0; 4], [1, 8, 8]).cast(Precision::F32)
    }

    fn batch(net: &Session) -> Batch {
        let x = uniform_tensor(9, &[24, 1, 8, 8], 0.0, 1.0).cast(Precision::F32);
        Batch {
            labels: predictions(&net.logits(&x).unwrap()),
            x,
            index: (50..74).collect(),
        }
    }

    fn threat() -> ThreatModel {
        ThreatModel::new(Norm::Linf, 0.03, [0.0, 1.0]).unwrap()
    }

    fn probe(target: &Target<'_>, batch: &Batch) -> crate::verdict::Verdict {
        let params = ProbeParams {
            steps: 20,
            directions: 10,
            ..ProbeParams::default()
        };
        judge(
            &gather(target, batch, &threat(), &params, 1)
                .unwrap()
                .evidence,
        )
    }

    #[test]
    fn an_honest_model_is_trustworthy() {
        let net = net();
        let batch = batch(&net);
        let (oracle, cast) = (Oracle::new(&net), net.cast(Precision::F64));
        let double = Oracle::new(&cast);
        let random = RandomSearchParams { draws: 20 }.check().unwrap();
        let v = probe(
            &Target {
                double: Some(&double),
                black_box: Some(&random),
                ..Target::new(&oracle)
            },
            &batch,
        );
        assert_eq!(v.level, Level::Trustworthy, "{:?}", v.flags);
        assert!(
            v.checks.contains(&Sign::BlackBoxBeatsWhiteBox)
                && !v.checks.contains(&Sign::BypassBeatsPlain)
        );
    }

    /// Hands back another image, far outside the ball, that has another class.
    struct Stray;

    impl BlackBox for Stray {
        fn id(&self) -> &'static str {
            "stray"
        }

        fn parameters(&self) -> serde_json::Value {
            serde_json::json!({})
        }

        fn perturb(
            &self,
            model: &dyn Scores,
            batch: &Batch,
            _: &ThreatModel,
            _: Seed,
        ) -> Result<Candidate> {
            let turned = |v: f32| 1.0 - v;
            let x = batch.x.to_f32().into_iter().map(turned).collect();
            let x = Tensor::new::<f32>(batch.x.shape(), x);
            let won = misclassified(&model.logits(&x)?, &batch.labels);
            assert!(won.contains(&true), "some of them would count if believed");
            Ok(Candidate {
                x,
                endings: vec![Ending::Converged; batch.len()],
            })
        }
    }

    #[test]
    fn a_search_that_leaves_the_ball_beats_nothing() {
        let net = net();
        let (batch, oracle) = (batch(&net), Oracle::new(&net));
        let tiny = threat().with_eps(1e-4).unwrap();
        let params = ProbeParams {
            steps: 20,
            directions: 10,
            ..ProbeParams::default()
        };
        let target = Target {
            black_box: Some(&Stray),
            ..Target::new(&oracle)
        };
        let evidence = gather(&target, &batch, &tiny, &params, 1).unwrap().evidence;
        let versus = evidence.black_box.as_ref().unwrap();
        assert!(versus.challenger.is_empty(), "{versus:?}");
        assert!(!judge(&evidence).has(Sign::BlackBoxBeatsWhiteBox));
    }

    #[test]
    fn planted_defences_raise_their_flags() {
        let net = net();
        let batch = batch(&net);
        let signs =
            |v: &crate::verdict::Verdict| v.flags.iter().map(|f| f.sign).collect::<Vec<_>>();
        let against = |defended: &Session, expected: &[Sign]| {
            let model = Oracle::with_rules(defended, served_rules(defended).unwrap());
            let around = bypass_rules(defended).map(|r| Oracle::with_rules(defended, r));
            let right = Batch {
                labels: predictions(&defended.logits(&batch.x).unwrap()),
                ..batch.clone()
            };
            let v = probe(
                &Target {
                    bypass: around.as_ref().map(|o| o as &dyn Gradients),
                    ..Target::new(&model)
                },
                &right,
            );
            assert!(
                expected.iter().all(|s| v.has(*s)),
                "expected {expected:?}, found {:?}",
                signs(&v)
            );
        };
        let squeezed = Session::new(with_bit_depth(&net, &BitDepthParams { bits: 6 }).unwrap());
        against(
            &squeezed,
            &[
                Sign::ZeroGradient,
                Sign::LargerEpsDoesNotHelp,
                Sign::UnboundedAttackFails,
                Sign::BypassBeatsPlain,
            ],
        );
        let scaled =
            Session::new(with_logit_scaling(&net, &LogitScalingParams { factor: 1e6 }).unwrap());
        against(
            &scaled,
            &[
                Sign::ZeroGradient,
                Sign::Saturation,
                Sign::UnboundedAttackFails,
            ],
        );
        let gated = Session::new(with_lying_gate(&net, &LyingGateParams::default()).unwrap());
        against(
            &gated,
            &[Sign::GradientContradicted, Sign::BypassBeatsPlain],
        );
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams::default().check().unwrap();
        let served = Served::new(&oracle, &noise, 5);
        let mean = Averaged::new(&served, 4).unwrap();
        assert!(
            probe(
                &Target {
                    bypass: Some(&mean),
                    ..Target::new(&served)
                },
                &batch
            )
            .has(Sign::RandomisedOutput)
        );
    }

    /// z / (0.001 + z²) keeps the answer, and every gradient is true. It falls where z is large, so
    /// steps up the served loss lead away from the boundary.
    #[test]
    fn scores_that_are_turned_round_are_seen_by_steps_down() {
        let w = uniform(3, 64, -1.0, 1.0);
        let turned: Vec<f64> = w.iter().map(|w| -w).collect();
        let plain = toys::linear(&[w, turned], &[0.0; 2], [1, 8, 8]).cast(Precision::F32);
        let mut b = Builder::new("turned", "image", [1, 8, 8]).unwrap();
        let image = b.input();
        let z = plain.graft(&mut b, image).unwrap();
        let small = Tensor::new::<f32>(&[1, 1], vec![0.001]);
        let small = b.parameter("small", small, false).unwrap();
        let op = |o| Op::Binary(o);
        let square = b.node("square", op(Binary::Mul), &[z, z]).unwrap();
        let below = b.node("below", op(Binary::Add), &[square, small]).unwrap();
        let served = b.node("served", op(Binary::Div), &[z, below]).unwrap();
        let net = Session::new(b.finish(served).unwrap());
        let images = batch(&net);
        let oracle = Oracle::new(&net);
        let v = probe(&Target::new(&oracle), &images);
        assert!(v.has(Sign::DescentBeatsAscent), "{:?}", v.flags);
        assert_eq!(v.level, Level::Masked);
        // The same network without it gives no such sign.
        let honest = probe(&Target::new(&Oracle::new(&plain)), &batch(&plain));
        assert!(!honest.has(Sign::DescentBeatsAscent), "{:?}", honest.flags);
    }

    #[test]
    fn outputs_that_name_no_class_are_counted() {
        let net = toys::linear(&vec![vec![0.0; 64]; 3], &[0.5; 3], [1, 8, 8]).cast(Precision::F32);
        let v = probe(&Target::new(&Oracle::new(&net)), &batch(&net));
        assert!(v.has(Sign::UndecidedOutput));
        assert_ne!(v.level, Level::Trustworthy);
    }

    #[test]
    fn softmax_at_the_end_is_named() {
        let net = net();
        let mut b = Builder::new("p", "image", [1, 8, 8]).unwrap();
        let image = b.input();
        let z = net.graft(&mut b, image).unwrap();
        let p = b
            .node(
                "p",
                Op::Softmax(Softmax {
                    axis: 1,
                    log: false,
                }),
                &[z],
            )
            .unwrap();
        let with_softmax = Session::new(b.finish(p).unwrap());
        let v = probe(&Target::new(&Oracle::new(&with_softmax)), &batch(&net));
        assert!(v.has(Sign::ProbabilitiesAsLogits));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let net = net();
        for p in [
            ProbeParams {
                examples: 0,
                ..ProbeParams::default()
            },
            ProbeParams {
                steps: 9,
                ..ProbeParams::default()
            },
        ] {
            assert!(
                gather(
                    &Target::new(&Oracle::new(&net)),
                    &batch(&net),
                    &threat(),
                    &p,
                    0
                )
                .is_err()
            );
        }
    }

    /// At a radius too small to break anything an honest model breaks no more at twice the radius,
    /// which is no sign of masking.
    #[test]
    fn a_tiny_radius_is_no_sign() {
        let net = net();
        let batch = batch(&net);
        let params = ProbeParams {
            steps: 20,
            directions: 10,
            ..ProbeParams::default()
        };
        let tiny = threat().with_eps(1e-5).unwrap();
        let e = gather(&Target::new(&Oracle::new(&net)), &batch, &tiny, &params, 1)
            .unwrap()
            .evidence;
        let wider = e.wider.clone().unwrap();
        assert_eq!(
            (
                wider.broken,
                wider.broken_at_twice,
                wider.stuck.examples.len()
            ),
            (0, 0, 0)
        );
        let v = judge(&e);
        assert!(
            !v.has(Sign::LargerEpsDoesNotHelp) && v.level != Level::Masked,
            "{:?}",
            v.flags
        );
    }
}
