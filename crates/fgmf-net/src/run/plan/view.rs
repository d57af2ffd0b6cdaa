//! Values that are numbers of another value in another order: transposed, cut out, regrouped, times
//! a factor. No step makes them; who reads one reads the other.

use crate::graph::ValueId;
use crate::graph::op::{Op, resolve_axis};

/// `value[i, j, …] = factor · base[offset + i strides[0] + j strides[1] + …]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) base: ValueId,
    pub(super) offset: usize,
    /// One an axis of the value. No two places of the value are one of the base.
    pub(super) strides: Vec<usize>,
    pub(super) factor: f32,
}

/// Strides of a row-major array.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

impl View {
    /// A value of that shape as it is.
    pub(super) fn whole(base: ValueId, shape: &[usize]) -> Self {
        Self {
            base,
            offset: 0,
            strides: row_major(shape),
            factor: 1.0,
        }
    }

    /// What a node that only moves numbers makes of this view of shape `x`: its output `which`, of
    /// shape `y`.
    pub(super) fn through(&self, op: &Op, which: usize, x: &[usize], y: &[usize]) -> Option<Self> {
        let mut out = self.clone();
        let axis_of = |axis: i64| resolve_axis(axis, x.len()).ok();
        match op {
            Op::Transpose(t) => out.strides = t.perm.iter().map(|&p| self.strides[p]).collect(),
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                out.strides = regrouped(x, &self.strides, y)?
            }
            Op::Gather(g) => {
                let axis = axis_of(g.axis)?;
                let consecutive = g.index.windows(2).all(|w| w[1] == w[0] + 1);
                if !consecutive || g.index_shape.len() > 1 {
                    return None;
                }
                out.offset += g.index.first()? * self.strides[axis];
                if g.index_shape.is_empty() {
                    out.strides.remove(axis);
                }
            }
            Op::Slice(s) => {
                for cut in &s.axes {
                    let step = usize::try_from(cut.step).ok()?;
                    out.offset += cut.start * self.strides[cut.axis];
                    out.strides[cut.axis] *= step;
                }
            }
            Op::Split(s) => {
                let axis = axis_of(s.axis)?;
                out.offset += s.sizes[..which].iter().sum::<usize>() * self.strides[axis];
            }
            _ => return None,
        }
        Some(out)
    }

    /// Whether a value of shape `shape` is the base, of shape `base`, number for number in the same
    /// order.
    #[allow(clippy::float_cmp, reason = "only exactly 1 changes nothing")]
    pub(super) fn is_all_of(&self, base: &[usize], shape: &[usize]) -> bool {
        let same_len = base.iter().product::<usize>() == shape.iter().product::<usize>();
        let ordered = self
            .strides
            .iter()
            .zip(row_major(shape))
            .zip(shape)
            .all(|((&s, r), &d)| d == 1 || s == r);
        self.offset == 0 && self.factor == 1.0 && same_len && ordered
    }

    /// Calls `f` with the place in the base and the place in the value of the first number of each
    /// line along the last axis.
    fn lines(&self, shape: &[usize], mut f: impl FnMut(usize, usize)) {
        let Some((&len, outer)) = shape.split_last() else {
            return f(self.offset, 0);
        };
        let mut at = vec![0; outer.len()];
        let mut from = self.offset;
        for line in 0..outer.iter().product() {
            f(from, line * len);
            for axis in (0..outer.len()).rev() {
                at[axis] += 1;
                from += self.strides[axis];
                if at[axis] < outer[axis] {
                    break;
                }
                from -= outer[axis] * self.strides[axis];
                at[axis] = 0;
            }
        }
    }

    /// Length of a line along the last axis, and the distance between its numbers in the base.
    fn line(&self, shape: &[usize]) -> (usize, usize) {
        (
            shape.last().copied().unwrap_or(1),
            self.strides.last().copied().unwrap_or(1),
        )
    }

    /// Writes the value, of shape `shape`, in rows.
    pub(super) fn gather(&self, shape: &[usize], base: &[f32], out: &mut [f32]) {
        let (len, stride) = self.line(shape);
        let factor = self.factor;
        self.lines(shape, |from, to| {
            let out = &mut out[to..to + len];
            if stride == 1 {
                out.iter_mut()
                    .zip(&base[from..from + len])
                    .for_each(|(o, &v)| *o = factor * v);
            } else {
                out.iter_mut()
                    .zip(base[from..].iter().step_by(stride))
                    .for_each(|(o, &v)| *o = factor * v);
            }
        });
    }

    /// Adds a cotangent of the value, of shape `shape`, to that of the base.
    pub(super) fn scatter_add(&self, shape: &[usize], g: &[f32], base: &mut [f32]) {
        let (len, stride) = self.line(shape);
        let factor = self.factor;
        self.lines(shape, |to, from| {
            let g = &g[from..from + len];
            if stride == 1 {
                base[to..to + len]
                    .iter_mut()
                    .zip(g)
                    .for_each(|(b, &v)| *b += factor * v);
            } else {
                base[to..]
                    .iter_mut()
                    .step_by(stride)
                    .zip(g)
                    .for_each(|(b, &v)| *b += factor * v);
            }
        });
    }
}

