//! KernelSHAP (Lundberg & Lee 2017) on the cells of a grid: Shapley values of "the cell is shown".
//!
//! For a set S of shown cells, v(S) = score of the image with all other cells filled. φ minimises
//! Σ_S k(S) (v(S) − v(∅) − Σ_{c ∈ S} φ_c)² under Σφ = v(all) − v(∅), with k(S) = (M − 1) / (C(M,
//! |S|) |S| (M − |S|)) for M cells. With all 2^M − 2 sets this gives the Shapley values; with
//! fewer, an estimate: sets come in pairs (S, complement of S), sizes drawn with the weight that k
//! gives them. The map has φ_c / pixels in each pixel of cell c, so it sums to v(all) − v(∅).
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `grid` | none: 7 x 7 at 28 x 28, or patches | rows and columns, 1 to the sides of the image |
//! | `samples` | 1024 | 2 to 1,000,000 sets; all sets where there are no more than these |
//! | `fill` | 0 (black) | finite, in input units |
//! | `score` | `logit` | `logit`, `log-probability`, `probability` |
//!
//! Values in units of the score, signed. Cost: 2 + sets forward passes an image. Sets come from the
//! stream (seed, explanation, 0, index of the image).
//!
//! Differences from the `shap` package: (1) pairs of sets drawn by size, where it takes whole sizes
//! first and weighs the rest; the same limit; (2) no L1 selection of features; (3) the constraint
//! is solved exactly, where Captum gives the two extreme sets a large weight.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer, ExplainerMethod};
use crate::explain::parts::ask::{four, plain};
use crate::explain::parts::layer::choose_layer;
use crate::explain::parts::perturbation::{Grid, Score};
use crate::measure::linear::solved;
use crate::model::access::Gradients;
use crate::rng::{Purpose, Stream};
use crate::settings::read;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "kernel-shap",
    line: "Estimates Shapley values of the cells of a grid from the scores of masked images.",
    revision: 1,
    reference: "lundberg2017",
    example: r#"{"samples": 200, "fill": 0.5}"#,
    build: |settings, _| Ok(Box::new(read::<KernelShapParams>(settings)?.check()?)),
}];

/// Settings of [`KernelShap`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KernelShapParams {
    /// Rows and columns of cells.
    pub grid: Option<[usize; 2]>,
    /// Most sets.
    pub samples: usize,
    /// Value of pixels in cells that are not shown.
    pub fill: f64,
    /// What is shared out.
    pub score: Score,
}

impl Default for KernelShapParams {
    fn default() -> Self {
        Self {
            grid: None,
            samples: 1024,
            fill: 0.0,
            score: Score::Logit,
        }
    }
}

impl KernelShapParams {
    /// The checked method. Whether the grid fits shows when it meets an image.
    pub fn check(self) -> Result<KernelShap> {
        if !(2..=1_000_000).contains(&self.samples) {
            return Err(Error::parameter("samples", "2 to 1000000", self.samples));
        }
        if self.grid.is_some_and(|g| g.contains(&0)) {
            return Err(Error::parameter(
                "grid",
                "1 or more cells a side",
                format!("{:?}", self.grid),
            ));
        }
        if !self.fill.is_finite() {
            return Err(Error::parameter("fill", "a finite number", self.fill));
        }
        Ok(KernelShap { params: self })
    }
}

/// Checked KernelSHAP.
#[derive(Clone, Debug)]
pub struct KernelShap {
    params: KernelShapParams,
}

/// A set of shown cells and its weight in the sum.
type Set = (Vec<bool>, f64);

/// All sets but the two extreme ones if they are no more than `samples`, else pairs drawn at
/// random.
fn sets(cells: usize, samples: usize, stream: &mut Stream) -> Vec<Set> {
    if cells < 2 {
        return Vec::new();
    }
    // Weight of all sets of a size together, up to a factor.
    let of_size = |s: usize| 1.0 / (s * (cells - s)) as f64;
    if cells < 20 && (1usize << cells) - 2 <= samples {
        let choose = |s: usize| (1..=s).fold(1.0, |c, i| c * (cells - s + i) as f64 / i as f64);
        let set = |bits: usize| {
            let shown: Vec<bool> = (0..cells).map(|c| (bits >> c) & 1 == 1).collect();
            let size = shown.iter().filter(|s| **s).count();
            (shown, of_size(size) / choose(size))
        };
        return (1..(1usize << cells) - 1).map(set).collect();
    }
    let total: f64 = (1..cells).map(of_size).sum();
    let mut out = Vec::with_capacity(samples);
    for _ in 0..samples / 2 {
        let mut left = f64::from(stream.unit()) * total;
        let size = (1..cells - 1).find(|&s| {
            left -= of_size(s);
            left < 0.0
        });
        let mut shown = vec![false; cells];
        stream.permutation(cells)[..size.unwrap_or(cells - 1)]
            .iter()
            .for_each(|&c| shown[c] = true);
        let complement = shown.iter().map(|s| !s).collect();
        out.extend([(shown, 1.0), (complement, 1.0)]);
    }
    out
}

