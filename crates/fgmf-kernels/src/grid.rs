//! The zero-padded copy of an image that convolutions read: for stride `s` it is split into `s * s`
//! phases (every `s`-th row and column), so that the numbers one kernel tap meets are contiguous
//! and another tap is only another offset.

use crate::real::Real;

/// One axis of a [`Grid`].
#[derive(Debug, Clone)]
pub(crate) struct GridAxis {
    /// Real cells.
    pub(crate) len: usize,
    /// Position of real cell 0 in the padded line; negative if the first cells are cut off.
    pub(crate) before: isize,
    pub(crate) stride: usize,
    /// Cells of a phase that are stored.
    pub(crate) extent: usize,
    /// Remainders by `stride` that are stored.
    pub(crate) phases: Vec<usize>,
}

impl GridAxis {
    /// Of phase `p`: the stored cells `from..to` that are real, and which real cell `from` is.
    fn real(&self, p: usize) -> (usize, usize, usize) {
        // `check` bounds every size by a quarter of isize::MAX.
        let (stride, phase) = (self.stride as isize, self.phases[p] as isize);
        let ceil = |v: isize| (-(-v).div_euclid(stride)).clamp(0, self.extent as isize);
        let from = ceil(self.before - phase);
        let to = ceil(self.len as isize + self.before - phase).max(from);
        let cell = from * stride + phase - self.before;
        (from as usize, to as usize, cell.max(0) as usize)
    }
}

/// Layout `[channel, row phase, column phase, row, column]`.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    pub(crate) rows: GridAxis,
    pub(crate) cols: GridAxis,
}

impl Grid {
    /// Numbers of one channel.
    pub(crate) fn plane(&self) -> usize {
        self.rows.phases.len() * self.cols.phases.len() * self.rows.extent * self.cols.extent
    }

    /// Where in a channel a phase cell is.
    pub(crate) fn at(&self, phase: [usize; 2], row: usize, col: usize) -> usize {
        ((phase[0] * self.cols.phases.len() + phase[1]) * self.rows.extent + row) * self.cols.extent
            + col
    }

    /// Runs of stored real cells of a channel.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for i in 0..self.rows.phases.len() {
            let (top, bottom, first_row) = self.rows.real(i);
            for j in 0..self.cols.phases.len() {
                let (left, right, first_col) = self.cols.real(j);
                for (r, row) in (top..bottom).enumerate().filter(|_| left < right) {
                    let cell = (first_row + r * self.rows.stride) * self.cols.len + first_col;
                    runs.push(Run {
                        cell,
                        at: self.at([i, j], row, left),
                        count: right - left,
                    });
                }
            }
        }
        runs
    }

    /// Copies the planes of `x` in. The padding must be zero already and is left alone.
    pub(crate) fn fill<T: Real>(&self, x: &[T], grid: &mut [T]) {
        let (planes, runs) = (x.chunks_exact(self.rows.len * self.cols.len), self.runs());
        for (x, grid) in planes.zip(grid.chunks_exact_mut(self.plane())) {
            for run in &runs {
                copy_strided(
                    &x[run.cell..],
                    self.cols.stride,
                    &mut grid[run.at..run.at + run.count],
                );
            }
        }
    }
}

/// Cells of an image that lie side by side in a [`Grid`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// First cell of the image; the next is a column stride away.
    pub(crate) cell: usize,
    /// First number in a channel of the grid.
    pub(crate) at: usize,
    pub(crate) count: usize,
}

#[inline(always)]
pub(crate) fn copy_strided<T: Copy>(from: &[T], stride: usize, to: &mut [T]) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            for (to, from) in to.iter_mut().zip(from.chunks(2)) {
                *to = from[0];
            }
        }
        _ => {
            for (to, &from) in to.iter_mut().zip(from.iter().step_by(stride)) {
                *to = from;
            }
        }
    }
}
