//! Intervals by drawing the examples again.

use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream};

/// Samples that an interval rests on.
const DRAWS: u64 = 2000;

/// Ratio of the sums of two samples of the same examples, with its 95% interval.
///
/// r = Σ a / Σ b. The interval runs from the 2.5th to the 97.5th percentile of r over 2,000 samples
/// of as many examples, drawn with replacement; a and b of an example stay together. The draws are
/// named by the seed.
///
/// `None` without examples, or where Σ b is 0 or less, in the sample or in one drawn from it. An
/// error for samples of different lengths, or for a value that is not finite. Source: Efron &
/// Tibshirani 1993.
pub fn paired_ratio(a: &[f64], b: &[f64], seed: u64) -> Result<Option<(f64, [f64; 2])>> {
    if a.len() != b.len() {
        return Err(Error::mismatch("paired ratio", a.len(), b.len()));
    }
    let bad = |v: &&f64| !v.is_finite();
    if let Some(v) = a.iter().chain(b).find(bad) {
        return Err(Error::mismatch("paired ratio", "finite values", v));
    }
    let ratio = |rows: &mut dyn Iterator<Item = usize>| {
        let (up, down) = rows.fold((0.0, 0.0), |(up, down), i| (up + a[i], down + b[i]));
        (down > 0.0).then_some(up / down)
    };
    let Some(found) = ratio(&mut (0..a.len())) else {
        return Ok(None);
    };
    let one = |draw: u64| {
        let mut rng = Stream::new(seed, Purpose::Evaluation, draw, 0);
        let n = a.len() as u64;
        ratio(&mut (0..n).map(|_| rng.below(n) as usize))
    };
    let Some(mut drawn) = (0..DRAWS).map(one).collect::<Option<Vec<f64>>>() else {
        return Ok(None);
    };
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[(share * (DRAWS - 1) as f64).round() as usize];
    Ok(Some((found, [at(0.025), at(0.975)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proportional samples have their factor and no spread; the interval of others is that of the
    /// normal approximation by the delta method, within a tenth.
    #[test]
    fn intervals_of_known_ratios() {
        let b: Vec<f64> = (1..=200).map(|i| f64::from(i * 37 % 101 + 20)).collect();
        let a: Vec<f64> = b.iter().map(|v| 0.5 * v).collect();
        let (r, [lo, hi]) = paired_ratio(&a, &b, 1).unwrap().unwrap();
        assert!([r, lo, hi].iter().all(|v| (v - 0.5).abs() < 1e-12));
        let a: Vec<f64> = (1..=200).map(|i| f64::from(i * 53 % 97 + 30)).collect();
        let (r, [lo, hi]) = paired_ratio(&a, &b, 1).unwrap().unwrap();
        let (n, mean) = (200.0, b.iter().sum::<f64>() / 200.0);
        let rest = a.iter().zip(&b).map(|(a, b)| (a - r * b).powi(2));
        let deviation = (rest.sum::<f64>() / n).sqrt() / mean / n.sqrt();
        let width = 2.0 * 1.96 * deviation;
        assert!(
            (hi - lo - width).abs() < 0.1 * width,
            "{lo} {hi} for {width}"
        );
        assert!(lo < r && r < hi);
    }

    #[test]
    fn samples_without_a_ratio() {
        assert_eq!(paired_ratio(&[], &[], 0).unwrap(), None);
        assert_eq!(paired_ratio(&[1.0], &[0.0], 0).unwrap(), None);
        assert!(paired_ratio(&[1.0], &[], 0).is_err());
        assert!(paired_ratio(&[f64::NAN], &[1.0], 0).is_err());
        assert_eq!(paired_ratio(&[1.0, 1.0], &[-9.0, 10.0], 0).unwrap(), None);
    }
}
