//! Which objects of a view speak for the action over the alternative.
//!
//! PGCA on planes: a part that perturbs and a part along gradients, fused where they agree. The
//! quantity explained is f = z_a − z_b, the score of the action a less that of the runner-up b, in
//! logits. Cells are the view's own, and fills stay in the world: an object is erased, or moved to
//! an empty cell of its plane; walls stay.
//!
//! - P(o) = ½ (f(x) − f(x without o)) + ½ mean over moves of (f(x) − f(x with o elsewhere));
//! - G(o) = x_o · mean over s of ∂f/∂x_o at the view whose objects are scaled by s: Integrated
//!   Gradients from the view without objects, midpoints of [`STEPS`] equal parts;
//! - φ = the consensus of P and G, each over its largest size (κ = 1).
//!
//! Costs `(1 + MOVES) · objects + 1` forward and `STEPS` gradient passes a view.

use crate::agent::account::objects::{ViewObject, objects};
use crate::agent::base::AgentSpec;
use crate::error::{Error, Result};
use crate::explain::pgca::consensus::Fusion;
use crate::measure::spearman;
use crate::model::{Gradients, Scores, argmax, softmax};
use fgmf_net::head::{Head, runner_up};
use fgmf_net::{Dual, Tensor};
use std::ops::Range;

/// Midpoints of the path.
pub(super) const STEPS: usize = 8;
/// Empty cells that an object is moved to.
pub(super) const MOVES: usize = 3;
/// Views asked about at once.
pub(super) const CALL: usize = 2048;

/// The action of the largest score, and the runner-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionPair {
    /// a.
    pub action: usize,
    /// b.
    pub against: usize,
}

impl ActionPair {
    /// Of scores.
    pub fn of(scores: &[f64]) -> Self {
        let action = argmax(scores);
        Self {
            action,
            against: runner_up(scores, action),
        }
    }

    pub(super) fn contrast(&self, scores: &[f64]) -> f64 {
        scores[self.action] - scores[self.against]
    }
}

/// z_a − z_b of a pair for each example.
struct PairHead(Vec<ActionPair>);

impl Head for PairHead {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let k = logits.shape()[1];
        let z = logits.value.to_f64();
        let mut slopes = vec![0.0; z.len()];
        let mut losses = Vec::with_capacity(examples.len());
        let rows = z.chunks_exact(k).zip(slopes.chunks_exact_mut(k));
        for ((z, slope), pair) in rows.zip(&self.0[examples]) {
            slope[pair.action] += 1.0;
            slope[pair.against] -= 1.0;
            losses.push(pair.contrast(z));
        }
        let slopes = Tensor::new(logits.shape(), slopes).cast(logits.precision());
        (losses, slopes.into())
    }
}

/// What speaks for an agent's action.
#[derive(Clone, Debug)]
pub struct ObjectMap {
    /// Action explained and alternative.
    pub pair: ActionPair,
    /// Objects in view.
    pub objects: Vec<ViewObject>,
    /// φ, one an object.
    pub map: Vec<f64>,
    /// P.
    pub perturbed: Vec<f64>,
    /// G.
    pub gradient: Vec<f64>,
    /// Spearman of P and G, in `[-1, 1]`; 0 with fewer than two objects.
    pub agreement: f64,
    /// max π − min π, in `[0, 1]`.
    pub stake: f64,
}

/// Contrasts of views, one pair for each.
pub(super) fn contrasts(
    policy: &dyn Scores,
    spec: &AgentSpec,
    views: &[f32],
    pairs: &[ActionPair],
) -> Result<Vec<f64>> {
    let [c, h, w] = spec.view;
    let (size, k) = (spec.size(), policy.classes());
    let mut out = Vec::with_capacity(pairs.len());
    for (views, pairs) in views.chunks(CALL * size).zip(pairs.chunks(CALL)) {
        let x = Tensor::new::<f32>(&[pairs.len(), c, h, w], views.to_vec());
        let scores = policy.logits(&x)?.to_f64();
        let each = scores.chunks_exact(k).zip(pairs);
        out.extend(each.map(|(z, pair)| pair.contrast(z)));
    }
    Ok(out)
}

/// Empty cells of the object's plane, spread over the plane.
fn elsewhere(spec: &AgentSpec, raw: &[u8], object: &ViewObject) -> Vec<usize> {
    let [_, h, w] = spec.view;
    let first = object.plane * h * w;
    let empty: Vec<usize> = (first..first + h * w).filter(|&at| raw[at] == 0).collect();
    let count = MOVES.min(empty.len());
    (0..count)
        .map(|i| empty[(2 * i + 1) * empty.len() / (2 * count)])
        .collect()
}

