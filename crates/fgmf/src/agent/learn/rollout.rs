//! One iteration's samples: all lanes step together, and episodes run over its end.

use crate::agent::draws::{ActionDraw, action_number};
use crate::agent::lanes::Lanes;
use crate::agent::learn::advantage::advantages;
use crate::agent::learn::config::TeamConfig;
use crate::agent::learn::head::{PpoHead, PpoSample, log_softmax};
use crate::agent::learn::returns::ReturnScale;
use crate::error::Result;
use fgmf_net::{Session, Tensor};

/// Samples, by step, then lane, then agent.
pub(crate) struct Rollout {
    /// Raw views.
    raw: Vec<u8>,
    size: usize,
    samples: Vec<PpoSample>,
    /// Returns that values are taught, in their own units.
    pub(crate) returns: Vec<f64>,
    /// Returns of the episodes that ended.
    pub(crate) ended: Vec<f64>,
    /// Mean entropy of the policy.
    pub(crate) entropy: f64,
}

impl Rollout {
    /// Plays one iteration. `running` has the return so far of each lane's episode. `shaping` is
    /// the weight of shaped rewards.
    pub(crate) fn play(
        config: &TeamConfig,
        net: &Session,
        lanes: &mut Lanes,
        running: &mut [f64],
        (iteration, shaping, scale): (usize, f64, &ReturnScale),
    ) -> Result<Self> {
        let spec = lanes.spec().clone();
        let (k, agents) = (spec.actions.len(), spec.agents);
        let rows = lanes.len() * agents;
        let every: Vec<usize> = (0..lanes.len()).collect();
        let mut out = Self {
            raw: Vec::with_capacity(config.length * rows * spec.size()),
            size: spec.size(),
            samples: Vec::with_capacity(config.length * rows),
            returns: Vec::new(),
            ended: Vec::new(),
            entropy: 0.0,
        };
        let mut rewards = vec![Vec::with_capacity(config.length); rows];
        let mut values = vec![Vec::with_capacity(config.length + 1); rows];
        let mut over = vec![Vec::with_capacity(config.length); rows];
        let mut raw = lanes.observe(&every);
        for t in 0..=config.length {
            let outputs = net.logits(&spec.scaled(&raw))?.to_f64();
            let all = outputs.chunks_exact(k + 1);
            for (row, z) in all.clone().enumerate() {
                values[row].push(scale.restored(z[k]));
            }
            if t == config.length {
                break;
            }
            let step = (iteration * config.length + t) as u64;
            let mut actions = Vec::with_capacity(rows);
            for (row, z) in all.enumerate() {
                let u = action_number(config.seed, row as u64, step, row % agents);
                let action = ActionDraw::Sampled.choose(&z[..k], u);
                let log_p = log_softmax(&z[..k]);
                out.entropy -= log_p.iter().map(|l| l.exp() * l).sum::<f64>();
                out.samples.push(PpoSample {
                    action,
                    log_probability: log_p[action],
                    advantage: 0.0,
                    target: 0.0,
                    value: z[k],
                });
                actions.push(action);
            }
            out.raw.append(&mut raw);
            for (lane, step) in lanes.step(&every, &actions)?.iter().enumerate() {
                running[lane] += step.reward();
                for agent in 0..agents {
                    let row = lane * agents + agent;
                    rewards[row].push(step.rewards[agent] + shaping * step.shaped[agent]);
                    over[row].push(step.over());
                }
                if step.over() {
                    out.ended.push(std::mem::take(&mut running[lane]));
                    lanes.reset(lane, None);
                }
            }
            raw = lanes.observe(&every);
        }
        out.returns = vec![0.0; out.samples.len()];
        for row in 0..rows {
            let discounts = [config.gamma, config.lambda];
            let found = advantages(&rewards[row], &values[row], &over[row], discounts);
            for (t, advantage) in found.into_iter().enumerate() {
                out.samples[t * rows + row].advantage = advantage;
                out.returns[t * rows + row] = advantage + values[row][t];
            }
        }
        out.entropy /= out.samples.len().max(1) as f64;
        Ok(out)
    }

    /// How many samples.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Tells samples what their values should have been. `scale` is the one that values were given
    /// in, `new` the one that they are taught in.
    pub(crate) fn teach(&mut self, scale: &ReturnScale, new: &ReturnScale) {
        for (sample, &value) in self.samples.iter_mut().zip(&self.returns) {
            sample.target = new.normalised(value);
            sample.value = new.normalised(scale.restored(sample.value));
        }
    }

    /// Views and loss of some samples; advantages have mean 0 and deviation 1 among them.
    pub(crate) fn batch(
        &self,
        config: &TeamConfig,
        scaled: impl Fn(&[u8]) -> Tensor,
        chosen: &[usize],
    ) -> (Tensor, PpoHead) {
        let part = |&i: &usize| &self.raw[i * self.size..(i + 1) * self.size];
        let views: Vec<u8> = chosen.iter().flat_map(part).copied().collect();
        let mut samples: Vec<PpoSample> = chosen.iter().map(|&i| self.samples[i]).collect();
        let n = samples.len() as f64;
        let mean = samples.iter().map(|s| s.advantage).sum::<f64>() / n;
        let square = samples.iter().map(|s| (s.advantage - mean).powi(2));
        let deviation = (square.sum::<f64>() / n).sqrt() + 1e-8;
        for s in &mut samples {
            s.advantage = (s.advantage - mean) / deviation;
        }
        let head = PpoHead {
            samples,
            clip: config.clip,
            entropy: config.entropy,
            value: config.value,
        };
        (scaled(&views), head)
    }
}
