//! Where the values of a plan are: which layout, which part of which array, and, of variants of
//! images, which region.

use super::memory::{Buffer, Slot};
use super::view::View;
use crate::graph::ValueId;
use crate::run::engine::Purpose;
use std::ops::Range;

/// Channels of a block of the blocked layout.
pub(super) const LANES: usize = fgmf_kernels::blocked_len(1, 1, 1);

/// Layout in which a value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Row-major, as in the graph.
    Rows,
    /// `[n, c / 16, h, w, 16]`.
    Blocked,
}

/// Which values lie between the wanted gradients and the cotangents.
#[derive(Debug, Default)]
pub(super) struct Needs(pub(super) Vec<bool>);

impl Needs {
    pub(super) fn of(&self, id: ValueId) -> bool {
        self.0[id.0]
    }
}

/// Where every value of a plan is, and what the plan is for.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) purpose: Purpose,
    pub(super) homes: Vec<Home>,
    /// Values that no step makes, by value.
    pub(super) views: Vec<Option<View>>,
    pub(super) needs: Needs,
}

/// Rows and columns of a map.
pub(super) type Region = [Range<usize>; 2];

/// What variants differ from, and where.
pub(super) struct Around<'a> {
    pub(super) base: &'a [Slot],
    /// The image that each variant comes from.
    pub(super) owner: &'a [usize],
    pub(super) patches: Vec<Option<Patch>>,
}

/// A value of all variants inside a region, in the layout of the value.
pub(super) struct Patch {
    pub(super) region: Region,
    pub(super) values: Buffer,
}

pub(super) fn area(region: &Region) -> usize {
    region[0].len() * region[1].len()
}

/// Along one side: outputs of a sliding window that see inputs `changed`, of `outputs` in all.
pub(super) fn reached(
    changed: &Range<usize>,
    [kernel, stride, dilation, pad]: [usize; 4],
    outputs: usize,
) -> Range<usize> {
    let first = (changed.start + pad)
        .saturating_sub((kernel - 1) * dilation)
        .div_ceil(stride);
    let end = ((changed.end + pad - 1) / stride + 1).min(outputs);
    first.min(end)..end
}

/// Along one side: first input, and number of inputs, that outputs `seen` of a sliding window see.
pub(super) fn seen_by(
    outputs: &Range<usize>,
    [kernel, stride, dilation, pad]: [usize; 4],
) -> (isize, usize) {
    (
        (outputs.start * stride) as isize - pad as isize,
        (outputs.len() - 1) * stride + (kernel - 1) * dilation + 1,
    )
}

/// The smallest region that holds both.
pub(super) fn hull(a: &Region, b: &Region) -> Region {
    [0, 1].map(|i| a[i].start.min(b[i].start)..a[i].end.max(b[i].end))
}
