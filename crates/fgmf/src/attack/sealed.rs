//! The one entry to attacks: it validates, runs, projects, and judges every point anew.

use crate::attack::base::{Attack, Candidate, Ending};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::model::answer::misclassified;
use crate::model::oracle::Oracle;
use crate::record::Passes;
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::chunks::as_one_of_many;
use rayon::prelude::*;

/// Most examples that one search goes through together.
pub(crate) const PART: usize = 64;

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

/// An error unless the batch fits model and threat.
pub(crate) fn check(model: &dyn Scores, batch: &Batch, threat: &ThreatModel) -> Result<()> {
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
pub(crate) fn search(
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
    check(oracle, batch, threat)?;
    let network = oracle.session();
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
