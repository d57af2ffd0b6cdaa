//! Least change, in a norm, that takes a point of a box onto a hyperplane: the inner problem of
//! FAB, in closed form.
//!
//! minimise ‖d‖ subject to w · (x + d) = w · x − c and lo ≤ x + d ≤ hi. Every coordinate moves
//! along −sign(c w), at most by its room u up to the bound. With moves m = |d|, Σ |w| m = |c| is
//!
//! - Linf: m = min(λ, u), L2: m = min(λ |w|, u), for the one λ that solves it: the sum is concave
//!   and piecewise linear in λ, so Newton's steps from 0 rise to it and end with the first that
//!   adds no coordinate to those at their bound;
//! - L1: the coordinates of largest |w| are moved by u, one after the other, the last by what is
//!   left.
//!
//! A plane that the box does not reach gives the corner nearest to it. Cost: a few passes over the
//! coordinates, no sorting.

use crate::threat::{Norm, in_lanes};
use std::collections::BinaryHeap;

/// The change d for point `x`, normal `w` and the plane at w · x − `c`; `bounds` hold `x`.
pub(crate) fn to_plane(norm: Norm, x: &[f32], w: &[f32], c: f64, bounds: [f64; 2]) -> Vec<f32> {
    let [lo, hi] = [bounds[0] as f32, bounds[1] as f32];
    let side = if c >= 0.0 { -1.0f32 } else { 1.0 };
    let room: Vec<f32> = x
        .iter()
        .zip(w)
        .map(|(&x, &w)| if side * w > 0.0 { hi - x } else { x - lo }.max(0.0))
        .collect();
    let moves = match norm {
        Norm::Linf => paced(w, &room, c.abs(), |w| if w == 0.0 { 0.0 } else { 1.0 }),
        Norm::L2 => paced(w, &room, c.abs(), f32::abs),
        Norm::L1 => greedy(w, &room, c.abs()),
    };
    moves
        .into_iter()
        .zip(w)
        .map(|(m, &w)| {
            if m > 0.0 {
                (side * m).copysign(side * w)
            } else {
                0.0
            }
        })
        .collect()
}

/// min(λ pace(w), u) with Σ |w| min(λ pace(w), u) = c.
fn paced(w: &[f32], room: &[f32], c: f64, pace: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut lambda = 0.0f32;
    let mut capped = usize::MAX;
    loop {
        let (mut gains, mut slopes, mut counts) = ([0.0f64; 8], [0.0f64; 8], [0usize; 8]);
        in_lanes(w, room, |l, w, u| {
            let (size, p) = (f64::from(w.abs()), pace(w));
            let at_bound = lambda * p >= u;
            gains[l] += if at_bound { size * f64::from(u) } else { 0.0 };
            slopes[l] += if at_bound { 0.0 } else { size * f64::from(p) };
            counts[l] += usize::from(at_bound);
        });
        let (gained, slope, count): (f64, f64, usize) =
            (gains.iter().sum(), slopes.iter().sum(), counts.iter().sum());
        if count == capped || slope <= 0.0 {
            break;
        }
        capped = count;
        lambda = ((c - gained) / slope) as f32;
    }
    w.iter()
        .zip(room)
        .map(|(&w, &u)| (lambda * pace(w)).min(u))
        .collect()
}

