//! Salient slope constancy: another objective, and how far slopes turn where an attacker of the map
//! would go.
//!
//! A map of Integrated Gradients is made of slopes of the score. So an attacker of the map needs
//! slopes that turn within the ball. With c = z_y − Σ z / k the centred logit of the label, w the
//! salient pixels (0 or 1) and g(p) = ∇c(p), the term is the mean over a share of the batch of
//!
//! R = N / D, N = ‖w ⊙ (g(x′) − g(x))‖₁, D = ‖w ⊙ g(x)‖₁,
//!
//! with x′ a point of the ball. R is the same for a network with logits of another scale. (With D
//! held, a first trial paid the term off by logits of 0.) The point is, as `point` says,
//!
//! - `map`: x − eps sign(H t), t = w ⊙ sign g(x), where the salient slope ⟨t, g⟩ falls most to
//!   first order: H t, the Hessian-vector product along the salient directions, is the difference
//!   of g at x ± h t;
//! - `class`: x + eps sign ∇L(x), where the label is attacked;
//! - `random`: a corner of the ball.
//!
//! The objective is J + λ R with J the objective inside. With v = w ⊙ sign(g(x′) − g(x)) and t
//! held, N = ⟨v, g(x′)⟩ − ⟨v, g(x)⟩ and D = ⟨t, g(x)⟩, so that R has the gradient of
//! ⟨v, g(x′)⟩ / D − ⟨v + R t, g(x)⟩ / D with D and R held. Slopes are differences of c at two
//! points h before and behind: four rows, and no derivative of a derivative. h is `step` radii in
//! the largest number, so that kinks of rectifiers are seen, where the exact second derivative of a
//! logit is 0.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `inner` | `{"name": "scor-pio"}` | J: any objective |
//! | `weight` | 0.1 | λ, 0 or more |
//! | `share` | 0.25 | of the batch, above 0, at most 1 |
//! | `point` | `map` | `map`, `class`, `random` |
//! | `step` | 0.5 | h in radii, above 0, at most 1 |
//! | `salience` | Integrated Gradients, 20% | see SCOR-PIO; `random` and `all` are the controls |
//!
//! Cost: that of J, and for each image of the share 12 passes for the rows, 4 for g at both points,
//! and 4 (`map`), 2 (`class`) or 0 for the point.
//!
//! Ours. Reference for attacks on maps: `ghorbani2019`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients as _;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::settings::{complete, read};
use crate::train::base::{
    ObjectiveBuild, ObjectiveMethod, StepContext, check_difference, check_weight,
};
use crate::train::parts::around::{MapTerm, WithTerm, check_share};
use crate::train::parts::slope::{Scalar, SlopeTerms, dot, sign, slopes};
use crate::train::salience::SalienceSource;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "constancy",
    line: "Adds to another objective how far salient slopes turn within the ball.",
    revision: 1,
    reference: "ghorbani2019",
    example: r#"{"inner": {"name": "pgd-at", "steps": 2}, "share": 0.5}"#,
    build: ObjectiveBuild {
        complete: complete::<ConstancyParams>,
        make: |settings| Ok(Box::new(read::<ConstancyParams>(settings)?.check()?)),
    },
}];

/// D below which an image is left out: its score has no slope.
const LEAST_SLOPE: f64 = 1e-6;

/// Where slopes are compared with those at the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConstancyPoint {
    /// Where the salient slope falls most to first order.
    Map,
    /// One step against the label.
    Class,
    /// A random corner of the ball.
    Random,
}

/// Settings of [`Constancy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConstancyParams {
    /// The objective inside: its `name`, and its settings beside it.
    pub inner: Value,
    /// Weight of the term.
    pub weight: f64,
    /// Share of the batch.
    pub share: f64,
    /// Where slopes are compared.
    pub point: ConstancyPoint,
    /// h in radii.
    pub step: f64,
    /// Which pixels' slopes count.
    pub salience: SalienceSource,
}

