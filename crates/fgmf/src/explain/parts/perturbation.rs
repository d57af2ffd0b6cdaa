//! How much a score falls when a cell of the image is blanked or filled with noise.
//!
//! P_c = mean over fills b of s(x) − s(x with cell c filled by b), or of max(0, ·).

use crate::error::{Error, Result};
use crate::explain::base::Context;
use crate::explain::parts::ask::{calls, four, images};
use crate::explain::parts::layer::LayerKind;
use crate::explain::parts::map::upsample;
use crate::image::blur::Blur;
use crate::model::access::Scores;
use crate::rng::{Purpose, Stream};
use fgmf_net::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most images whose windows are filled together.
const IMAGES: usize = 16;

/// What a cell's absence is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Logit of the target.
    Logit,
    /// Logarithm of its softmax probability: counts what speaks for other classes, too.
    LogProbability,
    /// Its softmax probability.
    Probability,
}

impl Score {
    /// The score of a target, from all logits of an image.
    pub(crate) fn of(self, logits: &[f64], target: usize) -> f64 {
        match self {
            Self::Logit => logits[target],
            Self::LogProbability => {
                let largest = logits.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z));
                logits[target]
                    - largest
                    - logits.iter().map(|z| (z - largest).exp()).sum::<f64>().ln()
            }
            Self::Probability => Self::LogProbability.of(logits, target).exp(),
        }
    }

    /// Scores of variants of images, `each` an image, one row an image:
    /// `alter(image, variant, pixels)` turns a copy of the image `[c, h, w]` into the variant. At
    /// most `cap` variants are held at a time. Cost: `each` forward passes an image.
    pub(crate) fn of_variants(
        self,
        model: &dyn Scores,
        x: &Tensor,
        targets: &[usize],
        each: usize,
        cap: usize,
        mut alter: impl FnMut(usize, usize, &mut [f64]),
    ) -> Result<Vec<Vec<f64>>> {
        let values = x.to_f64();
        let size = values.len() / targets.len();
        let mut rows = vec![Vec::with_capacity(each); targets.len()];
        for call in calls(targets.len() * each, cap) {
            let mut batch = Vec::with_capacity(call.len() * size);
            for item in call.clone() {
                let start = batch.len();
                batch.extend_from_slice(&values[item / each * size..][..size]);
                alter(item / each, item % each, &mut batch[start..]);
            }
            let logits = model.logits(&images(x, batch))?.to_f64();
            for (item, z) in call
                .clone()
                .zip(logits.chunks_exact(logits.len() / call.len()))
            {
                rows[item / each].push(self.of(z, targets[item / each]));
            }
        }
        Ok(rows)
    }

    /// Scores of images with one window filled from a picture, `each` pictures times the windows an
    /// image, one row an image: all windows with the first picture, then with the next.
    /// `pictures(image, pixels)` makes the pictures, `[c, h, w]` as the image. At most `cap`
    /// variants are held at a time. Cost: as many forward passes an image, of what the window
    /// reaches where the model can.
    #[allow(clippy::too_many_arguments, reason = "a question, and how it is asked")]
    pub(crate) fn of_windows(
        self,
        model: &dyn Scores,
        x: &Tensor,
        targets: &[usize],
        windows: &[[Range<usize>; 2]],
        each: usize,
        cap: usize,
        pictures: impl Fn(usize, &[f64]) -> Vec<Vec<f64>>,
    ) -> Result<Vec<Vec<f64>>> {
        let [_, c, h, w] = four(x);
        let (values, size) = (x.to_f64(), c * h * w);
        let together = each * rayon::current_num_threads();
        let at_once = (cap / together).clamp(1, IMAGES);
        let mut rows = Vec::with_capacity(targets.len());
        for call in calls(targets.len(), at_once) {
            let part = x.rows(call.start, call.len());
            let Some(logits) = model.variants(&part)? else {
                break;
            };
            let filled: Vec<Vec<f64>> = call
                .clone()
                .flat_map(|i| pictures(i, &values[i * size..][..size]))
                .collect();
            let owner: Vec<usize> = (0..filled.len()).map(|i| i / each).collect();
            let scores = |window: &[Range<usize>; 2]| {
                let [down, across] = window;
                let mut out = Vec::with_capacity(owner.len());
                for some in calls(owner.len(), cap) {
                    let (filled, owner) = (&filled[some.clone()], &owner[some]);
                    let lines = filled.iter().flat_map(|p| {
                        p.chunks_exact(w)
                            .enumerate()
                            .filter(|(line, _)| down.contains(&(line % h)))
                    });
                    let pixels = lines
                        .flat_map(|(_, line)| line[across.clone()].iter().map(|&v| v as f32))
                        .collect::<Vec<f32>>();
                    let z = logits(
                        window,
                        owner,
                        &Tensor::new(&[owner.len(), c, down.len(), across.len()], pixels),
                    )?
                    .to_f64();
                    let of = |(z, &i): (&[f64], &usize)| self.of(z, targets[call.start + i]);
                    out.extend(z.chunks_exact(z.len() / owner.len()).zip(owner).map(of));
                }
                Ok(out)
            };
            let found: Vec<Result<Vec<f64>>> = if cap >= together {
                windows.par_iter().map(scores).collect()
            } else {
                windows.iter().map(scores).collect()
            };
            let found = found.into_iter().collect::<Result<Vec<Vec<f64>>>>()?;
            rows.extend((0..call.len()).map(|i| {
                (0..each)
                    .flat_map(|f| found.iter().map(move |s| s[i * each + f]))
                    .collect::<Vec<f64>>()
            }));
        }
        if rows.len() == targets.len() {
            return Ok(rows);
        }
        let mut held: (usize, Vec<Vec<f64>>) = (usize::MAX, Vec::new());
        let fill = |image: usize, variant: usize, pixels: &mut [f64]| {
            if held.0 != image {
                held = (image, pictures(image, pixels));
            }
            copy_window(
                &windows[variant % windows.len()],
                [h, w],
                &held.1[variant / windows.len()],
                pixels,
            );
        };
        self.of_variants(model, x, targets, windows.len() * each, cap, fill)
    }
}

