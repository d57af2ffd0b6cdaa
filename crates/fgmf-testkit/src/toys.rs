//! Networks small enough that gradients, distances to the decision boundary and best attacks are
//! known in closed form.
//!
//! * [`linear`]: z_k = w_k · x + b_k. The gradient of a logit is its weight. The margin of label y
//!   over class j is m_j(x) = (w_y − w_j) · x + b_y − b_j, and the distance to the boundary between
//!   them in a norm is m_j divided by the dual norm of w_y − w_j ([`linear_margin_distance`]). The
//!   perturbation of size ε that decreases the margin most is known too ([`linear_worst_case`]).
//! * [`quadratic`]: z = (xᵀ A x + c, 0). The gradient of z₀ is (A + Aᵀ) x and its Hessian A + Aᵀ.
//!   With A = I and c = −r² the boundary is the sphere of radius r, at the L2 distance | ‖x‖ − r |
//!   ([`sphere_distance`]).

use fgmf_net::op::{Binary, Flatten, Gemm, MatMul, Op, Reduce, ReduceKind};
use fgmf_net::{Builder, Result, Session, Tensor};

/// Norm in which perturbations are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Sum of absolute values; its dual is the maximum.
    L1,
    /// Euclidean; its own dual.
    L2,
    /// Largest absolute value; its dual is the sum.
    Linf,
}

impl Norm {
    /// Size of a vector.
    pub fn of(self, v: &[f64]) -> f64 {
        match self {
            Self::L1 => v.iter().map(|v| v.abs()).sum(),
            Self::L2 => v.iter().map(|v| v * v).sum::<f64>().sqrt(),
            Self::Linf => v.iter().fold(0.0, |m, v| v.abs().max(m)),
        }
    }

    /// The norm whose unit ball is the polar of this one: |u · v| ≤ ‖u‖ ‖v‖_dual.
    pub fn dual(self) -> Self {
        match self {
            Self::L1 => Self::Linf,
            Self::L2 => Self::L2,
            Self::Linf => Self::L1,
        }
    }
}

/// Unwraps a step of building a toy: only the caller's arguments can be wrong.
fn built<T>(step: Result<T>) -> T {
    step.unwrap_or_else(|e| panic!("toy network: {e}"))
}

/// A linear classifier in `f64`: one row of weights and one bias a class, over flattened images
/// `[c, h, w]`. Panics if the sizes do not fit.
pub fn linear(weights: &[Vec<f64>], bias: &[f64], image: [usize; 3]) -> Session {
    let (k, d) = (weights.len(), image.iter().product());
    let mut b = built(Builder::new("linear", "input", image));
    let w = built(b.parameter("weight", Tensor::new(&[k, d], weights.concat()), true));
    let c = built(b.parameter("bias", Tensor::new(&[k], bias.to_vec()), true));
    let x = b.input();
    let flat = built(b.node("flat", Op::Flatten(Flatten { axis: 1 }), &[x]));
    let z = built(b.node("logits", Op::Gemm(Gemm::DENSE), &[flat, w, c]));
    Session::new(built(b.finish(z)))
}

/// The classifier with logits (xᵀ A x + `offset`, 0) in `f64`; `matrix` is A, row-major, over
/// flattened images. Panics if the sizes do not fit.
pub fn quadratic(matrix: &[f64], offset: f64, image: [usize; 3]) -> Session {
    let d = image.iter().product();
    let mut b = built(Builder::new("quadratic", "input", image));
    let a = built(b.parameter("matrix", Tensor::new(&[d, d], matrix.to_vec()), true));
    let lift = built(b.parameter("lift", Tensor::new(&[2, 1], vec![1.0, 0.0]), false));
    let c = built(b.parameter("offset", Tensor::new(&[2], vec![offset, 0.0]), false));
    let x = b.input();
    let flat = built(b.node("flat", Op::Flatten(Flatten { axis: 1 }), &[x]));
    let ax = built(b.node("product", Op::MatMul(MatMul), &[flat, a]));
    let terms = built(b.node("terms", Op::Binary(Binary::Mul), &[ax, flat]));
    let sum = Reduce {
        kind: ReduceKind::Sum,
        axes: vec![1],
        keep: true,
    };
    let form = built(b.node("form", Op::Reduce(sum), &[terms]));
    let z = built(b.node("logits", Op::Gemm(Gemm::DENSE), &[form, lift, c]));
    Session::new(built(b.finish(z)))
}

/// w_y − w_j and m_j(x) for every other class j of a linear classifier.
fn linear_margins(
    weights: &[Vec<f64>],
    bias: &[f64],
    x: &[f64],
    label: usize,
) -> Vec<(Vec<f64>, f64)> {
    let others = (0..weights.len()).filter(|&j| j != label);
    let margin = |j: usize| {
        let direction: Vec<f64> = weights[label]
            .iter()
            .zip(&weights[j])
            .map(|(y, j)| y - j)
            .collect();
        let value =
            direction.iter().zip(x).map(|(d, x)| d * x).sum::<f64>() + bias[label] - bias[j];
        (direction, value)
    };
    others.map(margin).collect()
}

