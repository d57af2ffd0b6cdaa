//! What a metric is handed, and the few ways in which metrics question a model.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, image_names};
use crate::explain::sealed::explain;
use crate::model::access::Scores;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::threat::ThreatModel;
use fgmf_net::{Precision, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A model, an explainer, images, and the maps to be judged.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub oracle: &'a Oracle<'a>,
    /// What made the maps, to be asked again about changed images.
    pub explainer: &'a dyn Explainer,
    /// `[n, c, h, w]`.
    pub x: &'a Tensor,
    /// The class explained, one an image.
    pub targets: &'a [usize],
    /// One an image.
    pub maps: &'a [Attribution],
    /// Which changes of an image count as small; its bounds are those of an image.
    pub threat: &'a ThreatModel,
    /// Seed, names of the images, and most images in a model call.
    pub context: Context<'a>,
}

/// Which number of a model is a score of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// The logit: what explainers explain.
    Logit,
    /// The softmax probability: comparable between models.
    #[default]
    Probability,
}

impl Output {
    /// Score of a class, given all logits.
    pub fn of(self, logits: &[f64], class: usize) -> f64 {
        match self {
            Self::Logit => logits[class],
            Self::Probability => {
                1.0 / logits
                    .iter()
                    .map(|z| (z - logits[class]).exp())
                    .sum::<f64>()
            }
        }
    }
}

/// What random numbers are for; keeps the draws of one metric apart from those of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Draw {
    Ties = 1,
    Fill = 2,
    Subset = 3,
    Noise = 4,
    Weights = 5,
    Search = 6,
    Smooth = 7,
    Tiles = 8,
    Certificate = 9,
}

impl Subject<'_> {
    /// Number of images.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// `[c, h, w]`.
    pub(crate) fn shape(&self) -> [usize; 3] {
        self.oracle.image_shape()
    }

    /// Pixels of a map.
    pub(crate) fn area(&self) -> usize {
        let [_, h, w] = self.shape();
        h * w
    }

    /// Values of image `i`, in `f64`.
    pub(crate) fn image(&self, i: usize) -> Vec<f64> {
        self.x.rows(i, 1).to_f64()
    }

    /// Values of map `i`.
    pub(crate) fn map(&self, i: usize) -> Vec<f64> {
        self.maps[i]
            .values
            .values
            .iter()
            .map(|&v| f64::from(v))
            .collect()
    }

    /// The random numbers of example `i`, named as in [`Context::names`]. They do not depend on the
    /// explainer or the input, so that differences between these are not differences of draws.
    pub(crate) fn stream(&self, what: Draw, round: usize, i: usize) -> Stream {
        let name = match self.context.names {
            Some(names) => names[i],
            None => image_names(&self.x.rows(i, 1))[0],
        };
        Stream::new(
            self.context.seed,
            Purpose::Evaluation,
            (what as u64) << 32 | round as u64,
            name,
        )
    }

    /// Images of the network's precision, from values.
    pub(crate) fn images(&self, values: Vec<f64>) -> Tensor {
        let [c, h, w] = self.shape();
        let shape = [values.len() / (c * h * w).max(1), c, h, w];
        match self.x.precision() {
            Precision::F32 => Tensor::new(
                &shape,
                values.into_iter().map(|v| v as f32).collect::<Vec<f32>>(),
            ),
            Precision::F64 => Tensor::new(&shape, values),
        }
    }

    /// Logits of `count` images made one by one, at most [`Context::cap`] at a time in memory.
    pub(crate) fn logits(
        &self,
        count: usize,
        make: impl Fn(usize) -> Vec<f64> + Sync,
    ) -> Result<Vec<Vec<f64>>> {
        let mut out = Vec::with_capacity(count);
        for start in (0..count).step_by(self.context.cap.max(1)) {
            let part = start..(start + self.context.cap.max(1)).min(count);
            let values: Vec<Vec<f64>> = part.into_par_iter().map(&make).collect();
            let n = values.len();
            let logits = self.oracle.logits(&self.images(values.concat()))?.to_f64();
            if let Some(z) = logits.iter().find(|z| !z.is_finite()) {
                return Err(Error::mismatch("evaluate", "finite logits", z));
            }
            out.extend(logits.chunks_exact(logits.len() / n).map(<[f64]>::to_vec));
        }
        Ok(out)
    }

    /// Logits of the images themselves.
    pub(crate) fn own_logits(&self) -> Result<Vec<Vec<f64>>> {
        self.logits(self.len(), |i| self.image(i))
    }

    /// Maps of other images, one for each of ours and of the same class, with the random numbers
    /// that ours were made with.
    pub(crate) fn explain(&self, x: &Tensor) -> Result<Vec<Vec<f64>>> {
        self.explain_with(self.oracle, x)
    }

    /// [`Subject::explain`] by another model.
    pub(crate) fn explain_with(&self, oracle: &Oracle<'_>, x: &Tensor) -> Result<Vec<Vec<f64>>> {
        let names = self.context.names_of(self.x);
        let context = Context {
            names: Some(&names),
            ..self.context
        };
        let maps = explain(self.explainer, oracle, x, self.targets, &context)?;
        Ok(maps
            .into_iter()
            .map(|m| m.values.values.into_iter().map(f64::from).collect())
            .collect())
    }

    /// Each image with every value changed by `change(example)`, brought back into the bounds.
    pub(crate) fn changed(&self, change: impl Fn(usize) -> Vec<f64>) -> Tensor {
        let [lo, hi] = self.threat.bounds();
        let one = |i: usize| {
            let moved = self
                .image(i)
                .into_iter()
                .zip(change(i))
                .map(|(v, d)| (v + d).clamp(lo, hi));
            moved.collect::<Vec<f64>>()
        };
        self.images((0..self.len()).flat_map(one).collect())
    }

    /// Pixels of map `i`, largest value first; equal values in random order, so that a flat region
    /// is not a ranking.
    pub(crate) fn ranking(&self, i: usize) -> Vec<usize> {
        let map = self.map(i);
        let mut order = self.stream(Draw::Ties, 0, i).permutation(map.len());
        order.sort_by(|&a, &b| (map[b] + 0.0).total_cmp(&(map[a] + 0.0)));
        order
    }
}

/// ‖v‖₂.
pub(crate) fn length(v: impl IntoIterator<Item = f64>) -> f64 {
    v.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}
