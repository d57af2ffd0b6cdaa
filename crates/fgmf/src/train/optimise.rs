//! Optimisers, learning-rate schedules, and the running average of weights.

use crate::error::{Error, Result};
use fgmf_net::{Network, Session, Tensor, ValueId};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How weights follow gradients. Weight decay applies to arrays of rank 2 and more (not to biases
/// and normalisations).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimiser {
    /// v ← μ v + (g + λ w); w ← w − η v, or with Nesterov w ← w − η (g + λ w + μ v).
    Sgd {
        /// μ in [0, 1).
        momentum: f64,
        /// Look ahead.
        nesterov: bool,
        /// λ, 0 or more.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019), bias-corrected, ε = 1e-8.
    Adamw {
        /// Decay of the mean, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// λ, 0 or more.
        weight_decay: f64,
    },
}

impl Optimiser {
    /// AdamW with β = (0.9, 0.999) and decay 1e-4.
    pub fn adamw() -> Self {
        Self::Adamw {
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 1e-4,
        }
    }

    /// SGD with Nesterov momentum 0.9 and decay 5e-4.
    pub fn sgd() -> Self {
        Self::Sgd {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (rates, decay) = match *self {
            Self::Sgd {
                momentum,
                weight_decay,
                ..
            } => ([momentum, 0.0], weight_decay),
            Self::Adamw {
                beta1,
                beta2,
                weight_decay,
            } => ([beta1, beta2], weight_decay),
        };
        match rates.iter().find(|r| !(0.0..1.0).contains(*r)) {
            Some(r) => Err(Error::parameter(
                "optimiser",
                "momentum and betas from 0 to below 1",
                r,
            )),
            None if !(decay.is_finite() && decay >= 0.0) => Err(Error::parameter(
                "weight_decay",
                "a finite number, 0 or more",
                decay,
            )),
            None => Ok(()),
        }
    }
}

/// Course of the learning rate over a run, as a share of its largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Linear up over the first 30%, linear down to 0.
    Cyclic,
    /// Linear up over the first 5%, then half a cosine down to 0.
    Cosine,
}

impl Schedule {
    /// The share at `t` in [0, 1] of the run.
    pub fn at(self, t: f64) -> f64 {
        match self {
            Self::Cyclic if t < 0.3 => t / 0.3,
            Self::Cyclic => (1.0 - t) / 0.7,
            Self::Cosine if t < 0.05 => t / 0.05,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (t - 0.05) / 0.95).cos()),
        }
    }
}

/// Numbers of an array that a thread takes at once.
const BLOCK: usize = 1 << 13;

/// What a step makes of one parameter.
struct Update {
    weight: Tensor,
    first: Tensor,
    second: Option<Tensor>,
}