/// The largest |w| first, of equals the first.
fn greedy(w: &[f32], room: &[f32], c: f64) -> Vec<f32> {
    // Positive floats order as their bits do.
    let mut heap: BinaryHeap<(u32, std::cmp::Reverse<usize>)> = w
        .iter()
        .enumerate()
        .map(|(i, w)| (w.abs().to_bits(), std::cmp::Reverse(i)))
        .collect();
    let (mut moves, mut left) = (vec![0.0; w.len()], c);
    while let Some((bits, std::cmp::Reverse(i))) = heap.pop() {
        let size = f64::from(f32::from_bits(bits));
        if size <= 0.0 || left <= 0.0 {
            break;
        }
        moves[i] = room[i].min((left / size) as f32);
        left -= size * f64::from(room[i]);
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];

    fn size(norm: Norm, d: &[f32]) -> f64 {
        norm.of(d.iter().map(|&v| f64::from(v)))
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    }

    proptest! {
        /// On the plane or in the corner nearest to it, in the box, and no longer than other ways
        /// there: from d the plane is kept by trading one coordinate for another, which must never
        /// shorten it (the problem is convex, so this is optimality for L2 and L1; for Linf a
        /// coordinate below the largest move must stand at its bound).
        #[test]
        fn lands_on_the_plane_by_the_shortest_way(
            values in prop::collection::vec((0.0f32..=1.0, -2.0f32..2.0), 2..12),
            share in -1.2f64..1.2,
        ) {
            let (x, w): (Vec<f32>, Vec<f32>) = values.into_iter().unzip();
            let reach = |side: f32| -> f64 {
                let room = |x: f32, w: f32| if side * w > 0.0 { 1.0 - x } else { x };
                let each = x.iter().zip(&w);
                each.map(|(&x, &w)| f64::from(w.abs() * room(x, w))).sum()
            };
            let c = share * reach(if share >= 0.0 { -1.0 } else { 1.0 });
            for norm in NORMS {
                let d = to_plane(norm, &x, &w, c, [0.0, 1.0]);
                let inside = |(x, d): (&f32, &f32)| (-1e-6..=1.0 + 1e-6).contains(&(x + d));
                prop_assert!(x.iter().zip(&d).all(inside));
                let expected = if share.abs() > 1.0 { c / share.abs() } else { c };
                let found = -dot(&w, &d);
                let close = (expected - found).abs() < 1e-5 * (1.0 + c.abs());
                prop_assert!(close, "{norm:?}: {found} for {expected}");
                let length = size(norm, &d);
                for i in 0..d.len() {
                    if norm == Norm::Linf {
                        let at = x[i] + d[i];
                        let stands = at <= 1e-6 || at >= 1.0 - 1e-6 || w[i] == 0.0;
                        prop_assert!(stands || (f64::from(d[i].abs()) - length).abs() < 1e-6);
                        continue;
                    }
                    for j in (0..d.len()).filter(|&j| j != i && w[j].abs() > 1e-3) {
                        for step in [1e-3f32, -1e-3] {
                            let mut other = d.clone();
                            other[i] += step;
                            other[j] -= step * w[i] / w[j];
                            if [i, j].iter().all(|&k| (0.0..=1.0).contains(&(x[k] + other[k]))) {
                                let other = size(norm, &other);
                                prop_assert!(other > length - 1e-6, "{norm:?}: {other}, {length}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// The reference's projections of random points, onto planes that the box reaches and some that
    /// it does not.
    #[test]
    fn matches_the_reference() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/autoattack/exact.json"
        );
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let f = &file["projections"];
        let numbers = |v: &serde_json::Value| {
            v.as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap() as f32)
                .collect::<Vec<f32>>()
        };
        let (x, w, b) = (
            numbers(&f["x"]),
            numbers(&f["normal"]),
            numbers(&f["level"]),
        );
        for norm in NORMS {
            let expected = numbers(&f["to_plane"][norm.name()]);
            for (i, expected) in expected.chunks_exact(30).enumerate() {
                let (x, w) = (&x[i * 30..(i + 1) * 30], &w[i * 30..(i + 1) * 30]);
                let d = to_plane(norm, x, w, dot(x, w) - f64::from(b[i]), [0.0, 1.0]);
                for (ours, theirs) in d.iter().zip(expected) {
                    assert!(
                        (ours - theirs).abs() < 2e-5,
                        "{norm:?}, point {i}: {ours} for {theirs}"
                    );
                }
            }
        }
    }

    /// Without bounds in the way the length is |c| / ‖w‖ in the dual norm.
    #[test]
    fn free_distance_is_the_dual_norm() {
        let (x, w) = ([0.5f32; 4], [0.3f32, -1.0, 0.0, 0.6]);
        for (norm, dual) in [
            (Norm::Linf, 1.9),
            (Norm::L2, (0.09f64 + 1.0 + 0.36).sqrt()),
            (Norm::L1, 1.0),
        ] {
            let d = to_plane(norm, &x, &w, 0.2, [0.0, 1.0]);
            assert!((size(norm, &d) - 0.2 / dual).abs() < 1e-6, "{norm:?}");
        }
    }

    #[test]
    fn flat_planes_move_nothing() {
        for norm in NORMS {
            assert_eq!(
                to_plane(norm, &[0.2, 0.8], &[0.0, 0.0], 1.0, [0.0, 1.0]),
                [0.0, 0.0],
                "{norm:?}"
            );
        }
    }
}
