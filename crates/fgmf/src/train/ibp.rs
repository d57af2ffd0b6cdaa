//! MTL-IBP: another objective, and the cross-entropy of the worst logits that interval bounds leave
//! open.
//!
//! With B(x) the box of all images within eps of x in Linf and within the bounds of an image, and
//! m_j a lower bound of z_y − z_j over B(x) by interval bound propagation, the loss on bounds is
//! the mean over the batch of
//!
//! M = log Σ_j exp(−m_j), m_y = 0.
//!
//! It bounds the cross-entropy of every image of B(x) from above. Where it is below log 2 the
//! answer is proved. A step follows
//!
//! (1 − α) ∇L + α min(1, ‖∇L‖ / ‖∇M‖) ∇M,
//!
//! with L the objective inside. Where ∇M is no longer than ∇L this is the gradient of
//! (1 − α) L + α M. Bounds take centre c and radius r of a box through each layer: W c + b and
//! |W| r where the layer is linear, both ends where it never falls. The last layer is merged with
//! the differences z_y − z_j. eps grows over the first half of the run, unless `eps_warmup` says
//! otherwise: bounds of a fresh network at full radius teach nothing.
//!
//! The cut is for deep networks. Bounds of a fresh one grow by an order of magnitude a layer, and
//! what shrinks them fastest is a constant answer. Without it cnn-small ended there at α = 0.1, at
//! largest learning rates of 0.003 and of 0.001, and with a geometric mean of the two losses. With
//! it α says how hard bounds push in the worst case. α = 1 is training on bounds alone (Gowal et
//! al. 2018), at the pace of L. `fgmf certify --threat linf` says what is proved of the result.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `inner` | `{"name": "scor-pio"}` | L: any objective |
//! | `weight` | 0.15 | α, 0 to 1 |
//! | `share` | 1 | of the batch that is bounded, above 0, at most 1 |
//!
//! Cost: that of L, and 6 passes for each image that is bounded (centre and radius, 3 each).
//!
//! Differences from the authors' code: (1) the cut; (2) batch normalisation inside bounds has
//! running statistics; (3) the network starts as any other, without their initialisation for
//! bounds; (4) there is no term on the size of weights. The network needs operators that bounds
//! have a rule for: convolutional and residual networks are, transformers are refused.
//! Reference: `depalma2024`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext};
use crate::train::parts::around::check_share;
use crate::train::parts::bounded::BoundedLoss;
use crate::train::salience::SalienceSource;
use fgmf_net::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "ibp",
    line: "Mixes another objective with the loss on interval bounds; answers can be proved.",
    revision: 2,
    reference: "depalma2024",
    example: r#"{"inner": {"name": "pgd-at", "steps": 2}, "weight": 0.1}"#,
    build: ObjectiveBuild {
        complete: complete::<IbpParams>,
        make: |settings| Ok(Box::new(read::<IbpParams>(settings)?.check()?)),
    },
}];

/// Settings of [`Ibp`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IbpParams {
    /// The objective inside: its `name`, and its settings beside it.
    pub inner: Value,
    /// Largest weight α of the loss on bounds; the objective inside has 1 − α.
    pub weight: f64,
    /// Share of the batch that is bounded.
    pub share: f64,
}

impl Default for IbpParams {
    fn default() -> Self {
        Self {
            inner: json!({ "name": "scor-pio" }),
            weight: 0.15,
            share: 1.0,
        }
    }
}

impl IbpParams {
    /// The checked wrapper, which [`Objective::take`] gives its objective. It does not look at
    /// `inner`.
    pub fn check(self) -> Result<Ibp> {
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Error::parameter("weight", "0 to 1", self.weight));
        }
        check_share(self.share)?;
        Ok(Ibp {
            bounded: BoundedLoss::new(self.weight, self.share),
            inner: None,
        })
    }
}

/// MTL-IBP; see the module.
pub struct Ibp {
    bounded: BoundedLoss,
    inner: Option<Box<dyn Objective>>,
}

