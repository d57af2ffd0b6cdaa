//! Gradients averaged over small noise (Tramèr et al. 2020), for any attack that follows gradients.
//!
//! ḡ(x) = 1/m Σⱼ ∇L(x + σ uⱼ), u standard normal, in the place of ∇L(x); losses and success are
//! those of the point itself ([`crate::model::Smoothed`]). The gradient at a point is that of one
//! of many small pieces, and the mean that of the surface: where L is continuous, ḡ is the gradient
//! of the mean loss E L(x + σ u). Where L jumps (rounding, k-winners-take-all) it is that but for
//! the share of the jumps, which no gradient holds; searches by scores ([`super::Nes`],
//! [`super::Square`]) see that too.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `deviation` | 0.03 | σ in [0, 1], in pixel units |
//! | `samples` | 10 | m, 1 to 10,000 |
//!
//! Cost: `samples` backward passes for each of the attack, and a forward pass more.
//!
//! Differences from the paper: (1) there noise is uniform in a small ball, and its width chosen by
//! hand for each defence. Reference: `tramer2020`.

use crate::attack::base::{Attack, AttackBuild, AttackMethod, Candidate, Seed, WhiteBox, Wrapper};
use crate::data::batch::Batch;
use crate::defend::noise::{AdditiveNoise, AdditiveNoiseParams};
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::averaged::Smoothed;
use crate::settings::read;
use crate::threat::ThreatModel;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[AttackMethod] = &[AttackMethod {
    id: "smooth",
    line: "Runs another attack on gradients averaged over small noise.",
    revision: 1,
    reference: "tramer2020",
    example: r#"{"smoothed": {"samples": 3}, "of": "apgd", "attack": {"steps": 10}}"#,
    build: AttackBuild {
        make: |settings, given| {
            let p: Around = read(settings)?;
            let attack = p.smoothed.check(given.white(&p.of, p.attack)?)?;
            Ok(Attack::White(Box::new(attack)))
        },
        names: &[],
        wrapper: Some(Wrapper {
            ending: "-smooth",
            around: |of, attack| {
                let of = of.to_owned();
                serde_json::json!(Around {
                    of,
                    attack,
                    ..Around::default()
                })
            },
        }),
    },
}];

/// Settings of [`Smooth`] with those of the attack inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Around {
    smoothed: SmoothParams,
    /// Id of the attack inside. A record has it as the id of the whole.
    of: String,
    /// Its settings.
    attack: serde_json::Value,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            smoothed: SmoothParams::default(),
            of: "apgd".into(),
            attack: serde_json::json!({}),
        }
    }
}

/// Settings of [`Smooth`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothParams {
    /// Standard deviation of the noise, in pixel units.
    pub deviation: f64,
    /// Gradients averaged.
    pub samples: usize,
}

impl Default for SmoothParams {
    fn default() -> Self {
        Self {
            deviation: 0.03,
            samples: 10,
        }
    }
}

impl SmoothParams {
    /// An attack that follows smoothed gradients.
    pub fn check<A: WhiteBox>(self, attack: A) -> Result<Smooth<A>> {
        if !(1..=10_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "1 to 10000", self.samples));
        }
        let noise = AdditiveNoiseParams {
            deviation: self.deviation,
        }
        .check()?;
        Ok(Smooth {
            attack,
            noise,
            params: self,
        })
    }
}

/// An attack that follows smoothed gradients.
#[derive(Clone, Debug)]
pub struct Smooth<A> {
    attack: A,
    noise: AdditiveNoise,
    params: SmoothParams,
}