impl Optimiser {
    fn update(
        &self,
        weight: &Tensor,
        (first, second): (&Tensor, &Tensor),
        gradient: &Tensor,
        rate: f64,
        step: i32,
    ) -> Update {
        let decays = weight.rank() >= 2;
        let array = |v: Vec<f32>| Tensor::new(weight.shape(), v);
        let (w, m, g) = (
            weight.values::<f32>(),
            first.values::<f32>(),
            gradient.values::<f32>(),
        );
        match *self {
            Self::Sgd {
                momentum,
                nesterov,
                weight_decay,
            } => {
                let (mu, eta, lambda) = (
                    momentum as f32,
                    rate as f32,
                    if decays { weight_decay as f32 } else { 0.0 },
                );
                let m: Vec<f32> = w
                    .iter()
                    .zip(m.iter())
                    .zip(g.iter())
                    .map(|((w, m), g)| mu * m + (g + lambda * w))
                    .collect();
                let ahead = |((w, m), g): ((&f32, &f32), &f32)| {
                    w - eta
                        * if nesterov {
                            g + lambda * w + mu * m
                        } else {
                            *m
                        }
                };
                let w = w.iter().zip(&m).zip(g.iter()).map(ahead).collect();
                Update {
                    weight: array(w),
                    first: array(m),
                    second: None,
                }
            }
            Self::Adamw {
                beta1,
                beta2,
                weight_decay,
            } => {
                let scale =
                    (rate * (1.0 - beta2.powi(step)).sqrt() / (1.0 - beta1.powi(step))) as f32;
                let epsilon = (1e-8 * (1.0 - beta2.powi(step)).sqrt()) as f32;
                let keep = 1.0
                    - if decays {
                        (rate * weight_decay) as f32
                    } else {
                        0.0
                    };
                let (b1, b2) = (beta1 as f32, beta2 as f32);
                let (mut w, mut m) = (w.into_owned(), m.into_owned());
                let mut v = second.to_f32();
                w.par_chunks_mut(BLOCK)
                    .zip(m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)))
                    .zip(g.par_chunks(BLOCK))
                    .for_each(|((w, (m, v)), g)| {
                        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                            *m = b1 * *m + (1.0 - b1) * g;
                            *v = b2 * *v + (1.0 - b2) * g * g;
                            *w = keep * *w - scale * *m / (v.sqrt() + epsilon);
                        }
                    });
                Update {
                    weight: array(w),
                    first: array(m),
                    second: Some(array(v)),
                }
            }
        }
    }
}

/// Moments and averages of a run: all that must be saved, besides the weights, to go on.
#[derive(Clone, Debug)]
pub struct OptimiserState {
    /// Steps made.
    pub step: u64,
    /// First moment (or momentum) of each trainable parameter.
    pub first: Vec<Tensor>,
    /// Second moment of each trainable parameter; zeros for SGD.
    pub second: Vec<Tensor>,
    /// Averaged network.
    pub average: Network,
}

impl OptimiserState {
    /// At the start of a run.
    pub fn new(net: &Network) -> Self {
        let zeros: Vec<Tensor> = net
            .trainable()
            .iter()
            .filter_map(|&id| net.parameter(id))
            .map(Tensor::zeros_like)
            .collect();
        Self {
            step: 0,
            first: zeros.clone(),
            second: zeros,
            average: net.clone(),
        }
    }

    /// One step along gradients in the order of [`Network::trainable`].
    pub fn apply(
        &mut self,
        net: &mut Session,
        gradients: &[Tensor],
        optimiser: &Optimiser,
        rate: f64,
    ) -> Result<()> {
        self.step += 1;
        let trainable = net.trainable();
        let step = |(i, &id): (usize, &ValueId)| {
            let weight = net.parameter(id)?;
            let moments = (&self.first[i], &self.second[i]);
            Some((
                i,
                id,
                optimiser.update(weight, moments, &gradients[i], rate, self.step as i32),
            ))
        };
        let updates: Vec<_> = trainable.par_iter().enumerate().filter_map(step).collect();
        for (
            i,
            id,
            Update {
                weight,
                first,
                second,
            },
        ) in updates
        {
            self.first[i] = first;
            if let Some(second) = second {
                self.second[i] = second;
            }
            net.set_parameter(id, weight)?;
        }
        Ok(())
    }

    /// Moves the average towards the network: a ← d a + (1 − d) w, with d = min(decay, (1 + t) /
    /// (10 + t)), so that the average follows closely at first. Running statistics are averaged as
    /// well.
    pub fn follow(&mut self, net: &Network, decay: f64) -> Result<()> {
        let t = self.step as f64;
        let d = decay.min((1.0 + t) / (10.0 + t)) as f32;
        for id in parameters(net) {
            let (Some(old), Some(new)) = (self.average.parameter(id), net.parameter(id)) else {
                continue;
            };
            let (old, next) = (old.values::<f32>(), new.values::<f32>());
            // A mean of equal numbers is another one by rounding; what does not train must stay.
            if old
                .iter()
                .zip(next.iter())
                .all(|(a, w)| a.to_bits() == w.to_bits())
            {
                continue;
            }
            let mut mixed = vec![0.0; old.len()];
            mixed
                .par_chunks_mut(BLOCK)
                .zip(old.par_chunks(BLOCK).zip(next.par_chunks(BLOCK)))
                .for_each(|(mixed, (old, next))| {
                    for ((mixed, a), w) in mixed.iter_mut().zip(old).zip(next) {
                        *mixed = d * a + (1.0 - d) * w;
                    }
                });
            let mixed = Tensor::new(new.shape(), mixed);
            self.average.set_parameter(id, mixed)?;
        }
        Ok(())
    }
}

