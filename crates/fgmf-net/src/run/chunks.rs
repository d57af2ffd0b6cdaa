//! How batches are cut into chunks.
//!
//! An image's results do not depend on its chunk where batch normalisation evaluates; in training a
//! chunk's size depends on the network alone. Results are put together in order, so that one thread
//! gives the same bytes as two.

use crate::error::Result;
use crate::graph::{LARGEST_CHUNK, Network};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// Examples in a training chunk; batch normalisation sees this many at once. No chunk is larger.
pub const TRAINING_CHUNK: usize = LARGEST_CHUNK;

/// Numbers of all values of an image below which a network counts as small: 64 of its images fit
/// into a core's second cache.
const SMALL: usize = 1 << 14;

thread_local! {
    static ONE_OF_MANY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as one of many parts that keep all threads busy: batches in it are cut for the cache
/// alone, not so that every thread gets a share of each.
pub fn as_one_of_many<R>(f: impl FnOnce() -> R) -> R {
    let before = ONE_OF_MANY.replace(true);
    let result = f();
    ONE_OF_MANY.set(before);
    result
}

/// Runs `f` on the ranges of a batch, in parallel, results in order.
pub fn in_chunks<R: Send>(
    n: usize,
    chunk: usize,
    f: impl Fn(Range<usize>) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    let ranges: Vec<Range<usize>> = (0..n)
        .step_by(chunk.max(1))
        .map(|s| s..(s + chunk.max(1)).min(n))
        .collect();
    ranges
        .into_par_iter()
        .map(f)
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

/// Images of a chunk, from the network alone. Convolutions block for the cache themselves, and deep
/// ones want several images for each pass over their weights, the more so if an image's values are
/// few; the rows of a transformer are best kept in the cache.
pub fn usual_chunk(net: &Network) -> usize {
    match 2 * net.convolution_flops() > net.flops() {
        true if net.numbers_per_image() <= SMALL => 32,
        true => 16,
        false => 4,
    }
}

/// Images of a chunk of `n` on a plan that evaluates: [`usual_chunk`] and `most` at most, and the
/// same number of chunks for every thread that has nothing else to do.
pub(crate) fn share(net: &Network, n: usize, most: usize) -> usize {
    let threads = if ONE_OF_MANY.get() {
        1
    } else {
        rayon::current_num_threads()
    };
    let chunks = n
        .div_ceil(usual_chunk(net).min(most))
        .next_multiple_of(threads);
    n.div_ceil(chunks.max(1)).max(1)
}
