//! Random search: points drawn from the ball, the one with the largest margin kept. The weakest
//! attack there is: where it finds what gradients miss, the gradients are masked (Athalye et al.
//! 2018). 10,000 draws are the least that Carlini et al. 2019 ask for.
//!
//! Cost: at most `draws` forward passes an example.

use crate::attack::base::{
    Attack, AttackBuild, AttackMethod, BlackBox, Candidate, Ending, Seed, SuiteName,
};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::{Head, Margin};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "random-search",
    line: "Draws points of the ball and keeps the one of largest margin.",
    revision: 1,
    reference: "athalye2018",
    example: r#"{"draws": 7}"#,
    build: AttackBuild {
        make: |settings, _| {
            Ok(Attack::Black(Box::new(
                read::<RandomSearchParams>(settings)?.check()?,
            )))
        },
        names: &[SuiteName {
            name: "random-search",
            settings: |_, _| serde_json::json!({}),
            inside: None,
        }],
        wrapper: None,
    },
}];

/// Settings of [`RandomSearch`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `draws` | 10,000 | 1 to 10,000,000 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomSearchParams {
    /// Points drawn for each example.
    pub draws: usize,
}

impl Default for RandomSearchParams {
    fn default() -> Self {
        Self { draws: 10_000 }
    }
}

impl RandomSearchParams {
    /// The checked attack.
    pub fn check(self) -> Result<RandomSearch> {
        if !(1..=10_000_000).contains(&self.draws) {
            return Err(Error::parameter("draws", "1 to 10000000", self.draws));
        }
        Ok(RandomSearch { params: self })
    }
}

/// Checked random search.
#[derive(Clone, Debug)]
pub struct RandomSearch {
    params: RandomSearchParams,
}

impl BlackBox for RandomSearch {
    fn id(&self) -> &'static str {
        "random-search"
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
        let mut best = clean.clone();
        let mut margin = vec![f64::NEG_INFINITY; batch.len()];
        let mut endings = vec![Ending::StepsExhausted; batch.len()];
        for draw in 0..self.params.draws {
            let active: Vec<usize> = (0..batch.len())
                .filter(|&i| endings[i] == Ending::StepsExhausted)
                .collect();
            if active.is_empty() {
                break;
            }
            let point = |&i: &usize| {
                let mut rng = Stream::new(seed, Purpose::AttackStep, draw as u64, batch.index[i]);
                threat.random_start(&clean[i * size..(i + 1) * size], &mut rng)
            };
            let points: Vec<f32> = active.iter().flat_map(point).collect();
            let mut shape = batch.x.shape().to_vec();
            shape[0] = active.len();
            let logits = match model.logits(&Tensor::new(&shape, points.clone())) {
                Err(Error::Budget { .. }) => {
                    active
                        .iter()
                        .for_each(|&i| endings[i] = Ending::BudgetExhausted);
                    break;
                }
                other => other?,
            };
            let labels: Vec<usize> = active.iter().map(|&i| batch.labels[i]).collect();
            let (margins, _) = Margin::new(&labels).evaluate(&logits.into(), 0..active.len());
            for (j, &i) in active.iter().enumerate() {
                if margins[j] > margin[i] {
                    margin[i] = margins[j];
                    best[i * size..(i + 1) * size]
                        .copy_from_slice(&points[j * size..(j + 1) * size]);
                }
                if margin[i] >= 0.0 && model.settles() {
                    endings[i] = Ending::Converged;
                }
            }
        }
        for (ending, &m) in endings.iter_mut().zip(&margin) {
            if m >= 0.0 {
                *ending = Ending::Converged;
            }
        }
        Ok(Candidate {
            x: Tensor::new(batch.x.shape(), best),
            endings,
        })
    }
}