impl Default for ConstancyParams {
    fn default() -> Self {
        Self {
            inner: json!({ "name": "scor-pio" }),
            weight: 0.1,
            share: 0.25,
            point: ConstancyPoint::Map,
            step: 0.5,
            salience: SalienceSource::default(),
        }
    }
}

impl ConstancyParams {
    /// The checked wrapper, which `take` gives its objective.
    pub fn check(self) -> Result<WithTerm<Constancy>> {
        check_weight("weight", self.weight, 0.0)?;
        check_share(self.share)?;
        check_difference(self.step)?;
        self.salience.check()?;
        Ok(WithTerm::new(Constancy { params: self }))
    }
}

/// Salient slope constancy; see the module.
pub struct Constancy {
    params: ConstancyParams,
}

/// Slopes at some images and at the points that they are compared with, `[n, c, h, w]` each.
struct TurnedSlopes {
    /// x′.
    far: Vec<f32>,
    /// w ⊙ sign g(x).
    t: Vec<f32>,
    /// w ⊙ sign(g(x′) − g(x)).
    v: Vec<f32>,
    /// g(x).
    here: Vec<f32>,
    /// g(x′).
    there: Vec<f32>,
}

impl Constancy {
    /// x + eps s for each image, brought into ball and bounds.
    fn stepped(batch: &Batch, s: &[f32], context: &StepContext<'_>) -> Vec<f32> {
        let (clean, eps) = (batch.x.to_f32(), context.threat.eps() as f32);
        let size = (clean.len() / batch.len().max(1)).max(1);
        let mut points: Vec<f32> = clean.iter().zip(s).map(|(x, s)| x + eps * s).collect();
        for (origin, point) in clean.chunks_exact(size).zip(points.chunks_exact_mut(size)) {
            context.threat.project(origin, point);
        }
        points
    }

    /// x′ of each image, where `t` is the sign of the salient slopes at x.
    fn points(
        &self,
        oracle: &Oracle<'_>,
        batch: &Batch,
        t: &[f32],
        context: &StepContext<'_>,
    ) -> Result<Vec<f32>> {
        let clean = batch.x.to_f32();
        let s: Vec<f32> = match self.params.point {
            ConstancyPoint::Map => {
                let h = (self.params.step * context.threat.eps()) as f32;
                let at = |by: f32| -> Result<Vec<f32>> {
                    let point: Vec<f32> = clean.iter().zip(t).map(|(x, t)| x + by * t).collect();
                    slopes(oracle, batch, &point)
                };
                let (ahead, behind) = (at(h)?, at(-h)?);
                ahead
                    .iter()
                    .zip(&behind)
                    .map(|(a, b)| -sign(a - b))
                    .collect()
            }
            ConstancyPoint::Class => {
                let head = CrossEntropy::labels(&batch.labels);
                let g = oracle.loss_gradient(&batch.x, &head)?.gradient.to_f32();
                g.into_iter().map(sign).collect()
            }
            ConstancyPoint::Random => {
                let size = clean.len() / batch.len().max(1);
                let corner = |&image: &u64| {
                    let purpose = Purpose::Training;
                    let mut draws = Stream::new(context.seed, purpose, context.epoch, image);
                    (0..size).map(|_| draws.sign()).collect::<Vec<f32>>()
                };
                batch.index.iter().flat_map(corner).collect()
            }
        };
        Ok(Self::stepped(batch, &s, context))
    }