/// The image cut into rows and columns of cells, as even as whole pixels allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Rows and columns of cells.
    pub(crate) cells: [usize; 2],
    /// Rows and columns of pixels.
    pub(crate) image: [usize; 2],
}

impl Grid {
    /// A grid of that many cells, each side 1 to the image's.
    pub(crate) fn new(cells: [usize; 2], image: [usize; 2]) -> Result<Self> {
        if (0..2).any(|a| cells[a] == 0 || cells[a] > image[a]) {
            return Err(Error::parameter(
                "grid",
                format!("1 to {} rows and 1 to {} columns", image[0], image[1]),
                format!("{cells:?}"),
            ));
        }
        Ok(Self { cells, image })
    }

    /// Cells that match the tokens of a transformer (whole groups of them, at most 8 a side where
    /// that divides), else cells of 4 pixels where both sides are multiples of 4 between 28 and 32,
    /// else 8 x 8 (fewer on smaller images). `layer` is the layout of the layer that a map would be
    /// read from, if it is known.
    pub(crate) fn automatic(layer: Option<LayerKind>, image: [usize; 2]) -> Self {
        let grouped = |tokens: usize| {
            (1..=tokens)
                .filter(|k| tokens.is_multiple_of(*k))
                .map(|k| tokens / k)
                .find(|&n| n <= 8)
                .unwrap_or(tokens)
        };
        let cells = match layer {
            Some(LayerKind::Tokens { h, w, .. }) => {
                // A prime number of tokens a side has no groups; its only divisor below 9 would be
                // one cell.
                let side = |t: usize| if grouped(t) < 4 { t } else { grouped(t) };
                [side(h), side(w)]
            }
            _ if image
                .iter()
                .all(|s| s.is_multiple_of(4) && (28..=32).contains(s)) =>
            {
                image.map(|s| s / 4)
            }
            _ => [8, 8],
        };
        Self {
            cells: [cells[0].min(image[0]), cells[1].min(image[1])],
            image,
        }
    }

