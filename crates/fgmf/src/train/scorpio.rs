//! SCOR-PIO 2.0: the loss at the worst point of the ball, found by a search that goes on from visit
//! to visit.
//!
//! For each image x with label y, d is a displacement in units of the radius that is kept from one
//! epoch to the next (zeros at first). A visit moves it by N Frank-Wolfe steps on the loss,
//!
//! d ← (1 − γ) d + γ s(∇L(x + eps d, y)),
//!
//! where s(g) maximises ⟨g, s⟩ over ball and bounds (in Linf eps sign g, cut to the bounds). Where
//! nothing is kept, d starts from zero and γ = 2 / (2 + k). The objective is
//!
//! J = L(x + eps d, y) + λ |L(x + eps d) − 2 L(x + eps d − u/2) + L(x + eps d − u)|,
//!
//! with u the part of eps d on the salient pixels. The second term is ¼ |u·H u| at the middle of
//! the salient segment, up to fourth order. It was the first form of this objective;
//! docs/results/first-form.md found nothing in it, and it is off unless asked for.
//!
//! A gradient in the image from the training pass itself moves d once more, with share `recycle`,
//! for the next visit.
//!
//! Second order is watched: with r the last search step, from x₀ to x₁, and g = ∇L(x₀), the number
//! c = 2 (L(x₁) − L(x₀)) / ⟨g, r⟩ − 1 is ⟨∇L(x₁), r⟩ / ⟨g, r⟩ up to third order, that is
//! 1 + r·H r / ⟨g, r⟩. It costs nothing and is logged as `linearity`: near 1 the loss is straight
//! along the step, below 0 the step went past the top.
//!
//! Cost: `2 N + 3` passes an example, where PGD-AT with S steps costs `2 S + 3`; `2 N + 9` where λ
//! is not 0, plus `2 · ig_steps / refresh` for the salient pixels; some 3% of a training step more
//! where gradients are recycled. Memory: a byte for each number of the training images.
//!
//! This is our reconstruction: the paper (Tsiligkaridis & Roberts 2020) publishes no complete
//! algorithm. Decisions of ours: (1) Frank-Wolfe runs on the true loss instead of its quadratic
//! model, which costs the same; (2) the loss at the end of the ball is part of the objective,
//! because a stencil that never looks there bends between its points and collapses under attack;
//! (3) displacements are kept over epochs, as ATTA does (Zheng et al. 2020), and averaged, which
//! ATTA does not; (4) curvature is taken in absolute value, so that negative curvature is never
//! rewarded, and measured by losses alone, with d, u and w held constant; (5) salient pixels are
//! the top share by |Integrated Gradients| of the true class, refreshed every few epochs. Visit
//! steps see batch normalisation in evaluation mode, so there `linearity` mixes both modes.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::oracle::Oracle;
use crate::settings::{complete, read};
use crate::threat::ThreatModel;
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean, step_on,
    step_on_with_images,
};
use crate::train::parts::rows::{Weighed, mean_at, step_on_rows};
use crate::train::salience::SalienceSource;
use fgmf_net::ParameterGradients;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "scor-pio",
    line: "Minimises the loss at the worst point, searched for from visit to visit.",
    revision: 2,
    reference: "tsiligkaridis2020",
    example: r#"{"steps": 2, "gamma": 0.6}"#,
    build: ObjectiveBuild {
        complete: complete::<ScorpioParams>,
        make: |settings| Ok(Box::new(Scorpio::new(read(settings)?)?)),
    },
}];

/// Settings of [`Scorpio`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `steps` | 1 | Frank-Wolfe steps N of a visit, 0 to 100; 0 needs `persistent` and `recycle` |
/// | `persistent` | true | whether d is kept from visit to visit |
/// | `gamma` | 0.5 | share γ of a step where d is kept, above 0, at most 1 |
/// | `recycle` | 0.5 | share of the step along the training pass's gradient, 0 to 1 |
/// | `curvature` | 0 | weight λ, 0 or more; nothing is recycled then |
/// | `salience` | Integrated Gradients, 20%, 8 steps, every 5 epochs | see [`SalienceSource`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScorpioParams {
    /// Frank-Wolfe steps.
    pub steps: usize,
    /// Whether searches go on from visit to visit.
    pub persistent: bool,
    /// Share of a step.
    pub gamma: f64,
    /// Share of the step along the recycled gradient.
    pub recycle: f64,
    /// Weight of the curvature term.
    pub curvature: f64,
    /// Which pixels are salient.
    pub salience: SalienceSource,
}

