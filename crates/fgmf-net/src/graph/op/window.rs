//! Pooling and resizing of the two spatial axes.

use super::base::{Local, Mode, Operator, Saved, arity, rank};
use super::bounds;
use crate::dual::Dual;
use fgmf_kernels::{Coordinates, Pool2d, Resize2d, ResizeMode};

/// A sliding window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns.
    pub kernel: [usize; 2],
    /// Step.
    pub stride: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Spacing of the taps.
    pub dilation: [usize; 2],
    /// Round the output size up.
    pub ceil: bool,
}

impl Window {
    /// A square window whose step is its size.
    pub fn square(size: usize) -> Self {
        Self {
            kernel: [size; 2],
            stride: [size; 2],
            pads: [0; 4],
            dilation: [1, 1],
            ceil: false,
        }
    }

    pub(crate) fn geometry(&self, x: &[usize]) -> Pool2d {
        Pool2d {
            planes: x[0] * x[1],
            h: x[2],
            w: x[3],
            kernel: self.kernel,
            stride: self.stride,
            pad: self.pads,
            dilation: self.dilation,
            ceil: self.ceil,
        }
    }

    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        rank("an input", x, 4)?;
        let s = self.geometry(x);
        bounds::pooling_window(&s)?;
        s.check().map_err(|e| e.to_string())?;
        bounds::pooling(&s)?;
        let [oh, ow] = s.out_size();
        Ok(vec![vec![x[0], x[1], oh, ow]])
    }
}

/// Largest value of each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool(pub Window);

impl Operator for MaxPool {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        self.0.infer(inputs)
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let s = self.0.geometry(inputs[0].shape());
        let (value, index) = inputs[0].value.max_pool2d(&s);
        let tangent = inputs[0]
            .tangent
            .as_ref()
            .map(|t| t.gather_planes(&index, s.out_size()));
        (vec![Dual { value, tangent }], Saved::Index(index))
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = local.inputs[0].shape();
        let Saved::Index(index) = local.saved else {
            unreachable!("max pooling keeps its indices")
        };
        vec![local.when(0, || {
            local.g().linear(|t| t.scatter_planes(index, [x[2], x[3]]))
        })]
    }
}

/// Mean of each window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// The window.
    pub window: Window,
    /// Count padding in the divisor.
    pub count_include_pad: bool,
}

impl Operator for AveragePool {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        self.window.infer(inputs)
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let s = self.window.geometry(inputs[0].shape());
        (
            vec![inputs[0].avg_pool2d(&s, self.count_include_pad, false)],
            Saved::None,
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let s = self.window.geometry(local.inputs[0].shape());
        vec![local.when(0, || local.g().avg_pool2d(&s, self.count_include_pad, true))]
    }
}

/// Mean of each plane, `[n, c, h, w]` to `[n, c, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        rank("an input", inputs[0], 4)?;
        Ok(vec![vec![inputs[0][0], inputs[0][1], 1, 1]])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        (vec![inputs[0].mean(&[2, 3])], Saved::None)
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let x = local.inputs[0].shape();
        let share = 1.0 / (x[2] * x[3]) as f64;
        vec![local.when(0, || local.g().affine(share, 0.0).expand(x))]
    }
}

/// Resampling to a fixed spatial size.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Output rows and columns.
    pub size: [usize; 2],
    /// Output over input size, as the file gives it (it enters the coordinate rule).
    pub scale: [f64; 2],
    /// Nearest or linear.
    pub mode: ResizeMode,
    /// How output positions map to input positions.
    pub coordinates: Coordinates,
}

impl Resize {
    /// Linear upsampling by whole factors with half-pixel centres.
    pub fn linear(size: [usize; 2], scale: [f64; 2]) -> Self {
        Self {
            size,
            scale,
            mode: ResizeMode::Linear,
            coordinates: Coordinates::HalfPixel,
        }
    }

    fn geometry(&self, x: &[usize]) -> Resize2d {
        Resize2d {
            planes: x[0] * x[1],
            h: x[2],
            w: x[3],
            out_h: self.size[0],
            out_w: self.size[1],
            scale: self.scale,
            mode: self.mode,
            coordinates: self.coordinates,
        }
    }
}

impl Operator for Resize {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let x = inputs[0];
        rank("an input", x, 4)?;
        if self.size.contains(&0) || self.scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(format!(
                "expected a positive size and scale, found {:?} and {:?}",
                self.size, self.scale
            ));
        }
        Ok(vec![vec![x[0], x[1], self.size[0], self.size[1]]])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        (
            vec![inputs[0].resize2d(&self.geometry(inputs[0].shape()), false)],
            Saved::None,
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let s = self.geometry(local.inputs[0].shape());
        vec![local.when(0, || local.g().resize2d(&s, true))]
    }
}
