//! Bounds that every reader keeps to.

/// Longest side of an image, in pixels.
pub(crate) const MAX_SIDE: usize = 16_384;

/// Most bytes of pixels that one split holds in memory (4 GiB).
pub(crate) const MAX_BYTES: u64 = 1 << 32;

/// Bytes of pixels up to which the pictures of a folder are held in memory (256 MiB).
pub(crate) const HELD: u64 = 256 << 20;

/// Bytes of pixels decoded before they are used.
pub(crate) const DECODED: usize = 16 << 20;
