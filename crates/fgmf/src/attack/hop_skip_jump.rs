//! HopSkipJump: a minimum-distance attack that sees the predicted class alone.
//!
//! From an adversarial point: (1) bisect towards the image to the boundary; (2) there, estimate the
//! boundary's normal v = (1/B) Σ (φ_b − φ̄) u_b over B = B₀ √t directions u_b on the sphere, φ_b =
//! 1 where x + δ u_b is adversarial, else −1; (3) step by ‖x − x₀‖ / √t along v (its sign for
//! Linf), halved until the point is adversarial; repeat.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `steps` | 20 | t = 1 … T, 1 to 10,000 |
//! | `samples` | 100 | B₀, 1 to 100,000 |
//! | `starts` | 100 | random images tried for the first point, 1 to 100,000 |
//!
//! Cost: about `steps (samples √steps + 30) + starts` forward passes an example. Only predictions
//! are read, through [`super::misclassified`]. L2 and Linf; an L1 threat is searched in L2.
//!
//! Differences from the paper: (1) bisection ends at 1 in 1000 of the interval for L2 and Linf
//! alike; (2) the first point is the first adversarial one among uniform images, mixed with the
//! image by the bisection. Reference: `chen2020`.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName,
};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::model::error_rate::{breaks, error_rate};
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::{Norm, ThreatModel};
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "hop-skip-jump",
    line: "Walks along the boundary and sees the predicted class alone.",
    revision: 1,
    reference: "chen2020",
    example: r#"{"steps": 2, "samples": 10, "starts": 10}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<HopSkipJumpParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "hop-skip-jump",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`HopSkipJump`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HopSkipJumpParams {
    /// Steps.
    pub steps: usize,
    /// Directions of the first estimate.
    pub samples: usize,
    /// Random images tried for the first point.
    pub starts: usize,
}

impl Default for HopSkipJumpParams {
    fn default() -> Self {
        Self {
            steps: 20,
            samples: 100,
            starts: 100,
        }
    }
}

impl HopSkipJumpParams {
    /// The checked attack.
    pub fn check(self) -> Result<HopSkipJump> {
        if !(1..=10_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 10000", self.steps));
        }
        for (name, value) in [("samples", self.samples), ("starts", self.starts)] {
            if !(1..=100_000).contains(&value) {
                return Err(Error::parameter(name, "1 to 100000", value));
            }
        }
        Ok(HopSkipJump { params: self })
    }
}

/// Checked HopSkipJump.
#[derive(Clone, Debug)]
pub struct HopSkipJump {
    params: HopSkipJumpParams,
}

/// One example and the questions that may be asked about it.
struct Example<'a> {
    model: &'a dyn Scores,
    origin: &'a [f32],
    label: usize,
    bounds: [f32; 2],
    norm: Norm,
}

impl Example<'_> {
    /// Whether each point, clipped to the bounds, is adversarial. Of a model that answers at random
    /// most of its answers decide: a single one would lead the search astray.
    fn ask(&self, points: &[Vec<f32>]) -> Result<Vec<bool>> {
        let [c, h, w] = self.model.image_shape();
        let x = Tensor::new::<f32>(&[points.len(), c, h, w], points.concat());
        let rates = error_rate(self.model, &x, &vec![self.label; points.len()])?;
        Ok(rates.into_iter().map(breaks).collect())
    }

    fn clipped(&self, x: impl Iterator<Item = f32>) -> Vec<f32> {
        x.map(|v| v.clamp(self.bounds[0], self.bounds[1])).collect()
    }

    fn distance(&self, x: &[f32]) -> f64 {
        self.norm.of(x
            .iter()
            .zip(self.origin)
            .map(|(a, b)| f64::from(*a) - f64::from(*b)))
    }

    /// The point at share `t` of the way from the image to `x`: on the segment for L2, in the box
    /// around the image for Linf.
    fn between(&self, x: &[f32], t: f32) -> Vec<f32> {
        let reach = t * self.distance(x) as f32;
        let mix = |(x, o): (&f32, &f32)| {
            if self.norm == Norm::Linf {
                o + (x - o).clamp(-reach, reach)
            } else {
                o + t * (x - o)
            }
        };
        x.iter().zip(self.origin).map(mix).collect()
    }

    /// Bisects between the image and an adversarial point; the result is adversarial.
    fn to_boundary(&self, x: Vec<f32>) -> Result<Vec<f32>> {
        let (mut low, mut high, mut best) = (0.0f32, 1.0f32, x.clone());
        while high - low > 1e-3 {
            let middle = (low + high) / 2.0;
            let point = self.between(&x, middle);
            if self.ask(std::slice::from_ref(&point))?[0] {
                high = middle;
                best = point;
            } else {
                low = middle;
            }
        }
        Ok(best)
    }

    /// The boundary's normal at `x`, towards the adversarial side, of unit length in the step's
    /// norm.
    fn normal(&self, x: &[f32], count: usize, delta: f32, rng: &mut Stream) -> Result<Vec<f32>> {
        let direction = |_| {
            let u: Vec<f32> = x.iter().map(|_| rng.normal()).collect();
            let length = Norm::L2.of(u.iter().map(|v| f64::from(*v))).max(1e-12) as f32;
            self.clipped(x.iter().zip(&u).map(|(x, u)| x + delta * u / length))
        };
        let points: Vec<Vec<f32>> = (0..count).map(direction).collect();
        let phi: Vec<f32> = self
            .ask(&points)?
            .into_iter()
            .map(|a| if a { 1.0 } else { -1.0 })
            .collect();
        let mean = phi.iter().sum::<f32>() / count as f32;
        // Where all agree the mean tells nothing, and is left out.
        let centre = if mean.abs() >= 1.0 { 0.0 } else { mean };
        let mut v = vec![0.0f32; x.len()];
        for (point, phi) in points.iter().zip(&phi) {
            v.iter_mut()
                .zip(point)
                .zip(x)
                .for_each(|((v, p), x)| *v += (phi - centre) * (p - x));
        }
        let length = Norm::L2.of(v.iter().map(|v| f64::from(*v))).max(1e-12) as f32;
        let unit = |v: f32| {
            if self.norm == Norm::Linf {
                if v == 0.0 { 0.0 } else { v.signum() }
            } else {
                v / length
            }
        };
        Ok(v.into_iter().map(unit).collect())
    }
}