    /// Where slopes of some images are compared, and what they are there.
    fn turned(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<TurnedSlopes> {
        let oracle = Oracle::new(net);
        let clean = batch.x.to_f32();
        let size = (clean.len() / batch.len().max(1)).max(1);
        let [_, height, width] = net.image_shape();
        let counted = |(at, v): (usize, f32)| {
            let (image, pixel) = (batch.index[at / size], at % (height * width));
            let kept = context.salience;
            match kept.is_none_or(|s| s.is_salient(image, pixel)) {
                true => sign(v),
                false => 0.0,
            }
        };
        let here = slopes(&oracle, batch, &clean)?;
        let t: Vec<f32> = here.iter().copied().enumerate().map(counted).collect();
        let far = self.points(&oracle, batch, &t, context)?;
        let there = slopes(&oracle, batch, &far)?;
        let turns = there.iter().zip(&here).map(|(b, a)| b - a);
        let v = turns.enumerate().map(counted).collect();
        Ok(TurnedSlopes {
            far,
            t,
            v,
            here,
            there,
        })
    }

    /// λ R of some images: its gradient in the weights, and R.
    fn term(
        &self,
        net: &Session,
        batch: &Batch,
        turned: &TurnedSlopes,
        context: &StepContext<'_>,
    ) -> Result<(Vec<Tensor>, f64)> {
        let clean = batch.x.to_f32();
        let size = (clean.len() / batch.len().max(1)).max(1);
        let h = self.params.step * context.threat.eps();
        let of = Scalar::CentredLogit;
        let mut terms = SlopeTerms::new(&batch.labels, 4);
        let mut sum = 0.0;
        for i in 0..batch.len() {
            let row = i * size..(i + 1) * size;
            let (v, t) = (&turned.v[row.clone()], &turned.t[row.clone()]);
            let (here, there) = (&turned.here[row.clone()], &turned.there[row.clone()]);
            let length = dot(here, t);
            let (turn, weight) = match length > LEAST_SLOPE {
                true => (
                    (dot(there, v) - dot(here, v)) / length,
                    self.params.weight / length,
                ),
                false => (0.0, 0.0),
            };
            sum += turn;
            let back: Vec<f32> = v.iter().zip(t).map(|(v, t)| v + turn as f32 * t).collect();
            // A step of h in the largest number of either direction.
            let largest = back.iter().fold(1.0f32, |m, b| m.max(b.abs()));
            terms.slope(of, &turned.far[row.clone()], v, h, weight);
            terms.slope(of, &clean[row], &back, h / f64::from(largest), -weight);
        }
        let run = terms.step(net, batch, context)?;
        Ok((run.gradients, sum / batch.len().max(1) as f64))
    }
}

impl MapTerm for Constancy {
    const ID: &'static str = "constancy";
    const PART: &'static str = "turn of slopes";

    fn evaluate(
        &self,
        net: &Session,
        batch: &Batch,
        context: &StepContext<'_>,
    ) -> Result<(Vec<Tensor>, f64)> {
        let turned = self.turned(net, batch, context)?;
        self.term(net, batch, &turned, context)
    }

    fn share(&self) -> f64 {
        self.params.share
    }

    fn rows(&self) -> usize {
        4
    }

