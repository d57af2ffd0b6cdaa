//! How many rows slices hold.

/// Rows of `len` numbers in slices of equal lengths.
pub(super) fn rows(len: usize, lengths: &[usize]) -> usize {
    assert!(len > 0, "rows of no numbers");
    let n = lengths[0] / len;
    assert!(
        lengths.iter().all(|&l| l == n * len),
        "slices of {lengths:?} numbers as equally many rows of {len}"
    );
    n
}
