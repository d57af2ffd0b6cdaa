//! The one entry to attacks: it validates, runs, projects, and judges every point anew.
//!
//! Any model goes through it: a network, one served at random, an average, an expectation, a model
//! of the caller's own. The model judges itself. One that answers at random is asked several times,
//! and is broken where more answers are wrong than right.

use crate::attack::base::{Attack, BlackBox, Candidate, Ending, Seed, WhiteBox};
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::{Gradients, Scores};
use crate::model::counted::Counted;
use crate::model::error_rate::{breaks, error_rate};
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
    /// Whether the model misclassifies the point, re-evaluated after projection. Ties between the
    /// true and another class count as misclassified. A model that answers at random misclassifies
    /// where more than half of its answers are wrong.
    pub success: Vec<bool>,
    /// Share of the answers at the point that are wrong, in `[0, 1]`; 0 or 1 unless the model
    /// draws. The answers are those that `success` is judged by.
    pub error_rate: Vec<f64>,
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

/// Runs a search on parts of the batch, one a thread at a time: an example's search is the same in
/// any batch. `whole` keeps the batch together.
fn in_parts(
    search: &(dyn Fn(&Batch) -> Result<Candidate> + Sync),
    batch: &Batch,
    whole: bool,
) -> Result<Candidate> {
    if whole {
        return search(batch);
    }
    let (n, threads) = (batch.len(), rayon::current_num_threads());
    let parts = threads * n.div_ceil(threads * PART);
    let rows: Vec<usize> = (0..n).collect();
    let one = |rows: &[usize]| as_one_of_many(|| search(&batch.select(rows)));
    let found: Vec<Result<Candidate>> = rows.par_chunks(n.div_ceil(parts)).map(one).collect();
    let found = found.into_iter().collect::<Result<Vec<Candidate>>>()?;
    let x = Tensor::concat(&found.iter().map(|c| c.x.clone()).collect::<Vec<_>>(), 0);
    Ok(Candidate {
        x,
        endings: found.into_iter().flat_map(|c| c.endings).collect(),
    })
}