    /// Number of cells.
    pub(crate) fn len(&self) -> usize {
        self.cells[0] * self.cells[1]
    }

    /// Mean sides of a cell, pixels.
    pub(crate) fn sides(&self) -> [f64; 2] {
        [0, 1].map(|a| self.image[a] as f64 / self.cells[a] as f64)
    }

    /// Rows and columns of pixels of a cell; cells count row by row.
    pub(crate) fn pixels(&self, cell: usize) -> [Range<usize>; 2] {
        let at = [cell / self.cells[1], cell % self.cells[1]];
        [0, 1].map(|a| {
            at[a] * self.image[a] / self.cells[a]..(at[a] + 1) * self.image[a] / self.cells[a]
        })
    }

    /// Sets the pixels of a cell in every channel of an image.
    pub(crate) fn fill_cell(&self, cell: usize, value: f64, image: &mut [f64]) {
        let ([h, w], [rows, columns]) = (self.image, self.pixels(cell));
        for plane in image.chunks_exact_mut(h * w) {
            rows.clone()
                .for_each(|row| plane[row * w + columns.start..row * w + columns.end].fill(value));
        }
    }

    /// Cells, and with `overlap` also those that lie half a cell further along either side or both,
    /// row by row. A side of fewer than two pixels a cell has no half.
    pub(crate) fn windows(&self, overlap: bool) -> Vec<[Range<usize>; 2]> {
        let along = |a: usize| -> Vec<Range<usize>> {
            let (cells, side) = (self.cells[a], self.image[a]);
            if overlap && 2 * cells <= side {
                (0..2 * cells - 1)
                    .map(|i| i * side / (2 * cells)..(i + 2) * side / (2 * cells))
                    .collect()
            } else {
                (0..cells)
                    .map(|i| i * side / cells..(i + 1) * side / cells)
                    .collect()
            }
        };
        let columns = along(1);
        along(0)
            .into_iter()
            .flat_map(|rows| columns.iter().map(move |c| [rows.clone(), c.clone()]))
            .collect()
    }
}

/// Copies the pixels of a window from one image to another of the same size, in every channel.
fn copy_window(
    [rows, columns]: &[Range<usize>; 2],
    [h, w]: [usize; 2],
    from: &[f64],
    to: &mut [f64],
) {
    for (from, to) in from.chunks_exact(h * w).zip(to.chunks_exact_mut(h * w)) {
        for row in rows.clone() {
            let line = row * w + columns.start..row * w + columns.end;
            to[line.clone()].copy_from_slice(&from[line]);
        }
    }
}

/// How cells are filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fills {
    /// Whether zero (black) is one of the fills.
    pub(crate) zero: bool,
    /// Number of noise fills.
    pub(crate) draws: usize,
    /// Mean of the noise, input units.
    pub(crate) mean: f64,
    /// Deviation of the noise, input units.
    pub(crate) sigma: f64,
    /// Deviation of the blur that is one of the fills, pixels; 0 if it is none.
    pub(crate) blur: f64,
}

impl Fills {
    /// Fill pictures of one image: zeros, then the draws, each of the streams (seed, explanation,
    /// draw, name), then the blurred image.
    fn pictures(&self, image: &[f64], sides: [usize; 2], seed: u64, name: u64) -> Vec<Vec<f64>> {
        let size = image.len();
        let noise = |draw: u64| {
            let mut stream = Stream::new(seed, Purpose::Explanation, draw, name);
            (0..size)
                .map(|_| self.mean + self.sigma * f64::from(stream.normal()))
                .collect()
        };
        let blurred = || {
            image
                .chunks_exact(sides[0] * sides[1])
                .flat_map(|plane| Blur::whole([self.blur; 2]).of(plane, sides))
                .collect()
        };
        let plain = self
            .zero
            .then(|| vec![0.0; size])
            .into_iter()
            .chain((0..self.draws as u64).map(noise));
        plain.chain((self.blur > 0.0).then(blurred)).collect()
    }

