//! How far the probabilities that a model names are from the shares that are right.
//!
//! Expected calibration error (Naeini et al. 2015; Guo et al. 2017): images are put into equal bins
//! by the probability p̂ of the class named. ECE = Σ_b (n_b / n) |right_b / n_b − mean p̂_b|,
//! from 0 to 1. Bin b of B holds (b / B, (b + 1) / B]; 0 belongs to the first.
//!
//! With few images a bin the error is biased upwards. The interval resamples the images, so it
//! shows their spread and not that bias.

use crate::error::{Error, Result};
use crate::record::CalibrationBin;
use crate::rng::{Purpose, Stream};

/// The bins of `confidence` in `[0, 1]`, and whether each image was right.
///
/// # Errors
/// [`Error::Mismatch`] when the lists differ in length or are empty, when `bins` is 0, or when a
/// confidence is outside `[0, 1]`.
pub fn calibration(confidence: &[f64], right: &[bool], bins: usize) -> Result<Vec<CalibrationBin>> {
    let wrong = |expected: &str, found: String| Error::mismatch("calibration", expected, found);
    if confidence.len() != right.len() || confidence.is_empty() || bins == 0 {
        let found = format!("{} and {}, {bins} bins", confidence.len(), right.len());
        return Err(wrong(
            "a confidence and an answer an image, and bins",
            found,
        ));
    }
    if let Some(c) = confidence.iter().find(|c| !(0.0..=1.0).contains(*c)) {
        return Err(wrong("probabilities from 0 to 1", c.to_string()));
    }
    let width = 1.0 / bins as f64;
    let empty = |b: usize| CalibrationBin {
        above: b as f64 * width,
        up_to: (b + 1) as f64 * width,
        n: 0,
        right: 0,
        confidence: 0.0,
    };
    let mut out: Vec<CalibrationBin> = (0..bins).map(empty).collect();
    for (&c, &right) in confidence.iter().zip(right) {
        let bin = &mut out[bin_of(c, bins)];
        bin.n += 1;
        bin.right += usize::from(right);
        bin.confidence += c;
    }
    for bin in out.iter_mut().filter(|b| b.n > 0) {
        bin.confidence /= bin.n as f64;
    }
    Ok(out)
}

fn bin_of(confidence: f64, bins: usize) -> usize {
    ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1
}

/// Σ_b (n_b / n) |right_b / n_b − mean p̂_b|; 0 where there is no image.
pub fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let n: usize = bins.iter().map(|b| b.n).sum();
    let gap = |b: &CalibrationBin| (b.right as f64 - b.n as f64 * b.confidence).abs();
    bins.iter().map(gap).sum::<f64>() / n.max(1) as f64
}

/// The 2.5th and 97.5th percentile of [`calibration_error`] over `rounds` resamples of the images
/// with replacement.
///
/// # Errors
/// Those of [`calibration`], and [`Error::Mismatch`] for no round.
pub fn calibration_interval(
    confidence: &[f64],
    right: &[bool],
    bins: usize,
    rounds: usize,
    seed: u64,
) -> Result<[f64; 2]> {
    calibration(confidence, right, bins)?;
    if rounds == 0 {
        return Err(Error::mismatch("calibration", "1 round or more", rounds));
    }
    let n = confidence.len();
    let mut found = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let mut draws = Stream::new(seed, Purpose::Evaluation, round as u64, 0);
        // Right answers less confidence: what a bin adds to the error is the size of its sum.
        let mut sums = vec![0.0; bins];
        for _ in 0..n {
            let i = draws.below(n as u64) as usize;
            sums[bin_of(confidence[i], bins)] += f64::from(u8::from(right[i])) - confidence[i];
        }
        found.push(sums.iter().map(|s| s.abs()).sum::<f64>() / n as f64);
    }
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[((rounds - 1) as f64 * share).round() as usize];
    Ok([at(0.025), at(0.975)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bins: 0.4 and 0.2 with one right of two, 0.9 with none right of one.
    #[test]
    fn matches_a_hand_value() {
        let bins = calibration(&[0.4, 0.2, 0.9], &[true, false, false], 2).unwrap();
        assert_eq!(
            [bins[0].n, bins[0].right, bins[1].n, bins[1].right],
            [2, 1, 1, 0]
        );
        let expected = 2.0 / 3.0 * (0.5f64 - 0.3).abs() + 1.0 / 3.0 * 0.9;
        assert!((calibration_error(&bins) - expected).abs() < 1e-12);
    }

    #[test]
    fn a_bin_holds_its_upper_end() {
        assert_eq!(
            [0.0, 0.1, 0.5, 0.500_001, 1.0].map(|c| bin_of(c, 2)),
            [0, 0, 0, 1, 1]
        );
    }

    /// A model that says what it knows has an error near 0, and one that is always sure and right
    /// half of the time one of a half.
    #[test]
    fn the_interval_holds_the_truth_of_a_sure_model() {
        let (sure, right): (Vec<f64>, Vec<bool>) = (0..400).map(|i| (1.0, i % 2 == 0)).unzip();
        let [low, high] = calibration_interval(&sure, &right, 15, 500, 1).unwrap();
        assert!(
            low < 0.5 && 0.5 < high && low > 0.43 && high < 0.57,
            "{low} {high}"
        );
        let again = calibration_interval(&sure, &right, 15, 500, 1).unwrap();
        assert_eq!([low, high].map(f64::to_bits), again.map(f64::to_bits));
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(calibration(&[1.5], &[true], 2).is_err());
        assert!(calibration(&[f64::NAN], &[true], 2).is_err());
        assert!(calibration(&[], &[], 2).is_err());
        assert!(calibration(&[0.5], &[true], 0).is_err());
    }
}
