//! EOT-PGD: projected gradient descent on the expectation of a model that answers at random (Athalye et al. 2018).
//!
//! xₜ₊₁ = Π(xₜ + α s(1/S Σₛ ∇m_s(xₜ))), m_s the margin max_{i≠y} z_i − z_y in the s-th of S answers, s(·) the direction of
//! steepest ascent. All steps are made: one lucky answer is no success, and a point just over the boundary fails every other
//! time. The point with the largest mean margin is returned.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 50 | 1 to 100,000 |
//! | `samples` | 20 | S, 1 to 10,000 |
//! | `step_size` | none: 2.5 eps / steps | α above 0, in input units |
//!
//! Cost: `samples · (steps + 1)` forward and backward passes an example.
//!
//! Differences from the paper: (1) the margin in place of cross-entropy. Reference: `athalye2018`.

use super::{Batch, Candidate, Ending, WhiteBox};
use crate::defend::Averaged;
use crate::error::{Error, Result};
use crate::oracle::Gradients;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::Margin;
use serde::{Deserialize, Serialize};

/// Settings of [`EotPgd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EotPgdParams {
    /// Steps.
    pub steps: usize,
    /// Answers for each.
    pub samples: usize,
    /// Length of a step in the threat's norm.
    pub step_size: Option<f64>,
}

impl Default for EotPgdParams {
    fn default() -> Self {
        Self { steps: 50, samples: 20, step_size: None }
    }
}

impl EotPgdParams {
    /// The checked attack.
    pub fn check(self) -> Result<EotPgd> {
        if !(1..=100_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 100000", self.steps));
        }
        if !(1..=10_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "1 to 10000", self.samples));
        }
        if let Some(s) = self.step_size.filter(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Error::parameter("step_size", "a finite number above 0", s));
        }
        Ok(EotPgd { params: self })
    }
}

/// Checked EOT-PGD.
#[derive(Clone, Debug)]
pub struct EotPgd {
    params: EotPgdParams,
}

/// The best point of each example so far.
struct Best {
    x: Vec<f32>,
    margin: Vec<f64>,
    endings: Vec<Ending>,
}

impl EotPgd {
    fn search(&self, model: &Averaged<'_>, batch: &Batch, threat: &ThreatModel, seed: u64, best: &mut Best) -> Result<()> {
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len();
        let alpha = self.params.step_size.unwrap_or(2.5 * threat.eps() / self.params.steps as f64) as f32;
        let start = |(o, &index): (&[f32], &u64)| threat.random_start(o, &mut Stream::new(seed, Purpose::AttackStart, 0, index));
        let mut points: Vec<Vec<f32>> = clean.chunks_exact(size).zip(&batch.index).map(start).collect();
        for step in 0..=self.params.steps {
            let x = Tensor::new::<f32>(batch.x.shape(), points.concat());
            let at = model.loss_gradient(&x, &Margin::new(&batch.labels))?;
            let gradient = at.gradient.to_f32();
            for (i, point) in points.iter_mut().enumerate() {
                let here = i * size..(i + 1) * size;
                if at.losses[i] > best.margin[i] {
                    best.margin[i] = at.losses[i];
                    best.x[here.clone()].copy_from_slice(point);
                }
                let mut g = gradient[here.clone()].to_vec();
                if g.iter().any(|v| !v.is_finite()) {
                    best.endings[i] = Ending::NonFinite;
                    continue;
                }
                if step == 0 && g.iter().all(|v| *v == 0.0) {
                    best.endings[i] = Ending::ZeroGradient;
                }
                threat.drop_blocked(point, &mut g);
                threat.steepest(&mut g);
                point.iter_mut().zip(&g).for_each(|(v, d)| *v += alpha * d);
                threat.project(&clean[here], point);
            }
        }
        Ok(())
    }
}

impl WhiteBox for EotPgd {
    fn id(&self) -> &'static str {
        "eot-pgd"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(&self, model: &dyn Gradients, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<Candidate> {
        let mut best =
            Best { x: batch.x.to_f32(), margin: vec![f64::NEG_INFINITY; batch.len()], endings: vec![Ending::StepsExhausted; batch.len()] };
        let spent = match self.search(&Averaged::new(model, self.params.samples)?, batch, threat, seed, &mut best) {
            Err(Error::Budget { .. }) => true,
            other => other.map(|()| false)?,
        };
        for (ending, &margin) in best.endings.iter_mut().zip(&best.margin) {
            if margin >= 0.0 {
                *ending = Ending::Converged;
            } else if spent {
                *ending = Ending::BudgetExhausted;
            }
        }
        Ok(Candidate { x: Tensor::new(batch.x.shape(), best.x), endings: best.endings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::{PgdParams, StepLoss, misclassified};
    use crate::defend::{AdditiveNoiseParams, Served};
    use crate::oracle::{Oracle, Scores};
    use crate::threat::Norm;
    use fgmf_testkit::toys;

    /// On a linear model under noise the best point of the ball is known; the search comes to it, where fresh answers are
    /// wrong far more often than at the point where PGD had its first lucky answer.
    #[test]
    fn goes_on_after_a_lucky_answer() {
        let weights = vec![vec![0.9, -0.4, 0.3, 0.2], vec![-0.2, 0.5, 0.1, -0.6]];
        let bias = [-0.3, 0.0];
        let net = toys::linear(&weights, &bias, [1, 2, 2]).cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams { deviation: 0.05 }.check().unwrap();
        let x = [0.55, 0.45, 0.5, 0.52];
        let batch = Batch { x: Tensor::new(&[1, 1, 2, 2], x.map(|v| v as f32).to_vec()), labels: vec![0], index: vec![0] };
        let distance = toys::linear_margin_distance(&weights, &bias, &x, 0, toys::Norm::Linf);
        let threat = ThreatModel::new(Norm::Linf, 1.3 * distance, [0.0, 1.0]).unwrap();
        let served = Served::new(&oracle, &noise, 1);
        let found = EotPgdParams { steps: 40, samples: 20, step_size: None }.check().unwrap().perturb(&served, &batch, &threat, 0).unwrap();
        let (best, _) = toys::linear_worst_case(&weights, &bias, &x, 0, toys::Norm::Linf, threat.eps());
        let gap = found.x.to_f64().iter().zip(&best).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(gap < 0.2 * threat.eps(), "{gap}");
        let wrong = |x: &Tensor| (0..200).filter(|_| misclassified(&served.logits(x).unwrap(), &[0])[0]).count();
        let lucky = PgdParams { steps: 40, loss: StepLoss::Margin, ..PgdParams::default() };
        let lucky = lucky.check().unwrap().perturb(&served, &batch, &threat, 0).unwrap();
        assert!(wrong(&found.x) > wrong(&lucky.x));
    }
}
