//! Operators that move numbers without changing them.

use super::base::{Local, Mode, Operator, Saved, arity, known, resolve_axes, resolve_axis};
use crate::dual::Dual;
use crate::tensor::{Tensor, broadcast_shape};

/// An operator that only changes the shape: one forward and backward serve them all.
macro_rules! reshaping {
    ($name:ty) => {
        impl Operator for $name {
            fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
                arity(inputs, 1, 1)?;
                Ok(vec![self.target(inputs[0])?])
            }

            fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
                (
                    vec![inputs[0].reshape(&known(self.target(inputs[0].shape())))],
                    Saved::None,
                )
            }

            fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
                vec![local.when(0, || local.g().reshape(local.inputs[0].shape()))]
            }
        }
    };
}

/// A new shape: 0 keeps the input's size at that position, one −1 is inferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// Target.
    pub shape: Vec<i64>,
}

impl Reshape {
    fn target(&self, x: &[usize]) -> Result<Vec<usize>, String> {
        let wrong = || {
            format!(
                "expected a shape of {} values, found {:?} for input {x:?}",
                x.iter().product::<usize>(),
                self.shape
            )
        };
        let mut open = None;
        let mut out = Vec::with_capacity(self.shape.len());
        for (i, &d) in self.shape.iter().enumerate() {
            out.push(match d {
                0 => *x.get(i).ok_or_else(wrong)?,
                -1 if open.is_none() => {
                    open = Some(i);
                    1
                }
                d if d > 0 => d as usize,
                _ => return Err(wrong()),
            });
        }
        let total: usize = x.iter().product();
        let given = out
            .iter()
            .try_fold(1usize, |a, &d| a.checked_mul(d))
            .ok_or_else(wrong)?;
        match open {
            Some(i) if given > 0 && total.is_multiple_of(given) => out[i] = total / given,
            None if given == total => {}
            _ => return Err(wrong()),
        }
        Ok(out)
    }
}
reshaping!(Reshape);

/// Two axes: the product of those before `axis`, and of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// First axis of the second group.
    pub axis: i64,
}

impl Flatten {
    fn target(&self, x: &[usize]) -> Result<Vec<usize>, String> {
        let axis = if self.axis == x.len() as i64 {
            x.len()
        } else {
            resolve_axis(self.axis, x.len())?
        };
        Ok(vec![x[..axis].iter().product(), x[axis..].iter().product()])
    }
}
reshaping!(Flatten);

/// Drops axes of size 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squeeze {
    /// Axes to drop.
    pub axes: Vec<i64>,
}

impl Squeeze {
    fn target(&self, x: &[usize]) -> Result<Vec<usize>, String> {
        let axes = resolve_axes(&self.axes, x.len())?;
        match axes.iter().find(|&&a| x[a] != 1) {
            Some(a) => Err(format!("expected size 1 at axis {a}, found shape {x:?}")),
            None => Ok(x
                .iter()
                .enumerate()
                .filter(|(i, _)| !axes.contains(i))
                .map(|(_, &d)| d)
                .collect()),
        }
    }
}
reshaping!(Squeeze);

/// Inserts axes of size 1, at their positions in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsqueeze {
    /// Positions in the result.
    pub axes: Vec<i64>,
}

impl Unsqueeze {
    fn target(&self, x: &[usize]) -> Result<Vec<usize>, String> {
        let axes = resolve_axes(&self.axes, x.len() + self.axes.len())?;
        let mut rest = x.iter();
        Ok((0..x.len() + axes.len())
            .map(|i| {
                if axes.contains(&i) {
                    1
                } else {
                    rest.next().copied().unwrap_or(1)
                }
            })
            .collect())
    }
}
reshaping!(Unsqueeze);