/// Distance of `x` to the nearest decision boundary of `label` under [`linear`], ignoring any box:
/// the least m_j(x) / ‖w_y − w_j‖_dual. Negative where `x` is misclassified.
pub fn linear_margin_distance(
    weights: &[Vec<f64>],
    bias: &[f64],
    x: &[f64],
    label: usize,
    norm: Norm,
) -> f64 {
    let margins = linear_margins(weights, bias, x, label);
    margins
        .iter()
        .map(|(d, m)| m / norm.dual().of(d))
        .fold(f64::INFINITY, f64::min)
}

/// The point within `epsilon` of `x` where the least margin of `label` under [`linear`] is
/// smallest, and that margin, m_j(x) − ε ‖w_y − w_j‖_dual, ignoring any box. With two classes every
/// loss that falls with the margin (cross-entropy too) is largest there, so it is where PGD ends.
pub fn linear_worst_case(
    weights: &[Vec<f64>],
    bias: &[f64],
    x: &[f64],
    label: usize,
    norm: Norm,
    epsilon: f64,
) -> (Vec<f64>, f64) {
    let after = |(d, m): (Vec<f64>, f64)| {
        let margin = m - epsilon * norm.dual().of(&d);
        (d, margin)
    };
    let all = linear_margins(weights, bias, x, label)
        .into_iter()
        .map(after);
    let worst = all.min_by(|a, b| a.1.total_cmp(&b.1));
    let (direction, margin) =
        worst.unwrap_or_else(|| panic!("toy network: one class has no margin"));
    let steepest = steepest(&direction, norm);
    (
        x.iter()
            .zip(steepest)
            .map(|(x, s)| x - epsilon * s)
            .collect(),
        margin,
    )
}

/// The vector of unit norm with the largest product with `d`; the first largest coordinate for L1.
fn steepest(d: &[f64], norm: Norm) -> Vec<f64> {
    let size = norm.dual().of(d);
    match norm {
        Norm::Linf => d
            .iter()
            .map(|v| if *v == 0.0 { 0.0 } else { v.signum() })
            .collect(),
        Norm::L2 => d.iter().map(|v| v / size).collect(),
        Norm::L1 => {
            let best = (0..d.len()).fold(
                0,
                |best, i| if d[i].abs() > d[best].abs() { i } else { best },
            );
            (0..d.len())
                .map(|i| if i == best { d[i].signum() } else { 0.0 })
                .collect()
        }
    }
}

/// The worst point of [`linear_worst_case`] in the L∞ ball when values must also stay in
/// `[low, high]`, for two classes: the problem falls apart by coordinate, so clipping the free
/// solution is exact.
pub fn linear_worst_case_in_box(
    weights: &[Vec<f64>],
    bias: &[f64],
    x: &[f64],
    label: usize,
    epsilon: f64,
    [low, high]: [f64; 2],
) -> Vec<f64> {
    assert_eq!(weights.len(), 2, "toy network: known for two classes only");
    let (free, _) = linear_worst_case(weights, bias, x, label, Norm::Linf, epsilon);
    free.into_iter().map(|v| v.clamp(low, high)).collect()
}

/// L2 distance of `x` to the boundary of [`quadratic`] with A = I and offset −r².
pub fn sphere_distance(x: &[f64], radius: f64) -> f64 {
    (Norm::L2.of(x) - radius).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::uniform;

    #[test]
    fn the_worst_case_has_its_margin_and_the_boundary_is_where_it_is_said_to_be() {
        let weights: Vec<Vec<f64>> = (0..3).map(|i| uniform(i, 6, -1.0, 1.0)).collect();
        let (bias, x) = (vec![0.1, -0.2, 0.3], uniform(9, 6, 0.0, 1.0));
        let net = linear(&weights, &bias, [1, 2, 3]);
        for norm in [Norm::L1, Norm::L2, Norm::Linf] {
            for label in 0..3 {
                let distance = linear_margin_distance(&weights, &bias, &x, label, norm);
                let (point, margin) = linear_worst_case(&weights, &bias, &x, label, norm, 0.05);
                let moved: Vec<f64> = point.iter().zip(&x).map(|(a, b)| a - b).collect();
                assert!((norm.of(&moved) - 0.05).abs() < 1e-12, "{norm:?}");
                let logits = |p: &[f64]| {
                    net.logits(&Tensor::new(&[1, 1, 2, 3], p.to_vec()))
                        .unwrap()
                        .to_f64()
                };
                let least = |z: &[f64]| {
                    (0..3)
                        .filter(|&j| j != label)
                        .map(|j| z[label] - z[j])
                        .fold(f64::INFINITY, f64::min)
                };
                assert!((least(&logits(&point)) - margin).abs() < 1e-12, "{norm:?}");
                if distance > 0.0 {
                    let (edge, at_edge) =
                        linear_worst_case(&weights, &bias, &x, label, norm, distance);
                    assert!(
                        at_edge.abs() < 1e-12 && least(&logits(&edge)).abs() < 1e-12,
                        "{norm:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_sphere_is_the_boundary_of_its_quadratic() {
        let net = quadratic(&[1.0, 0.0, 0.0, 1.0], -4.0, [1, 1, 2]);
        let at = |x: [f64; 2]| {
            net.logits(&Tensor::new(&[1, 1, 1, 2], x.to_vec()))
                .unwrap()
                .to_f64()
        };
        assert_eq!(at([2.0, 0.0]), [0.0, 0.0]);
        assert_eq!(at([3.0, 1.0]), [6.0, 0.0]);
        assert!((sphere_distance(&[3.0, 4.0], 2.0) - 3.0).abs() < 1e-15);
    }
}