impl Default for ScorpioParams {
    fn default() -> Self {
        Self {
            steps: 1,
            persistent: true,
            gamma: 0.5,
            recycle: 0.5,
            curvature: 0.0,
            salience: SalienceSource::default(),
        }
    }
}

/// The checked objective.
#[derive(Clone, Debug)]
pub struct Scorpio {
    params: ScorpioParams,
}

impl Scorpio {
    /// Checked settings.
    pub fn new(params: ScorpioParams) -> Result<Self> {
        let ScorpioParams {
            steps,
            persistent,
            gamma,
            recycle,
            curvature,
            ..
        } = params;
        let least = usize::from(!(persistent && recycle > 0.0));
        if !(least..=100).contains(&steps) {
            let expected = "1 to 100, or 0 where searches are kept and gradients recycled";
            return Err(Error::parameter("steps", expected, steps));
        }
        if !(gamma > 0.0 && gamma <= 1.0) {
            return Err(Error::parameter("gamma", "above 0, at most 1", gamma));
        }
        if !(0.0..=1.0).contains(&recycle) {
            return Err(Error::parameter("recycle", "0 to 1", recycle));
        }
        if !(curvature.is_finite() && curvature >= 0.0) {
            let expected = "a finite number, 0 or more";
            return Err(Error::parameter("curvature", expected, curvature));
        }
        params.salience.check()?;
        Ok(Self { params })
    }
}

/// The last step of a search.
struct LastStep {
    /// At its start.
    losses: Vec<f64>,
    /// ⟨∇L, r⟩ of each image, r being the step.
    slopes: Vec<f64>,
}

/// Displacements in units of the radius, and what their search saw.
struct Visit {
    d: Vec<f32>,
    last: Option<LastStep>,
}

/// Images displaced by `d` radii, `[n, c, h, w]`.
fn displaced(batch: &Batch, d: &[f32], threat: &ThreatModel) -> Tensor {
    let eps = threat.eps() as f32;
    let clean = batch.x.values::<f32>();
    let size = (d.len() / batch.len().max(1)).max(1);
    let mut x = vec![0.0; d.len()];
    x.par_chunks_mut(size)
        .zip(clean.par_chunks(size))
        .zip(d.par_chunks(size))
        .for_each(|((x, origin), d)| {
            for ((x, o), d) in x.iter_mut().zip(origin).zip(d) {
                *x = o + eps * d;
            }
            threat.project(origin, x);
        });
    Tensor::new(batch.x.shape(), x)
}

/// d ← (1 − γ) d + γ s for each image, with s the displacement within ball and bounds along which
/// the gradient rises most. Returns ⟨g, r⟩ of each image, with the step r.
fn move_along(
    d: &mut [f32],
    gradient: &Tensor,
    gamma: f64,
    batch: &Batch,
    threat: &ThreatModel,
) -> Vec<f64> {
    let (gamma, eps) = (gamma as f32, threat.eps() as f32);
    let size = (d.len() / batch.len().max(1)).max(1);
    let (clean, raw) = (batch.x.values::<f32>(), gradient.values::<f32>());
    d.par_chunks_mut(size)
        .zip(clean.par_chunks(size))
        .zip(raw.par_chunks(size))
        .map(|((d, origin), g)| {
            let mut up = g.to_vec();
            threat.steepest(&mut up);
            if eps > 0.0 {
                for (s, o) in up.iter_mut().zip(origin) {
                    *s = o + eps * *s;
                }
                threat.project(origin, &mut up);
                for (s, o) in up.iter_mut().zip(origin) {
                    *s = (*s - o) / eps;
                }
            }
            let mut slope = 0.0;
            for ((d, s), g) in d.iter_mut().zip(up).zip(g) {
                let r = gamma * (s - *d);
                slope += f64::from(*g) * f64::from(r);
                *d += r;
            }
            slope * f64::from(eps)
        })
        .collect()
}

/// `steps` Frank-Wolfe steps on the loss, from `start` with the share `gamma`, or from zero with
/// 2 / (2 + k).
fn search(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    (start, gamma): (Option<&Tensor>, f64),
    steps: usize,
) -> Result<Visit> {
    let head = CrossEntropy::labels(&batch.labels);
    let mut d = start.map_or_else(|| vec![0.0; batch.x.len()], Tensor::to_f32);
    let mut last = None;
    for k in 0..steps {
        let at = model.loss_gradient(&displaced(batch, &d, threat), &head)?;
        let gamma = match start {
            Some(_) => gamma,
            None => 2.0 / (2.0 + k as f64),
        };
        let slopes = move_along(&mut d, &at.gradient, gamma, batch, threat);
        last = Some(LastStep {
            losses: at.losses,
            slopes,
        });
    }
    Ok(Visit { d, last })
}

