//! How alike two maps are.

use crate::error::{Error, Result};
use crate::measure::checked::checked_pair;

/// Spearman's rank correlation of two maps.
///
/// ρ = Pearson correlation of the ranks; equal values share the mean of their ranks. Where one map
/// is constant no order exists and ρ is 0 by definition here.
///
/// Range `[-1, 1]`, higher is more alike. Cost n log n. Source: Spearman 1904.
pub fn spearman<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<f64> {
    let (a, b) = checked_pair("spearman", a, b)?;
    Ok(correlation(&ranks(&a), &ranks(&b)))
}

/// Pearson's correlation of two maps, or of two samples.
///
/// Cosine of the two after each lost its mean; 0 by definition here if either is constant.
///
/// Range `[-1, 1]`, higher is more alike.
pub fn pearson<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<f64> {
    let (a, b) = checked_pair("pearson", a, b)?;
    Ok(correlation(&a, &b))
}

/// Overlap of the largest values of two maps.
///
/// |top-k(a) ∩ top-k(b)| / k, with k = `fraction` · n, rounded, at least 1. Of equal values the one
/// at the smaller position goes first.
///
/// `fraction` in (0, 1]. Range `[0, 1]`, higher is more alike; two random maps overlap by
/// `fraction` on average. Strict about positions: a map shifted by one pixel scores low (Kamath et
/// al. 2024). Source: Ghorbani et al. 2019.
pub fn top_k_overlap<T: Copy + Into<f64>>(a: &[T], b: &[T], fraction: f64) -> Result<f64> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        return Err(Error::parameter(
            "fraction",
            "above 0 and at most 1",
            fraction,
        ));
    }
    let (a, b) = checked_pair("top-k overlap", a, b)?;
    let k = ((fraction * a.len() as f64).round() as usize).clamp(1, a.len());
    let (top_a, top_b) = (top(&a, k), top(&b, k));
    let shared = top_a.iter().zip(&top_b).filter(|(a, b)| **a && **b).count();
    Ok(shared as f64 / k as f64)
}

/// Cosine of the angle between two maps.
///
/// a · b / (‖a‖ ‖b‖); 0 by definition here if either map is all zero.
///
/// Range `[-1, 1]`, `[0, 1]` for maps without negative values; higher is more alike.
pub fn cosine<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<f64> {
    let (a, b) = checked_pair("cosine", a, b)?;
    Ok(angle(&a, &b))
}

fn angle(a: &[f64], b: &[f64]) -> f64 {
    // Scaled first, so that squares neither overflow nor vanish.
    let largest = |v: &[f64]| v.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let (sa, sb) = (largest(a), largest(b));
    if sa <= 0.0 || sb <= 0.0 {
        return 0.0;
    }
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b).map(|(x, y)| (x / sa, y / sb)) {
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    (dot / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let centred = |v: &[f64]| {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        v.iter().map(|x| x - mean).collect::<Vec<_>>()
    };
    angle(&centred(a), &centred(b))
}

/// Positions in decreasing order of value, smaller positions first among equals.
fn descending(v: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..v.len()).collect();
    // `+ 0.0` makes -0 equal to 0 under the total order.
    order.sort_by(|&i, &j| (v[j] + 0.0).total_cmp(&(v[i] + 0.0)));
    order
}

pub(crate) fn top(v: &[f64], k: usize) -> Vec<bool> {
    let mut chosen = vec![false; v.len()];
    descending(v)
        .into_iter()
        .take(k)
        .for_each(|i| chosen[i] = true);
    chosen
}

/// Ranks from 0, twice over so that shared ranks stay whole; the direction does not matter to a
/// correlation of two.
fn ranks(v: &[f64]) -> Vec<f64> {
    let order = descending(v);
    let mut ranks = vec![0.0; v.len()];
    let mut start = 0;
    for tied in order.chunk_by(|&i, &j| v[i] <= v[j]) {
        let shared = (2 * start + tied.len() - 1) as f64;
        tied.iter().for_each(|&i| ranks[i] = shared);
        start += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} against {b}");
    }

    #[test]
    fn spearman_matches_hand_values_with_and_without_ties() {
        close(
            spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 25.0, 90.0]).unwrap(),
            1.0,
        );
        close(
            spearman(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0]).unwrap(),
            -1.0,
        );
        // Ranks (1, 2.5, 2.5, 4) and (1, 3, 2, 4): covariance 4.5, variances 4.5 and 5.
        close(
            spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 3.0, 2.0, 4.0]).unwrap(),
            4.5 / (4.5f64 * 5.0).sqrt(),
        );
        // 1 - 6 Σd² / (n (n² - 1)) with d = (1, -1, 1, -1, 0).
        close(
            spearman(&[1f32, 2.0, 3.0, 4.0, 5.0], &[2f32, 1.0, 4.0, 3.0, 5.0]).unwrap(),
            1.0 - 24.0 / 120.0,
        );
        close(spearman(&[7.0, 7.0, 7.0], &[1.0, 2.0, 3.0]).unwrap(), 0.0);
        close(spearman(&[0.0, -0.0, 1.0], &[5.0, 5.0, 6.0]).unwrap(), 1.0);
    }

    #[test]
    fn top_k_breaks_ties_by_position_and_checks_its_fraction() {
        let (a, b) = ([5.0, 1.0, 5.0, 0.0, 5.0], [0.0, 5.0, 5.0, 5.0, 0.0]);
        // Top two: {0, 2} and {1, 2}.
        close(top_k_overlap(&a, &b, 0.4).unwrap(), 0.5);
        close(top_k_overlap(&a, &a, 0.01).unwrap(), 1.0);
        for bad in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(top_k_overlap(&a, &b, bad).is_err());
        }
    }

    #[test]
    fn cosine_matches_hand_values_at_any_scale() {
        close(cosine(&[3.0, 4.0], &[4.0, 3.0]).unwrap(), 24.0 / 25.0);
        close(
            cosine(&[3e-300, 4e-300], &[4e300, 3e300]).unwrap(),
            24.0 / 25.0,
        );
        close(cosine(&[0.0, 0.0], &[1.0, 2.0]).unwrap(), 0.0);
    }

    #[test]
    fn pairs_that_do_not_fit_are_errors() {
        for (a, b) in [
            (vec![], vec![]),
            (vec![1.0], vec![1.0, 2.0]),
            (vec![f64::NAN], vec![1.0]),
            (vec![1.0], vec![f64::INFINITY]),
        ] {
            assert!(
                spearman(&a, &b).is_err()
                    && cosine(&a, &b).is_err()
                    && top_k_overlap(&a, &b, 0.5).is_err()
            );
        }
    }
}