    fn len(&self) -> usize {
        usize::from(self.zero) + self.draws + usize::from(self.blur > 0.0)
    }
}

/// How P is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Perturbation {
    /// Cells.
    pub(crate) grid: Grid,
    /// What fills them.
    pub(crate) fills: Fills,
    /// What falls.
    pub(crate) score: Score,
    /// Whether windows half a cell further are measured, too.
    pub(crate) overlap: bool,
    /// Whether rises count, as negative falls.
    pub(crate) signed: bool,
}

impl Perturbation {
    /// A map of the image's size, from falls: resampled (bilinear), or with `overlap` the mean over
    /// the windows that contain a pixel.
    pub(crate) fn map(&self, falls: &[f64]) -> Vec<f64> {
        let [h, w] = self.grid.image;
        if !self.overlap {
            return upsample(falls, self.grid.cells, [h, w]);
        }
        let (mut sums, mut counts) = (vec![0.0; h * w], vec![0.0; h * w]);
        for ([rows, columns], fall) in self.grid.windows(true).into_iter().zip(falls) {
            for at in rows.flat_map(|r| columns.clone().map(move |c| r * w + c)) {
                sums[at] += fall;
                counts[at] += 1.0;
            }
        }
        sums.iter().zip(&counts).map(|(s, n)| s / n).collect()
    }

