//! Bounds that every reader keeps to.

/// Longest side of an image, in pixels.
pub(crate) const MAX_SIDE: usize = 16_384;

/// Most bytes of pixels in one split (4 GiB).
pub(crate) const MAX_BYTES: u64 = 1 << 32;
