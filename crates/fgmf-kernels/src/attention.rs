//! Attention of one head, `y = softmax(scale q kᵀ) v`, and its gradient. Queries, keys and values
//! are read where they lie, between those of other heads.

use crate::gemm::{MatmulEpilogue, PackedMatrix, matmul_packed};
use crate::rowwise::{softmax_rows, softmax_rows_grad};

/// Sizes of a head, and the factor of its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Rows of `q` and `y`.
    pub queries: usize,
    /// Rows of `k` and `v`.
    pub keys: usize,
    /// Columns of `q` and `k`.
    pub width: usize,
    /// Columns of `v` and `y`.
    pub value_width: usize,
    /// Factor of the scores.
    pub scale: f32,
}

/// A matrix read with (row, column) strides of which one is 1.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// From its first number on.
    pub values: &'a [f32],
    /// From a row to the next, from a column to the next.
    pub strides: [usize; 2],
}

impl Strided<'_> {
    fn transposed(self) -> Self {
        Self {
            strides: [self.strides[1], self.strides[0]],
            ..self
        }
    }
}

/// Memory that calls share.
#[derive(Clone, Debug, Default)]
pub struct AttentionScratch {
    right: Option<PackedMatrix>,
    scores: Vec<f32>,
    gradient: Vec<f32>,
}

impl AttentionScratch {
    /// `c = a b` with `a` `[m, k]` and `b` `[k, n]`.
    fn product(&mut self, [m, k, n]: [usize; 3], a: Strided<'_>, b: Strided<'_>, c: &mut [f32]) {
        let right = self
            .right
            .get_or_insert_with(|| PackedMatrix::new(0, 0, &[], [1, 1]));
        right.fill(k, n, b.values, b.strides);
        matmul_packed(m, a.values, a.strides, right, MatmulEpilogue::default(), c);
    }
}

impl Attention {
    /// `weights` `[queries, keys]` = softmax(scale q kᵀ) row by row, and `y`
    /// `[queries, value_width]` = weights v.
    ///
    /// # Panics
    ///
    /// If a size is 0, a slice is too short, or neither stride of an operand is 1.
    pub fn forward(
        &self,
        [q, k, v]: [Strided<'_>; 3],
        scratch: &mut AttentionScratch,
        weights: &mut [f32],
        y: &mut [f32],
    ) {
        let &Self {
            queries,
            keys,
            width,
            value_width,
            scale,
        } = self;
        let mut scores = std::mem::take(&mut scratch.scores);
        scores.resize(queries * keys, 0.0);
        scratch.product([queries, width, keys], q, k.transposed(), &mut scores);
        scores.iter_mut().for_each(|s| *s *= scale);
        softmax_rows(keys, &scores, weights);
        scratch.scores = scores;
        scratch.product(
            [queries, keys, value_width],
            Strided {
                values: weights,
                strides: [keys, 1],
            },
            v,
            y,
        );
    }

    /// Gradients in `q` `[queries, width]`, `k` `[keys, width]` and `v` `[keys, value_width]`, from
    /// `g` `[queries, value_width]`, that in `y`, and the weights of [`Self::forward`]: dv =
    /// weightsᵀ g, ds = scale ∂softmax(g vᵀ), dq = ds k, dk = dsᵀ q.
    ///
    /// # Panics
    ///
    /// As [`Self::forward`].
    pub fn backward(
        &self,
        [q, k, v]: [Strided<'_>; 3],
        weights: &[f32],
        g: &[f32],
        scratch: &mut AttentionScratch,
        [dq, dk, dv]: [&mut [f32]; 3],
    ) {
        let &Self {
            queries,
            keys,
            width,
            value_width,
            scale,
        } = self;
        let [mut scores, mut ds] = [&mut scratch.scores, &mut scratch.gradient].map(std::mem::take);
        scores.resize(queries * keys, 0.0);
        ds.resize(queries * keys, 0.0);
        let g = Strided {
            values: g,
            strides: [value_width, 1],
        };
        let across = |values| Strided {
            values,
            strides: [1, keys],
        };
        scratch.product([keys, queries, value_width], across(weights), g, dv);
        scratch.product([queries, value_width, keys], g, v.transposed(), &mut scores);
        softmax_rows_grad(keys, weights, &scores, &mut ds);
        ds.iter_mut().for_each(|s| *s *= scale);
        scratch.product(
            [queries, keys, width],
            Strided {
                values: &ds,
                strides: [keys, 1],
            },
            k,
            dq,
        );
        scratch.product([keys, queries, width], across(&ds), q, dk);
        (scratch.scores, scratch.gradient) = (scores, ds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_each;

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 + seed * 101) % 199) as f32 / 100.0 - 1.0)
            .collect()
    }