impl HopSkipJump {
    /// The nearest adversarial point found is left in `best`, so that a budget that runs out keeps
    /// it.
    fn search(
        &self,
        example: &Example<'_>,
        best: &mut Option<Vec<f32>>,
        seed: u64,
        index: u64,
    ) -> Result<()> {
        let [lo, hi] = example.bounds;
        for start in 0..self.params.starts {
            let mut rng = Stream::new(seed, Purpose::AttackStart, start as u64, index);
            let x: Vec<f32> = example
                .origin
                .iter()
                .map(|_| lo + (hi - lo) * rng.unit())
                .collect();
            if example.ask(std::slice::from_ref(&x))?[0] {
                *best = Some(x);
                break;
            }
        }
        let Some(mut x) = best.clone() else {
            return Ok(());
        };
        x = example.to_boundary(x)?;
        *best = Some(x.clone());
        let d = x.len() as f64;
        for t in 1..=self.params.steps {
            let mut rng = Stream::new(seed, Purpose::AttackStep, t as u64, index);
            let root = (t as f64).sqrt();
            let distance = example.distance(&x);
            // δ of the paper: the first one a tenth of the range, then θ √d ‖x − x₀‖ for L2 and θ d
            // ‖x − x₀‖ for Linf.
            let theta = if example.norm == Norm::Linf {
                1.0 / (d * d)
            } else {
                1.0 / (d * d.sqrt())
            };
            let growth = if example.norm == Norm::Linf {
                d
            } else {
                d.sqrt()
            };
            let delta = if t == 1 {
                0.1 * f64::from(hi - lo)
            } else {
                (growth * theta * distance).max(1e-3 * distance)
            };
            let v = example.normal(
                &x,
                (self.params.samples as f64 * root) as usize,
                delta as f32,
                &mut rng,
            )?;
            let mut step = (distance / root) as f32;
            for _ in 0..20 {
                let moved = example.clipped(x.iter().zip(&v).map(|(x, v)| x + step * v));
                if example.ask(std::slice::from_ref(&moved))?[0] {
                    x = example.to_boundary(moved)?;
                    break;
                }
                step /= 2.0;
            }
            if best
                .as_ref()
                .is_none_or(|b| example.distance(&x) < example.distance(b))
            {
                *best = Some(x.clone());
            }
        }
        Ok(())
    }
}

impl BlackBox for HopSkipJump {
    fn id(&self) -> &'static str {
        "hop-skip-jump"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        let seed = seed.value();
        let clean = batch.x.to_f32();
        let size = clean.len() / batch.len().max(1);
        let bounds = threat.bounds().map(|b| b as f32);
        let (mut out, mut endings) = (
            Vec::with_capacity(clean.len()),
            Vec::with_capacity(batch.len()),
        );
        for (i, origin) in clean.chunks_exact(size).enumerate() {
            let norm = if threat.norm() == Norm::Linf {
                Norm::Linf
            } else {
                Norm::L2
            };
            let example = Example {
                model,
                origin,
                label: batch.labels[i],
                bounds,
                norm,
            };
            let mut best = None;
            let spent = match self.search(&example, &mut best, seed, batch.index[i]) {
                Err(Error::Budget { .. }) => true,
                other => other.map(|()| false)?,
            };
            endings.push(match (&best, spent) {
                (Some(_), _) => Ending::Converged,
                (None, true) => Ending::BudgetExhausted,
                (None, false) => Ending::StepsExhausted,
            });
            out.extend(best.unwrap_or_else(|| origin.to_vec()));
        }
        Ok(Candidate {
            x: Tensor::new::<f32>(batch.x.shape(), out),
            endings,
        })
    }
}
