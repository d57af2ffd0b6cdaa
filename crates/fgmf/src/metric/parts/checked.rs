//! Ranges that several metrics share.

use crate::error::{Error, Result};

/// An error unless 1 to 100,000 samples are drawn.
pub(crate) fn check_samples(samples: usize) -> Result<()> {
    if (1..=100_000).contains(&samples) {
        Ok(())
    } else {
        Err(Error::parameter("samples", "1 to 100000", samples))
    }
}

/// An error unless there are 1 to 100 shares, each above 0 and below 1.
pub(crate) fn check_shares(shares: &[f64]) -> Result<()> {
    if !(1..=100).contains(&shares.len()) || !shares.iter().all(|s| *s > 0.0 && *s < 1.0) {
        return Err(Error::parameter(
            "shares",
            "1 to 100 numbers above 0 and below 1",
            format!("{shares:?}"),
        ));
    }
    Ok(())
}
