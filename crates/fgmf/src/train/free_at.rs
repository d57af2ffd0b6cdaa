//! Free adversarial training: each backward pass moves the weights and the points they train on.
//!
//! The loop replays each batch m times in a row, m being `replays`. A replay works on an image x
//! with label y and a displacement d in units of the radius, zeros at first. One forward and one
//! backward pass at x + eps d give two gradients of L(x + eps d, y):
//!
//! 1. the one in the weights, whose mean over the batch updates them at once,
//! 2. the one in the image, g, which moves the point: x + eps d ← Π(x + eps d + α s(g)).
//!
//! Π projects onto ball and bounds, s is the direction of steepest ascent of the norm (the sign in
//! Linf), α is `step_size` radii. The next replay starts there, with the new weights.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `replays` | 8 | m, 1 to 1,000 |
//! | `step_size` | 1 | α in radii, above 0 |
//!
//! Cost: 3 passes a replay, so `3 replays` an example and epoch: an epoch here counts visits of the
//! data, and each visit makes m updates. A run of E epochs costs what m E epochs of standard
//! training do. The paper divides the epochs by m, so its run of E epochs is one of E / m here.
//! Memory: a byte for each number of the training images.
//!
//! Differences from the paper: (1) the displacement stays with its image until the next epoch,
//! where the paper hands it to whatever image stands in the same place of the next batch; (2) the
//! learning rate is the same for all replays of a batch; (3) displacements are kept in steps of
//! 1/127, and flips and shifts move them with the image; (4) L2 and L1 are ours. Parts of the
//! objective are means over the replays, and accuracy is that of the last one. Reference:
//! `shafahi2019`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::settings::{complete, read};
use crate::train::base::{
    Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish, mean,
    step_on_with_images,
};
use crate::train::parts::search::Search;
use fgmf_net::head::CrossEntropy;
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "free-at",
    line: "Replays each batch, and moves weights and points by the same backward pass.",
    revision: 1,
    reference: "shafahi2019",
    example: r#"{"replays": 2}"#,
    build: ObjectiveBuild {
        complete: complete::<FreeAtParams>,
        make: |settings| Ok(Box::new(read::<FreeAtParams>(settings)?.check()?)),
    },
}];

/// Settings of [`FreeAt`]; the table is in the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreeAtParams {
    /// Times that a batch is trained on in a row.
    pub replays: usize,
    /// Length of a step as a share of the radius.
    pub step_size: f64,
}

impl Default for FreeAtParams {
    fn default() -> Self {
        Self {
            replays: 8,
            step_size: 1.0,
        }
    }
}

impl FreeAtParams {
    /// The checked objective.
    pub fn check(self) -> Result<FreeAt> {
        if !(1..=1000).contains(&self.replays) {
            return Err(Error::parameter("replays", "1 to 1,000", self.replays));
        }
        let search = Search {
            steps: 1,
            step_size: self.step_size,
        };
        search.check()?;
        Ok(FreeAt { params: self })
    }
}

/// Free adversarial training; see the module.
#[derive(Clone, Debug)]
pub struct FreeAt {
    params: FreeAtParams,
}

