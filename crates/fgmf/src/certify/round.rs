//! Answers to an image with one or two masks, each asked once.
//!
//! An answer comes from a whole masked image. Two images that differ under the masks alone are the
//! same numbers then, so they have the same answer to the bit. Windows of a plan
//! ([`Scores::variants`]) are faster, but they are computed inside maps of the whole image. Their
//! last bits may depend on what is hidden, so they serve no proof.

use crate::certify::fill::BlindFill;
use crate::certify::mask_set::MaskSet;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::model::answer::{predictions, undecided};
use crate::record::Rectangle;
use fgmf_net::Tensor;
use std::collections::HashMap;

/// Images asked about at once.
const AT_ONCE: usize = 64;

/// A class, or none where the largest scores are equal or one is no number.
pub(crate) type Answer = Option<usize>;

/// Answers of a model, one a row of logits.
pub(crate) fn answers(logits: &Tensor) -> Vec<Answer> {
    let named = predictions(logits).into_iter().zip(undecided(logits));
    named
        .map(|(class, none)| (!none).then_some(class))
        .collect()
}

/// What a proof is made with: a model, masks, and what stands in the place of what they hide.
#[derive(Clone, Copy)]
pub struct Masked<'a> {
    model: &'a dyn Scores,
    masks: &'a MaskSet,
    fill: BlindFill,
}

impl<'a> Masked<'a> {
    /// # Errors
    /// A model that answers at random, of which nothing can be proved, or one of other images.
    pub fn new(model: &'a dyn Scores, masks: &'a MaskSet, fill: BlindFill) -> Result<Self> {
        let [_, h, w] = model.image_shape();
        if [h, w] != masks.image() {
            let expected = format!("masks of images of {h}x{w}");
            let found = format!("{:?}", masks.image());
            return Err(Error::mismatch("certify", expected, found));
        }
        if model.draws() {
            let expected = "a model that gives the same images the same scores";
            return Err(Error::mismatch("certify", expected, "one that draws"));
        }
        Ok(Self { model, masks, fill })
    }

    /// The masks.
    pub fn masks(&self) -> &'a MaskSet {
        self.masks
    }

    /// An image `[c, h, w]` with rectangles hidden.
    pub fn hidden(&self, image: &[f32], rectangles: &[Rectangle]) -> Vec<f32> {
        let mut out = image.to_vec();
        self.fill.hide(&mut out, self.masks.image(), rectangles);
        out
    }

    /// What both masks hide.
    pub fn union(&self, [i, j]: [usize; 2]) -> Vec<Rectangle> {
        let mut out = self.masks.masks()[i].clone();
        if i != j {
            out.extend(&self.masks.masks()[j]);
        }
        out
    }
}

/// The answers known of one image. Answers to one mask stand for pairs of a mask with itself.
pub(crate) struct Round<'a> {
    masked: Masked<'a>,
    image: &'a [f32],
    singles: Vec<Answer>,
    /// How far the answer to each mask leads, in logits.
    leads: Vec<f32>,
    pairs: HashMap<[usize; 2], Answer>,
    passes: u64,
}

impl<'a> Round<'a> {
    /// Asks about each mask alone.
    pub(crate) fn new(masked: Masked<'a>, image: &'a [f32]) -> Result<Self> {
        let size: usize = masked.model.image_shape().iter().product();
        if image.len() != size {
            let expected = format!("an image of {size} values");
            return Err(Error::mismatch("certify", expected, image.len()));
        }
        let mut round = Self {
            masked,
            image,
            singles: Vec::new(),
            leads: Vec::new(),
            pairs: HashMap::new(),
            passes: 0,
        };
        let all: Vec<[usize; 2]> = (0..masked.masks.len()).map(|i| [i, i]).collect();
        for some in all.chunks(AT_ONCE) {
            let logits = round.ask(some)?;
            round.singles.extend(answers(&logits));
            let rows = logits.to_f32();
            let rows = rows.chunks_exact(rows.len() / some.len());
            round.leads.extend(rows.map(lead));
        }
        Ok(round)
    }

