//! Attacks: a small trait for each kind of access, and one entry that validates, runs, projects and
//! re-checks.

mod apgd;
mod apgd_l1;
mod apgd_walk;
mod catalogue;
mod cw;
mod ddn;
mod deepfool;
mod eot;
mod evolution;
mod fab;
mod fab_projection;
mod fab_walk;
mod fmn;
mod hop_skip_jump;
pub mod loss;
mod mi_fgsm;
mod nes;
mod pgd;
mod probe_walk;
pub mod probes;
mod random;
mod smooth;
mod spsa;
mod square;
mod square_window;
mod state;
pub mod suite;
mod suite_verdict;
mod transfer;
pub mod verdict;

use crate::error::{Error, Result};
use crate::oracle::{Gradients, Oracle, Passes, Scores};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::batch::as_one_of_many;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use apgd::{Apgd, ApgdParams};
pub use cw::{CarliniWagner, CarliniWagnerParams};
pub use ddn::{Ddn, DdnParams};
pub use deepfool::{DeepFool, DeepFoolParams};
pub use eot::Eot;
pub use evolution::{Evolution, EvolutionParams};
pub use fab::{Fab, FabParams};
pub use fmn::{Fmn, FmnParams};
pub use hop_skip_jump::{HopSkipJump, HopSkipJumpParams};
pub use loss::AttackLoss;
pub use mi_fgsm::{MiFgsm, MiFgsmParams};
pub use nes::{Nes, NesParams};
pub use pgd::{Pgd, PgdParams, Start};
pub use random::{RandomSearch, RandomSearchParams};
pub use smooth::{Smooth, SmoothParams};
pub use spsa::{Spsa, SpsaParams};
pub use square::{Square, SquareParams};
pub use transfer::Transfer;

/// Most examples that one search goes through together.
const PART: usize = 64;

/// Images with labels, and where they come from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[n, c, h, w]`.
    pub x: Tensor,
    /// True labels.
    pub labels: Vec<usize>,
    /// Position of each example in its data set; names its random streams.
    pub index: Vec<u64>,
}

impl Batch {
    /// The examples at these positions of the batch.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            x: self.x.select(0, rows),
            labels: rows.iter().map(|&r| self.labels[r]).collect(),
            index: rows.iter().map(|&r| self.index[r]).collect(),
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// How an attack on one example ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Nothing to do: the example was misclassified before.
    AlreadyWrong,
    /// An adversarial example was found.
    Converged,
    /// Every step was made without success.
    StepsExhausted,
    /// The oracle's budget ran out.
    BudgetExhausted,
    /// The loss or its gradient was not finite.
    NonFinite,
    /// The gradient at the start was exactly zero: nothing to follow, a sign of masking.
    ZeroGradient,
}

/// What an attack hands back for the sealed entry to check.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Best point found for each example.
    pub x: Tensor,
    /// How each search ended.
    pub endings: Vec<Ending>,
}

/// An attack that follows gradients.
pub trait WhiteBox: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// Searches the ball around each example.
    fn perturb(
        &self,
        model: &dyn Gradients,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate>;
}

/// An attack that sees scores only.
pub trait BlackBox: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// Searches the ball around each example.
    fn perturb(
        &self,
        model: &dyn Scores,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate>;
}

/// Either kind.
pub enum Attack {
    /// Follows gradients.
    White(Box<dyn WhiteBox>),
    /// Sees scores only.
    Black(Box<dyn BlackBox>),
}

impl Attack {
    /// Id in kebab case.
    pub fn id(&self) -> &'static str {
        match self {
            Self::White(a) => a.id(),
            Self::Black(a) => a.id(),
        }
    }

    /// Every setting, for the record.
    pub fn parameters(&self) -> serde_json::Value {
        match self {
            Self::White(a) => a.parameters(),
            Self::Black(a) => a.parameters(),
        }
    }

    fn perturb(
        &self,
        oracle: &Oracle<'_>,
        batch: &Batch,
        threat: &ThreatModel,
        seed: u64,
    ) -> Result<Candidate> {
        match self {
            Self::White(a) => a.perturb(oracle, batch, threat, seed),
            Self::Black(a) => a.perturb(oracle, batch, threat, seed),
        }
    }
}

/// Result of an attack on a batch, one entry an example.
#[derive(Clone, Debug)]
pub struct AttackOutcome {
    /// Points inside ball and bounds.
    pub adversarial: Tensor,
    /// Whether the network misclassifies the point, re-evaluated after projection. Ties between the
    /// true and another class count as misclassified.
    pub success: Vec<bool>,
    /// Distance from the clean image in the threat's norm.
    pub distance: Vec<f64>,
    /// How each search ended.
    pub endings: Vec<Ending>,
    /// Passes the search made (the re-evaluation is not counted).
    pub passes: Passes,
}

/// Rows of values as images of the batch's shape.
fn images<'a>(batch: &Batch, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Tensor {
    let mut shape = batch.x.shape().to_vec();
    shape[0] = rows.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    rows.for_each(|r| values.extend_from_slice(r));
    Tensor::new(&shape, values)
}