/// Strides under which an array of shape `x` with strides is read as shape `y`, if there are any.
fn regrouped(x: &[usize], strides: &[usize], y: &[usize]) -> Option<Vec<usize>> {
    // Axes of size 1 have no say.
    let mut from: Vec<(usize, usize)> = x
        .iter()
        .copied()
        .zip(strides.iter().copied())
        .filter(|&(d, _)| d != 1)
        .collect();
    let mut out = vec![1; y.len()];
    // From the last axis on, both sides in groups of equal size.
    let mut axis = y.len();
    while axis > 0 {
        axis -= 1;
        if y[axis] == 1 {
            continue;
        }
        let (mut size, stride) = from.pop()?;
        // Axes that lie one behind the other are one.
        while size % y[axis] != 0 || size < y[axis] {
            let (more, above) = from.pop()?;
            if above != stride * size {
                return None;
            }
            size *= more;
        }
        out[axis] = stride;
        if size > y[axis] {
            from.push((size / y[axis], stride * y[axis]));
        }
    }
    from.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::{
        Gather, Reshape, Slice, SliceAxis, Split, Squeeze, Transpose, Unsqueeze,
    };
    use crate::tensor::Tensor;

    /// Chains of nodes as views, against the same chains as tensors: values and adjoints.
    #[test]
    fn chains_read_and_add_as_tensors_do() {
        let reshape = |shape: &[i64]| {
            Op::Reshape(Reshape {
                shape: shape.to_vec(),
            })
        };
        let transpose = |perm: &[usize]| {
            Op::Transpose(Transpose {
                perm: perm.to_vec(),
            })
        };
        let gather = |axis, index: &[usize], shape: &[usize]| {
            Op::Gather(Gather {
                axis,
                index: index.to_vec(),
                index_shape: shape.to_vec(),
            })
        };
        let slice = Op::Slice(Slice {
            axes: vec![SliceAxis {
                axis: 1,
                start: 1,
                step: 2,
                count: 2,
            }],
        });
        let split = Op::Split(Split {
            axis: -1,
            sizes: vec![2, 4],
        });
        let chains: Vec<(Vec<(Op, usize)>, bool)> = vec![
            (
                vec![
                    (reshape(&[2, 4, 2, 3]), 0),
                    (transpose(&[2, 0, 1, 3]), 0),
                    (gather(0, &[1], &[]), 0),
                ],
                true,
            ),
            (
                vec![
                    (reshape(&[2, 4, 2, 3]), 0),
                    (transpose(&[2, 0, 1, 3]), 0),
                    (reshape(&[2, 8, 3]), 0),
                ],
                true,
            ),
            (
                vec![
                    (split, 1),
                    (transpose(&[0, 2, 1]), 0),
                    (gather(1, &[1, 2], &[2]), 0),
                ],
                true,
            ),
            (
                vec![
                    (slice, 0),
                    (Op::Unsqueeze(Unsqueeze { axes: vec![1] }), 0),
                    (Op::Squeeze(Squeeze { axes: vec![1] }), 0),
                ],
                true,
            ),
            (
                vec![(transpose(&[0, 2, 1]), 0), (reshape(&[2, 24]), 0)],
                false,
            ),
            (vec![(gather(2, &[3, 1], &[2]), 0)], false),
        ];
        let base = Tensor::new(&[2, 4, 6], (0..48).map(|v| v as f32).collect::<Vec<f32>>());
        for (chain, works) in chains {
            let (mut view, mut value) = (Some(View::whole(ValueId(0), base.shape())), base.clone());
            for (op, which) in &chain {
                let x = value.shape().to_vec();
                let (mut outputs, _) = op
                    .operator()
                    .forward(&[&value.into()], crate::graph::op::Mode::Evaluate);
                value = outputs.swap_remove(*which).value;
                view = view.and_then(|v| v.through(op, *which, &x, value.shape()));
            }
            assert_eq!(view.is_some(), works, "{chain:?}");
            let Some(view) = view.map(|v| View { factor: 2.0, ..v }) else {
                continue;
            };
            let mut read = vec![f32::NAN; value.len()];
            view.gather(value.shape(), &base.values::<f32>(), &mut read);
            assert_eq!(read, value.affine(2.0, 0.0).to_f32(), "{chain:?}");
            // ⟨view(base), g⟩ = ⟨base, adjoint(g)⟩, exact for small whole numbers.
            let g: Vec<f32> = (0..value.len()).map(|v| (v % 7) as f32 - 3.0).collect();
            let mut sum = vec![0.0; base.len()];
            view.scatter_add(value.shape(), &g, &mut sum);
            let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            assert_eq!(
                inner(&read, &g).to_bits(),
                inner(&base.values::<f32>(), &sum).to_bits(),
                "{chain:?}"
            );
        }
    }
}