/// Axes in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// `out.shape[i] = in.shape[perm[i]]`.
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let mut seen = vec![false; x.len()];
        for &p in &self.perm {
            match seen.get_mut(p) {
                Some(s) if !*s => *s = true,
                _ => {
                    return Err(format!(
                        "expected a permutation of {} axes, found {:?}",
                        x.len(),
                        self.perm
                    ));
                }
            }
        }
        if self.perm.len() != x.len() {
            return Err(format!(
                "expected a permutation of {} axes, found {:?}",
                x.len(),
                self.perm
            ));
        }
        Ok(vec![self.perm.iter().map(|&p| x[p]).collect()])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        (vec![inputs[0].permute(&self.perm)], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let mut inverse = vec![0; self.perm.len()];
        for (i, &p) in self.perm.iter().enumerate() {
            inverse[p] = i;
        }
        vec![local.when(0, || local.g().permute(&inverse))]
    }
}

/// Arrays joined along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat {
    /// The axis.
    pub axis: i64,
}

impl Operator for Concat {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, usize::MAX)?;
        let axis = resolve_axis(self.axis, inputs[0].len())?;
        let mut out = inputs[0].to_vec();
        for x in &inputs[1..] {
            let fits = x.len() == out.len()
                && x.iter()
                    .zip(&out)
                    .enumerate()
                    .all(|(i, (a, b))| i == axis || a == b);
            if !fits {
                return Err(format!(
                    "expected shapes equal but at axis {axis}, found {:?} and {x:?}",
                    inputs[0]
                ));
            }
            out[axis] += x[axis];
        }
        Ok(vec![out])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let axis = known(resolve_axis(self.axis, inputs[0].rank()));
        let parts: Vec<Dual> = inputs.iter().map(|d| (*d).clone()).collect();
        (vec![Dual::concat(&parts, axis)], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let axis = known(resolve_axis(self.axis, local.inputs[0].rank()));
        let mut start = 0;
        let pieces = local.inputs.iter().enumerate().map(|(i, x)| {
            let len = x.shape()[axis];
            let piece = local.when(i, || local.g().narrow(axis, start, len));
            start += len;
            piece
        });
        pieces.collect()
    }
}

/// An axis cut into consecutive pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis.
    pub axis: i64,
    /// Size of each piece.
    pub sizes: Vec<usize>,
}

impl Operator for Split {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let axis = resolve_axis(self.axis, x.len())?;
        if self.sizes.contains(&0)
            || self.sizes.iter().try_fold(0usize, |a, &s| a.checked_add(s)) != Some(x[axis])
        {
            return Err(format!(
                "expected sizes that add up to {}, found {:?}",
                x[axis], self.sizes
            ));
        }
        let piece = |&s: &usize| {
            let mut shape = x.to_vec();
            shape[axis] = s;
            shape
        };
        Ok(self.sizes.iter().map(piece).collect())
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let axis = known(resolve_axis(self.axis, inputs[0].rank()));
        let mut start = 0;
        let pieces = self.sizes.iter().map(|&len| {
            let piece = inputs[0].narrow(axis, start, len);
            start += len;
            piece
        });
        (pieces.collect(), Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let axis = known(resolve_axis(self.axis, local.inputs[0].rank()));
        let parts = || -> Vec<Dual> {
            let zeros = |y: &Dual| y.value.zeros_like().into();
            local
                .cotangents
                .iter()
                .zip(local.outputs)
                .map(|(g, y)| g.clone().unwrap_or_else(|| zeros(y)))
                .collect()
        };
        vec![local.when(0, || Dual::concat(&parts(), axis))]
    }
}

/// Part of one axis: positions `start`, `start + step`, …, `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceAxis {
    /// The axis.
    pub axis: usize,
    /// First position.
    pub start: usize,
    /// Step, not 0; negative runs backwards.
    pub step: i64,
    /// Number of positions.
    pub count: usize,
}

