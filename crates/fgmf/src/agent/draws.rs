//! How an action is drawn from scores.

use crate::model::argmax;
use crate::model::softmax;
use crate::rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// How agents act on their scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionDraw {
    /// An action with the probability that its score gives it.
    #[default]
    Sampled,
    /// The action of the largest score, the first of equals.
    Greedy,
}

impl ActionDraw {
    /// The action of these scores; `u` in `[0, 1)` decides where it is drawn.
    pub(crate) fn choose(self, scores: &[f64], u: f64) -> usize {
        match self {
            Self::Greedy => argmax(scores),
            Self::Sampled => {
                let p = softmax(scores);
                let mut left = u;
                for (action, p) in p.iter().enumerate() {
                    left -= p;
                    if left < 0.0 {
                        return action;
                    }
                }
                // Rounding may leave a rest: the last action that can be drawn.
                p.iter().rposition(|p| *p > 0.0).unwrap_or(0)
            }
        }
    }
}

/// The number in `[0, 1)` behind an agent's draw. Named by episode, step and agent, so that a clean
/// and an attacked episode share it.
pub(crate) fn action_number(seed: u64, episode: u64, step: u64, agent: usize) -> f64 {
    let index = step << 16 | agent as u64;
    f64::from(Stream::new(seed, Purpose::Action, episode, index).unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_come_as_often_as_their_scores_say() {
        let scores = [0.0, 2f64.ln(), f64::NEG_INFINITY, 0.0];
        let mut counts = [0; 4];
        for i in 0..1000 {
            let u = (f64::from(i) + 0.5) / 1000.0;
            counts[ActionDraw::Sampled.choose(&scores, u)] += 1;
        }
        assert_eq!(counts, [250, 500, 0, 250]);
        assert_eq!(ActionDraw::Greedy.choose(&scores, 0.9), 1);
        assert_eq!(ActionDraw::Sampled.choose(&scores, 1.0 - 1e-17), 3);
    }

    #[test]
    fn numbers_differ_in_every_part_of_their_name() {
        let base = action_number(1, 2, 3, 0);
        let others = [
            action_number(2, 2, 3, 0),
            action_number(1, 3, 3, 0),
            action_number(1, 2, 4, 0),
            action_number(1, 2, 3, 1),
        ];
        assert!(others.iter().all(|u| (u - base).abs() > 0.0));
    }
}