    fn ask(&mut self, pairs: &[[usize; 2]]) -> Result<Tensor> {
        let mut images = Vec::with_capacity(pairs.len() * self.image.len());
        for &pair in pairs {
            images.extend(self.masked.hidden(self.image, &self.masked.union(pair)));
        }
        self.passes += pairs.len() as u64;
        let [c, h, w] = self.masked.model.image_shape();
        let logits = self
            .masked
            .model
            .logits(&Tensor::new(&[pairs.len(), c, h, w], images))?;
        let expected = [pairs.len(), self.masked.model.classes()];
        if logits.shape() != expected {
            let (expected, found) = (format!("{expected:?}"), format!("{:?}", logits.shape()));
            return Err(Error::mismatch("logits of a model", expected, found));
        }
        Ok(logits)
    }

    /// Answers to each mask alone.
    pub(crate) fn singles(&self) -> &[Answer] {
        &self.singles
    }

    /// Forward passes so far.
    pub(crate) fn passes(&self) -> u64 {
        self.passes
    }

    /// The answer that all masks alone share.
    pub(crate) fn shared(&self) -> Option<Answer> {
        let first = self.singles[0];
        self.singles.iter().all(|a| *a == first).then_some(first)
    }

    /// The first of these pairs, in their order, whose answer is another than `expected`; later
    /// ones are not asked but for those of the same batch.
    pub(crate) fn first_other(
        &mut self,
        pairs: impl IntoIterator<Item = [usize; 2]>,
        expected: Answer,
    ) -> Result<Option<([usize; 2], Answer)>> {
        let mut open = Vec::new();
        let sorted = pairs.into_iter().map(|[i, j]| [i.min(j), i.max(j)]);
        for pair in sorted {
            match self.known(pair) {
                Some(answer) if answer != expected => return Ok(Some((pair, answer))),
                Some(_) => {}
                None => open.push(pair),
            }
        }
        // A small batch first: most images that can be refuted are refuted by the first pairs.
        let mut rest = &open[..];
        let mut at_once = AT_ONCE / 4;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(at_once.min(rest.len()));
            let found = answers(&self.ask(some)?);
            self.pairs
                .extend(some.iter().copied().zip(found.iter().copied()));
            let mut found = some.iter().copied().zip(found);
            if let Some(other) = found.find(|(_, answer)| *answer != expected) {
                return Ok(Some(other));
            }
            (rest, at_once) = (later, AT_ONCE);
        }
        Ok(None)
    }

    fn known(&self, pair @ [i, j]: [usize; 2]) -> Option<Answer> {
        if i == j {
            return Some(self.singles[i]);
        }
        self.pairs.get(&pair).copied()
    }

    /// Pairs of different masks; those first of which one alone leads by little.
    pub(crate) fn pairs_by_lead(&self) -> Vec<[usize; 2]> {
        let n = self.singles.len();
        let mut pairs: Vec<[usize; 2]> = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| [i, j]))
            .collect();
        let least = |[i, j]: &[usize; 2]| self.leads[*i].min(self.leads[*j]);
        pairs.sort_by(|a, b| least(a).total_cmp(&least(b)).then(a.cmp(b)));
        pairs
    }
}

/// Largest minus second largest value.
fn lead(logits: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &v in logits {
        if v > first {
            (first, second) = (v, first);
        } else if v > second {
            second = v;
        }
    }
    first - second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_and_answers() {
        let lead = |z: &[f32]| f64::from(lead(z));
        assert!((lead(&[1.0, 4.0, 2.5]) - 1.5).abs() < 1e-9 && lead(&[2.0, 2.0]).abs() < 1e-9);
        let z = vec![1.0, 2.0, 2.0, 2.0, f32::NAN, 0.0];
        assert_eq!(answers(&Tensor::new(&[3, 2], z)), [Some(1), None, None]);
    }
}
