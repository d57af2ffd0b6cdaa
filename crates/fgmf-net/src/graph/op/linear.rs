//! Operators that are linear in their input and in their weights: convolution, its transpose,
//! matrix products.

use super::base::{Local, Mode, Operator, Saved, arity, rank};
use super::bounds;
use crate::dual::Dual;
use crate::tensor::broadcast_shape;
use fgmf_kernels::Conv2d;

/// 2-D cross-correlation: `x [n, c, h, w]`, `weight [m, c / groups, kh, kw]`, optional `bias [m]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Step of the window, rows and columns.
    pub stride: [usize; 2],
    /// Zeros added: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Spacing of the taps.
    pub dilation: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Self {
            stride: [1, 1],
            pads: [0; 4],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

impl Conv {
    /// The kernel's view of this convolution.
    pub fn geometry(&self, x: &[usize], weight: &[usize]) -> Conv2d {
        Conv2d {
            n: x[0],
            c_in: x[1],
            h: x[2],
            w: x[3],
            c_out: weight[0],
            kernel: [weight[2], weight[3]],
            stride: self.stride,
            pad: self.pads,
            dilation: self.dilation,
            groups: self.groups,
        }
    }
}

fn check_bias(inputs: &[&[usize]], channels: usize) -> Result<(), String> {
    match inputs.get(2) {
        Some(b) if **b != [channels] => Err(format!(
            "expected a bias of shape [{channels}], found {b:?}"
        )),
        _ => Ok(()),
    }
}

fn with_bias(y: Dual, inputs: &[&Dual]) -> Dual {
    match inputs.get(2) {
        Some(b) => y.add(&b.reshape(&[1, b.shape()[0], 1, 1])),
        None => y,
    }
}

impl Operator for Conv {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 3)?;
        let (x, w) = (inputs[0], inputs[1]);
        rank("an input", x, 4)?;
        rank("a weight", w, 4)?;
        if self.groups == 0 || w[1].checked_mul(self.groups) != Some(x[1]) {
            return Err(format!(
                "expected a weight for {} input channels in {} groups, found weight shape {w:?}",
                x[1], self.groups
            ));
        }
        check_bias(inputs, w[0])?;
        let s = self.geometry(x, w);
        s.check().map_err(|e| e.to_string())?;
        bounds::convolution(&s)?;
        let [oh, ow] = s.out_size();
        Ok(vec![vec![x[0], w[0], oh, ow]])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let s = self.geometry(inputs[0].shape(), inputs[1].shape());
        (
            vec![with_bias(inputs[0].conv2d(inputs[1], &s), inputs)],
            Saved::None,
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (x, w, g) = (local.inputs[0], local.inputs[1], local.g());
        let s = self.geometry(x.shape(), w.shape());
        let channels = w.shape()[0];
        vec![
            local.when(0, || g.conv2d_grad_input(w, &s)),
            local.when(1, || x.conv2d_grad_weight(g, &s)),
            local.when(2, || g.sum(&[0, 2, 3]).reshape(&[channels])),
        ]
    }
}

/// Transpose of [`Conv`]: `x [n, c, h, w]`, `weight [c, m / groups, kh, kw]`, optional `bias [m]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// The convolution whose transpose this is.
    pub conv: Conv,
    /// Rows and columns added at the far end, less than the stride.
    pub output_padding: [usize; 2],
}

impl ConvTranspose {
    /// Geometry of the convolution that maps the output back to the input.
    fn geometry(&self, x: &[usize], w: &[usize]) -> Option<Conv2d> {
        let size = |i: usize| {
            let reach = self.conv.dilation[i]
                .checked_mul(w[2 + i].checked_sub(1)?)?
                .checked_add(1)?;
            let full = x[2 + i]
                .checked_sub(1)?
                .checked_mul(self.conv.stride[i])?
                .checked_add(reach)?
                .checked_add(self.output_padding[i])?;
            full.checked_sub(self.conv.pads[i].checked_add(self.conv.pads[2 + i])?)
        };
        let out = [
            x[0],
            w[1].checked_mul(self.conv.groups)?,
            size(0)?,
            size(1)?,
        ];
        Some(self.conv.geometry(&out, w))
    }

    fn checked(&self, x: &Dual, w: &Dual) -> Conv2d {
        self.geometry(x.shape(), w.shape())
            .unwrap_or_else(|| unreachable!("shapes have been checked"))
    }
}

