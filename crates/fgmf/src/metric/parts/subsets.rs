//! What a model loses when a set of pixels leaves, beside what the map says it should.

use crate::error::Result;
use crate::explain::subject::{Draw, Output, Subject};
use crate::metric::parts::fill::Fill;

/// A removal: what the map predicts for it, and the fall of the score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) predicted: f64,
    pub(crate) fall: f64,
}

/// What the values of a map are taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// Shares of the score: the sum over removed pixels is the fall to expect.
    #[default]
    Contribution,
    /// Slopes: each value counts times the change of its pixel, channels added.
    Slope,
}

/// `count` removals an example; `mask(example, number)` marks pixels.
pub(crate) fn removals(
    subject: &Subject<'_>,
    count: usize,
    mask: impl Fn(usize, usize) -> Vec<bool> + Sync,
    fill: Fill,
    output: Output,
    reading: Reading,
) -> Result<Vec<Vec<Removal>>> {
    let (area, shape) = (subject.area(), subject.shape());
    let own = subject.own_logits()?;
    let maps: Vec<Vec<f64>> = (0..subject.len()).map(|i| subject.map(i)).collect();
    let without = |i: usize, k: usize| {
        fill.apply(
            &subject.image(i),
            shape,
            &mask(i, k),
            &mut subject.stream(Draw::Fill, k, i),
        )
    };
    let logits = subject.logits(subject.len() * count, |item| {
        without(item / count, item % count)
    })?;
    let one = |(item, z): (usize, &Vec<f64>)| {
        let (i, k) = (item / count, item % count);
        let predicted = match reading {
            Reading::Contribution => mask(i, k)
                .iter()
                .zip(&maps[i])
                .filter(|(m, _)| **m)
                .map(|(_, v)| v)
                .sum(),
            Reading::Slope => {
                let (before, after) = (subject.image(i), without(i, k));
                before
                    .iter()
                    .zip(&after)
                    .enumerate()
                    .map(|(at, (b, a))| maps[i][at % area] * (b - a))
                    .sum()
            }
        };
        let target = subject.targets[i];
        Removal {
            predicted,
            fall: output.of(&own[i], target) - output.of(z, target),
        }
    };
    let all: Vec<Removal> = logits.iter().enumerate().map(one).collect();
    Ok(all.chunks(count.max(1)).map(<[Removal]>::to_vec).collect())
}

/// A random set of `size` pixels; the same for every explainer.
pub(crate) fn random_set(subject: &Subject<'_>, size: usize, round: usize, i: usize) -> Vec<bool> {
    let mut marks = vec![false; subject.area()];
    let order = subject
        .stream(Draw::Subset, round, i)
        .permutation(marks.len());
    order[..size.min(marks.len())]
        .iter()
        .for_each(|&at| marks[at] = true);
    marks
}

/// A random square with a side of 1 to `largest` pixels, wholly inside.
pub(crate) fn random_square(
    subject: &Subject<'_>,
    largest: usize,
    round: usize,
    i: usize,
) -> Vec<bool> {
    let [_, h, w] = subject.shape();
    let mut rng = subject.stream(Draw::Subset, round, i);
    let side = 1 + rng.below(largest.min(h).min(w) as u64) as usize;
    let (top, left) = (
        rng.below((h - side + 1) as u64) as usize,
        rng.below((w - side + 1) as u64) as usize,
    );
    let inside = |at: usize| {
        (top..top + side).contains(&(at / w)) && (left..left + side).contains(&(at % w))
    };
    (0..h * w).map(inside).collect()
}

/// Both columns of removals.
pub(crate) fn columns(removals: &[Removal]) -> (Vec<f64>, Vec<f64>) {
    removals.iter().map(|r| (r.predicted, r.fall)).unzip()
}