/// End of `steps` Frank-Wolfe steps on the loss from each image: d ← (1 − γ) d + γ s(g) with
/// g = ∇L(x + eps d) and γ = 2 / (2 + k), where s maximises ⟨g, s⟩ over ball and bounds (exact in
/// Linf; elsewhere the steepest direction, brought into the bounds). Every iterate is a convex
/// combination of points of the ball. Returns x + eps d, `[n, c, h, w]`.
pub fn frank_wolfe(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    steps: usize,
) -> Result<Tensor> {
    let found = search(model, batch, threat, (None, 1.0), steps)?;
    Ok(displaced(batch, &found.d, threat))
}

/// Second difference of the losses at x + d, x + d − u/2, x + d − u.
fn bend(losses: &[f64]) -> f64 {
    losses[0] - 2.0 * losses[1] + losses[2]
}

impl Scorpio {
    fn curved_step(
        &self,
        net: &Session,
        batch: &Batch,
        end: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<(ParameterGradients, f64, f64)> {
        let (clean, far) = (batch.x.to_f32(), end.to_f32());
        let size = clean.len() / batch.len();
        let [_, h, w] = net.image_shape();
        let salient = |value: usize| {
            let (example, pixel) = (batch.index[value / size], value % (h * w));
            let kept = context.salience;
            kept.is_none_or(|s| s.is_salient(example, pixel))
        };
        let back = |share: f32| -> Vec<f32> {
            let pairs = far.iter().zip(&clean).enumerate();
            pairs
                .map(|(at, (e, o))| if salient(at) { e - share * (e - o) } else { *e })
                .collect()
        };
        let (half, whole) = (back(0.5), back(1.0));
        let head = Weighed {
            labels: &batch.labels,
            group: 3,
            weigh: |_: usize, losses: &[f64]| {
                let s = self.params.curvature * bend(losses).signum();
                vec![1.0 + s, -2.0 * s, s]
            },
        };
        let rows: [&[f32]; 3] = [&far, &half, &whole];
        let run = step_on_rows(net, &rows, &head, 0, batch, context)?;
        let bends = run.losses.chunks_exact(3).map(|three| bend(three).abs());
        let bends: Vec<f64> = bends.collect();
        let end = mean_at(&run.losses, 3, 0);
        Ok((run, end, mean(&bends)))
    }
}

impl Objective for Scorpio {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let p = &self.params;
        let from = (context.displacement, p.gamma);
        let steps = match context.displacement {
            // Nothing is kept here, so that a recycled gradient has not moved it.
            None => p.steps.max(1),
            Some(_) => p.steps,
        };
        let found = search(&Oracle::new(net), batch, context.threat, from, steps)?;
        let Visit { mut d, last } = found;
        let end = displaced(batch, &d, context.threat);
        let mut parts = Vec::new();
        let head = CrossEntropy::labels(&batch.labels);
        let run = if p.curvature > 0.0 {
            let (run, loss, bend) = self.curved_step(net, batch, &end, context)?;
            parts.push(("attacked cross-entropy", loss));
            parts.push(("salient curvature", bend));
            run
        } else {
            let run = match p.recycle > 0.0 && context.displacement.is_some() {
                true => {
                    let (run, g) = step_on_with_images(net, &end, &head, batch, context)?;
                    move_along(&mut d, &g, p.recycle, batch, context.threat);
                    run
                }
                false => step_on(net, &end, &head, batch, 1, context)?,
            };
            parts.push(("attacked cross-entropy", mean(&run.losses)));
            if let Some(last) = &last {
                parts.push(("linearity", linearity(last, &run.losses)));
            }
            run
        };
        let kept = context.displacement.is_some();
        Ok(Step {
            displacement: kept.then(|| Tensor::new(batch.x.shape(), d)),
            ..finish(run, &batch.labels, parts)
        })
    }

    fn salience(&self) -> Option<SalienceSource> {
        (self.params.curvature > 0.0).then(|| self.params.salience.clone())
    }

    fn keeps_displacements(&self) -> bool {
        self.params.persistent
    }

    fn rows(&self) -> usize {
        if self.params.curvature > 0.0 { 3 } else { 1 }
    }
}

