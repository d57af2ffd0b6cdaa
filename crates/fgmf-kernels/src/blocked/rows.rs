//! Blocked convolution of images in rows: converted on the way in and out, a few images at a time.

use super::conv::{BlockedConv, Epilogue};
use super::layout::{blocked_len, from_blocked, to_blocked};
use super::pass::Pass;
use crate::real::sealed::Lanes;
use crate::real::{Scratch, at_least};
use crate::shape::Conv2d;

/// Numbers of blocked input and output that are held at once.
const WINDOW: usize = 1 << 19;

/// A convolution and how many of its images are held blocked together.
struct Converted {
    conv: BlockedConv,
    together: usize,
}

impl Converted {
    fn new(s: &Conv2d) -> Option<Self> {
        let conv = BlockedConv::new(s)?;
        let together = (WINDOW / (conv.x_len(1) + conv.y_len(1))).clamp(1, s.n.max(1));
        Some(Self { conv, together })
    }

    fn blocked_x<'a>(&self, x: &'a [f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let s = self.conv.shape();
        if self.conv.input_in_rows() {
            return x;
        }
        blocked(s.c_in, s.h * s.w, x, buffer)
    }

    fn blocked_y<'a>(&self, y: &[f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        let [oh, ow] = self.conv.shape().out_size();
        blocked(self.conv.shape().c_out, oh * ow, y, buffer)
    }
}

fn blocked<'a>(c: usize, plane: usize, x: &[f32], buffer: &'a mut Vec<f32>) -> &'a [f32] {
    let len = blocked_len(x.len() / (c * plane), c, plane);
    at_least(buffer, len);
    to_blocked(c, plane, x, &mut buffer[..len]);
    &buffer[..len]
}

/// [`crate::conv2d`], or `false` for a shape that has no blocked form.
pub(crate) fn conv2d(s: &Conv2d, x: &[f32], w: &[f32], y: &mut [f32]) -> bool {
    let Some(rows) = Converted::new(s) else {
        return false;
    };
    let (x_image, y_image, [oh, ow]) = (s.c_in * s.h * s.w, y.len() / s.n.max(1), s.out_size());
    f32::with_scratch(
        |Scratch {
             input,
             output,
             weight: packed,
         }| {
            rows.conv.pack_forward_into(w, packed);
            for (x, y) in x
                .chunks(rows.together * x_image)
                .zip(y.chunks_mut((rows.together * y_image).max(1)))
            {
                let len = rows.conv.y_len(x.len() / x_image);
                at_least(output, len);
                rows.conv.forward(
                    rows.blocked_x(x, input),
                    packed,
                    Epilogue::default(),
                    &mut output[..len],
                );
                from_blocked(s.c_out, oh * ow, &output[..len], y);
            }
        },
    );
    true
}

/// [`crate::conv2d_grad_input`], or `false` for a shape that has no blocked form.
pub(crate) fn conv2d_grad_input(s: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) -> bool {
    let Some(rows) = Converted::new(s) else {
        return false;
    };
    let (x_image, y_image) = (s.c_in * s.h * s.w, dy.len() / s.n.max(1));
    f32::with_scratch(
        |Scratch {
             input,
             output,
             weight: packed,
         }| {
            rows.conv.pack_backward_into(w, packed);
            for (dy, dx) in dy
                .chunks((rows.together * y_image).max(1))
                .zip(dx.chunks_mut(rows.together * x_image))
            {
                let dy = Pass::new(rows.blocked_y(dy, output));
                if rows.conv.input_in_rows() {
                    rows.conv.grad_input(dy, packed, dx);
                    continue;
                }
                let len = rows.conv.x_len(dx.len() / x_image);
                at_least(input, len);
                rows.conv.grad_input(dy, packed, &mut input[..len]);
                from_blocked(s.c_in, s.h * s.w, &input[..len], dx);
            }
        },
    );
    true
}

/// [`crate::conv2d_grad_weight`] into zeros, or `false` for a shape that has no blocked form.
pub(crate) fn conv2d_grad_weight(s: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) -> bool {
    let Some(rows) = Converted::new(s) else {
        return false;
    };
    let (x_image, y_image) = (s.c_in * s.h * s.w, dy.len() / s.n.max(1));
    f32::with_scratch(|Scratch { input, output, .. }| {
        for (x, dy) in x
            .chunks(rows.together * x_image)
            .zip(dy.chunks((rows.together * y_image).max(1)))
        {
            rows.conv.grad_weight(
                rows.blocked_x(x, input),
                Pass::new(rows.blocked_y(dy, output)),
                dw,
            );
        }
    });
    true
}
