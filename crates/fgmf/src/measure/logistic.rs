//! Multinomial logistic regression.

use rayon::prelude::*;

/// Weights `[k, d]` and biases `[k]`, row by row.
pub struct Logistic {
    /// `[k, d]`.
    pub weights: Vec<f32>,
    /// `[k]`.
    pub bias: Vec<f32>,
}

/// Weight of the squared length of the weights in the loss.
const DECAY: f64 = 1e-4;

/// Fits class scores W x + b to classes.
///
/// Least mean cross-entropy plus 10⁻⁴ |W|² / 2 over features of mean 0 and deviation 1, by
/// `steps` steps of Nesterov's accelerated descent; W and b are given for the features as they
/// came. Features without spread get weight 0.
///
/// `features [n, d]`, `classes` below k, n of them. The same input gives the same bytes.
/// Cost: 4 n d k multiplications a step. Source: Nesterov 1983, Bishop 2006 section 4.3.
pub fn logistic(features: &[f32], classes: &[usize], k: usize, steps: usize) -> Logistic {
    let n = classes.len();
    let d = features.len() / n.max(1);
    // Columns, so that sums over examples run along memory.
    let mut columns = vec![0.0f32; d * n];
    let (mut means, mut deviations) = (vec![0.0f64; d], vec![0.0f64; d]);
    for j in 0..d {
        let column = &mut columns[j * n..][..n];
        (0..n).for_each(|i| column[i] = features[i * d + j]);
        let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let square = |v: &f32| (f64::from(*v) - mean).powi(2);
        let deviation = (column.iter().map(square).sum::<f64>() / n as f64).sqrt();
        let usable = mean.is_finite() && deviation.is_finite() && deviation > 1e-12;
        let scale = if usable { 1.0 / deviation } else { 0.0 };
        let standard = |v: &mut f32| {
            *v = if usable {
                ((f64::from(*v) - mean) * scale) as f32
            } else {
                0.0
            };
        };
        column.iter_mut().for_each(standard);
        (means[j], deviations[j]) = (if usable { mean } else { 0.0 }, scale);
    }
    let rate = 1.0 / (0.5 * (largest_square(&columns, n, d) + 1.0) + DECAY);
    // Weights of a class, then its bias.
    let (mut at, mut before) = (vec![0.0f32; k * (d + 1)], vec![0.0f32; k * (d + 1)]);
    let mut ahead = at.clone();
    for step in 0..steps {
        let slope = gradient(&columns, classes, k, &ahead, n, d);
        for ((a, g), x) in at.iter_mut().zip(&slope).zip(&ahead) {
            *a = x - (rate * f64::from(*g)) as f32;
        }
        let push = step as f32 / (step as f32 + 3.0);
        for ((y, a), b) in ahead.iter_mut().zip(&at).zip(&before) {
            *y = a + push * (a - b);
        }
        before.copy_from_slice(&at);
    }
    let (mut weights, mut bias) = (Vec::with_capacity(k * d), Vec::with_capacity(k));
    for class in at.chunks_exact(d + 1) {
        let scaled: Vec<f64> = (0..d)
            .map(|j| f64::from(class[j]) * deviations[j])
            .collect();
        let moved: f64 = scaled.iter().zip(&means).map(|(w, m)| w * m).sum();
        bias.push((f64::from(class[d]) - moved) as f32);
        weights.extend(scaled.into_iter().map(|w| w as f32));
    }
    Logistic { weights, bias }
}

/// Largest eigenvalue of XᵀX / n, by 20 steps of the power method.
fn largest_square(columns: &[f32], n: usize, d: usize) -> f64 {
    let mut v = vec![1.0f32; d];
    let mut size = 0.0;
    for _ in 0..20 {
        let length = dot(&v, &v).sqrt().max(1e-30) as f32;
        v.iter_mut().for_each(|x| *x /= length);
        let mut through = vec![0.0f32; n];
        (0..d).for_each(|j| axpy(v[j], &columns[j * n..][..n], &mut through));
        (0..d).for_each(|j| v[j] = (dot(&through, &columns[j * n..][..n]) / n as f64) as f32);
        size = dot(&v, &v).sqrt();
    }
    size
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// In eight partial sums, which become vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a8.remainder().iter().zip(b8.remainder());
    let rest: f32 = rest.map(|(x, y)| x * y).sum();
    let mut sums = [0.0f32; 8];
    for (x, y) in a8.zip(b8) {
        (0..8).for_each(|l| sums[l] += x[l] * y[l]);
    }
    sums.iter().map(|v| f64::from(*v)).sum::<f64>() + f64::from(rest)
}

/// Gradient of the loss, laid out as the weights.
fn gradient(
    columns: &[f32],
    classes: &[usize],
    k: usize,
    at: &[f32],
    n: usize,
    d: usize,
) -> Vec<f32> {
    let mut scores = vec![0.0f32; k * n];
    let each = scores
        .par_chunks_exact_mut(n)
        .zip(at.par_chunks_exact(d + 1));
    each.for_each(|(row, class)| {
        row.fill(class[d]);
        (0..d).for_each(|j| axpy(class[j], &columns[j * n..][..n], row));
    });
    for i in 0..n {
        let top = (0..k)
            .map(|c| scores[c * n + i])
            .fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = (0..k).map(|c| (scores[c * n + i] - top).exp()).sum();
        for c in 0..k {
            let p = (scores[c * n + i] - top).exp() / sum;
            scores[c * n + i] = (p - f32::from(u8::from(classes[i] == c))) / n as f32;
        }
    }
    let mut out = vec![0.0f32; k * (d + 1)];
    let each = out
        .par_chunks_exact_mut(d + 1)
        .zip(at.par_chunks_exact(d + 1));
    each.zip(scores.par_chunks_exact(n))
        .for_each(|((out, class), row)| {
            for j in 0..d {
                let slope = dot(row, &columns[j * n..][..n]) + DECAY * f64::from(class[j]);
                out[j] = slope as f32;
            }
            out[d] = row.iter().sum();
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes by the largest of three fixed scores: nearly all are named right, whatever
    /// the units of the features, and a constant feature gets no weight.
    #[test]
    fn separable_classes_are_found() {
        let value = |i: usize, j: usize| ((i * 37 + j * 101) % 97) as f32 / 97.0 - 0.5;
        let n = 300;
        let scale = [1e3, 1e-3, 1.0, 0.0];
        let features: Vec<f32> = (0..n)
            .flat_map(|i| (0..4).map(move |j| 5.0 + scale[j] * value(i, j)))
            .collect();
        let best = |s: [f32; 3]| (0..3).max_by(|&a, &b| s[a].total_cmp(&s[b])).unwrap();
        let classes: Vec<usize> = (0..n)
            .map(|i| {
                let v = [value(i, 0), value(i, 1), value(i, 2)];
                best([v[0] - v[1], v[1] + v[2], -v[0]])
            })
            .collect();
        let fit = logistic(&features, &classes, 3, 500);
        let right = (0..n).filter(|&i| {
            let x = &features[i * 4..][..4];
            let score = |c: usize| -> f32 {
                let w = &fit.weights[c * 4..][..4];
                fit.bias[c] + w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()
            };
            best([score(0), score(1), score(2)]) == classes[i]
        });
        assert!(right.count() >= 290);
        assert!((0..3).all(|c| fit.weights[c * 4 + 3] == 0.0));
    }
}