fn over_largest(values: &[f64]) -> Vec<f64> {
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let share = |v: &f64| if largest > 0.0 { v / largest } else { 0.0 };
    values.iter().map(share).collect()
}

/// Maps of views, one for each. `raw` are the true counts `[n, c, h, w]`, which say what the
/// objects are; `shown` are the views as the policy is given them, which an attack may have
/// changed.
///
/// # Errors
/// [`Error::Mismatch`] for views of other sizes; those of the policy.
pub fn object_maps(
    policy: &dyn Gradients,
    spec: &AgentSpec,
    raw: &[u8],
    shown: &[f32],
) -> Result<Vec<ObjectMap>> {
    let (size, k) = (spec.size(), policy.classes());
    if raw.is_empty() || !raw.len().is_multiple_of(size) || raw.len() != shown.len() {
        let expected = format!("views of {size} values, counted and shown");
        let found = format!("{} and {}", raw.len(), shown.len());
        return Err(Error::mismatch("explain views", expected, found));
    }
    let clean = shown;
    let [c, h, w] = spec.view;
    let n = raw.len() / size;
    let whole = Tensor::new::<f32>(&[n, c, h, w], clean.to_vec());
    let scores = policy.logits(&whole)?.to_f64();
    let mut maps: Vec<ObjectMap> = Vec::with_capacity(n);
    for (raw, z) in raw.chunks_exact(size).zip(scores.chunks_exact(k)) {
        let p = softmax(z);
        let largest = p.iter().copied().fold(0.0, f64::max);
        let objects = objects(spec, raw);
        maps.push(ObjectMap {
            pair: ActionPair::of(z),
            map: Vec::new(),
            perturbed: vec![0.0; objects.len()],
            gradient: vec![0.0; objects.len()],
            objects,
            agreement: 0.0,
            stake: largest - p.iter().copied().fold(1.0, f64::min),
        });
    }
    perturb(policy, spec, (raw, clean), &scores, &mut maps)?;
    let pairs: Vec<ActionPair> = maps.iter().map(|m| m.pair).collect();
    let head = PairHead(pairs);
    let open = spec.open();
    for step in 0..STEPS {
        let share = (step as f32 + 0.5) / STEPS as f32;
        let values = clean.iter().enumerate();
        let values = values.map(|(i, v)| if open[i % size] { share * v } else { *v });
        let x = Tensor::new::<f32>(&[n, c, h, w], values.collect());
        let slopes = policy.loss_gradient(&x, &head)?.gradient.to_f32();
        for (row, map) in maps.iter_mut().enumerate() {
            for (g, object) in map.gradient.iter_mut().zip(&map.objects) {
                let at = row * size + object.at(spec);
                *g += f64::from(slopes[at]) * f64::from(clean[at]) / STEPS as f64;
            }
        }
    }
    for map in &mut maps {
        let (p, g) = (over_largest(&map.perturbed), over_largest(&map.gradient));
        map.map = Fusion::Consensus.fuse(&p, &g, 1.0, 0.0);
        if map.objects.len() > 1 {
            map.agreement = spearman(&map.perturbed, &map.gradient)?;
        }
    }
    Ok(maps)
}

/// Fills in P.
fn perturb(
    policy: &dyn Gradients,
    spec: &AgentSpec,
    (raw, clean): (&[u8], &[f32]),
    scores: &[f64],
    maps: &mut [ObjectMap],
) -> Result<()> {
    let (size, k) = (spec.size(), policy.classes());
    // Of each variant: view, object, weight.
    let mut variants: Vec<(usize, usize, f64)> = Vec::new();
    let (mut views, mut pairs) = (Vec::new(), Vec::new());
    for (row, map) in maps.iter().enumerate() {
        let part = row * size..(row + 1) * size;
        let (raw, clean) = (&raw[part.clone()], &clean[part]);
        for (i, object) in map.objects.iter().enumerate() {
            let at = object.at(spec);
            let others = elsewhere(spec, raw, object);
            let erased = if others.is_empty() { 1.0 } else { 0.5 };
            let moves = others
                .iter()
                .map(|&to| (Some(to), 0.5 / others.len() as f64));
            for (to, weight) in std::iter::once((None, erased)).chain(moves) {
                let mut view = clean.to_vec();
                let value = std::mem::take(&mut view[at]);
                if let Some(to) = to {
                    view[to] = value;
                }
                views.extend(view);
                pairs.push(map.pair);
                variants.push((row, i, weight));
            }
        }
    }
    let found = contrasts(policy, spec, &views, &pairs)?;
    for ((row, i, weight), f) in variants.into_iter().zip(found) {
        let whole = maps[row].pair.contrast(&scores[row * k..(row + 1) * k]);
        maps[row].perturbed[i] += weight * (whole - f);
    }
    Ok(())
}