/// φ from the values of the sets, less v(∅); `whole` = v(all) − v(∅).
fn solve(cells: usize, sets: &[Set], values: &[f64], whole: f64) -> Vec<f64> {
    if cells < 2 {
        return vec![whole; cells];
    }
    let (mut a, mut b) = (vec![0.0; cells * cells], vec![0.0; cells]);
    for ((shown, k), v) in sets.iter().zip(values) {
        let at: Vec<usize> = (0..cells).filter(|&c| shown[c]).collect();
        for &i in &at {
            b[i] += k * v;
            at.iter().for_each(|&j| a[i * cells + j] += k);
        }
    }
    // Few sets may leave directions open: those get nothing.
    let ridge = (0..cells).map(|i| a[i * cells + i]).sum::<f64>() / cells as f64 * 1e-10
        + f64::MIN_POSITIVE;
    (0..cells).for_each(|i| a[i * cells + i] += ridge);
    let (p, q) = (solved(&a, &b), solved(&a, &vec![1.0; cells]));
    let multiplier = (p.iter().sum::<f64>() - whole) / q.iter().sum::<f64>();
    p.iter().zip(&q).map(|(p, q)| p - multiplier * q).collect()
}

impl Explainer for KernelShap {
    fn id(&self) -> &'static str {
        "kernel-shap"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let p = &self.params;
        let [_, _, h, w] = four(x);
        let grid = match p.grid {
            Some(cells) => Grid::new(cells, [h, w])?,
            None => {
                let layer = choose_layer(model.network()).ok();
                Grid::automatic(layer.map(|l| l.kind), [h, w])
            }
        };
        let cells = grid.len();
        let of = |name: u64| {
            sets(
                cells,
                p.samples,
                &mut Stream::new(context.seed, Purpose::Explanation, 0, name),
            )
        };
        let all: Vec<Vec<Set>> = context.names_of(x).into_iter().map(of).collect();
        let each = all.first().map_or(0, Vec::len) + 2;
        let hide = |image: usize, variant: usize, pixels: &mut [f64]| match variant {
            0 => {}
            1 => pixels.fill(p.fill),
            _ => {
                let shown = &all[image][variant - 2].0;
                (0..cells)
                    .filter(|&c| !shown[c])
                    .for_each(|c| grid.fill_cell(c, p.fill, pixels));
            }
        };
        let scores = p
            .score
            .of_variants(model, x, targets, each, context.cap, hide)?;
        let one = |(image, scores): (usize, Vec<f64>)| {
            let values: Vec<f64> = scores[2..].iter().map(|v| v - scores[1]).collect();
            let phi = solve(cells, &all[image], &values, scores[0] - scores[1]);
            let mut map = vec![0.0; h * w];
            for (cell, phi) in phi.iter().enumerate() {
                let [rows, columns] = grid.pixels(cell);
                let share = phi / (rows.len() * columns.len()) as f64;
                rows.for_each(|r| map[r * w + columns.start..r * w + columns.end].fill(share));
            }
            let whole = scores[0] - scores[1];
            let gap = (map.iter().sum::<f64>() - whole).abs() / whole.abs().max(1e-6);
            Attribution {
                completeness_gap: Some(gap),
                ..plain(self.id(), targets[image], [h, w], &map, true)
            }
        };
        Ok(scores.into_iter().enumerate().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// Shapley values by their definition, over all orders.
    fn shapley(cells: usize, v: &dyn Fn(&[bool]) -> f64) -> Vec<f64> {
        fn orders(left: &[usize]) -> Vec<Vec<usize>> {
            if left.is_empty() {
                return vec![vec![]];
            }
            let with = |&first: &usize| {
                let rest: Vec<usize> = left.iter().copied().filter(|&c| c != first).collect();
                orders(&rest)
                    .into_iter()
                    .map(move |o| std::iter::once(first).chain(o).collect())
            };
            left.iter().flat_map(with).collect()
        }
        let all = orders(&(0..cells).collect::<Vec<_>>());
        let mut phi = vec![0.0; cells];
        for order in &all {
            let mut shown = vec![false; cells];
            for &c in order {
                let before = v(&shown);
                shown[c] = true;
                phi[c] += (v(&shown) - before) / all.len() as f64;
            }
        }
        phi
    }

    #[test]
    fn all_sets_give_the_shapley_values_of_a_game_with_interactions() {
        let v = |s: &[bool]| {
            let on = |i: usize| f64::from(u8::from(s[i]));
            2.0 * on(0) - on(1) + 3.0 * on(0) * on(2) + on(1) * on(2) * on(3) - 4.0 * on(4) * on(0)
                + 0.5
        };
        let all = sets(5, 30, &mut Stream::new(0, Purpose::Evaluation, 0, 0));
        assert_eq!(all.len(), 30);
        let values: Vec<f64> = all.iter().map(|(s, _)| v(s) - v(&[false; 5])).collect();
        let found = solve(5, &all, &values, v(&[true; 5]) - v(&[false; 5]));
        assert!(
            found
                .iter()
                .zip(shapley(5, &v))
                .all(|(a, b)| (a - b).abs() < 1e-9),
            "{found:?}"
        );
        // And drawn sets come near: 16 cells of which five play.
        let wide = |s: &[bool]| v(&s[..5]);
        let drawn = sets(16, 4000, &mut Stream::new(0, Purpose::Evaluation, 0, 0));
        let values: Vec<f64> = drawn
            .iter()
            .map(|(s, _)| wide(s) - wide(&[false; 16]))
            .collect();
        let found = solve(16, &drawn, &values, wide(&[true; 16]) - wide(&[false; 16]));
        let exact = shapley(5, &v);
        assert!(
            (0..16).all(|i| (found[i] - exact.get(i).unwrap_or(&0.0)).abs() < 0.15),
            "{found:?} against {exact:?}"
        );
        assert!(
            drawn
                .chunks_exact(2)
                .all(|p| p[0].0.iter().zip(&p[1].0).all(|(a, b)| a != b))
        );
    }

    /// z = w · x: a cell is worth Σ w (x − fill) inside, whatever the sets.
    #[test]
    fn linear_networks_are_explained_exactly() {
        let w = toy::spread(2 * 64, 1);
        let net = toy::linear(&[w.clone(), vec![0.0; 128]], [2, 8, 8]);
        let x = toy::images([2, 2, 8, 8], 2);
        for (grid, samples) in [([2, 2], 14), ([4, 4], 64), ([1, 1], 2)] {
            let method = KernelShapParams {
                grid: Some(grid),
                samples,
                fill: 0.25,
                ..KernelShapParams::default()
            }
            .check()
            .unwrap();
            let oracle = Oracle::new(&net);
            let maps = explain(
                &method,
                &oracle,
                &x,
                &[0, 0],
                &Context {
                    cap: 9,
                    ..Context::default()
                },
            )
            .unwrap();
            for (n, map) in maps.iter().enumerate() {
                for p in 0..64 {
                    let cell = |q: usize| (q / 8 * grid[0] / 8, q % 8 * grid[1] / 8);
                    let inside: Vec<usize> = (0..64).filter(|&q| cell(q) == cell(p)).collect();
                    let worth: f64 = inside
                        .iter()
                        .flat_map(|q| [*q, q + 64])
                        .map(|i| w[i] * (x.to_f64()[n * 128 + i] - 0.25))
                        .sum();
                    assert!(
                        (f64::from(map.values.values[p]) - worth / inside.len() as f64).abs()
                            < 1e-5
                    );
                }
                assert!(map.completeness_gap.unwrap() < 1e-6 && map.signed);
            }
            if grid == [4, 4] {
                assert_eq!(oracle.passes().forward, 2 * 66);
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let d = KernelShapParams::default;
        for bad in [
            KernelShapParams { samples: 1, ..d() },
            KernelShapParams {
                grid: Some([0, 2]),
                ..d()
            },
            KernelShapParams {
                fill: f64::NAN,
                ..d()
            },
        ] {
            assert!(bad.check().is_err());
        }
    }
}