/// c of a batch: the mean rise over the step, against what the gradients at its starts foretold,
/// 1 where the loss is straight. 1 as well where nothing was foretold.
fn linearity(last: &LastStep, ends: &[f64]) -> f64 {
    let (foretold, rise) = (mean(&last.slopes), mean(ends) - mean(&last.losses));
    if foretold > 0.0 {
        2.0 * rise / foretold - 1.0
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Norm;
    use crate::train::parts::checks::{batch, net};

    #[test]
    fn one_frank_wolfe_step_is_the_sign_step_and_more_stay_in_the_ball() {
        let (net, batch) = (net(), batch(5));
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let threat = ThreatModel::new(norm, 0.1, [0.0, 1.0]).unwrap();
            for steps in 1..5 {
                let end = frank_wolfe(&Oracle::new(&net), &batch, &threat, steps)
                    .unwrap()
                    .to_f32();
                let inside = batch
                    .x
                    .to_f32()
                    .chunks_exact(64)
                    .zip(end.chunks_exact(64))
                    .all(|(o, x)| threat.contains(o, x));
                assert!(inside, "{norm:?}, {steps} steps");
            }
        }
        let threat = ThreatModel::new(Norm::Linf, 0.01, [0.0, 1.0]).unwrap();
        let end = frank_wolfe(&Oracle::new(&net), &batch, &threat, 1)
            .unwrap()
            .to_f32();
        let g = Oracle::new(&net)
            .loss_gradient(&batch.x, &CrossEntropy::labels(&batch.labels))
            .unwrap()
            .gradient
            .to_f32();
        for ((x, o), g) in end.iter().zip(batch.x.to_f32()).zip(g) {
            assert!((x - o - 0.01 * g.signum()).abs() < 1e-6);
        }
    }

    /// From any point of the ball, every iterate is in ball and bounds, and so is what is kept.
    #[test]
    fn searches_that_go_on_stay_in_the_ball() {
        let (net, batch) = (net(), batch(5));
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let threat = ThreatModel::new(norm, 0.1, [0.0, 1.0]).unwrap();
            let mut d: Vec<f32> = (0..5 * 64)
                .map(|i| ((i * 17 % 29) as f32 - 14.0) / 14.0)
                .collect();
            for row in d.chunks_exact_mut(64) {
                let size = norm.of(row.iter().map(|&v| f64::from(v))) as f32;
                row.iter_mut().for_each(|v| *v /= size.max(1.0));
            }
            for _ in 0..4 {
                let start = Tensor::new(batch.x.shape(), d);
                let found =
                    search(&Oracle::new(&net), &batch, &threat, (Some(&start), 0.6), 1).unwrap();
                d = found.d;
                let end = displaced(&batch, &d, &threat).to_f32();
                for ((origin, x), d) in (batch.x.to_f32().chunks_exact(64))
                    .zip(end.chunks_exact(64))
                    .zip(d.chunks_exact(64))
                {
                    assert!(threat.contains(origin, x), "{norm:?}");
                    let unit = threat.with_eps(1.0).unwrap();
                    assert!(unit.distance(&[0.0; 64], d) < 1.0 + 1e-5, "{norm:?}");
                }
            }
        }
    }

    /// On a linear model the gradient's signs never change: after k visits d = 1 − (1 − γ)ᵏ times
    /// the corner. The loss of a small ball is straight, so that c = 1.
    #[test]
    fn visits_add_up_as_the_closed_form_says() {
        let weights: Vec<f64> = (0..64)
            .map(|i| if i % 3 == 0 { -1.0 } else { 0.5 })
            .collect();
        let net =
            fgmf_testkit::toys::linear(&[weights.clone(), vec![0.0; 64]], &[0.0; 2], [1, 8, 8]);
        let net = Session::new(net.cast(fgmf_net::Precision::F32).into_network());
        let batch = Batch {
            labels: vec![0; 2],
            ..batch(2)
        };
        let threat = ThreatModel::new(Norm::Linf, 1e-3, [0.0, 1.0]).unwrap();
        let objective = Scorpio::new(ScorpioParams {
            gamma: 0.6,
            recycle: 0.0,
            ..ScorpioParams::default()
        });
        let objective = objective.unwrap();
        assert!(objective.keeps_displacements());
        let mut d = Tensor::full(batch.x.shape(), 0.0, fgmf_net::Precision::F32);
        for k in 1..5 {
            let context = StepContext {
                threat: &threat,
                seed: 0,
                epoch: k,
                salience: None,
                displacement: Some(&d),
                carried: &[],
            };
            let step = objective.step(&net, &batch, &context).unwrap();
            let [(_, loss), (name, c)] = step.parts[..] else {
                panic!("two parts")
            };
            assert!(
                loss > 0.0 && name == "linearity" && (c - 1.0).abs() < 0.05,
                "{c}"
            );
            d = step.displacement.unwrap();
            let share = 1.0 - 0.4f32.powi(k as i32);
            for (i, v) in d.to_f32().iter().enumerate() {
                // The loss of class 0 rises against its weights.
                let expected = -share * (weights[i % 64] as f32).signum();
                assert!((v - expected).abs() < 1e-4, "{v} {expected}");
            }
        }
    }

    /// The recycled gradient moves d by its share, to the place where a search step from there
    /// would; the step on the weights is the same.
    #[test]
    fn a_recycled_gradient_is_a_search_step() {
        let (net, batch) = (net(), batch(6));
        let threat = ThreatModel::new(Norm::Linf, 0.05, [0.0, 1.0]).unwrap();
        let start = Tensor::full(batch.x.shape(), 0.0, fgmf_net::Precision::F32);
        let context = StepContext {
            threat: &threat,
            seed: 0,
            epoch: 0,
            salience: None,
            displacement: Some(&start),
            carried: &[],
        };
        let run = |recycle| {
            let params = ScorpioParams {
                recycle,
                ..ScorpioParams::default()
            };
            Scorpio::new(params)
                .unwrap()
                .step(&net, &batch, &context)
                .unwrap()
        };
        let (plain, recycled) = (run(0.0), run(0.5));
        for (a, b) in plain.gradients.iter().zip(&recycled.gradients) {
            assert_eq!(a.to_f32(), b.to_f32());
        }
        let from = (plain.displacement.as_ref(), 0.5);
        let further = search(&Oracle::new(&net), &batch, &threat, from, 1).unwrap();
        assert_eq!(recycled.displacement.unwrap().to_f32(), further.d);
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let wrong = |change: fn(&mut ScorpioParams)| {
            let mut params = ScorpioParams::default();
            change(&mut params);
            Scorpio::new(params).unwrap_err().to_string()
        };
        assert!(wrong(|p| (p.steps, p.persistent) = (0, false)).contains("steps"));
        assert!(wrong(|p| p.gamma = 0.0).contains("gamma"));
        assert!(wrong(|p| p.recycle = 1.5).contains("recycle"));
        assert!(wrong(|p| p.curvature = f64::NAN).contains("curvature"));
        let bare = ScorpioParams {
            steps: 0,
            recycle: 0.5,
            ..ScorpioParams::default()
        };
        assert!(Scorpio::new(bare).is_ok());
    }

    /// Central difference of `value` in the sixth weight of the logits' matrix, and the gradient
    /// that `gradients` has there.
    fn assert_gradient(net: &Session, gradients: &[Tensor], value: impl Fn(&Session) -> f64) {
        let last = net.trainable().len() - 2; // the logits' weight
        let id = net.trainable()[last];
        let h = 1e-2f32;
        let shifted = |sign: f32| {
            let mut other = net.clone();
            let mut w = net.parameter(id).unwrap().to_f32();
            w[5] += sign * h;
            let w = Tensor::new(net.parameter(id).unwrap().shape(), w);
            other.set_parameter(id, w).unwrap();
            value(&other)
        };
        let difference = (shifted(1.0) - shifted(-1.0)) / (2.0 * f64::from(h));
        let exact = f64::from(gradients[last].to_f32()[5]);
        assert!(
            (difference - exact).abs() < 1e-3 * exact.abs().max(0.1),
            "{difference} against {exact}"
        );
    }

    /// The gradient of the curved objective as a whole.
    #[test]
    fn objective_gradient_matches_differences() {
        let (net, batch) = (net(), batch(4));
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let context = StepContext {
            threat: &threat,
            seed: 0,
            epoch: 0,
            salience: None,
            displacement: None,
            carried: &[],
        };
        let scorpio = Scorpio::new(ScorpioParams {
            curvature: 2.0,
            ..ScorpioParams::default()
        })
        .unwrap();
        let end = frank_wolfe(&Oracle::new(&net), &batch, &threat, 3).unwrap();
        let (run, ..) = scorpio.curved_step(&net, &batch, &end, &context).unwrap();
        assert_gradient(&net, &run.gradients, |net| {
            let (_, loss, bend) = scorpio.curved_step(net, &batch, &end, &context).unwrap();
            loss + 2.0 * bend
        });
    }
}
