//! What every figure asks of its values.

use crate::error::{Error, Result};

/// The values as `f64`, or an error unless there is at least one and all are finite.
pub(crate) fn checked<T: Copy + Into<f64>>(
    operation: &'static str,
    values: &[T],
) -> Result<Vec<f64>> {
    let values: Vec<f64> = values.iter().map(|&v| v.into()).collect();
    match values.iter().find(|v| !v.is_finite()) {
        Some(v) => Err(Error::mismatch(operation, "finite values", v)),
        None if values.is_empty() => Err(Error::mismatch(operation, "at least one value", 0)),
        None => Ok(values),
    }
}

/// [`checked`] of both, or an error if their lengths differ.
pub(crate) fn checked_pair<T: Copy + Into<f64>>(
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
