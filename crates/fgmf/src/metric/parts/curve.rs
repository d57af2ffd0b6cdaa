//! Scores along a path on which pixels leave the image.

use crate::error::{Error, Result};
use crate::explain::subject::{Draw, Output, Subject};
use crate::metric::parts::fill::Fill;
use crate::model::answer::argmax;
use serde::{Deserialize, Serialize};

/// Settings of the metrics that are areas under such curves; each has its own defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveParams {
    /// Steps of a curve.
    pub steps: usize,
    /// What stands where pixels are gone.
    pub fill: Fill,
    /// What is measured.
    pub output: Output,
}

impl CurveParams {
    /// These settings, if they are in range.
    pub(crate) fn checked(self) -> Result<Self> {
        if !(1..=10_000).contains(&self.steps) {
            return Err(Error::parameter("steps", "1 to 10000", self.steps));
        }
        self.fill.check()?;
        Ok(self)
    }
}

/// Which pixels are gone at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The most relevant.
    Most,
    /// The least relevant.
    Least,
    /// All but the most relevant.
    AllButMost,
}

/// What a model says of an image with pixels gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Score of the target.
    pub(crate) score: f64,
    /// Whether the target is predicted.
    pub(crate) right: bool,
}

/// A point for each example and each number of pixels in `counts`.
pub(crate) fn curve(
    subject: &Subject<'_>,
    gone: Gone,
    counts: &[usize],
    fill: Fill,
    output: Output,
) -> Result<Vec<Vec<Point>>> {
    let area = subject.area();
    let rankings: Vec<Vec<usize>> = (0..subject.len()).map(|i| subject.ranking(i)).collect();
    let make = |item: usize| {
        let (i, k) = (item / counts.len(), counts[item % counts.len()].min(area));
        let pixels = match gone {
            Gone::Most => &rankings[i][..k],
            Gone::Least => &rankings[i][area - k..],
            Gone::AllButMost => &rankings[i][k..],
        };
        let mut removed = vec![false; area];
        pixels.iter().for_each(|&at| removed[at] = true);
        fill.apply(
            &subject.image(i),
            subject.shape(),
            &removed,
            &mut subject.stream(Draw::Fill, item % counts.len(), i),
        )
    };
    let logits = subject.logits(subject.len() * counts.len(), make)?;
    let point = |(item, z): (usize, &Vec<f64>)| {
        let target = subject.targets[item / counts.len()];
        Point {
            score: output.of(z, target),
            right: argmax(z) == target,
        }
    };
    let points: Vec<Point> = logits.iter().enumerate().map(point).collect();
    Ok(points
        .chunks(counts.len().max(1))
        .map(<[Point]>::to_vec)
        .collect())
}

/// `steps` + 1 numbers of pixels from 0 to all, evenly spaced.
pub(crate) fn even_counts(area: usize, steps: usize) -> Vec<usize> {
    (0..=steps)
        .map(|s| (s * area + steps / 2) / steps)
        .collect()
}

/// Trapezoid rule over evenly spaced points of `[0, 1]`.
pub(crate) fn area_under(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [one] => *one,
        [first, .., last] => {
            (values.iter().sum::<f64>() - 0.5 * (first + last)) / (values.len() - 1) as f64
        }
    }
}

pub(crate) fn scores(points: &[Point]) -> Vec<f64> {
    points.iter().map(|p| p.score).collect()
}