impl Operator for ConvTranspose {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 3)?;
        let (x, w) = (inputs[0], inputs[1]);
        rank("an input", x, 4)?;
        rank("a weight", w, 4)?;
        if w[0] != x[1] {
            return Err(format!(
                "expected a weight for {} input channels, found weight shape {w:?}",
                x[1]
            ));
        }
        let s = self.geometry(x, w).ok_or_else(|| {
            format!("expected a positive output size, found input {x:?}, weight {w:?}, {self:?}")
        })?;
        s.check().map_err(|e| e.to_string())?;
        if s.out_size() != [x[2], x[3]] {
            return Err(format!(
                "expected output padding below the stride, found {:?}",
                self.output_padding
            ));
        }
        bounds::convolution(&s)?;
        check_bias(inputs, s.c_in)?;
        Ok(vec![vec![s.n, s.c_in, s.h, s.w]])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let s = self.checked(inputs[0], inputs[1]);
        (
            vec![with_bias(
                inputs[0].conv2d_grad_input(inputs[1], &s),
                inputs,
            )],
            Saved::None,
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (x, w, g) = (local.inputs[0], local.inputs[1], local.g());
        let s = self.checked(x, w);
        vec![
            local.when(0, || g.conv2d(w, &s)),
            local.when(1, || g.conv2d_grad_weight(x, &s)),
            local.when(2, || g.sum(&[0, 2, 3]).reshape(&[s.c_in])),
        ]
    }
}

/// `alpha · A B + beta · C`, with A `[m, k]` and B `[k, n]` after the optional transposes, C
/// broadcast to `[m, n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f64,
    /// Factor of C.
    pub beta: f64,
    /// Transpose A first.
    pub trans_a: bool,
    /// Transpose B first.
    pub trans_b: bool,
}

impl Gemm {
    /// A dense layer: `x [n, k]`, `weight [m, k]`, `bias [m]`.
    pub const DENSE: Self = Self {
        alpha: 1.0,
        beta: 1.0,
        trans_a: false,
        trans_b: true,
    };
}

fn turned(x: &Dual, transpose: bool) -> Dual {
    if transpose { x.transpose() } else { x.clone() }
}

#[allow(clippy::float_cmp, reason = "only exactly 1 changes nothing")]
fn scaled(x: Dual, factor: f64) -> Dual {
    if factor == 1.0 {
        x
    } else {
        x.affine(factor, 0.0)
    }
}

impl Operator for Gemm {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 3)?;
        rank("A", inputs[0], 2)?;
        rank("B", inputs[1], 2)?;
        let size = |s: &[usize], t: bool| if t { [s[1], s[0]] } else { [s[0], s[1]] };
        let ([m, k], [k2, n]) = (size(inputs[0], self.trans_a), size(inputs[1], self.trans_b));
        if k != k2 {
            return Err(format!(
                "expected matching inner sizes, found {:?} and {:?}",
                inputs[0], inputs[1]
            ));
        }
        if let Some(c) = inputs.get(2)
            && broadcast_shape(c, &[m, n]).is_none_or(|s| s != [m, n])
        {
            return Err(format!(
                "expected C to broadcast to [{m}, {n}], found {c:?}"
            ));
        }
        Ok(vec![vec![m, n]])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let product = scaled(
            turned(inputs[0], self.trans_a).matmul(&turned(inputs[1], self.trans_b)),
            self.alpha,
        );
        let y = match inputs.get(2) {
            Some(c) => product.add(&scaled((*c).clone(), self.beta)),
            None => product,
        };
        (vec![y], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (a, b) = (local.inputs[0], local.inputs[1]);
        let g = scaled(local.g().clone(), self.alpha);
        let da = || turned(&g.matmul(&turned(b, !self.trans_b)), self.trans_a);
        let db = || turned(&turned(a, !self.trans_a).matmul(&g), self.trans_b);
        vec![
            local.when(0, da),
            local.when(1, db),
            local.when(2, || {
                scaled(local.g().sum_to(local.inputs[2].shape()), self.beta)
            }),
        ]
    }
}

/// NumPy's matrix product: the last two axes multiply, leading axes broadcast. Rank 2 or more on
/// both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul;

impl Operator for MatMul {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 2, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        let wrong =
            || format!("expected matrices that multiply (rank 2 or more), found {a:?} and {b:?}");
        if a.len() < 2 || b.len() < 2 || a[a.len() - 1] != b[b.len() - 2] {
            return Err(wrong());
        }
        let mut shape = broadcast_shape(&a[..a.len() - 2], &b[..b.len() - 2]).ok_or_else(wrong)?;
        shape.extend([a[a.len() - 2], b[b.len() - 1]]);
        Ok(vec![shape])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        (vec![inputs[0].matmul(inputs[1])], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let (a, b, g) = (local.inputs[0], local.inputs[1], local.g());
        vec![
            local.when(0, || g.matmul(&b.transpose()).sum_to(a.shape())),
            local.when(1, || a.transpose().matmul(g).sum_to(b.shape())),
        ]
    }
}
