//! What a convolution copies, known before it runs.

use crate::axis::saturating_product;
use crate::blocked::STEM_CHANNELS;
use crate::shape::Conv2d;
use crate::unrolled::{COLUMNS, pays};

/// Numbers that a convolution, or one of its gradients, copies for one image: the padded input or
/// output and, where windows are unrolled, those. At least that many; sums that fit no `usize` are
/// its largest number.
#[must_use]
pub fn conv_copies(s: &Conv2d) -> usize {
    if s.check().is_err() {
        return usize::MAX;
    }
    let out = s.out_size();
    // Cells of a phase of the padded line, as `sliding` stores them.
    let line = |i: usize| {
        let reach = (s.kernel[i] - 1) * s.dilation[i] / s.stride[i];
        out[i].saturating_add(reach)
    };
    let phases = |i: usize| s.kernel[i].min(s.stride[i]);
    let plane = saturating_product(&[line(0), line(1)]);
    let padded = saturating_product(&[s.c_in.max(s.c_out), plane, phases(0), phases(1)]);
    if pays(s) || (s.groups == 1 && s.c_in <= STEM_CHANNELS) {
        let depth = saturating_product(&[s.per_group()[0], s.kernel[0], s.kernel[1]]);
        return padded.max(depth.saturating_mul(plane.max(COLUMNS)));
    }
    padded
}

/// Convolutions that the gradient to the input is made of: one for each cell of a step.
#[must_use]
pub fn conv_phases(s: &Conv2d) -> usize {
    let side = |i: usize| s.stride[i].min([s.h, s.w][i].saturating_add(s.pad[i]));
    saturating_product(&[side(0), side(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Conv2d = Conv2d {
        n: 1,
        c_in: 1,
        h: 4,
        w: 4,
        c_out: 1,
        kernel: [3; 2],
        stride: [1; 2],
        pad: [1; 4],
        dilation: [1; 2],
        groups: 1,
    };

    #[test]
    fn copies_grow_with_the_padding_and_phases_with_the_step() {
        assert_eq!(conv_copies(&SMALL), 9 * COLUMNS);
        assert_eq!(conv_phases(&SMALL), 1);
        let far = Conv2d {
            pad: [1 << 20; 4],
            dilation: [1 << 20; 2],
            ..SMALL
        };
        assert!(conv_copies(&far) > 1 << 42, "{}", conv_copies(&far));
        let steep = Conv2d {
            stride: [1 << 40, 3],
            ..SMALL
        };
        assert_eq!(conv_phases(&steep), 5 * 3);
        let none = Conv2d { groups: 0, ..SMALL };
        assert_eq!(conv_copies(&none), usize::MAX);
    }
}
