//! Convolution, pooling and resizing: thin calls into `fgmf-kernels`.

use super::array::{Tensor, by_precision};
use fgmf_kernels as kernels;
use fgmf_kernels::Real;
use fgmf_kernels::{Conv2d, Pool2d, Resize2d};

impl Tensor {
    /// Cross-correlation of `self` `[n, c_in, h, w]` with `weight`
    /// `[c_out, c_in / groups, kh, kw]`.
    pub fn conv2d(&self, weight: &Self, s: &Conv2d) -> Self {
        let [oh, ow] = s.out_size();
        by_precision!(self, T, {
            let mut y = vec![T::zero(); s.y_len()];
            kernels::conv2d(s, &self.values::<T>(), &weight.values::<T>(), &mut y);
            Self::new(&[s.n, s.c_out, oh, ow], y)
        })
    }

    /// Adjoint of the convolution in its input; `self` is the output cotangent.
    pub fn conv2d_grad_input(&self, weight: &Self, s: &Conv2d) -> Self {
        by_precision!(self, T, {
            let mut dx = vec![T::zero(); s.x_len()];
            kernels::conv2d_grad_input(s, &self.values::<T>(), &weight.values::<T>(), &mut dx);
            Self::new(&[s.n, s.c_in, s.h, s.w], dx)
        })
    }

    /// Adjoint of the convolution in its weight; `self` is the input, `dy` the output cotangent.
    pub fn conv2d_grad_weight(&self, dy: &Self, s: &Conv2d) -> Self {
        by_precision!(self, T, {
            let mut dw = vec![T::zero(); s.w_len()];
            kernels::conv2d_grad_weight(s, &self.values::<T>(), &dy.values::<T>(), &mut dw);
            Self::new(&[s.c_out, s.c_in / s.groups, s.kernel[0], s.kernel[1]], dw)
        })
    }

    /// Maximum over windows, and where in its plane each maximum was found.
    pub fn max_pool2d(&self, s: &Pool2d) -> (Self, Vec<u32>) {
        let [oh, ow] = s.out_size();
        let mut index = vec![0; s.planes * oh * ow];
        let shape = [self.shape()[0], self.shape()[1], oh, ow];
        let y = by_precision!(self, T, {
            let mut y = vec![T::zero(); s.planes * oh * ow];
            kernels::max_pool2d(s, &self.values::<T>(), &mut y, &mut index);
            Self::new(&shape, y)
        });
        (y, index)
    }

    /// `y[p, i] = self[p, index[p, i]]` over the planes of `[n, c, h, w]`, to spatial size `out`.
    pub fn gather_planes(&self, index: &[u32], out: [usize; 2]) -> Self {
        let [n, c, h, w] = four(self.shape());
        by_precision!(self, T, {
            let mut y = vec![T::zero(); index.len()];
            kernels::gather_planes(n * c, h * w, &self.values::<T>(), index, &mut y);
            Self::new(&[n, c, out[0], out[1]], y)
        })
    }

    /// Adjoint of [`Tensor::gather_planes`], to spatial size `out`.
    pub fn scatter_planes(&self, index: &[u32], out: [usize; 2]) -> Self {
        let [n, c, ..] = four(self.shape());
        by_precision!(self, T, {
            let mut y = vec![T::zero(); n * c * out[0] * out[1]];
            kernels::scatter_planes(n * c, out[0] * out[1], &self.values::<T>(), index, &mut y);
            Self::new(&[n, c, out[0], out[1]], y)
        })
    }

    /// Mean over windows, or its adjoint.
    pub fn avg_pool2d(&self, s: &Pool2d, count_include_pad: bool, adjoint: bool) -> Self {
        let [n, c, ..] = four(self.shape());
        let [h, w] = if adjoint { [s.h, s.w] } else { s.out_size() };
        by_precision!(self, T, {
            let mut y = vec![T::zero(); n * c * h * w];
            let run = if adjoint {
                kernels::avg_pool2d_adjoint::<T>
            } else {
                kernels::avg_pool2d::<T>
            };
            run(s, count_include_pad, &self.values::<T>(), &mut y);
            Self::new(&[n, c, h, w], y)
        })
    }

    /// Resampling of the two spatial axes, or its adjoint.
    pub fn resize2d(&self, s: &Resize2d, adjoint: bool) -> Self {
        let [n, c, ..] = four(self.shape());
        let [h, w] = if adjoint {
            [s.h, s.w]
        } else {
            [s.out_h, s.out_w]
        };
        by_precision!(self, T, {
            let mut y = vec![T::zero(); n * c * h * w];
            let run = if adjoint {
                kernels::resize2d_adjoint::<T>
            } else {
                kernels::resize2d::<T>
            };
            run(s, &self.values::<T>(), &mut y);
            Self::new(&[n, c, h, w], y)
        })
    }
}

fn four(shape: &[usize]) -> [usize; 4] {
    [shape[0], shape[1], shape[2], shape[3]]
}