impl SliceAxis {
    /// Resolves ONNX's `start`, `end`, `step` (clamped, negative from the end) for an axis of the
    /// given size.
    pub fn resolve(
        axis: usize,
        size: usize,
        start: i64,
        end: i64,
        step: i64,
    ) -> Result<Self, String> {
        if step == 0 || step == i64::MIN {
            return Err(format!("expected a step other than 0, found {step}"));
        }
        let n = size as i64;
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let (start, end) = (wrap(start), wrap(end));
        let (start, span) = if step > 0 {
            let start = start.clamp(0, n);
            (start, end.clamp(0, n) - start)
        } else {
            let start = start.clamp(-1, n - 1);
            (start, start - end.clamp(-1, n - 1))
        };
        if span <= 0 {
            return Err(format!(
                "expected a non-empty slice of an axis of size {size}, found {start} to \
                    {end} by {step}"
            ));
        }
        Ok(Self {
            axis,
            start: start as usize,
            step,
            count: (span as u64).div_ceil(step.unsigned_abs()) as usize,
        })
    }

    fn positions(&self) -> Vec<usize> {
        (0..self.count as i64)
            .map(|i| (self.start as i64 + i * self.step) as usize)
            .collect()
    }
}

/// Parts of several axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Each axis at most once.
    pub axes: Vec<SliceAxis>,
}

impl Operator for Slice {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let mut out = inputs[0].to_vec();
        for (i, s) in self.axes.iter().enumerate() {
            let size = *inputs[0]
                .get(s.axis)
                .ok_or_else(|| format!("expected an axis of {:?}, found {}", inputs[0], s.axis))?;
            if self.axes[..i].iter().any(|other| other.axis == s.axis) {
                return Err(format!("expected each axis once, found {} twice", s.axis));
            }
            // Positions differ, so there are no more of them than the axis has.
            let last = (s.count as i64)
                .checked_sub(1)
                .and_then(|n| n.checked_mul(s.step))
                .and_then(|d| d.checked_add(s.start as i64));
            let inside = s.start < size && last.is_some_and(|l| (0..size as i64).contains(&l));
            if s.step == 0 || s.count == 0 || s.count > size || !inside {
                return Err(format!(
                    "expected positions inside axis {} of {:?}, found {s:?}",
                    s.axis, inputs[0]
                ));
            }
            out[s.axis] = s.count;
        }
        Ok(vec![out])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let y = self.axes.iter().fold(inputs[0].clone(), |y, s| {
            if s.step == 1 {
                y.narrow(s.axis, s.start, s.count)
            } else {
                y.linear(|t| t.select(s.axis, &s.positions()))
            }
        });
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = local.inputs[0].shape();
        let dx = || {
            self.axes.iter().fold(local.g().clone(), |g, s| {
                g.linear(|t| t.select_adjoint(s.axis, &s.positions(), x[s.axis]))
            })
        };
        vec![local.when(0, dx)]
    }
}

/// Constant positions of one axis, arranged in a shape of their own (an empty shape drops the
/// axis).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The axis.
    pub axis: i64,
    /// Positions.
    pub index: Vec<usize>,
    /// Shape of the positions.
    pub index_shape: Vec<usize>,
}

impl Operator for Gather {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        let axis = resolve_axis(self.axis, x.len())?;
        let beyond = self.index.iter().find(|&&i| i >= x[axis]);
        if self.index.is_empty() || beyond.is_some() {
            return Err(format!(
                "expected positions below {}, found {}",
                x[axis],
                beyond.map_or("none".to_owned(), ToString::to_string)
            ));
        }
        if self
            .index_shape
            .iter()
            .try_fold(1usize, |a, &d| a.checked_mul(d))
            != Some(self.index.len())
        {
            return Err(format!(
                "expected a shape of {} positions, found {:?}",
                self.index.len(),
                self.index_shape
            ));
        }
        Ok(vec![
            [&x[..axis], &self.index_shape, &x[axis + 1..]].concat(),
        ])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let axis = known(resolve_axis(self.axis, inputs[0].rank()));
        let out = known(self.infer(&[inputs[0].shape()]));
        (
            vec![inputs[0].linear(|t| t.select(axis, &self.index).reshape(&out[0]))],
            Saved::None,
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = local.inputs[0].shape();
        let axis = known(resolve_axis(self.axis, x.len()));
        let mut flat = x.to_vec();
        flat[axis] = self.index.len();
        vec![local.when(0, || {
            local
                .g()
                .linear(|t| t.reshape(&flat).select_adjoint(axis, &self.index, x[axis]))
        })]
    }
}

