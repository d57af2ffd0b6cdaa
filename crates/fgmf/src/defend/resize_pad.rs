//! Random resizing and padding (Xie et al. 2018). Planted: each query sees the image smaller and
//! elsewhere.
//!
//! x' = the image resized to ⌈s h⌉ x ⌈s w⌉ by nearest neighbour, s uniform in `[least, 1]`, at a
//! uniform position on a black ground of the image's own size; drawn anew for each query and
//! example, `[c, h, w]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `least` | 0.8 | smallest s, in (0, 1] |
//!
//! Goes around it: the mean gradient of all outcomes, [`super::Expected`] (91 at 28 x 28 from 0.8
//! on), or where they are too many that of many draws, [`super::Averaged`]; each outcome is linear,
//! so that its own gradient is exact.
//!
//! Differences from the paper: (1) the image shrinks within its size instead of growing from 299 to
//! 331 pixels, so that any network can stand behind. Reference: `xie2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::model::outcome::Outcome;
use crate::model::transform::Transform;
use crate::rng::Stream;
use crate::settings::read;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "resize-pad",
    line: "Resizes and pads the image at random at each query.",
    revision: 1,
    reference: "xie2018",
    example: r#"{"least": 0.9}"#,
    build: |settings| {
        Ok(Defence::Served(Box::new(
            read::<ResizePadParams>(settings)?.check()?,
        )))
    },
}];

/// Settings of [`ResizePad`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResizePadParams {
    /// Smallest factor.
    pub least: f64,
}

impl Default for ResizePadParams {
    fn default() -> Self {
        Self { least: 0.8 }
    }
}

impl ResizePadParams {
    /// The checked transform.
    pub fn check(self) -> Result<ResizePad> {
        if !(self.least > 0.0 && self.least <= 1.0) {
            return Err(Error::parameter("least", "above 0, at most 1", self.least));
        }
        Ok(ResizePad { params: self })
    }
}

/// Checked random resizing and padding.
#[derive(Clone, Debug)]
pub struct ResizePad {
    params: ResizePadParams,
}

/// Most outcomes that are listed.
const LISTED: usize = 1000;

impl ResizePad {
    /// Rows and columns of an image of `h` by `w` resized by `scale`.
    fn size(scale: f64, h: usize, w: usize) -> (usize, usize) {
        let size = |full: usize| ((scale * full as f64).ceil() as usize).clamp(1, full);
        (size(h), size(w))
    }

    /// An outcome, given that it is drawn.
    fn draw(&self, shape @ [_, h, w]: [usize; 3], rng: &mut Stream) -> Outcome {
        let scale = self.params.least + (1.0 - self.params.least) * f64::from(rng.unit());
        let (rows, columns) = Self::size(scale, h, w);
        let top = rng.below((h - rows + 1) as u64) as usize;
        let left = rng.below((w - columns + 1) as u64) as usize;
        Outcome {
            probability: 1.0,
            moves: moves(shape, (rows, columns), (top, left)),
        }
    }

    /// Intervals of the factor on which sizes stay the same: probability, rows, columns.
    fn sizes(&self, h: usize, w: usize) -> Vec<(f64, usize, usize)> {
        let least = self.params.least;
        if least >= 1.0 {
            return vec![(1.0, h, w)];
        }
        let steps = |full: usize| (1..=full).map(move |k| k as f64 / full as f64);
        let mut bounds: Vec<f64> = steps(h).chain(steps(w)).filter(|&s| s > least).collect();
        bounds.push(least);
        bounds.sort_by(f64::total_cmp);
        let interval = |pair: &[f64]| {
            let (rows, columns) = Self::size(f64::midpoint(pair[0], pair[1]), h, w);
            ((pair[1] - pair[0]) / (1.0 - least), rows, columns)
        };
        bounds
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > 1e-9)
            .map(interval)
            .collect()
    }
}

/// (position in the output, position in the image) of every value that the output takes from the
/// image.
fn moves(
    [c, h, w]: [usize; 3],
    (rows, columns): (usize, usize),
    (top, left): (usize, usize),
) -> Vec<(usize, usize)> {
    let mut out = Vec::with_capacity(c * rows * columns);
    for channel in 0..c {
        for i in 0..rows {
            for j in 0..columns {
                // Centres of the pixels: ⌊(i + ½) h / rows⌋.
                let (from_row, from_column) = (
                    (2 * i + 1) * h / (2 * rows),
                    (2 * j + 1) * w / (2 * columns),
                );
                out.push((
                    (channel * h + top + i) * w + left + j,
                    (channel * h + from_row) * w + from_column,
                ));
            }
        }
    }
    out
}

impl Transform for ResizePad {
    fn id(&self) -> &'static str {
        "resize-pad"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn apply(&self, image: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        self.draw(shape, rng).apply(image)
    }

