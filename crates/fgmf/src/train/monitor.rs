//! What is watched at the end of each epoch: whether the search that training uses still finds what
//! a longer one finds, and how the loss bends.

use crate::attack::sealed::run_attack;
use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::data::request::spread;
use crate::error::{Error, Result};
use crate::explain::base::Context;
use crate::explain::integrated_gradients::IntegratedGradientsParams;
use crate::explain::sealed::explain;
use crate::model::access::{Curvature, Gradients};
use crate::model::oracle::Oracle;
use crate::record::MonitorRecord;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use crate::train::pgd_at::{PgdAt, PgdAtParams};
use crate::train::salience::{top, top_count};
use crate::train::validation::pgd;
use fgmf_net::head::{CrossEntropy, Logit};
use fgmf_net::{Session, Tensor};
use serde::{Deserialize, Serialize};

/// Share of the pixels that count as salient.
const SALIENT: f64 = 0.2;
/// Points of Integrated Gradients.
const POINTS: usize = 8;
/// Training has collapsed where its own search leaves so much more right than PGD does. With 32
/// images the standard error of the difference is at most 0.09.
const GAP: f64 = 0.3;

/// What is looked at after each epoch, on some of the training images spread over the classes.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `images` | 32 | attacked and explained, 1 or more |
/// | `steps` | 10 | of PGD, 1 to 1,000 |
/// | `curved` | 8 | images whose top curvature is found; 0 leaves it out |
/// | `lanczos` | 6 | steps of the Lanczos iteration, 2 to 100 |
/// | `on_collapse` | `report` | `report`, `stop`, `recover` |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorParams {
    /// Images attacked and explained.
    pub images: usize,
    /// Steps of the attack.
    pub steps: usize,
    /// Images whose curvature is found.
    pub curved: usize,
    /// Exact Hessian-vector products for each.
    pub lanczos: usize,
    /// What follows catastrophic overfitting.
    pub on_collapse: OnCollapse,
}

/// What follows when training collapses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCollapse {
    /// The run goes on; log, record and report say so.
    #[default]
    Report,
    /// The run ends with an error; the state of the epoch before stays.
    Stop,
    /// The epoch is taken back and trained again on what PGD finds, with the monitor's steps; the
    /// objective has the epochs after it (Li et al. 2020 switch to PGD for a while likewise).
    Recover,
}

impl Default for MonitorParams {
    fn default() -> Self {
        Self {
            images: 32,
            steps: 10,
            curved: 8,
            lanczos: 6,
            on_collapse: OnCollapse::Report,
        }
    }
}

impl MonitorParams {
    pub(super) fn check(&self) -> Result<()> {
        if self.images == 0 {
            return Err(Error::parameter("monitor.images", "1 or more", 0));
        }
        if !(2..=100).contains(&self.lanczos) {
            return Err(Error::parameter(
                "monitor.lanczos",
                "2 to 100",
                self.lanczos,
            ));
        }
        pgd(self.steps).map(|_| ())
    }

    /// The objective that trains a collapsed epoch again; `None` where nothing is taken back.
    pub(super) fn rescue(&self) -> Result<Option<PgdAt>> {
        let params = PgdAtParams {
            steps: self.steps,
            ..PgdAtParams::default()
        };
        let recovers = self.on_collapse == OnCollapse::Recover;
        recovers.then(|| PgdAt::new(params)).transpose()
    }