impl<A: WhiteBox> WhiteBox for Smooth<A> {
    fn id(&self) -> &'static str {
        self.attack.id()
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "smoothed": self.params, "attack": self.attack.parameters() })
    }

    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: Seed,
    ) -> Result<Candidate> {
        let smoothed = Smoothed::new(model, &self.noise, self.params.samples, seed.value())?;
        self.attack.perturb(&smoothed, batch, threat, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::base::Start;
    use crate::attack::loss::AttackLoss;
    use crate::attack::pgd::PgdParams;
    use crate::model::answer::misclassified;
    use crate::model::oracle::Oracle;
    use crate::threat::Norm;
    use fgmf_net::op::{Flatten, Gemm, Op, Unary};
    use fgmf_net::{Builder, Session, Tensor};

    /// Each 0.02 wide.
    const TEETH: usize = 40;

    /// Two scores of one pixel, 0 and m(x): continuous, up by 3 over the first half of each tooth,
    /// down by 2 over the second, so that the surface climbs at ½; m(0.3) = −0.1.
    fn saw() -> Session {
        let mut b = Builder::new("saw", "image", [1, 1, 1]).unwrap();
        let image = b.input();
        let at = |k: usize| 0.3 + 0.01 * k as f64;
        let bends: Vec<f64> = (0..2 * TEETH)
            .map(|k| {
                if k == 0 {
                    3.0
                } else if k % 2 == 1 {
                    -5.0
                } else {
                    5.0
                }
            })
            .collect();
        let ones = b
            .parameter(
                "ones",
                Tensor::new(&[2 * TEETH, 1], vec![1.0f32; 2 * TEETH]),
                false,
            )
            .unwrap();
        let starts = b
            .parameter(
                "starts",
                Tensor::new(
                    &[2 * TEETH],
                    (0..2 * TEETH).map(|k| -at(k) as f32).collect(),
                ),
                false,
            )
            .unwrap();
        let slopes = vec![0.0; 2 * TEETH]
            .into_iter()
            .chain(bends.iter().map(|v| *v as f32))
            .collect();
        let slopes = b
            .parameter("slopes", Tensor::new::<f32>(&[2, 2 * TEETH], slopes), false)
            .unwrap();
        let low = b
            .parameter("low", Tensor::new(&[2], vec![0.0f32, -0.1]), false)
            .unwrap();
        let flat = b
            .node("flat", Op::Flatten(Flatten { axis: 1 }), &[image])
            .unwrap();
        let shifted = b
            .node("shifted", Op::Gemm(Gemm::DENSE), &[flat, ones, starts])
            .unwrap();
        let bent = b.node("bent", Op::Unary(Unary::Relu), &[shifted]).unwrap();
        let logits = b
            .node("logits", Op::Gemm(Gemm::DENSE), &[bent, slopes, low])
            .unwrap();
        Session::new(b.finish(logits).unwrap())
    }

    /// The gradient at a point leads to the top of its tooth and back; the mean over teeth climbs
    /// to where the other class wins.
    #[test]
    fn sees_the_surface_over_a_saw() {
        let net = saw();
        let oracle = Oracle::new(&net);
        let batch = Batch {
            x: Tensor::new(&[1, 1, 1, 1], vec![0.302f32]),
            labels: vec![0],
            index: vec![0],
        };
        let threat = ThreatModel::new(Norm::Linf, 0.35, [0.0, 1.0]).unwrap();
        let pgd = || {
            let params = PgdParams {
                steps: 100,
                step_size: Some(0.004),
                start: Start::Clean,
                loss: AttackLoss::Margin,
                ..PgdParams::default()
            };
            params.check().unwrap()
        };
        let broken = |attack: &dyn WhiteBox| {
            let found = attack
                .perturb(&oracle, &batch, &threat, Seed::new(0))
                .unwrap()
                .x;
            (
                misclassified(&net.logits(&found).unwrap(), &[0])[0],
                found.to_f64()[0],
            )
        };
        let (plain, at) = broken(&pgd());
        assert!(
            !plain && (at - 0.31).abs() < 0.005,
            "stays on its tooth, not at {at}"
        );
        let smooth = SmoothParams {
            deviation: 0.03,
            samples: 50,
        }
        .check(pgd())
        .unwrap();
        assert!(
            broken(&smooth).0,
            "climbs over the teeth, not to {}",
            broken(&smooth).1
        );
    }
}