    fn salience(&self) -> Option<SalienceSource> {
        Some(self.params.salience.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::base::{Objective, Step};
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};
    use crate::train::pgd_at::{PgdAt, PgdAtParams};
    use fgmf_net::Precision;

    fn wrapped(params: ConstancyParams) -> WithTerm<Constancy> {
        let mut made = params.check().unwrap();
        let inner = PgdAt::new(PgdAtParams::default()).unwrap();
        made.take(Box::new(inner)).unwrap();
        made
    }

    fn with(point: ConstancyPoint) -> ConstancyParams {
        ConstancyParams {
            point,
            share: 1.0,
            salience: SalienceSource::All,
            ..ConstancyParams::default()
        }
    }

    /// Slopes of a linear model do not turn, so that the step is the objective's own.
    #[test]
    fn a_linear_model_pays_nothing() {
        let weights: Vec<f64> = (0..64).map(|i| f64::from(i % 5) - 1.5).collect();
        let net = fgmf_testkit::toys::linear(&[weights, vec![0.0; 64]], &[0.0; 2], [1, 8, 8]);
        let net = Session::new(net.cast(Precision::F32).into_network());
        let batch = Batch {
            labels: vec![0, 1, 0],
            ..batch(3)
        };
        let threat = threat();
        let context = context(&threat);
        for point in [
            ConstancyPoint::Map,
            ConstancyPoint::Class,
            ConstancyPoint::Random,
        ] {
            let objective = wrapped(with(point));
            let step = objective.step(&net, &batch, &context).unwrap();
            let inner = objective.inner().unwrap();
            let inner = inner.step(&net, &batch, &context).unwrap();
            assert_eq!(step.parts.last(), Some(&("turn of slopes", 0.0)));
            for (a, b) in step.gradients.iter().zip(&inner.gradients) {
                assert_eq!(a.to_f32(), b.to_f32());
            }
        }
    }

    /// With the centred logit xᵀ A x / 2 slopes are H x, H = (A + Aᵀ) / 2: the point is
    /// x − eps sign(H sign(H x)), and R = eps ‖H sign(H sign(H x))‖₁ / ‖H x‖₁ away from the bounds.
    #[test]
    fn a_quadratic_model_turns_as_its_hessian_says() {
        let size = 16;
        let a: Vec<f64> = (0..size * size)
            .map(|i| f64::from((i * 37 % 23) as u32) / 23.0 - 0.45)
            .collect();
        let h = |x: &[f64]| -> Vec<f64> {
            let row = |i: usize| {
                let of = |j: usize| (a[i * size + j] + a[j * size + i]) / 2.0 * x[j];
                (0..size).map(of).sum()
            };
            (0..size).map(row).collect()
        };
        let net = fgmf_testkit::toys::quadratic(&a, 0.0, [1, 4, 4]);
        let net = Session::new(net.cast(Precision::F32).into_network());
        let x: Vec<f32> = (0..size).map(|i| 0.3 + 0.02 * i as f32).collect();
        let batch = Batch {
            x: Tensor::new(&[1, 1, 4, 4], x.clone()),
            labels: vec![0],
            index: vec![0],
        };
        let threat = threat();
        let objective = wrapped(with(ConstancyPoint::Map));
        let context = context(&threat);
        let turned = objective.term.turned(&net, &batch, &context).unwrap();
        let (_, turn) = objective
            .term
            .term(&net, &batch, &turned, &context)
            .unwrap();
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let signs = |v: Vec<f64>| -> Vec<f64> { v.into_iter().map(f64::signum).collect() };
        let length = |v: &[f64]| -> f64 { v.iter().map(|v| v.abs()).sum() };
        let turned = h(&signs(h(&signs(h(&x)))));
        let expected = threat.eps() * length(&turned) / length(&h(&x));
        assert!(expected > 0.1, "{expected}");
        assert!(
            (turn - expected).abs() < 1e-4 * expected,
            "{turn} {expected}"
        );
    }

    /// R's gradient in the weights, against differences of R itself with x′, v and t held.
    #[test]
    fn objective_gradient_matches_differences() {
        let (batch, threat) = (batch(4), threat().with_eps(0.04).unwrap());
        let context = context(&threat);
        for point in [ConstancyPoint::Map, ConstancyPoint::Class] {
            let objective = wrapped(ConstancyParams {
                weight: 1.0,
                step: 0.25,
                ..with(point)
            });
            let held = objective.term.turned(&net(), &batch, &context).unwrap();
            gradient_matches(&net(), |net| {
                let at = |points: &[f32]| slopes(&Oracle::new(net), &batch, points).unwrap();
                let turned = TurnedSlopes {
                    far: held.far.clone(),
                    t: held.t.clone(),
                    v: held.v.clone(),
                    here: at(&batch.x.to_f32()),
                    there: at(&held.far),
                };
                let found = objective.term.term(net, &batch, &turned, &context);
                let (gradients, turn) = found.unwrap();
                let inner = objective.inner().unwrap();
                let step = inner.step(net, &batch, &context).unwrap();
                (Step { gradients, ..step }, turn)
            });
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let wrong = |change: fn(&mut ConstancyParams)| {
            let mut params = ConstancyParams::default();
            change(&mut params);
            params.check().err().unwrap().to_string()
        };
        assert!(wrong(|p| p.weight = -1.0).contains("`weight`"));
        assert!(wrong(|p| p.share = 0.0).contains("`share`"));
        assert!(wrong(|p| p.step = f64::NAN).contains("`step`"));
        let empty = ConstancyParams::default().check().unwrap();
        let threat = threat();
        let step = empty.step(&net(), &batch(2), &context(&threat));
        assert!(step.unwrap_err().to_string().contains("inside"));
    }
}