    /// Looks at a network whose objective left the share `trained` right, at the radius of
    /// `threat`. `None` for `trained` where the objective does not attack.
    ///
    /// # Errors
    /// Those of the network; [`Error::Mismatch`] when training has collapsed and is to stop.
    pub(super) fn look(
        &self,
        net: &Session,
        data: &Dataset,
        threat: &ThreatModel,
        (seed, epoch): (u64, usize),
        trained: Option<f64>,
    ) -> Result<MonitorRecord> {
        let batch = batch_of(data, &spread(data.labels(), self.images))?;
        let oracle = Oracle::new(net);
        let outcome = run_attack(&pgd(self.steps)?, &oracle, &batch, threat, seed)?;
        let robust = outcome.success.iter().filter(|broken| !**broken).count();
        let robust = robust as f64 / batch.len() as f64;
        let collapsed = trained.is_some_and(|t| t - robust > GAP);
        if let (true, OnCollapse::Stop, Some(trained)) = (collapsed, self.on_collapse, trained) {
            let found = format!(
                "{:.0}% right under its own search and {:.0}% under PGD with {} steps, in epoch \
                    {epoch}; try more steps of the search",
                100.0 * trained,
                100.0 * robust,
                self.steps,
            );
            let expected = "a search that finds what a longer one finds";
            return Err(Error::mismatch("training", expected, found));
        }
        let (salient, rest) = gradient_norms(&oracle, &batch, seed)?;
        Ok(MonitorRecord {
            robust,
            collapsed,
            recovered: false,
            salient,
            rest,
            alignment: alignment(&oracle, &batch)?,
            curvature: match self.curved {
                0 => None,
                most => Some(top_curvature(&oracle, &batch, most, self.lanczos, seed)?),
            },
        })
    }
}

/// Mean over the images of the sum of |∇L| over the salient pixels, and over the others. Salient
/// are the top fifth by |Integrated Gradients| of the true class.
fn gradient_norms(oracle: &Oracle<'_>, batch: &Batch, seed: u64) -> Result<(f64, f64)> {
    let ig = IntegratedGradientsParams {
        steps: POINTS,
        ..IntegratedGradientsParams::default()
    };
    let context = Context {
        seed,
        ..Context::default()
    };
    let maps = explain(&ig.check()?, oracle, &batch.x, &batch.labels, &context)?;
    let head = CrossEntropy::labels(&batch.labels);
    let g = oracle.loss_gradient(&batch.x, &head)?.gradient.to_f32();
    let size = g.len() / batch.len();
    let (mut salient, mut rest) = (0.0, 0.0);
    for (map, g) in maps.iter().zip(g.chunks_exact(size)) {
        let map = &map.values.values;
        let mask = top(map, top_count(SALIENT, map.len()));
        for (i, v) in g.iter().enumerate() {
            let sum = match mask[i % map.len()] {
                0 => &mut rest,
                _ => &mut salient,
            };
            *sum += f64::from(v.abs());
        }
    }
    let n = batch.len() as f64;
    Ok((salient / n, rest / n))
}

/// Mean of |⟨x, ∇z_y⟩| / (‖x‖ ‖∇z_y‖) (Etmann et al. 2019, with the cosine); 0 for a black image or
/// a flat score.
fn alignment(oracle: &Oracle<'_>, batch: &Batch) -> Result<f64> {
    let g = oracle.loss_gradient(&batch.x, &Logit::new(&batch.labels))?;
    let (x, g) = (batch.x.to_f64(), g.gradient.to_f64());
    let size = g.len() / batch.len();
    let one = |(x, g): (&[f64], &[f64])| {
        let lengths = (dot(x, x) * dot(g, g)).sqrt();
        if lengths > 0.0 {
            dot(x, g).abs() / lengths
        } else {
            0.0
        }
    };
    let all = x.chunks_exact(size).zip(g.chunks_exact(size)).map(one);
    Ok(all.sum::<f64>() / batch.len() as f64)
}

