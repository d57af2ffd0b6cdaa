//! Where the values of an array lie: shape, strides and offset into its memory.
//!
//! Everything that moves no value (transposing, cutting out, repeating, regrouping) is arithmetic
//! on a [`Layout`]. It knows neither the numbers nor their precision.

use std::ops::Range;

/// Shape of an array, and how far apart in memory, in elements, neighbours along each axis are.
/// Stride 0 repeats one value along its axis.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
}

impl Layout {
    /// Row-major memory that begins at 0.
    pub(super) fn dense(shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            strides: row_major(shape),
            offset: 0,
        }
    }

    /// Size along each axis.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The part of the memory that holds the values in row-major order, if there is one. An axis of
    /// size 1 is never stepped along, so that its stride does not count.
    pub(super) fn range(&self) -> Option<Range<usize>> {
        let n = self.len();
        if n == 0 {
            return Some(0..0);
        }
        let axes = self.shape.iter().zip(&self.strides);
        let dense = axes
            .zip(row_major(&self.shape))
            .all(|((&n, &stride), expected)| n == 1 || stride == expected);
        dense.then(|| self.offset..self.offset + n)
    }

    /// Axes in another order. Panics if `axes` is not a permutation.
    pub(super) fn permute(&self, axes: &[usize]) -> Self {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        assert!(
            sorted.into_iter().eq(0..self.shape.len()),
            "permute: {axes:?} does not order the axes of {:?}",
            self.shape
        );
        Self {
            shape: axes.iter().map(|&i| self.shape[i]).collect(),
            strides: axes.iter().map(|&i| self.strides[i]).collect(),
            offset: self.offset,
        }
    }

    /// Positions `start..start + len` of one axis. Panics outside it.
    pub(super) fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        assert!(
            start + len <= self.shape[axis],
            "narrow: {start}+{len} outside axis {axis} of {:?}",
            self.shape
        );
        let mut out = self.clone();
        out.shape[axis] = len;
        out.offset += start * self.strides[axis];
        out
    }

    /// Repeats axes of size 1, and adds axes on the left, until the shape is `shape`. Panics if
    /// another axis would have to change.
    pub(super) fn expand(&self, shape: &[usize]) -> Self {
        let lead = shape.len().checked_sub(self.shape.len());
        let strides = lead.and_then(|lead| {
            let own = self.shape.iter().zip(&self.strides).zip(&shape[lead..]);
            let own = own.map(|((&from, &stride), &to)| match from {
                _ if from == to => Some(stride),
                1 => Some(0),
                _ => None,
            });
            std::iter::repeat_n(Some(0), lead).chain(own).collect()
        });
        let Some(strides) = strides else {
            panic!("expand: {:?} to {shape:?}", self.shape);
        };
        Self {
            shape: shape.to_vec(),
            strides,
            offset: self.offset,
        }
    }

    /// The same values in another shape of equal size, where they lie in row-major order already.
    pub(super) fn reshape(&self, shape: &[usize]) -> Option<Self> {
        let range = self.range()?;
        Some(Self {
            offset: range.start,
            ..Self::dense(shape)
        })
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// One axis that `N` arrays are stepped along together: its size, and the stride in each array.
type Axis<const N: usize> = (usize, [usize; N]);

/// The places of `N` arrays of one shape, in row-major order, as few long runs.
pub(super) struct Runs<const N: usize> {
    offsets: [usize; N],
    axes: Vec<Axis<N>>,
    empty: bool,
}

impl<const N: usize> Runs<N> {
    /// Axes of size 1 are left out; neighbouring axes along which every array goes on at an even
    /// pace are one axis. Panics if the shapes differ.
    pub(super) fn new(layouts: [&Layout; N]) -> Self {
        let shape = &layouts[0].shape;
        assert!(
            layouts.iter().all(|l| l.shape == *shape),
            "shapes differ: {layouts:?}"
        );
        let mut axes: Vec<Axis<N>> = Vec::with_capacity(shape.len());
        for (i, &n) in shape.iter().enumerate().filter(|&(_, &n)| n != 1) {
            let strides = layouts.map(|l| l.strides[i]);
            match axes.last_mut() {
                Some((outer, pace)) if *pace == strides.map(|s| s * n) => {
                    *outer *= n;
                    *pace = strides;
                }
                _ => axes.push((n, strides)),
            }
        }
        Self {
            offsets: layouts.map(|l| l.offset),
            axes,
            empty: layouts[0].len() == 0,
        }
    }

    /// Takes the innermost axis away: each run is one pass along it.
    pub(super) fn innermost(&mut self) -> Axis<N> {
        self.axes.pop().unwrap_or((1, [0; N]))
    }

    /// Calls `f` with where each array stands, for every position of the axes that are left. Arrays
    /// without values stand nowhere.
    pub(super) fn for_each(&self, mut f: impl FnMut([usize; N])) {
        if self.empty {
            return;
        }
        visit(&self.axes, self.offsets, &mut f);
    }
}

fn visit<const N: usize>(axes: &[Axis<N>], mut at: [usize; N], f: &mut impl FnMut([usize; N])) {
    let Some((&(n, strides), inner)) = axes.split_first() else {
        return f(at);
    };
    for _ in 0..n {
        visit(inner, at, f);
        for (at, stride) in at.iter_mut().zip(strides) {
            *at += stride;
        }
    }
}