/// Whether each row of logits puts some class other than the label at least as high as it. A row
/// that is not finite counts as misclassified.
pub fn misclassified(logits: &Tensor, labels: &[usize]) -> Vec<bool> {
    let k = logits.shape()[1];
    let wrong = |(z, &y): (&[f32], &usize)| {
        z.iter()
            .enumerate()
            .any(|(i, &v)| v.is_nan() || (i != y && v >= z[y]))
    };
    logits
        .to_f32()
        .chunks_exact(k)
        .zip(labels)
        .map(wrong)
        .collect()
}

/// Class with the largest logit, the first of equals, one a row.
pub fn predictions(logits: &Tensor) -> Vec<usize> {
    let k = logits.shape()[1];
    let best = |z: &[f32]| (1..k).fold(0, |b, i| if z[i] > z[b] { i } else { b });
    logits.to_f32().chunks_exact(k).map(best).collect()
}

/// An error unless the batch fits model and threat.
fn check(model: &dyn Scores, batch: &Batch, threat: &ThreatModel) -> Result<()> {
    let [c, h, w] = model.image_shape();
    let n = batch.labels.len();
    if batch.x.shape() != [n, c, h, w] || batch.index.len() != n || n == 0 {
        return Err(Error::mismatch(
            "attack",
            format!("{n} images of shape [{c}, {h}, {w}]"),
            format!("{:?}", batch.x.shape()),
        ));
    }
    if let Some(y) = batch.labels.iter().find(|&&y| y >= model.classes()) {
        return Err(Error::mismatch(
            "attack",
            format!("labels below {}", model.classes()),
            y,
        ));
    }
    let [lo, hi] = threat.bounds();
    match batch
        .x
        .to_f32()
        .iter()
        .find(|v| !(f64::from(**v) >= lo && f64::from(**v) <= hi))
    {
        Some(v) => Err(Error::mismatch(
            "attack",
            format!("images in [{lo}, {hi}]"),
            format!("a value of {v}"),
        )),
        None => Ok(()),
    }
}

/// Runs an attack's search on parts of the batch, one a thread at a time: an example's search is
/// the same in any batch.
fn search(
    attack: &Attack,
    oracle: &Oracle<'_>,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<Candidate> {
    // Under a budget the order of calls decides who gets an answer.
    if oracle.has_budget() {
        return attack.perturb(oracle, batch, threat, seed);
    }
    let (n, threads) = (batch.len(), rayon::current_num_threads());
    let parts = threads * n.div_ceil(threads * PART);
    let rows: Vec<usize> = (0..n).collect();
    let one = |rows: &[usize]| {
        as_one_of_many(|| attack.perturb(oracle, &batch.select(rows), threat, seed))
    };
    let found: Vec<Result<Candidate>> = rows.par_chunks(n.div_ceil(parts)).map(one).collect();
    let found = found.into_iter().collect::<Result<Vec<Candidate>>>()?;
    let x = Tensor::concat(&found.iter().map(|c| c.x.clone()).collect::<Vec<_>>(), 0);
    Ok(Candidate {
        x,
        endings: found.into_iter().flat_map(|c| c.endings).collect(),
    })
}

/// Runs an attack: checks the input, leaves out what is misclassified already, projects what comes
/// back into the threat, and judges success on the network anew.
pub fn run_attack(
    attack: &Attack,
    oracle: &Oracle<'_>,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<AttackOutcome> {
    use crate::oracle::Gradients as _;
    check(oracle, batch, threat)?;
    let network = oracle.network();
    let before = oracle.passes();
    let wrong = misclassified(&network.logits(&batch.x)?, &batch.labels);
    let standing: Vec<usize> = (0..batch.len()).filter(|&i| !wrong[i]).collect();
    let mut endings = vec![Ending::AlreadyWrong; batch.len()];
    let mut adversarial = batch.x.to_f32();
    let size = adversarial.len() / batch.len();
    if !standing.is_empty() {
        let part = batch.select(&standing);
        let found = search(attack, oracle, &part, threat, seed)?;
        let (points, clean) = (found.x.to_f32(), part.x.to_f32());
        for (j, &i) in standing.iter().enumerate() {
            let mut x = points[j * size..(j + 1) * size].to_vec();
            let origin = &clean[j * size..(j + 1) * size];
            // A point that is not finite is no attack on a model that takes images.
            if x.iter().any(|v| !v.is_finite()) {
                x.copy_from_slice(origin);
            }
            threat.project(origin, &mut x);
            adversarial[i * size..(i + 1) * size].copy_from_slice(&x);
            endings[i] = found.endings[j];
        }
    }
    let passes = oracle.passes().since(before);
    let clean = batch.x.to_f32();
    let adversarial = Tensor::new(batch.x.shape(), adversarial);
    let success = misclassified(&network.logits(&adversarial)?, &batch.labels);
    let moved = adversarial.to_f32();
    let distance = clean
        .chunks_exact(size)
        .zip(moved.chunks_exact(size))
        .map(|(o, x)| threat.distance(o, x))
        .collect();
    for (ending, &won) in endings.iter_mut().zip(&success) {
        // What the search believed and what the network says can differ by rounding; the network
        // decides.
        match (*ending, won) {
            (Ending::Converged, false) => *ending = Ending::StepsExhausted,
            (Ending::StepsExhausted, true) => *ending = Ending::Converged,
            _ => {}
        }
    }
    Ok(AttackOutcome {
        adversarial,
        success,
        distance,
        endings,
        passes,
    })
}
