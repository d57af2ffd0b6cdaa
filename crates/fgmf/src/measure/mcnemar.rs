//! The same images answered twice: which answers changed.
//!
//! McNemar (1947): of b images right the first time alone and c the second time alone, b is
//! binomial(b + c, ½) if neither is better. The exact two-sided p is 2 P(X ≥ max(b, c)), 1 at most.
//! The difference of the shares is (c − b) / n; its interval takes the mean of −1, 0 and 1 with the
//! normal approximation.

use crate::error::{Error, Result};
use crate::measure::probability::sign_test;
use crate::record::{PairedCounts, mean_interval};

/// Counts and test of two lists of answers to the same images.
///
/// # Errors
/// [`Error::Mismatch`] when the lists differ in length.
pub fn mcnemar(first: &[bool], second: &[bool]) -> Result<PairedCounts> {
    if first.len() != second.len() {
        let found = format!("{} and {}", first.len(), second.len());
        return Err(Error::mismatch("compare answers", "as many of each", found));
    }
    let pairs = || first.iter().zip(second);
    let only_first = pairs().filter(|(a, b)| **a && !**b).count();
    let only_second = pairs().filter(|(a, b)| !**a && **b).count();
    let change = |(a, b): (&bool, &bool)| f64::from(u8::from(*b)) - f64::from(u8::from(*a));
    let changes: Vec<f64> = pairs().map(change).collect();
    let (difference, interval) = mean_interval(&changes);
    let (more, less) = (only_first.max(only_second), only_first.min(only_second));
    Ok(PairedCounts {
        n: first.len(),
        only_first,
        only_second,
        difference,
        interval,
        p: (2.0 * sign_test(more, less)).min(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 against 5: p = 2 (C(6, 5) + C(6, 6)) / 2⁶ = 14 / 64.
    #[test]
    fn matches_the_binomial_in_closed_form() {
        let first = [true, false, false, false, false, false, true, true];
        let second = [false, true, true, true, true, true, true, true];
        let found = mcnemar(&first, &second).unwrap();
        assert_eq!([found.n, found.only_first, found.only_second], [8, 1, 5]);
        assert!((found.difference - 0.5).abs() < 1e-12);
        assert!((found.p - 14.0 / 64.0).abs() < 1e-12, "{}", found.p);
        assert!(found.interval[0] < 0.5 && found.interval[1] > 0.5);
    }

    #[test]
    fn equal_answers_tell_nothing() {
        let found = mcnemar(&[true, false], &[true, false]).unwrap();
        assert!((found.p - 1.0).abs() < 1e-12 && found.difference.abs() < 1e-12);
        assert!(mcnemar(&[true], &[]).is_err());
    }
}