/// Mean over the first `most` images of the largest eigenvalue of the Hessian of the loss in the
/// image, by `steps` Lanczos steps on exact Hessian-vector products, each new vector made
/// orthogonal to all before it. From below; exact where `steps` reaches the rank.
fn top_curvature(
    model: &dyn Curvature,
    batch: &Batch,
    most: usize,
    steps: usize,
    seed: u64,
) -> Result<f64> {
    let n = batch.len().min(most);
    let size = batch.x.len() / batch.len();
    let (x, head) = (batch.x.rows(0, n), CrossEntropy::labels(&batch.labels[..n]));
    // Orthonormal vectors of each image, and its tridiagonal matrix.
    let mut spaces: Vec<Krylov> = Vec::with_capacity(n);
    for &index in &batch.index[..n] {
        let mut rng = Stream::new(seed, Purpose::Evaluation, 0, index);
        let start: Vec<f64> = (0..size).map(|_| f64::from(rng.normal())).collect();
        let length = dot(&start, &start).sqrt();
        spaces.push(Krylov {
            basis: vec![start.iter().map(|v| v / length).collect()],
            diagonal: Vec::new(),
            beside: Vec::new(),
        });
    }
    for _ in 0..steps.min(size) {
        let last = |k: &Krylov| k.basis.last().cloned().unwrap_or_default();
        let v: Vec<f32> = spaces.iter().flat_map(last).map(|v| v as f32).collect();
        let (_, hv) = model.hvp(&x, &head, &Tensor::new(x.shape(), v))?;
        for (space, hv) in spaces.iter_mut().zip(hv.to_f64().chunks_exact(size)) {
            space.extend(hv.to_vec());
        }
    }
    Ok(spaces.iter().map(Krylov::largest).sum::<f64>() / n as f64)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What Lanczos steps have found of a symmetric matrix.
struct Krylov {
    basis: Vec<Vec<f64>>,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
}

impl Krylov {
    /// Takes H v of the last vector v. A space that is closed already stays as it is.
    fn extend(&mut self, mut w: Vec<f64>) {
        if self.diagonal.len() == self.basis.len() {
            return;
        }
        if let Some(v) = self.basis.last() {
            self.diagonal.push(dot(v, &w));
        }
        let scale = dot(&w, &w).sqrt();
        for v in &self.basis {
            let share = dot(v, &w);
            w.iter_mut().zip(v).for_each(|(w, v)| *w -= share * v);
        }
        let length = dot(&w, &w).sqrt();
        if length > 1e-6 * scale {
            self.beside.push(length);
            self.basis.push(w.into_iter().map(|v| v / length).collect());
        }
    }

    /// Largest eigenvalue of the tridiagonal matrix: bisection on the count of eigenvalues above a
    /// number (Sturm).
    fn largest(&self) -> f64 {
        let k = self.diagonal.len();
        let beside = |i: usize| self.beside.get(i).copied().unwrap_or(0.0);
        let reach = |i: usize| {
            let left = if i > 0 { beside(i - 1) } else { 0.0 };
            let right = if i + 1 < k { beside(i) } else { 0.0 };
            left.abs() + right.abs()
        };
        let ends = (0..k).map(|i| [self.diagonal[i] - reach(i), self.diagonal[i] + reach(i)]);
        let (mut low, mut high) =
            ends.fold((0.0f64, 0.0f64), |(l, h), e| (l.min(e[0]), h.max(e[1])));
        let any_above = |t: f64| {
            let mut pivot = 1.0f64;
            (0..k).any(|i| {
                let off = if i > 0 { beside(i - 1) } else { 0.0 };
                pivot = self.diagonal[i] - t - off * off / pivot;
                pivot = if pivot == 0.0 {
                    f64::MIN_POSITIVE
                } else {
                    pivot
                };
                pivot > 0.0
            })
        };
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if any_above(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Norm;
    use fgmf_testkit::toys;

    /// Of a known matrix, in as many steps as it has dimensions.
    #[test]
    fn lanczos_finds_the_largest_eigenvalue() {
        // Eigenvalues 1, 3 and −5, turned by a known rotation.
        let matrix = [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, -5.0]];
        let times = |v: &[f64]| -> Vec<f64> {
            let row = |r: &[f64; 3]| r.iter().zip(v).map(|(a, b)| a * b).sum();
            matrix.iter().map(row).collect()
        };
        let start = [0.6, 0.48, 0.64].to_vec();
        let mut space = Krylov {
            basis: vec![start],
            diagonal: Vec::new(),
            beside: Vec::new(),
        };
        for _ in 0..5 {
            let hv = times(space.basis.last().unwrap());
            space.extend(hv);
        }
        assert!((space.largest() - 3.0).abs() < 1e-9, "{}", space.largest());
    }

    /// For two classes with z = (w·x, 0) the Hessian of the loss is p (1 − p) w wᵀ.
    #[test]
    fn curvature_and_alignment_are_those_of_the_closed_form() {
        let w: Vec<f64> = (0..16).map(|i| 0.1 * f64::from(i) - 0.6).collect();
        let net = toys::linear(&[w.clone(), vec![0.0; 16]], &[0.0; 2], [1, 4, 4]);
        let x: Vec<f64> = (0..16).map(|i| 0.05 * f64::from(i)).collect();
        let batch = Batch {
            x: Tensor::new(&[1, 1, 4, 4], x.iter().map(|&v| v as f32).collect()),
            labels: vec![0],
            index: vec![7],
        };
        let session = net.cast(fgmf_net::Precision::F32);
        let oracle = Oracle::new(&session);
        let p = 1.0 / (1.0 + (-dot(&w, &x)).exp());
        let expected = p * (1.0 - p) * dot(&w, &w);
        let found = top_curvature(&oracle, &batch, 8, 4, 0).unwrap();
        assert!(
            (found - expected).abs() < 1e-4 * expected,
            "{found} {expected}"
        );
        let cosine = dot(&w, &x).abs() / (dot(&w, &w) * dot(&x, &x)).sqrt();
        assert!((alignment(&oracle, &batch).unwrap() - cosine).abs() < 1e-5);
        let (salient, rest) = gradient_norms(&oracle, &batch, 0).unwrap();
        let all = (1.0 - p) * w.iter().map(|v| v.abs()).sum::<f64>();
        assert!(
            (salient + rest - all).abs() < 1e-5,
            "{salient} {rest} {all}"
        );
        // Integrated Gradients of a linear score are w x; the top fifth of 16 pixels are 3.
        let mut by: Vec<usize> = (0..16).collect();
        by.sort_by(|&a, &b| (w[b] * x[b]).abs().total_cmp(&(w[a] * x[a]).abs()));
        let three = (1.0 - p) * by[..3].iter().map(|&i| w[i].abs()).sum::<f64>();
        assert!((salient - three).abs() < 1e-5, "{salient} {three}");
    }

    /// An objective that thinks itself far better than PGD finds it has collapsed; a run that is to
    /// stop says so with both figures.
    #[test]
    fn a_collapse_is_reported_or_stops_the_run() {
        let net = toys::linear(&[vec![1.0; 64], vec![0.0; 64]], &[0.0, 32.0], [1, 8, 8]);
        let net = net.cast(fgmf_net::Precision::F32);
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let (pixels, labels) = (vec![140; 64 * 8], vec![0; 8]);
        let split = crate::record::Split::Train;
        let data = Dataset::new("d", split, classes, [1, 8, 8], pixels, labels).unwrap();
        let threat = ThreatModel::new(Norm::Linf, 0.2, [0.0, 1.0]).unwrap();
        let look =
            |params: &MonitorParams, trained| params.look(&net, &data, &threat, (0, 3), trained);
        let reports = MonitorParams::default();
        let seen = look(&reports, Some(0.9)).unwrap();
        assert!(seen.collapsed && seen.robust == 0.0);
        assert!(!look(&reports, Some(0.2)).unwrap().collapsed);
        assert!(!look(&reports, None).unwrap().collapsed);
        let stops = MonitorParams {
            on_collapse: OnCollapse::Stop,
            ..reports
        };
        let error = look(&stops, Some(0.9)).unwrap_err().to_string();
        assert!(
            error.contains("90%") && error.contains("epoch 3"),
            "{error}"
        );
        assert!(look(&stops, Some(0.2)).is_ok());
    }
}
