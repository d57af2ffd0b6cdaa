//! Carlini & Wagner's L2 attack: the nearest adversarial image, not one in a given ball.
//!
//! Minimises ‖x − x₀‖₂² + c f(x) over w by Adam, with x = lo + (hi − lo) (tanh w + 1) / 2, so that
//! bounds hold by construction, and f(x) = max(z_y − max_{i≠y} z_i, −κ). c is searched for by
//! bisection, one value an example: up tenfold until the search succeeds, then between the largest
//! that failed and the smallest that succeeded. The nearest adversarial point seen counts.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `searches` | 9 | values of c, 1 to 100 |
//! | `steps` | 200 | Adam steps for each, 1 to 100,000 |
//! | `rate` | 0.01 | Adam's step length, above 0 |
//! | `first` | 0.01 | first c, above 0 |
//! | `confidence` | 0 | κ, 0 or more |
//!
//! Cost: at most `searches · steps` forward and backward passes an example. The sealed entry counts
//! an example as broken if the nearest point lies in the threat's ball; with a ball that holds
//! every image it measures distances.
//!
//! Differences from the paper: (1) 200 steps and 9 values of c instead of 10,000 and 20; (2) a
//! search is left when the last tenth of its steps lowers the objective by less than 1 in 10⁴, as
//! in the authors' code; (3) a tie of logits counts as misclassified. Reference: `carlini2017`.

use crate::attack::ascent::or_budget;
use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, Candidate, Ending, Seed, SuiteName, WhiteBox,
};
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use fgmf_net::Tensor;
use fgmf_net::head::Margin;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "carlini-wagner",
    line: "Minimises distance and margin together, with a weight found by search.",
    revision: 1,
    reference: "carlini2017",
    example: r#"{"searches": 2, "steps": 5}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::White(Box::new(
                read::<CarliniWagnerParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "carlini-wagner",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`CarliniWagner`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CarliniWagnerParams {
    /// Values of c.
    pub searches: usize,
    /// Steps for each.
    pub steps: usize,
    /// Step length of Adam.
    pub rate: f64,
    /// First c.
    pub first: f64,
    /// Margin to reach.
    pub confidence: f64,
}

impl Default for CarliniWagnerParams {
    fn default() -> Self {
        Self {
            searches: 9,
            steps: 200,
            rate: 0.01,
            first: 0.01,
            confidence: 0.0,
        }
    }
}

impl CarliniWagnerParams {
    /// The checked attack.
    pub fn check(self) -> Result<CarliniWagner> {
        if !(1..=100).contains(&self.searches) {
            return Err(Error::parameter("searches", "1 to 100", self.searches));
        }
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        for (name, value) in [("rate", self.rate), ("first", self.first)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::parameter(name, "a finite number above 0", value));
            }
        }
        if !(self.confidence.is_finite() && self.confidence >= 0.0) {
            return Err(Error::parameter(
                "confidence",
                "a finite number, 0 or more",
                self.confidence,
            ));
        }
        Ok(CarliniWagner { params: self })
    }
}

/// Checked attack of Carlini & Wagner.
#[derive(Clone, Debug)]
pub struct CarliniWagner {
    params: CarliniWagnerParams,
}

/// What is known of one example over all searches.
struct Nearest {
    x: Vec<f32>,
    kept: Kept,
    distance: f64,
    ending: Ending,
    constant: f64,
    failed: f64,
    succeeded: f64,
}

/// One example in one search.
struct Descent {
    example: usize,
    w: Vec<f64>,
    mean: Vec<f64>,
    square: Vec<f64>,
    objective: Option<f64>,
    /// Answers since the last tenth of the steps, and those of them that reached the aim.
    answers: usize,
    hits: usize,
}

impl Descent {
    /// Takes in an answer: whether the aim counts as reached. One answer is enough if it settles
    /// the example; otherwise more than half of the answers of a whole tenth.
    fn reaches(&mut self, hit: bool, settles: bool, tenth: usize) -> bool {
        self.answers += 1;
        self.hits += usize::from(hit);
        if self.answers < tenth {
            return hit && settles;
        }
        let most = 2 * self.hits > self.answers;
        (self.answers, self.hits) = (0, 0);
        if settles { hit } else { most }
    }
}