    fn pull_back(&self, cotangent: &[f32], shape: [usize; 3], rng: &mut Stream) -> Vec<f32> {
        self.draw(shape, rng).pull_back(cotangent)
    }

    fn outcomes(&self, shape @ [_, h, w]: [usize; 3]) -> Option<Vec<Outcome>> {
        let sizes = self.sizes(h, w);
        let positions = |rows: usize, columns: usize| (h - rows + 1) * (w - columns + 1);
        let total: usize = sizes
            .iter()
            .map(|&(_, rows, columns)| positions(rows, columns))
            .sum();
        let of_size = |&(probability, rows, columns): &(f64, usize, usize)| {
            let probability = probability / positions(rows, columns) as f64;
            let place = move |top: usize, left: usize| Outcome {
                probability,
                moves: moves(shape, (rows, columns), (top, left)),
            };
            (0..=h - rows)
                .flat_map(move |top| (0..=w - columns).map(move |left| place(top, left)))
                .collect::<Vec<_>>()
        };
        (total <= LISTED).then(|| sizes.iter().flat_map(of_size).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// ⟨A x, g⟩ = ⟨x, Aᵀ g⟩ for every draw; scale 1 is the identity; values come from the image.
    #[test]
    fn the_pull_back_is_the_adjoint() {
        let shape = [2, 7, 5];
        let value = |i: usize, k: usize| ((i * k + 3) % 17) as f32 / 4.0;
        let (x, g): (Vec<f32>, Vec<f32>) = (0..70).map(|i| (value(i, 5), value(i, 7))).unzip();
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let transform = ResizePadParams { least: 0.4 }.check().unwrap();
        for draw in 0..50 {
            let rng = || Stream::new(1, Purpose::Evaluation, draw, 0);
            let (y, back) = (
                transform.apply(&x, shape, &mut rng()),
                transform.pull_back(&g, shape, &mut rng()),
            );
            assert!((dot(&y, &g) - dot(&x, &back)).abs() < 1e-3);
            assert!(y.iter().all(|v| *v == 0.0 || x.contains(v)));
        }
        let same = ResizePadParams { least: 1.0 }.check().unwrap();
        assert_eq!(
            same.apply(&x, shape, &mut Stream::new(1, Purpose::Evaluation, 0, 0)),
            x
        );
        for least in [0.0, 1.1, f64::NAN] {
            assert!(ResizePadParams { least }.check().is_err());
        }
    }

    /// Outcomes are told apart, their probabilities add up to 1, and each comes up as often as it
    /// should: 20,000 draws, five standard errors.
    #[test]
    fn outcomes_come_up_as_often_as_their_probability_says() {
        for (shape, least, count) in [
            ([1, 28, 28], 0.8, 91),
            ([1, 5, 7], 0.55, 34),
            ([2, 4, 4], 1.0, 1),
        ] {
            let transform = ResizePadParams { least }.check().unwrap();
            let outcomes = transform.outcomes(shape).unwrap();
            assert_eq!(outcomes.len(), count, "{shape:?}");
            assert!((outcomes.iter().map(|o| o.probability).sum::<f64>() - 1.0).abs() < 1e-9);
            let mut found = vec![0.0; count];
            for draw in 0..20_000 {
                let drawn =
                    transform.draw(shape, &mut Stream::new(5, Purpose::Evaluation, draw, 0));
                let of = outcomes.iter().position(|o| o.moves == drawn.moves);
                found[of.expect("a draw that is not listed")] += 1.0 / 20_000.0;
            }
            for (f, o) in found.iter().zip(&outcomes) {
                let error = (o.probability * (1.0 - o.probability) / 20_000.0).sqrt();
                assert!(
                    (f - o.probability).abs() <= 5.0 * error + 1e-9,
                    "{f} and {}",
                    o.probability
                );
            }
        }
        assert!(
            ResizePadParams { least: 0.2 }
                .check()
                .unwrap()
                .outcomes([3, 224, 224])
                .is_none()
        );
    }

    /// Map and adjoint of a draw are those of one of the outcomes.
    #[test]
    fn an_outcome_is_a_draw() {
        let (shape, transform) = ([2, 6, 5], ResizePadParams { least: 0.6 }.check().unwrap());
        let x: Vec<f32> = (0..60).map(|i| (i * 5 % 17) as f32).collect();
        let outcomes = transform.outcomes(shape).unwrap();
        for draw in 0..20 {
            let rng = || Stream::new(3, Purpose::Evaluation, draw, 0);
            let (seen, back) = (
                transform.apply(&x, shape, &mut rng()),
                transform.pull_back(&x, shape, &mut rng()),
            );
            assert!(
                outcomes
                    .iter()
                    .any(|o| o.apply(&x) == seen && o.pull_back(&x) == back)
            );
        }
    }
}