    /// P of each image, one value a window. `clean` holds the logits of the images themselves.
    /// Cost: windows · fills forward passes an image.
    pub(crate) fn falls(
        &self,
        model: &dyn Scores,
        x: &Tensor,
        targets: &[usize],
        clean: &[Vec<f64>],
        context: &Context,
    ) -> Result<Vec<Vec<f64>>> {
        let windows = self.grid.windows(self.overlap);
        let (cells, fills) = (windows.len(), self.fills.len());
        let names = context.names_of(x);
        let pictures = |image: usize, pixels: &[f64]| {
            self.fills
                .pictures(pixels, self.grid.image, context.seed, names[image])
        };
        let scores =
            self.score
                .of_windows(model, x, targets, &windows, fills, context.cap, pictures)?;
        let one = |(i, scores): (usize, Vec<f64>)| {
            let before = self.score.of(&clean[i], targets[i]);
            let mut map = vec![0.0; cells];
            for (variant, after) in scores.into_iter().enumerate() {
                let fall = before - after;
                // Not `max`, which would turn NaN into 0 unseen.
                map[variant % cells] += if fall < 0.0 && !self.signed {
                    0.0
                } else {
                    fall
                } / fills as f64;
            }
            map
        };
        Ok(scores.into_iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::toy;
    use fgmf_net::zoo::{Activation, Architecture};

    #[test]
    fn cells_tile_the_image() {
        for (cells, image) in [
            ([7, 7], [28, 28]),
            ([8, 8], [30, 33]),
            ([3, 5], [3, 7]),
            ([1, 1], [9, 9]),
        ] {
            let grid = Grid::new(cells, image).unwrap();
            let mut seen = vec![0; image[0] * image[1]];
            for cell in 0..grid.len() {
                let [rows, columns] = grid.pixels(cell);
                rows.for_each(|r| columns.clone().for_each(|c| seen[r * image[1] + c] += 1));
            }
            assert!(seen.iter().all(|&n| n == 1), "{cells:?} on {image:?}");
        }
        assert!(Grid::new([0, 1], [4, 4]).is_err() && Grid::new([5, 1], [4, 4]).is_err());
    }

    #[test]
    fn automatic_grids() {
        let of = |kind, image| Grid::automatic(Some(kind), image).cells;
        let map = LayerKind::Map { h: 7, w: 7 };
        assert_eq!(
            (
                of(map, [28, 28]),
                of(map, [32, 28]),
                of(map, [224, 224]),
                of(map, [36, 36]),
                of(map, [5, 9])
            ),
            ([7, 7], [8, 7], [8, 8], [8, 8], [5, 8])
        );
        let tokens = |h, w| LayerKind::Tokens { h, w, prefix: 1 };
        assert_eq!(
            (
                of(tokens(14, 14), [224, 224]),
                of(tokens(7, 7), [28, 28]),
                of(tokens(16, 12), [64, 48]),
                of(tokens(13, 13), [208, 208])
            ),
            ([7, 7], [7, 7], [8, 6], [13, 13])
        );
    }

    /// Zero fill on z = w · x: the fall of a cell is max(0, Σ over the cell of w x); of the
    /// log-probability of two classes with logits ±z it is ln σ(2 z) − ln σ(2 z').
    #[test]
    fn linear_falls_match_the_closed_form() {
        let weights: Vec<f64> = (0..32).map(|i| f64::from(i % 7) - 3.0).collect();
        let minus: Vec<f64> = weights.iter().map(|w| -w).collect();
        let net = toy::linear(&[weights.clone(), minus], [2, 4, 4]);
        let x: Vec<f64> = (0..32).map(|i| f64::from(i * i % 11) / 10.0).collect();
        let grid = Grid::new([2, 2], [4, 4]).unwrap();
        let fills = Fills {
            zero: true,
            draws: 0,
            mean: 0.0,
            sigma: 0.0,
            blur: 0.0,
        };
        let oracle = crate::model::oracle::Oracle::new(&net);
        let tensor = Tensor::new(&[1, 2, 4, 4], x.clone());
        let z: f64 = weights.iter().zip(&x).map(|(w, x)| w * x).sum();
        let run = |score| {
            let part = Perturbation {
                grid,
                fills,
                score,
                overlap: false,
                signed: false,
            };
            part.falls(&oracle, &tensor, &[0], &[vec![z, -z]], &Context::default())
                .unwrap()
                .swap_remove(0)
        };
        let (logit, log) = (run(Score::Logit), run(Score::LogProbability));
        let sigma = |z: f64| -(-2.0 * z).exp().ln_1p();
        for cell in 0..4 {
            let inside = |i: &usize| (i / 4 % 4) / 2 * 2 + i % 4 / 2 == cell;
            let sum: f64 = (0..32).filter(inside).map(|i| weights[i] * x[i]).sum();
            assert!((logit[cell] - sum.max(0.0)).abs() < 1e-12, "{logit:?}");
            assert!(
                (log[cell] - (sigma(z) - sigma(z - sum)).max(0.0)).abs() < 1e-12,
                "{log:?}"
            );
        }
        assert_eq!(oracle.passes().forward, 8);
    }

    /// z = w · x, windows of 2 x 2 at every pixel of 4 x 4: with signs, each fall is the sum of w
    /// (x − fill) in the window, and the map the mean over the windows that contain a pixel.
    #[test]
    fn overlapping_signed_falls_match_the_closed_form() {
        let weights: Vec<f64> = (0..16).map(|i| f64::from(i * 5 % 7) - 3.0).collect();
        let net = toy::linear(&[weights.clone(), vec![0.0; 16]], [1, 4, 4]);
        let x: Vec<f64> = (0..16).map(|i| f64::from(i * i % 11) / 10.0).collect();
        let tensor = Tensor::new(&[1, 1, 4, 4], x.clone());
        let grid = Grid::new([2, 2], [4, 4]).unwrap();
        let z: f64 = weights.iter().zip(&x).map(|(w, x)| w * x).sum();
        let soft = Blur::whole([1.5; 2]).of(&x, [4, 4]);
        for (zero, blur) in [(true, 0.0), (false, 1.5), (true, 1.5)] {
            let fills = Fills {
                zero,
                draws: 0,
                mean: 0.0,
                sigma: 0.0,
                blur,
            };
            let part = Perturbation {
                grid,
                fills,
                score: Score::Logit,
                overlap: true,
                signed: true,
            };
            let oracle = crate::model::oracle::Oracle::new(&net);
            let falls = part
                .falls(&oracle, &tensor, &[0], &[vec![z, 0.0]], &Context::default())
                .unwrap()
                .swap_remove(0);
            assert_eq!(
                (falls.len(), oracle.passes().forward),
                (9, 9 * fills.len() as u64)
            );
            let lost = |i: usize| {
                let both = [zero.then_some(x[i]), (blur > 0.0).then(|| x[i] - soft[i])];
                both.iter().flatten().sum::<f64>() / fills.len() as f64 * weights[i]
            };
            let fall = |r: usize, c: usize| {
                lost(4 * r + c) + lost(4 * r + c + 1) + lost(4 * r + c + 4) + lost(4 * r + c + 5)
            };
            for (window, found) in falls.iter().enumerate() {
                assert!(
                    (found - fall(window / 3, window % 3)).abs() < 1e-9,
                    "{window}: {falls:?}"
                );
            }
            assert!(falls.iter().any(|f| *f < -0.1), "nothing against the class");
            let map = part.map(&falls);
            assert!(
                (map[0] - fall(0, 0)).abs() < 1e-9
                    && (map[1] - 0.5 * (fall(0, 0) + fall(0, 1))).abs() < 1e-9
            );
            assert!(
                (map[5] - 0.25 * (fall(0, 0) + fall(0, 1) + fall(1, 0) + fall(1, 1))).abs() < 1e-9
            );
        }
    }

    /// A model that shares nothing between variants.
    struct Whole<'a>(&'a crate::model::oracle::Oracle<'a>);

    impl Scores for Whole<'_> {
        fn image_shape(&self) -> [usize; 3] {
            self.0.image_shape()
        }

        fn classes(&self) -> usize {
            self.0.classes()
        }

        fn logits(&self, x: &Tensor) -> Result<Tensor> {
            self.0.logits(x)
        }
    }

    /// Scores of windows alone are those of whole images but for rounding, at as many passes, and
    /// the same bits on any number of threads and under any cap.
    #[test]
    fn windows_alone_give_what_whole_images_give() {
        let case = fgmf_testkit::zoo::case(Architecture::CnnSmall, Activation::Relu).unwrap();
        let [n, c, h, w] = four(&case.x);
        let windows = Grid::new([7, 5], [h, w]).unwrap().windows(false);
        let targets = vec![1; n];
        let pictures =
            |i: usize, _: &[f64]| vec![vec![0.0; c * h * w], vec![0.1 * i as f64; c * h * w]];
        let mut first = None;
        for cap in [1, 2, 3, 256] {
            let scores = |alone: bool, threads: usize| {
                let oracle = crate::model::oracle::Oracle::new(&case.net);
                let whole = Whole(&oracle);
                let model: &dyn Scores = if alone { &oracle } else { &whole };
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let found = pool
                    .install(|| {
                        Score::Logit
                            .of_windows(model, &case.x, &targets, &windows, 2, cap, pictures)
                    })
                    .unwrap();
                assert_eq!(oracle.passes().forward, (n * 2 * windows.len()) as u64);
                found
            };
            let (one, two, whole) = (scores(true, 1), scores(true, 2), scores(false, 2));
            assert_eq!(one, two, "cap {cap}");
            let spread = whole.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (a, b) in one.iter().flatten().zip(whole.iter().flatten()) {
                assert!((a - b).abs() < 1e-5 * spread, "cap {cap}: {a}, not {b}");
            }
            assert_ne!(one, whole, "nothing was shared");
            assert_eq!(
                *first.get_or_insert(one.clone()),
                one,
                "cap {cap} gives other numbers"
            );
        }
    }

    #[test]
    fn half_steps_need_two_pixels_a_cell() {
        let count = |cells, image| Grid::new(cells, image).unwrap().windows(true).len();
        assert_eq!(
            (
                count([7, 7], [28, 28]),
                count([14, 14], [28, 28]),
                count([28, 28], [28, 28])
            ),
            (169, 729, 784)
        );
        let grid = Grid::new([3, 2], [7, 9]).unwrap();
        for [rows, columns] in grid.windows(true) {
            assert!(!rows.is_empty() && !columns.is_empty() && rows.end <= 7 && columns.end <= 9);
        }
    }
}