/// Runs an attack: checks the input, leaves out what is misclassified already, projects what comes
/// back into the threat, and judges success on the model anew.
///
/// Where one wrong answer settles nothing ([`Scores::settles`]), nothing is left out.
pub fn run_attack(
    attack: &Attack,
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<AttackOutcome> {
    run_attack_within(attack, model, batch, threat, seed, None)
}

/// [`run_attack`] whose search is refused further passes once `budget` forward passes (in examples)
/// have been made. What the entry itself asks of the model is not counted.
pub fn run_attack_within(
    attack: &Attack,
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
    budget: Option<u64>,
) -> Result<AttackOutcome> {
    match attack {
        Attack::White(a) => white(a.as_ref(), model, batch, threat, seed, budget),
        Attack::Black(a) => black(a.as_ref(), model, batch, threat, seed, budget),
    }
}

/// [`run_attack`] for an attack that follows gradients.
pub fn run_white_box(
    attack: &dyn WhiteBox,
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<AttackOutcome> {
    white(attack, model, batch, threat, seed, None)
}

/// [`run_attack`] for a search by scores, of which the model need give no more.
pub fn run_black_box(
    attack: &dyn BlackBox,
    model: &dyn Scores,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<AttackOutcome> {
    black(attack, model, batch, threat, seed, None)
}

/// [`run_black_box`] whose search is refused further passes once `budget` forward passes (in
/// examples) have been made.
pub fn run_black_box_within(
    attack: &dyn BlackBox,
    model: &dyn Scores,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
    budget: u64,
) -> Result<AttackOutcome> {
    black(attack, model, batch, threat, seed, Some(budget))
}

/// [`run_black_box`] whose search sees the model through `seen`, in one piece: in that order it
/// may be refused answers. The entry itself asks the model.
pub(crate) fn run_black_box_through(
    attack: &dyn BlackBox,
    (model, seen): (&dyn Scores, &dyn Scores),
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
) -> Result<AttackOutcome> {
    let counted = Counted::new(seen);
    let search = |part: &Batch| attack.perturb(&counted, part, threat, Seed::new(seed));
    let outcome = judged(&search, model, batch, threat, true)?;
    let passes = counted.passes();
    Ok(AttackOutcome { passes, ..outcome })
}

fn white(
    attack: &dyn WhiteBox,
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
    budget: Option<u64>,
) -> Result<AttackOutcome> {
    let counted = within(Counted::new(model), budget);
    let search = |part: &Batch| attack.perturb(&counted, part, threat, Seed::new(seed));
    let outcome = judged(&search, model, batch, threat, budget.is_some())?;
    let passes = counted.passes();
    Ok(AttackOutcome { passes, ..outcome })
}

fn black(
    attack: &dyn BlackBox,
    model: &dyn Scores,
    batch: &Batch,
    threat: &ThreatModel,
    seed: u64,
    budget: Option<u64>,
) -> Result<AttackOutcome> {
    let counted = within(Counted::new(model), budget);
    let search = |part: &Batch| attack.perturb(&counted, part, threat, Seed::new(seed));
    let outcome = judged(&search, model, batch, threat, budget.is_some())?;
    let passes = counted.passes();
    Ok(AttackOutcome { passes, ..outcome })
}

fn within<M: Scores + ?Sized>(counted: Counted<'_, M>, budget: Option<u64>) -> Counted<'_, M> {
    match budget {
        Some(passes) => counted.budget(passes),
        None => counted,
    }
}

/// What a search did, judged by the model; no passes yet.
fn judged(
    search: &(dyn Fn(&Batch) -> Result<Candidate> + Sync),
    model: &dyn Scores,
    batch: &Batch,
    threat: &ThreatModel,
    limited: bool,
) -> Result<AttackOutcome> {
    check(model, batch, threat)?;
    let standing: Vec<usize> = if model.settles() {
        let clean = error_rate(model, &batch.x, &batch.labels)?;
        (0..batch.len()).filter(|&i| !breaks(clean[i])).collect()
    } else {
        (0..batch.len()).collect()
    };
    let mut endings = vec![Ending::AlreadyWrong; batch.len()];
    let clean = batch.x.to_f32();
    let mut adversarial = clean.clone();
    let size = clean.len() / batch.len();
    if !standing.is_empty() {
        let part = batch.select(&standing);
        // Under a budget the order of calls decides who gets an answer, and of a model that draws
        // which answer.
        let found = in_parts(search, &part, limited || model.draws())?;
        if found.x.shape() != part.x.shape() || found.endings.len() != part.len() {
            return Err(Error::mismatch(
                "attack",
                format!("points {:?}, an ending for each", part.x.shape()),
                format!("{:?}, {} endings", found.x.shape(), found.endings.len()),
            ));
        }
        let points = found.x.to_f32();
        for (j, &i) in standing.iter().enumerate() {
            let here = i * size..(i + 1) * size;
            let x = &mut adversarial[here.clone()];
            let point = &points[j * size..(j + 1) * size];
            // A point that is not finite is no attack on a model that takes images.
            if point.iter().all(|v| v.is_finite()) {
                x.copy_from_slice(point);
            }
            threat.project(&clean[here], x);
            endings[i] = found.endings[j];
        }
    }
    let adversarial = Tensor::new(batch.x.shape(), adversarial);
    let error_rate = error_rate(model, &adversarial, &batch.labels)?;
    let success: Vec<bool> = error_rate.iter().map(|&rate| breaks(rate)).collect();
    let moved = adversarial.to_f32();
    let distance = clean
        .chunks_exact(size)
        .zip(moved.chunks_exact(size))
        .map(|(o, x)| threat.distance(o, x))
        .collect();
    for (ending, &won) in endings.iter_mut().zip(&success) {
        // What the search believed and what the model says can differ by rounding; the model
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
        error_rate,
        distance,
        endings,
        passes: Passes::default(),
    })
}