/// Every stored array of a network: weights and running statistics.
pub(crate) fn parameters(net: &Network) -> Vec<ValueId> {
    net.values()
        .iter()
        .filter_map(|v| net.find(&v.name))
        .filter(|&id| net.parameter(id).is_some())
        .collect()
}

/// Scales gradients down to a Euclidean norm of at most `limit`; returns the norm before.
pub(crate) fn clip(gradients: &mut [Tensor], limit: f64) -> f64 {
    let norm = gradients.iter().map(|g| g.dot(g)).sum::<f64>().sqrt();
    if norm > limit {
        gradients
            .iter_mut()
            .for_each(|g| *g = g.affine(limit / norm, 0.0));
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use fgmf_net::zoo::Layers;

    /// One dense layer with a single weight that matters: the update rules, by hand.
    fn toy() -> (Session, Vec<Tensor>) {
        let mut l = Layers::new("toy", [1, 8, 8], fgmf_net::zoo::Activation::Relu, 1).unwrap();
        let x = l.input();
        let z = l.dense("logits", x, 2).unwrap();
        let net = l.finish(z).unwrap();
        let g = net
            .trainable()
            .iter()
            .map(|&id| {
                Tensor::full(
                    net.parameter(id).unwrap().shape(),
                    0.5,
                    fgmf_net::Precision::F32,
                )
            })
            .collect();
        (Session::new(net), g)
    }

    fn first(net: &Network, i: usize) -> f32 {
        net.parameter(net.trainable()[i]).unwrap().to_f32()[0]
    }

    #[test]
    fn updates_match_the_formulas() {
        let (mut net, g) = toy();
        let (w, b) = (first(&net, 0), first(&net, 1));
        let mut state = OptimiserState::new(&net);
        let sgd = Optimiser::Sgd {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.1,
        };
        state.apply(&mut net, &g, &sgd, 0.1).unwrap();
        state.apply(&mut net, &g, &sgd, 0.1).unwrap();
        let g1 = 0.5 + 0.1 * w;
        let w1 = w - 0.1 * g1;
        let w2 = w1 - 0.1 * (0.9 * g1 + 0.5 + 0.1 * w1);
        assert!((first(&net, 0) - w2).abs() < 1e-6, "decayed weight");
        assert!(
            (first(&net, 1) - (b - 0.05 - 0.1 * 0.95)).abs() < 1e-6,
            "bias is not decayed"
        );

        let (mut net, g) = toy();
        let b = first(&net, 1);
        OptimiserState::new(&net)
            .apply(&mut net, &g, &Optimiser::adamw(), 0.01)
            .unwrap();
        assert!(
            (first(&net, 1) - (b - 0.01)).abs() < 1e-6,
            "Adam's first step has the length of the rate"
        );
    }

    #[test]
    fn schedules_start_low_peak_at_one_and_end_at_zero() {
        for s in [Schedule::Cyclic, Schedule::Cosine] {
            let peak = (0..=1000)
                .map(|i| s.at(f64::from(i) / 1000.0))
                .fold(0.0, f64::max);
            assert!(
                s.at(0.0).abs() < 1e-12 && s.at(1.0).abs() < 1e-12 && (peak - 1.0).abs() < 1e-9
            );
        }
    }
}
