//! One score from several criteria.

use crate::error::{Error, Result};

/// Entropy weights of criteria: those in which the methods differ most weigh most.
///
/// `scores` holds a row a method, 0 or more each, a column a criterion. With pᵢⱼ = sᵢⱼ / Σᵢ sᵢⱼ
/// over m methods, eⱼ = −Σᵢ pᵢⱼ ln pᵢⱼ / ln m and wⱼ = (1 − eⱼ) / Σ (1 − eⱼ); the same weight for
/// all where no criterion tells the methods apart, or there is one method. A column of zeros tells
/// nothing apart: its e is 1.
///
/// Weights sum to 1. They reward a criterion for *varying*, whether or not it is the one that
/// matters: read the criteria first. Source: Shannon's entropy as in multi-criteria decision making
/// (Zeleny 1982); Islam et al. 2024 name it for explanations.
pub fn entropy_weights(scores: &[Vec<f64>]) -> Result<Vec<f64>> {
    let criteria = scores.first().map_or(0, Vec::len);
    if criteria == 0 || scores.iter().any(|s| s.len() != criteria) {
        return Err(Error::mismatch(
            "entropy weights",
            "at least one method, each with the same criteria",
            format!("{} methods", scores.len()),
        ));
    }
    if let Some(v) = scores
        .iter()
        .flatten()
        .find(|v| !(v.is_finite() && **v >= 0.0))
    {
        return Err(Error::mismatch(
            "entropy weights",
            "finite scores, 0 or more",
            v,
        ));
    }
    let spread = |j: usize| {
        let total: f64 = scores.iter().map(|s| s[j]).sum();
        if total <= 0.0 || scores.len() < 2 {
            return 0.0;
        }
        let shares = scores.iter().map(|s| s[j] / total);
        let entropy: f64 = shares
            .map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 })
            .sum();
        // Rounding can leave equal scores a hair apart.
        let away = 1.0 - entropy / (scores.len() as f64).ln();
        if away < 1e-12 { 0.0 } else { away }
    };
    let spreads: Vec<f64> = (0..criteria).map(spread).collect();
    let total: f64 = spreads.iter().sum();
    Ok(spreads
        .iter()
        .map(|s| {
            if total > 0.0 {
                s / total
            } else {
                1.0 / criteria as f64
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two methods: (1, 3) has entropy ln 4 − ¾ ln 3, (2, 2) has ln 2, (0, 5) has 0.
    #[test]
    fn weights_by_hand() {
        let w = entropy_weights(&[vec![1.0, 2.0, 0.0], vec![3.0, 2.0, 5.0]]).unwrap();
        let away = 1.0 - (4f64.ln() - 0.75 * 3f64.ln()) / 2f64.ln();
        let expected = [away / (away + 1.0), 0.0, 1.0 / (away + 1.0)];
        assert!(
            w.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{w:?} against {expected:?}"
        );
        let even = entropy_weights(&[vec![2.0, 0.0], vec![2.0, 0.0]]).unwrap();
        assert!(even.iter().all(|v| (v - 0.5).abs() < 1e-12));
        assert!(
            entropy_weights(&[]).is_err()
                && entropy_weights(&[vec![-1.0]]).is_err()
                && entropy_weights(&[vec![1.0], vec![]]).is_err()
        );
    }
}
