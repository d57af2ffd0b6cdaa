//! Tests of two samples that were taken on the same examples.

use crate::error::{Error, Result};
use crate::measure::probability::{incomplete_beta, normal_cdf};
use crate::record::PairedTest;

const NOTHING: PairedTest = PairedTest {
    statistic: 0.0,
    p: 1.0,
    n: 0,
};

fn checked_differences(operation: &'static str, differences: &[f64]) -> Result<()> {
    match differences.iter().find(|d| !d.is_finite()) {
        Some(d) => Err(Error::mismatch(operation, "finite differences", d)),
        None => Ok(()),
    }
}

/// Paired t-test: t = m √n / s of the differences, two-sided, n − 1 degrees of freedom.
///
/// Assumes that the mean of the differences is about normal: fine for n of 30 or more unless a few
/// examples hold all of it. Without spread p is 1 if the mean is 0, else 0; below two differences p
/// is 1. Source: Student 1908.
pub fn paired_t(differences: &[f64]) -> Result<PairedTest> {
    checked_differences("paired t-test", differences)?;
    let count = differences.len();
    if count < 2 {
        return Ok(PairedTest {
            n: count,
            ..NOTHING
        });
    }
    let n = count as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let error =
        (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt();
    if error <= 0.0 {
        let p = if mean.abs() > 0.0 { 0.0 } else { 1.0 };
        return Ok(PairedTest {
            statistic: if p > 0.0 {
                0.0
            } else {
                f64::MAX.copysign(mean)
            },
            p,
            n: count,
        });
    }
    let t = mean / error;
    Ok(PairedTest {
        statistic: t,
        p: incomplete_beta(0.5 * (n - 1.0), 0.5, (n - 1.0) / (n - 1.0 + t * t)),
        n: count,
    })
}

/// Wilcoxon's signed-rank test of the differences, two-sided.
///
/// Differences of 0 are left out, equal sizes share the mean of their ranks; the statistic is the
/// smaller of the two sums of ranks. Exact for 50 differences or fewer without equal sizes and
/// zeros, else the normal approximation with the correction for ties and without one for
/// continuity. Needs no normal distribution; the differences should be symmetric about their
/// median. Source: Wilcoxon 1945; as SciPy computes it.
pub fn wilcoxon(differences: &[f64]) -> Result<PairedTest> {
    checked_differences("signed-rank test", differences)?;
    let mut sizes: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|d| d.abs() > 0.0)
        .collect();
    sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let count = sizes.len();
    if count == 0 {
        return Ok(NOTHING);
    }
    let (mut plus, mut ties, mut before) = (0.0, 0.0, 0.0);
    for equal in sizes.chunk_by(|a, b| a.abs() >= b.abs()) {
        let t = equal.len() as f64;
        let rank = before + 0.5 * (t + 1.0);
        plus += rank * equal.iter().filter(|d| **d > 0.0).count() as f64;
        ties += t * t * t - t;
        before += t;
    }
    let n = count as f64;
    let total = n * (n + 1.0) / 2.0;
    let smaller = plus.min(total - plus);
    let exact = count <= 50 && ties <= 0.0 && count == differences.len();
    let p = if exact {
        exact_tail(count, smaller as usize)
    } else {
        let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0).sqrt();
        2.0 * normal_cdf((smaller - 0.5 * total) / deviation)
    };
    Ok(PairedTest {
        statistic: smaller,
        p: p.min(1.0),
        n: count,
    })
}

/// Twice the probability that the ranks 1 … n with random signs have a positive sum of at most
/// `limit`.
fn exact_tail(n: usize, limit: usize) -> f64 {
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    2.0 * ways[..=limit].iter().sum::<f64>() / 2f64.powi(n as i32)
}

/// Holm's correction for several tests at once, in the order given: p₍ᵢ₎ times the number of tests
/// not yet rejected, made increasing, at most 1. Source: Holm 1979.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut out = vec![0.0; p.len()];
    let mut least = 0.0f64;
    for (done, i) in order.into_iter().enumerate() {
        least = least.max(p[i] * (p.len() - done) as f64).min(1.0);
        out[i] = least;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-10 * b.abs().max(1e-3), "{a} against {b}");
    }

    /// t with one and with two degrees of freedom has a closed form: 1 − (2/π) atan |t| and 1 − |t|
    /// / √(t² + 2).
    #[test]
    fn t_matches_its_closed_forms() {
        let two = paired_t(&[1.0, 3.0]).unwrap();
        near(two.statistic, 2.0);
        near(two.p, 1.0 - 2.0 / std::f64::consts::PI * 2f64.atan());
        let three = paired_t(&[1.0, 2.0, 6.0]).unwrap();
        near(three.statistic, 3.0 / (7f64 / 3.0).sqrt());
        near(
            three.p,
            1.0 - three.statistic / (three.statistic.powi(2) + 2.0).sqrt(),
        );
        assert!(
            paired_t(&[0.0; 5]).unwrap().p > 0.999
                && paired_t(&[2.0; 5]).unwrap().p < 1e-12
                && paired_t(&[1.0]).unwrap().p > 0.999
        );
        assert!(paired_t(&[f64::NAN]).is_err());
    }

    /// Three differences of one sign: both tails hold 1 of 8 sign patterns each. Ties: by hand.
    #[test]
    fn signed_ranks_match_hand_counts() {
        let all = wilcoxon(&[1.0, 2.0, 3.0]).unwrap();
        near(all.p, 0.25);
        // Ranks 2, 1, 3 with signs +, −, +: smaller sum 1; sums 0 and 1 have one pattern each.
        let mixed = wilcoxon(&[2.0, -1.0, 3.0]).unwrap();
        near(mixed.statistic, 1.0);
        near(mixed.p, 0.5);
        // |d| = 1, 1, 2 without the zero: ranks 1.5, 1.5, 3; variance 3 · 4 · 7 / 24 − 6 / 48.
        let tied = wilcoxon(&[1.0, -1.0, 2.0, 0.0]).unwrap();
        near(tied.statistic, 1.5);
        near(
            tied.p,
            libm::erfc((3.0 - 1.5) / (3.5f64 - 0.125).sqrt() / 2f64.sqrt()),
        );
        assert!(wilcoxon(&[0.0; 4]).unwrap().p > 0.999 && wilcoxon(&[f64::INFINITY]).is_err());
    }

    /// The approximation meets the exact distribution near the largest n that is counted.
    #[test]
    fn approximation_and_exact_tail_agree() {
        let d: Vec<f64> = (1..=50)
            .map(|i| {
                if i % 3 == 0 {
                    -f64::from(i)
                } else {
                    f64::from(i)
                }
            })
            .collect();
        let exact = wilcoxon(&d).unwrap();
        let approximate = wilcoxon(&[&d[..], &[0.0]].concat()).unwrap();
        assert!(
            (exact.p - approximate.p).abs() < 0.002,
            "{exact:?} {approximate:?}"
        );
    }

    #[test]
    fn holm_by_hand() {
        let p = holm(&[0.01, 0.04, 0.03, 0.5]);
        p.iter()
            .zip([0.04, 0.09, 0.09, 0.5])
            .for_each(|(a, b)| near(*a, b));
        assert!(holm(&[]).is_empty());
    }
}