impl Objective for FreeAt {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let (threat, shape) = (context.threat, batch.x.shape());
        let eps = threat.eps() as f32;
        let alpha = self.params.step_size as f32 * eps;
        let clean = batch.x.to_f32();
        let size = (clean.len() / batch.len().max(1)).max(1);
        let mut x = clean.clone();
        if let Some(d) = context.displacement {
            x.iter_mut()
                .zip(d.to_f32())
                .for_each(|(x, d)| *x += eps * d);
            let rows = x.chunks_exact_mut(size).zip(clean.chunks_exact(size));
            rows.for_each(|(x, origin)| threat.project(origin, x));
        }
        let head = CrossEntropy::labels(&batch.labels);
        let points = Tensor::new(shape, x.clone());
        let (run, g) = step_on_with_images(net, &points, &head, batch, context)?;
        let kept = context.displacement.filter(|_| eps > 0.0).map(|_| {
            let mut g = g.to_f32();
            let rows = x.chunks_exact_mut(size).zip(g.chunks_exact_mut(size));
            for ((x, g), origin) in rows.zip(clean.chunks_exact(size)) {
                threat.steepest(g);
                x.iter_mut().zip(g).for_each(|(x, s)| *x += alpha * *s);
                threat.project(origin, x);
            }
            let moved = x.iter().zip(&clean);
            Tensor::new(shape, moved.map(|(x, o)| (x - o) / eps).collect())
        });
        let parts = vec![("attacked cross-entropy", mean(&run.losses))];
        Ok(Step {
            displacement: kept,
            ..finish(run, &batch.labels, parts)
        })
    }

    fn keeps_displacements(&self) -> bool {
        true
    }

    fn replays(&self) -> usize {
        self.params.replays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::batch_of;
    use crate::data::dataset::Dataset;
    use crate::threat::{Norm, ThreatModel};
    use crate::train::checkpoint::Checkpoint;
    use crate::train::config::TrainConfig;
    use crate::train::fit::fresh_network;
    use crate::train::list::ObjectiveConfig;
    use crate::train::optimise::Optimiser;
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};
    use crate::train::stepper::Stepper;
    use fgmf_net::zoo::Architecture;
    use fgmf_net::{Mode, Precision};
    use fgmf_testkit::toys;

    fn free() -> FreeAt {
        FreeAtParams::default().check().unwrap()
    }

    /// For two classes with z = (w·x, 0) and the label 0 the loss rises against w: from anywhere in
    /// the ball a step of a radius ends at d = −sign w or on the way to it.
    #[test]
    fn points_of_a_linear_model_move_against_its_weights() {
        let w = [0.5, -0.25, 2.0, -1.0];
        let net = toys::linear(&[w.to_vec(), vec![0.0; 4]], &[0.0; 2], [1, 2, 2]);
        let net = net.cast(Precision::F32);
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let x = [0.5f32, 0.5, 0.05, 0.5];
        let batch = Batch {
            x: Tensor::new(&[1, 1, 2, 2], x.to_vec()),
            labels: vec![0],
            index: vec![0],
        };
        let d = [0.25f32, 0.0, 0.0, -1.0];
        let kept = Tensor::new(&[1, 1, 2, 2], d.to_vec());
        let context = StepContext {
            displacement: Some(&kept),
            ..context(&threat)
        };
        let step = free().step(&net, &batch, &context).unwrap();
        let z: f64 = (0..4).map(|i| w[i] * f64::from(x[i] + 0.1 * d[i])).sum();
        assert!((step.parts[0].1 - (-z).exp().ln_1p()).abs() < 1e-6);
        // 0.05 − 0.1 leaves the bounds, so that half a radius is left of the third.
        let expected = [-0.75, 1.0, -0.5, 0.0];
        for (found, expected) in step.displacement.unwrap().to_f32().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    /// The gradient is that of the cross-entropy at the displaced images.
    #[test]
    fn gradient_matches_differences_at_the_points_that_are_kept() {
        let (net, batch, threat) = (net(), batch(4), threat());
        let d = (0..batch.x.len()).map(|i| (i % 3) as f32 - 1.0).collect();
        let kept = Tensor::new(batch.x.shape(), d);
        let context = StepContext {
            displacement: Some(&kept),
            ..context(&threat)
        };
        gradient_matches(&net, |net| {
            let step = free().step(net, &batch, &context).unwrap();
            let loss = step.parts[0].1;
            (step, loss)
        });
    }

    /// The loop beside a plain one: three times, the gradients of one pass move weights and points.
    #[test]
    fn the_loop_replays_a_batch_as_a_plain_description_says() {
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let pixels = (0..256u32).map(|i| (70 + i * 37 % 101) as u8).collect();
        let (split, labels) = (crate::record::Split::Train, vec![0, 1, 0, 1]);
        let data = Dataset::new("d", split, classes, [1, 8, 8], pixels, labels).unwrap();
        let objective = ObjectiveConfig::new("free-at", &serde_json::json!({ "replays": 3 }));
        let mut config = TrainConfig::new("", Architecture::CnnTiny, objective.unwrap(), 0.1);
        config.optimiser = Optimiser::Sgd {
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        };
        (config.gradient_clip, config.ema, config.eps_warmup) = (None, None, 0.0);
        let stepper = Stepper::new(&config, &data).unwrap();
        let mut state = Checkpoint::new(fresh_network(&config, &data).unwrap());
        let (mut net, rows) = (state.net.clone(), [2, 0, 3, 1]);
        let made = stepper.step(&mut state, &rows, 0, 0.15).unwrap();
        assert_eq!(state.optimiser.step, 3);

        let batch = batch_of(&data, &rows).unwrap();
        let (clean, head) = (batch.x.to_f32(), CrossEntropy::labels(&batch.labels));
        let (mut d, mut losses) = (vec![0.0f32; clean.len()], 0.0);
        for _ in 0..3 {
            let x = clean.iter().zip(&d).map(|(o, d)| o + 0.1 * d).collect();
            let x = Tensor::new(batch.x.shape(), x);
            let found = net.parameter_and_image_gradients(&x, &head, Mode::Train);
            let (run, g) = found.unwrap();
            losses += mean(&run.losses) / 3.0;
            for (id, g) in net.trainable().into_iter().zip(&run.gradients) {
                let w = net.parameter(id).unwrap();
                let w = w.add(&g.affine(-made.rate, 0.0));
                net.set_parameter(id, w).unwrap();
            }
            let signs = g.to_f32().into_iter().map(|g| (g * 1e30).clamp(-1.0, 1.0));
            d.iter_mut()
                .zip(signs)
                .for_each(|(d, s)| *d = (*d + s).clamp(-1.0, 1.0));
        }
        assert!((made.parts[0].1 - losses).abs() < 1e-5);
        for id in net.trainable() {
            let (plain, own) = (net.parameter(id).unwrap(), state.net.parameter(id).unwrap());
            for (a, b) in plain.to_f32().iter().zip(own.to_f32()) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        let kept = state.displacements.unwrap();
        let kept: Vec<f32> = batch.index.iter().flat_map(|&i| kept.row(i)).collect();
        let other = kept.iter().zip(&d).filter(|(a, b)| (*a - *b).abs() > 1e-3);
        // Rounding may turn the sign of a gradient that is nearly zero.
        assert!(other.count() <= 2);
        assert!(d.iter().any(|d| *d > 0.5) && d.iter().any(|d| *d < -0.5));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |replays, step_size| {
            let params = FreeAtParams { replays, step_size };
            params.check().unwrap_err().to_string()
        };
        assert!(refused(0, 1.0).contains("`replays`"));
        assert!(refused(2, 0.0).contains("`step_size`"));
    }
}