    /// Row-major `[rows, columns]` as `f64`.
    fn dense(m: Strided<'_>, [rows, columns]: [usize; 2]) -> Vec<f64> {
        (0..rows * columns)
            .map(|i| f64::from(m.values[i / columns * m.strides[0] + i % columns * m.strides[1]]))
            .collect()
    }

    /// Weights and outputs in `f64`.
    fn slow(a: &Attention, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut weights = Vec::new();
        for i in 0..a.queries {
            let score = |j: usize| {
                (0..a.width)
                    .map(|l| q[i * a.width + l] * k[j * a.width + l])
                    .sum::<f64>()
                    * f64::from(a.scale)
            };
            let e: Vec<f64> = (0..a.keys).map(|j| score(j).exp()).collect();
            weights.extend(e.iter().map(|v| v / e.iter().sum::<f64>()));
        }
        let y = |i: usize, l: usize| {
            (0..a.keys)
                .map(|j| weights[i * a.keys + j] * v[j * a.value_width + l])
                .sum::<f64>()
        };
        let y = (0..a.queries * a.value_width)
            .map(|i| y(i / a.value_width, i % a.value_width))
            .collect();
        (weights, y)
    }

    /// Operands between those of other heads and transposed, values and gradients against `f64` and
    /// its central differences.
    #[test]
    fn against_double_precision() {
        on_each(|isa| {
            let sizes = [
                (1, 1, 1, 1),
                (5, 7, 3, 4),
                (64, 64, 64, 64),
                (17, 33, 20, 16),
            ];
            for (queries, keys, width, value_width) in sizes {
                let a = Attention {
                    queries,
                    keys,
                    width,
                    value_width,
                    scale: 0.3,
                };
                let (q, k, v) = (
                    noise(queries * 3 * width, 1),
                    noise(keys * width, 2),
                    noise(keys * (value_width + 5), 3),
                );
                let q = Strided {
                    values: &q[width..],
                    strides: [3 * width, 1],
                };
                let k = Strided {
                    values: &k,
                    strides: [1, keys],
                };
                let v = Strided {
                    values: &v[5..],
                    strides: [value_width + 5, 1],
                };
                let g = noise(queries * value_width, 4);
                let mut scratch = AttentionScratch::default();
                let (mut weights, mut y) = (
                    vec![f32::NAN; queries * keys],
                    vec![f32::NAN; queries * value_width],
                );
                a.forward([q, k, v], &mut scratch, &mut weights, &mut y);
                let [mut dq, mut dk, mut dv] = [queries * width, keys * width, keys * value_width]
                    .map(|len| vec![f32::NAN; len]);
                a.backward(
                    [q, k, v],
                    &weights,
                    &g,
                    &mut scratch,
                    [&mut dq, &mut dk, &mut dv],
                );
                let mut at = [
                    dense(q, [queries, width]),
                    dense(k, [keys, width]),
                    dense(v, [keys, value_width]),
                ];
                let (slow_weights, slow_y) = slow(&a, &at[0], &at[1], &at[2]);
                let near = |fast: &[f32], slow: &[f64]| {
                    fast.iter()
                        .zip(slow)
                        .all(|(f, s)| (f64::from(*f) - s).abs() < 2e-5)
                };
                assert!(
                    near(&weights, &slow_weights) && near(&y, &slow_y),
                    "{isa:?}: {a:?}"
                );
                for (which, d) in [&dq, &dk, &dv].into_iter().enumerate() {
                    for i in (0..d.len()).step_by(d.len() / 7 + 1) {
                        let mut loss = |step: f64| {
                            at[which][i] += step;
                            let (_, y) = slow(&a, &at[0], &at[1], &at[2]);
                            at[which][i] -= step;
                            y.iter()
                                .zip(&g)
                                .map(|(y, &g)| y * f64::from(g))
                                .sum::<f64>()
                        };
                        let slope = (loss(1e-4) - loss(-1e-4)) / 2e-4;
                        assert!(
                            (f64::from(d[i]) - slope).abs() < 1e-4 * (1.0 + slope.abs()),
                            "{isa:?}: {a:?}, gradient {which} at {i}"
                        );
                    }
                }
            }
        });
    }
}
