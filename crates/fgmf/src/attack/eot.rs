//! Expectation over transformation (Athalye et al. 2018): any attack that follows gradients, on the
//! mean of several answers.
//!
//! L̄(x) = 1/m Σ L_j(x), and so for logits, values and gradients, where answer j draws its own
//! random numbers ([`crate::model::Averaged`]). A network of this library draws none: its answers
//! are identical, and one is asked for instead of m. It is of use where the model handed to the
//! attack answers at random ([`crate::model::Served`], or any other [`Gradients`] that says it
//! [`draws`](crate::model::Scores::draws)). There Auto-PGD and PGD make all their steps: one lucky
//! answer is no success, and a point just over the boundary fails every other time. The point that
//! the mean misclassifies with the largest mean loss is returned.
//!
//! Cost: that of the attack without early success, times m.
//!
//! Differences from AutoAttack's code: (1) the logits that decide on success are means too (there:
//! those of the last answer); (2) the point of the largest mean loss is kept (there: the last one
//! whose last answer was wrong).

use crate::attack::base::{Attack, AttackBuild, AttackMethod, Candidate, Seed, WhiteBox, Wrapper};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::averaged::Averaged;
use crate::settings::read;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "eot",
    line: "Runs another attack on the mean of several answers of a random model.",
    revision: 2,
    reference: "athalye2018",
    example: r#"{"eot_samples": 3, "of": "apgd", "attack": {"steps": 10, "loss": "dlr"}}"#,
    build: AttackBuild {
        make: |settings, given| {
            let p: EotParams = read(settings)?;
            let attack = Eot::new(given.white(&p.of, p.attack)?, p.eot_samples)?;
            Ok(Attack::White(Box::new(attack)))
        },
        names: &[],
        wrapper: Some(Wrapper {
            ending: "-eot",
            around: |of, attack| {
                let of = of.to_owned();
                serde_json::json!(EotParams {
                    of,
                    attack,
                    ..EotParams::default()
                })
            },
        }),
    },
}];

/// Settings of [`Eot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EotParams {
    /// Passes averaged.
    eot_samples: usize,
    /// Id of the attack inside. A record has it as the id of the whole.
    of: String,
    /// Its settings.
    attack: serde_json::Value,
}

impl Default for EotParams {
    fn default() -> Self {
        Self {
            eot_samples: 20,
            of: "apgd".into(),
            attack: serde_json::json!({}),
        }
    }
}

/// An attack on the mean of several answers.
#[derive(Clone, Debug)]
pub struct Eot<A> {
    attack: A,
    samples: usize,
}

impl<A: WhiteBox> Eot<A> {
    /// `samples`, 1 to 10,000, answers for each question of the attack.
    pub fn new(attack: A, samples: usize) -> Result<Self> {
        if !(1..=10_000).contains(&samples) {
            return Err(Error::parameter("samples", "1 to 10000", samples));
        }
        Ok(Self { attack, samples })
    }
}

impl<A: WhiteBox> WhiteBox for Eot<A> {
    fn id(&self) -> &'static str {
        self.attack.id()
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "eot_samples": self.samples, "attack": self.attack.parameters() })
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        if !model.draws() {
            return self.attack.perturb(model, batch, threat, seed);
        }
        self.attack
            .perturb(&Averaged::new(model, self.samples)?, batch, threat, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::apgd::method::ApgdParams;
    use crate::attack::base::Ending;
    use crate::attack::loss::AttackLoss;
    use crate::attack::pgd::PgdParams;
    use crate::defend::noise::AdditiveNoiseParams;
    use crate::model::access::Scores;
    use crate::model::answer::misclassified;
    use crate::model::oracle::Oracle;
    use crate::model::served::Served;
    use crate::threat::Norm;
    use fgmf_net::Tensor;
    use fgmf_testkit::toys;

    /// On a linear model under noise the best point of the ball is known; both searches come to it,
    /// where fresh answers are wrong far more often than at a point just over the boundary.
    #[test]
    fn goes_on_after_a_lucky_answer() {
        let weights = vec![vec![0.9, -0.4, 0.3, 0.2], vec![-0.2, 0.5, 0.1, -0.6]];
        let bias = [-0.3, 0.0];
        let net = toys::linear(&weights, &bias, [1, 2, 2]).cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&net);
        let noise = AdditiveNoiseParams { deviation: 0.05 }.check().unwrap();
        let x = [0.55, 0.45, 0.5, 0.52];
        let batch = Batch {
            x: Tensor::new(&[1, 1, 2, 2], x.map(|v| v as f32).to_vec()),
            labels: vec![0],
            index: vec![0],
        };
        let distance = toys::linear_margin_distance(&weights, &bias, &x, 0, toys::Norm::Linf);
        let threat = ThreatModel::new(Norm::Linf, 1.3 * distance, [0.0, 1.0]).unwrap();
        let served = Served::new(&oracle, &noise, 1);
        let (best, _) =
            toys::linear_worst_case(&weights, &bias, &x, 0, toys::Norm::Linf, threat.eps());
        let wrong = |x: &Tensor| {
            (0..200)
                .filter(|_| misclassified(&served.logits(x).unwrap(), &[0])[0])
                .count()
        };
        let near: Vec<f32> = x
            .iter()
            .zip(&best)
            .map(|(x, b)| (x + (b - x) / 1.28) as f32)
            .collect();
        let just_over = wrong(&Tensor::new(&[1, 1, 2, 2], near));
        let pgd = PgdParams {
            steps: 40,
            loss: AttackLoss::Margin,
            ..PgdParams::default()
        }
        .check()
        .unwrap();
        let apgd = ApgdParams {
            steps: 40,
            loss: AttackLoss::Margin,
            restarts: 2,
            ..ApgdParams::default()
        }
        .check()
        .unwrap();
        let attacks: [Box<dyn WhiteBox>; 2] = [
            Box::new(Eot::new(pgd, 20).unwrap()),
            Box::new(Eot::new(apgd, 20).unwrap()),
        ];
        for attack in attacks {
            let found = attack
                .perturb(&served, &batch, &threat, Seed::new(0))
                .unwrap();
            let gap = found
                .x
                .to_f64()
                .iter()
                .zip(&best)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert_eq!(found.endings, [Ending::Converged], "{}", attack.id());
            assert!(gap < 0.2 * threat.eps(), "{}: {gap}", attack.id());
            assert!(
                wrong(&found.x) > just_over + 20,
                "{}: {} and {just_over}",
                attack.id(),
                wrong(&found.x)
            );
        }
    }
}