impl CarliniWagner {
    fn search(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        best: &mut [Nearest],
    ) -> Result<()> {
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        let origin = |i: usize| &clean[i * size..(i + 1) * size];
        let [lo, hi] = threat.bounds();
        let half = (hi - lo) / 2.0;
        let point = |s: &Descent| {
            s.w.iter()
                .map(|w| (lo + half * (w.tanh() + 1.0)) as f32)
                .collect::<Vec<f32>>()
        };
        let start = |i: usize| Descent {
            example: i,
            // Just inside, where tanh can be inverted.
            w: origin(i)
                .iter()
                .map(|&v| (((f64::from(v) - lo) / half - 1.0) * 0.999_999).atanh())
                .collect(),
            mean: vec![0.0; size],
            square: vec![0.0; size],
            objective: None,
            answers: 0,
            hits: 0,
        };
        let mut active: Vec<Descent> = (0..batch.len())
            .filter(|&i| best[i].ending != Ending::NonFinite)
            .map(start)
            .collect();
        let tenth = (self.params.steps / 10).max(1);
        let mut reached = vec![false; batch.len()];
        for step in 1..=self.params.steps {
            if active.is_empty() {
                break;
            }
            let rows: Vec<usize> = active.iter().map(|s| s.example).collect();
            let part = batch.select(&rows);
            let points: Vec<Vec<f32>> = active.iter().map(point).collect();
            let at = model.loss_gradient(
                &Tensor::new::<f32>(part.x.shape(), points.concat()),
                &Margin::new(&part.labels),
            )?;
            let broken = misclassified(&at.logits, &part.labels);
            let gradient = at.gradient.to_f64();
            let mut next = Vec::with_capacity(active.len());
            for (j, mut s) in active.into_iter().enumerate() {
                let best = &mut best[s.example];
                let difference: Vec<f64> = points[j]
                    .iter()
                    .zip(origin(s.example))
                    .map(|(a, b)| f64::from(*a) - f64::from(*b))
                    .collect();
                let distance = Norm::L2.of(difference.iter().copied());
                let (margin, g) = (at.losses[j], &gradient[j * size..(j + 1) * size]);
                if !margin.is_finite() || g.iter().any(|v| !v.is_finite()) {
                    if best.ending != Ending::Converged {
                        best.ending = Ending::NonFinite;
                    }
                    continue;
                }
                let seen = (broken[j], margin);
                best.kept.offer(threat, origin(s.example), &points[j], seen);
                let hit = broken[j] && margin >= self.params.confidence;
                if s.reaches(hit, model.settles(), tenth) {
                    reached[s.example] = true;
                }
                if hit && distance < best.distance {
                    best.distance = distance;
                    best.x.clone_from(&points[j]);
                    best.ending = Ending::Converged;
                }
                let objective =
                    distance * distance + best.constant * (-margin).max(-self.params.confidence);
                if step % tenth == 0 {
                    if s.objective
                        .is_some_and(|before| objective > before * 0.9999 && before > 0.0)
                    {
                        continue;
                    }
                    s.objective = Some(objective);
                }
                let pull = if margin < self.params.confidence {
                    best.constant
                } else {
                    0.0
                };
                for (k, w) in s.w.iter_mut().enumerate() {
                    let tanh = w.tanh();
                    let d = (2.0 * difference[k] - pull * g[k]) * half * (1.0 - tanh * tanh);
                    s.mean[k] = 0.9 * s.mean[k] + 0.1 * d;
                    s.square[k] = 0.999 * s.square[k] + 0.001 * d * d;
                    let (m, v) = (
                        s.mean[k] / (1.0 - 0.9f64.powi(step as i32)),
                        s.square[k] / (1.0 - 0.999f64.powi(step as i32)),
                    );
                    *w -= self.params.rate * m / (v.sqrt() + 1e-8);
                }
                next.push(s);
            }
            active = next;
        }
        for (b, &reached) in best.iter_mut().zip(&reached) {
            if reached {
                b.succeeded = b.succeeded.min(b.constant);
            } else {
                b.failed = b.failed.max(b.constant);
            }
            b.constant = if b.succeeded.is_finite() {
                (b.failed + b.succeeded) / 2.0
            } else {
                b.constant * 10.0
            };
        }
        Ok(())
    }
}

impl WhiteBox for CarliniWagner {
    fn id(&self) -> &'static str {
        "carlini-wagner"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        _: Seed,
    ) -> Result<Candidate> {
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let fresh = |x: &[f32]| Nearest {
            x: x.to_vec(),
            kept: Kept::new(model),
            distance: f64::INFINITY,
            ending: Ending::StepsExhausted,
            constant: self.params.first,
            failed: 0.0,
            succeeded: f64::INFINITY,
        };
        let mut best: Vec<Nearest> = clean.chunks_exact(size).map(fresh).collect();
        for _ in 0..self.params.searches {
            let search = self.search(model, batch, threat, &mut best);
            let endings = best.iter_mut().map(|b| &mut b.ending);
            if !or_budget(search, endings, |e| e == Ending::StepsExhausted)? {
                break;
            }
        }
        let endings = best.iter().map(|b| b.ending).collect();
        Ok(Candidate {
            x: Tensor::new::<f32>(
                batch.x.shape(),
                best.into_iter()
                    .flat_map(|b| b.kept.point().unwrap_or(b.x))
                    .collect(),
            ),
            endings,
        })
    }
}