/// Broadcast to a shape, in both directions as ONNX does. `None` stands for the batch size, which
/// is taken from the first axis of a second input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand {
    /// Target sizes.
    pub shape: Vec<Option<usize>>,
}

impl Operator for Expand {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        let batch = self.shape.contains(&None);
        arity(inputs, 1 + usize::from(batch), 1 + usize::from(batch))?;
        let n = match inputs.get(1) {
            Some(second) => *second
                .first()
                .ok_or("expected a second input with a batch axis, found a scalar")?,
            None => 1,
        };
        let target: Vec<usize> = self.shape.iter().map(|d| d.unwrap_or(n)).collect();
        let shape = broadcast_shape(inputs[0], &target).ok_or_else(|| {
            format!(
                "expected a shape that expands to {target:?}, found {:?}",
                inputs[0]
            )
        })?;
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let shapes: Vec<&[usize]> = inputs.iter().map(|d| d.shape()).collect();
        let out = known(self.infer(&shapes));
        (vec![inputs[0].expand(&out[0])], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        vec![local.when(0, || local.g().sum_to(local.inputs[0].shape()))]
    }
}

/// Constant padding of every axis; negative amounts crop.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// (before, after) of each axis.
    pub pads: Vec<(i64, i64)>,
    /// The constant.
    pub value: f64,
}

impl Pad {
    /// Crop or grow by the non-negative part of `pads` (`sign` 1) or of `−pads` (`sign` −1).
    fn part(&self, sign: i64) -> Vec<(usize, usize)> {
        let amount = |v: i64| v.saturating_mul(sign).max(0) as usize;
        self.pads
            .iter()
            .map(|&(b, a)| (amount(b), amount(a)))
            .collect()
    }
}

fn crop(t: &Tensor, amounts: &[(usize, usize)]) -> Tensor {
    amounts
        .iter()
        .enumerate()
        .fold(t.clone(), |t, (axis, &(b, a))| {
            if b + a == 0 {
                t
            } else {
                t.narrow(axis, b, t.shape()[axis] - b - a)
            }
        })
}

impl Operator for Pad {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        if self.pads.len() != x.len() {
            return Err(format!(
                "expected pads for {} axes, found {}",
                x.len(),
                self.pads.len()
            ));
        }
        let size = |(&d, &(b, a)): (&usize, &(i64, i64))| {
            let cropped = (d as i64).checked_add(b.min(0))?.checked_add(a.min(0))?;
            let grown = cropped.checked_add(b.max(0))?.checked_add(a.max(0))?;
            (cropped > 0 && grown > 0).then_some(grown as usize)
        };
        let out: Option<Vec<usize>> = x.iter().zip(&self.pads).map(size).collect();
        out.map(|s| vec![s]).ok_or_else(|| {
            format!(
                "expected pads that leave a sensible size, found {:?} for {x:?}",
                self.pads
            )
        })
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let (grow, cut) = (self.part(1), self.part(-1));
        let run = |t: &Tensor, value| crop(t, &cut).pad(&grow, value);
        let y = Dual {
            value: run(&inputs[0].value, self.value),
            tangent: inputs[0].tangent.as_ref().map(|t| run(t, 0.0)),
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (grow, cut) = (self.part(1), self.part(-1));
        vec![local.when(0, || local.g().linear(|t| crop(t, &grow).pad(&cut, 0.0)))]
    }
}
