//! The shape of a 2-d convolution, which every loop over one reads.

use crate::axis::{AXES, Axis, ShapeError, product, saturating_product};

/// Shape of a 2-d convolution (cross-correlation, as in every deep-learning library).
///
/// `y[b, o, p, q] = sum over c, i, j of w[o, c, i, j] * x[b, g * c_in / groups + c, p * stride[0] +
/// i * dilation[0] - pad[0], q * stride[1] + j * dilation[1] - pad[1]]`, where `g` is the group of
/// output channel `o` and `x` is zero outside. Sizes are in cells and pairs are `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Images in the batch.
    pub n: usize,
    /// Input channels.
    pub c_in: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Output channels.
    pub c_out: usize,
    /// Kernel taps.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Zero padding: top, left, bottom, right.
    pub pad: [usize; 4],
    /// Distance between taps of a window.
    pub dilation: [usize; 2],
    /// Channel groups; `c_in` of them make a depthwise convolution.
    pub groups: usize,
}

impl Conv2d {
    fn axis(&self, i: usize) -> Axis {
        Axis {
            name: AXES[i],
            len: [self.h, self.w][i],
            kernel: self.kernel[i],
            stride: self.stride[i],
            dilation: self.dilation[i],
            before: self.pad[i],
            after: self.pad[i + 2],
        }
    }

    /// Judges the shape. A batch of no images is fine.
    ///
    /// # Errors
    ///
    /// A zero size, stride, dilation or group count; a kernel larger than the padded input; groups
    /// that do not divide both channel counts; sizes whose product does not fit the address space.
    pub fn check(&self) -> Result<(), ShapeError> {
        for (what, size) in [
            ("group count", self.groups),
            ("input channel count", self.c_in),
            ("output channel count", self.c_out),
        ] {
            if size == 0 {
                return Err(ShapeError::Zero { what });
            }
        }
        if !(self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups)) {
            return Err(ShapeError::Groups {
                groups: self.groups,
                c_in: self.c_in,
                c_out: self.c_out,
            });
        }
        let (oh, ow) = (self.axis(0).out(false)?, self.axis(1).out(false)?);
        let n = self.n.max(1);
        product("convolution input", &[n, self.c_in, self.h, self.w])?;
        product("convolution output", &[n, self.c_out, oh, ow])?;
        let [kh, kw] = self.kernel;
        product(
            "convolution weight",
            &[self.c_out, self.c_in / self.groups, kh, kw],
        )?;
        Ok(())
    }

    /// Height and width of the output, `(in + pads - dilation * (kernel - 1) - 1) / stride + 1`
    /// rounded down; `[0, 0]` for a shape that fails [`Self::check`].
    #[must_use]
    pub fn out_size(&self) -> [usize; 2] {
        match (self.axis(0).out(false), self.axis(1).out(false)) {
            (Ok(h), Ok(w)) => [h, w],
            _ => [0, 0],
        }
    }

    /// Numbers in the input, `n * c_in * h * w`.
    #[must_use]
    pub fn x_len(&self) -> usize {
        saturating_product(&[self.n, self.c_in, self.h, self.w])
    }

    /// Numbers in the weight, `c_out * c_in / groups * kernel[0] * kernel[1]`.
    #[must_use]
    pub fn w_len(&self) -> usize {
        let [kh, kw] = self.kernel;
        let per_group = self.c_in.checked_div(self.groups).unwrap_or(0);
        saturating_product(&[self.c_out, per_group, kh, kw])
    }

    /// Numbers in the output, `n * c_out * oh * ow`.
    #[must_use]
    pub fn y_len(&self) -> usize {
        let [oh, ow] = self.out_size();
        saturating_product(&[self.n, self.c_out, oh, ow])
    }

    /// Input and output channels of one group.
    pub(crate) fn per_group(&self) -> [usize; 2] {
        [self.c_in / self.groups, self.c_out / self.groups]
    }

    /// Cells of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Panics unless the shape passed [`Self::check`] and the slice lengths match it.
    pub(crate) fn assert_lengths(&self, x: usize, w: usize, y: usize) {
        assert!(
            self.check().is_ok(),
            "the shape did not pass check(): {self:?}"
        );
        assert_eq!(x, self.x_len(), "input length of {self:?}");
        assert_eq!(w, self.w_len(), "weight length of {self:?}");
        assert_eq!(y, self.y_len(), "output length of {self:?}");
    }
}