impl Ibp {
    fn inner(&self) -> Result<&dyn Objective> {
        let inner = self.inner.as_deref();
        inner.ok_or_else(|| Error::mismatch("ibp", "an objective inside", "none"))
    }
}

impl Objective for Ibp {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let step = self.inner()?.step(net, batch, context)?;
        self.bounded.add(step, net, batch, context)
    }

    fn salience(&self) -> Option<SalienceSource> {
        self.inner.as_ref()?.salience()
    }

    fn take(&mut self, inner: Box<dyn Objective>) -> Result<()> {
        self.inner = Some(inner);
        Ok(())
    }

    fn attacks(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.attacks())
    }

    fn rows(&self) -> usize {
        // A box has two ends.
        self.inner.as_ref().map_or(1, |inner| inner.rows()).max(2)
    }

    fn replays(&self) -> usize {
        self.inner.as_ref().map_or(1, |inner| inner.replays())
    }

    fn copies(&self) -> usize {
        // Weights for centres and for radii.
        2 + self.inner.as_ref().map_or(0, |inner| inner.copies())
    }

    fn keeps_displacements(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(|inner| inner.keeps_displacements())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Norm;
    use crate::threat::ThreatModel;
    use crate::train::base::{finish, mean};
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};
    use crate::train::standard::Standard;
    use fgmf_net::Tensor;
    use fgmf_net::head::CrossEntropy;

    fn ibp(weight: f64, share: f64) -> Ibp {
        let params = IbpParams {
            weight,
            share,
            ..IbpParams::default()
        };
        let mut made = params.check().unwrap();
        made.take(Box::new(Standard)).unwrap();
        made
    }

    /// The gradient of the loss on bounds is that of differences.
    #[test]
    fn objective_gradient_matches_differences() {
        let (net, batch) = (net(), batch(4));
        let threat = ThreatModel::new(Norm::Linf, 0.02, [0.0, 1.0]).unwrap();
        let objective = ibp(1.0, 1.0);
        gradient_matches(&net, |net| {
            let context = context(&threat);
            let run = objective.bounded.evaluate(net, &batch, &context).unwrap();
            let value = mean(&run.losses);
            (finish(run, &batch.labels, Vec::new()), value)
        });
    }

    /// At a small radius the step is the mean of both gradients, weighed; at a large one that on
    /// bounds is as long as the other, weighed.
    #[test]
    fn the_gradient_on_bounds_is_cut_where_it_is_longer() {
        let (net, batch) = (net(), batch(4));
        let length = |g: &[Tensor]| g.iter().map(|g| g.dot(g)).sum::<f64>().sqrt();
        let mut cut = Vec::new();
        for eps in [0.0, 0.3] {
            let threat = ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap();
            let (context, objective) = (context(&threat), ibp(0.25, 1.0));
            let inner = Standard.step(&net, &batch, &context).unwrap().gradients;
            let run = objective.bounded.evaluate(&net, &batch, &context).unwrap();
            let ratio = length(&inner) / length(&run.gradients);
            cut.push(ratio < 0.9);
            let step = objective.step(&net, &batch, &context).unwrap();
            for ((a, b), sum) in inner.iter().zip(&run.gradients).zip(&step.gradients) {
                let (a, b) = (a.to_f64(), b.to_f64());
                for ((a, b), sum) in a.iter().zip(b).zip(sum.to_f64()) {
                    let expected = 0.75 * a + 0.25 * ratio.min(1.0) * b;
                    assert!((sum - expected).abs() < 1e-5, "{sum} {expected}");
                }
            }
        }
        assert_eq!(cut, [false, true]);
    }

    /// Bounds that are kept take over new weights, and are made anew for another network.
    #[test]
    fn kept_bounds_are_those_of_the_network() {
        let (mut net, batch, threat) = (net(), batch(4), threat());
        let objective = ibp(0.3, 1.0);
        let losses = |objective: &Ibp, net: &Session| {
            let run = objective.bounded.evaluate(net, &batch, &context(&threat));
            run.unwrap().losses
        };
        let first = losses(&objective, &net);
        let id = net.trainable()[0];
        let halved = net.parameter(id).unwrap().affine(0.5, 0.0);
        net.set_parameter(id, halved).unwrap();
        let second = losses(&objective, &net);
        assert_ne!(first, second);
        assert_eq!(second, losses(&ibp(0.3, 1.0), &net));
        let weights = [vec![0.01; 64], vec![-0.01; 64]];
        let linear = fgmf_testkit::toys::linear(&weights, &[0.0; 2], [1, 8, 8]);
        let linear = Session::new(linear.cast(fgmf_net::Precision::F32).into_network());
        let batch = Batch {
            labels: vec![0; 4],
            ..batch.clone()
        };
        let of = |objective: &Ibp| {
            let run = objective
                .bounded
                .evaluate(&linear, &batch, &context(&threat));
            run.unwrap().losses
        };
        assert_eq!(of(&objective), of(&ibp(0.3, 1.0)));
    }

    /// The loss on bounds is above that of any image in the box, and without a radius it is that
    /// of the image.
    #[test]
    fn bounds_hold_every_image_of_the_box() {
        let (net, batch, threat) = (net(), batch(6), threat());
        let head = CrossEntropy::labels(&batch.labels);
        let objective = ibp(1.0, 1.0);
        let run = objective
            .bounded
            .evaluate(&net, &batch, &context(&threat))
            .unwrap();
        let mut draws = crate::rng::Stream::new(1, crate::rng::Purpose::Training, 0, 0);
        for _ in 0..10 {
            let clean = batch.x.to_f32();
            let images = clean.chunks_exact(64);
            let points = images
                .flat_map(|x| threat.random_start(x, &mut draws))
                .collect();
            let x = fgmf_net::Tensor::new::<f32>(batch.x.shape(), points);
            let found = net
                .parameter_gradients(&x, &head, fgmf_net::Mode::Evaluate)
                .unwrap();
            for (point, bound) in found.losses.iter().zip(&run.losses) {
                assert!(point < bound, "{point} {bound}");
            }
        }
        let none = threat.with_eps(0.0).unwrap();
        let run = objective
            .bounded
            .evaluate(&net, &batch, &context(&none))
            .unwrap();
        let clean = net.parameter_gradients(&batch.x, &head, fgmf_net::Mode::Evaluate);
        for (a, b) in run.losses.iter().zip(&clean.unwrap().losses) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn weight_and_share_do_what_they_say() {
        let (net, batch, threat) = (net(), batch(6), threat());
        let context = context(&threat);
        let inner = Standard.step(&net, &batch, &context).unwrap();
        let without = ibp(0.0, 0.5).step(&net, &batch, &context).unwrap();
        for (a, b) in inner.gradients.iter().zip(&without.gradients) {
            assert_eq!(a.to_f32(), b.to_f32());
        }
        let half = ibp(1.0, 0.5)
            .bounded
            .evaluate(&net, &batch, &context)
            .unwrap();
        assert_eq!(half.losses.len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |weight: f64, share: f64| {
            let base = IbpParams::default();
            let params = IbpParams {
                weight,
                share,
                ..base
            };
            params.check().map(|_| ()).unwrap_err().to_string()
        };
        assert!(refused(1.5, 1.0).contains("`weight`"));
        assert!(refused(f64::NAN, 1.0).contains("`weight`"));
        assert!(refused(0.1, 0.0).contains("`share`"));
        let (net, batch) = (net(), batch(2));
        let threat = ThreatModel::new(Norm::L2, 0.1, [0.0, 1.0]).unwrap();
        let step = ibp(0.1, 1.0).step(&net, &batch, &context(&threat));
        assert!(step.unwrap_err().to_string().contains("linf"));
        let alone = IbpParams::default().check().unwrap();
        let threat = crate::train::parts::checks::threat();
        let step = alone.step(&net, &batch, &context(&threat));
        assert!(step.unwrap_err().to_string().contains("inside"));
    }
}
