//! How alike two maps are.

use crate::error::Result;
use crate::measure::similarity::{spearman, top_k_overlap};
use crate::measure::structure::{ssim, tolerant_top_k_overlap};

/// The four figures of two maps.
pub(crate) fn likeness(
    a: &[f64],
    b: &[f64],
    size: [usize; 2],
    top: f64,
    radius: usize,
) -> Result<[f64; 4]> {
    Ok([
        top_k_overlap(a, b, top)?,
        spearman(a, b)?,
        ssim(a, b, size)?,
        tolerant_top_k_overlap(a, b, size, top, radius)?,
    ])
}
