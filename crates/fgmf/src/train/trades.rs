//! TRADES: the clean cross-entropy, and how far the answer moves under attack.
//!
//! With p = softmax(f(x)) and q = softmax(f(x′)), the objective is the mean over the batch of
//!
//! J = L(x, y) + β KL(p ‖ q),
//!
//! where x′ is the end of `steps` steps x ← Π(x + α s(∇KL(p ‖ softmax(f(x))))) from x plus normal
//! noise of deviation 0.001, with p held. Π projects onto ball and bounds, s is the direction of
//! steepest ascent of the norm (the sign in Linf), and α is `step_size` radii. The gradient of J
//! flows through both p and q, as in the authors' code.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `beta` | 6 | weight β, 0 or more |
//! | `steps` | 10 | 1 to 1,000 |
//! | `step_size` | 0.25 | α in radii, above 0 |
//!
//! Cost: `2 steps + 7` passes an example (one forward for p, three for each of two rows).
//!
//! Differences from the authors' code: (1) α is a share of the radius, a quarter where they have
//! 0.007 of 0.031; (2) clean and attacked images pass batch normalisation together, in chunks of
//! 32 rows, where theirs pass one after the other as whole batches; (3) in L2 and L1 the search is
//! the one of Linf with that norm's steps and projection. Reference: `zhang2019`.

use crate::data::batch::Batch;
use crate::error::Result;
use crate::settings::{complete, read};
use crate::train::base::{
    Attacked, Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, attacked_step,
    check_weight, finish,
};
use crate::train::parts::divergence::{Divergence, log_softmax};
use crate::train::parts::rows::{cotangent, mean_at, step_on_rows};
use crate::train::parts::search::{Search, nearby, starts};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Dual, Session, Tensor};
use serde::{Deserialize, Serialize};
use std::ops::Range;

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "trades",
    line: "Minimises clean cross-entropy and the divergence of answers under attack.",
    revision: 1,
    reference: "zhang2019",
    example: r#"{"beta": 6.0, "steps": 2}"#,
    build: ObjectiveBuild {
        complete: complete::<TradesParams>,
        make: |settings| Ok(Box::new(read::<TradesParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Trades`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradesParams {
    /// Weight of the divergence.
    pub beta: f64,
    /// Attack steps.
    pub steps: usize,
    /// Length of a step in radii.
    pub step_size: f64,
}

impl Default for TradesParams {
    fn default() -> Self {
        Self {
            beta: 6.0,
            steps: 10,
            step_size: 0.25,
        }
    }
}

impl TradesParams {
    /// The checked objective.
    pub fn check(self) -> Result<Trades> {
        check_weight("beta", self.beta, 0.0)?;
        let search = Search {
            steps: self.steps,
            step_size: self.step_size,
        };
        search.check()?;
        Ok(Trades {
            beta: self.beta,
            search,
        })
    }
}

/// TRADES; see the module.
#[derive(Clone, Debug)]
pub struct Trades {
    beta: f64,
    search: Search,
}

/// Rows come in pairs: the image and its attacked point. The losses of a pair are L and KL.
struct Pair<'a> {
    labels: &'a [usize],
    beta: f64,
}

impl Head for Pair<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let z = logits.value.to_f64();
        let k = logits.shape()[1];
        let (mut losses, mut slope) = (Vec::new(), Vec::with_capacity(z.len()));
        for (pair, row) in z.chunks_exact(2 * k).zip(examples.step_by(2)) {
            let y = self.labels[row / 2];
            let (p, q) = (log_softmax(&pair[..k]), log_softmax(&pair[k..]));
            let kl = Divergence::new(&p, &q);
            losses.extend([-p[y], kl.value]);
            // The mean over rows counts each of a pair half.
            let clean = p.iter().zip(&kl.first).enumerate();
            slope.extend(clean.map(|(c, (p, g))| {
                let entropy = p.exp() - f64::from(u8::from(c == y));
                2.0 * (entropy + self.beta * g)
            }));
            slope.extend(kl.second.iter().map(|g| 2.0 * self.beta * g));
        }
        (losses, cotangent(slope, logits))
    }

    fn group(&self) -> usize {
        2
    }
}

/// softmax of rows of logits, in the precision of the logits.
fn probabilities(logits: &Tensor) -> Tensor {
    let k = logits.shape()[1];
    let rows = logits.to_f64();
    let p: Vec<f64> = rows
        .chunks_exact(k)
        .flat_map(log_softmax)
        .map(f64::exp)
        .collect();
    Tensor::new(logits.shape(), p).cast(logits.precision())
}

impl Attacked for Trades {
    fn points(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Tensor> {
        let start = starts(batch, context, nearby);
        // The cross-entropy against p differs from KL(p ‖ q) by the entropy of p, which is held.
        let head = CrossEntropy::soft(probabilities(&net.logits(&batch.x)?));
        let search = &self.search;
        search.ascend(net, &batch.x, start, &head, context.threat)
    }

    fn step_at(
        &self,
        net: &Session,
        batch: &Batch,
        points: &Tensor,
        context: &StepContext<'_>,
    ) -> Result<Step> {
        let (clean, attacked) = (batch.x.to_f32(), points.to_f32());
        let head = Pair {
            labels: &batch.labels,
            beta: self.beta,
        };
        let rows: [&[f32]; 2] = [&clean, &attacked];
        let run = step_on_rows(net, &rows, &head, 1, batch, context)?;
        let parts = vec![
            ("cross-entropy", mean_at(&run.losses, 2, 0)),
            ("divergence", mean_at(&run.losses, 2, 1)),
        ];
        Ok(finish(run, &batch.labels, parts))
    }
}

impl Objective for Trades {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        attacked_step(self, net, batch, context)
    }

    fn attacked(&self) -> Option<&dyn Attacked> {
        Some(self)
    }

    fn rows(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parts::checks::{
        attacked_gradient_matches, batch, context, net, points_stay_inside, threat,
    };

    #[test]
    fn objective_gradient_matches_differences() {
        let trades = TradesParams::default().check().unwrap();
        attacked_gradient_matches(&trades, |parts| parts[0].1 + 6.0 * parts[1].1);
    }

    /// The search finds a larger divergence than its start has, inside the ball.
    #[test]
    fn points_stay_inside_and_raise_the_divergence() {
        let trades = TradesParams::default().check().unwrap();
        points_stay_inside(&trades);
        let (net, batch, threat) = (net(), batch(6), threat());
        let context = context(&threat);
        let divergence = |points: &Tensor| {
            let step = trades.step_at(&net, &batch, points, &context).unwrap();
            step.parts[1].1
        };
        let start = Tensor::new(batch.x.shape(), starts(&batch, &context, nearby));
        let end = trades.points(&net, &batch, &context).unwrap();
        let (before, after) = (divergence(&start), divergence(&end));
        assert!(divergence(&batch.x).abs() < 1e-9);
        assert!(after > 10.0 * before, "{before}, {after}");
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |params: TradesParams| params.check().unwrap_err().to_string();
        let base = TradesParams::default;
        assert!(
            refused(TradesParams {
                beta: -1.0,
                ..base()
            })
            .contains("`beta`")
        );
        assert!(refused(TradesParams { steps: 0, ..base() }).contains("`steps`"));
        let step_size = f64::NAN;
        assert!(
            refused(TradesParams {
                step_size,
                ..base()
            })
            .contains("`step_size`")
        );
    }
}
