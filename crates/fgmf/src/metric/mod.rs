//! Measures of maps and samples: pure functions of slices of `f32` or `f64`, computed in `f64`.
//!
//! A pair of maps must have the same number of values, at least one, all finite; anything else is
//! an error.

mod complexity;
mod localisation;
mod paired;
mod probability;
mod similarity;
mod structure;
mod summary;
mod weighting;

pub use crate::record::{PairedTest, mean_interval};
pub use complexity::{entropy, histogram_entropy, moran};
pub use localisation::{hit, mass, rank};
pub use paired::{holm, paired_t, wilcoxon};
pub use probability::{binomial_bounds, normal_cdf, normal_quantile};
pub use similarity::{cosine, pearson, spearman, top_k_overlap};
pub use structure::{ssim, tolerant_top_k_overlap};
pub use summary::gini;
pub use weighting::entropy_weights;

use crate::error::{Error, Result};

/// The values as `f64`, or an error unless there is at least one and all are finite.
fn checked<T: Copy + Into<f64>>(operation: &'static str, values: &[T]) -> Result<Vec<f64>> {
    let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
    match values.iter().find(|v| !v.is_finite()) {
        Some(v) => Err(Error::mismatch(operation, "finite values", v)),
        None if values.is_empty() => Err(Error::mismatch(operation, "at least one value", 0)),
        None => Ok(values),
    }
}

/// [`checked`] of both, or an error if their lengths differ.
fn checked_pair<T: Copy + Into<f64>>(
    operation: &'static str,
    a: &[T],
    b: &[T],
) -> Result<(Vec<f64>, Vec<f64>)> {
    if a.len() != b.len() {
        return Err(Error::mismatch(
            operation,
            format!("{} values in both maps", a.len()),
            b.len(),
        ));
    }
    Ok((checked(operation, a)?, checked(operation, b)?))
}
