//! Shape arithmetic of one spatial axis, shared by convolution and pooling.

use std::fmt;

/// Why a shape cannot be computed with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A size, stride, dilation or group count that must be at least one is zero.
    Zero {
        /// Name of the offending field.
        what: &'static str,
    },
    /// The dilated kernel spans more cells than the padded input has.
    KernelTooLarge {
        /// Name of the axis, `"height"` or `"width"`.
        axis: &'static str,
        /// Cells spanned by the kernel, `dilation * (kernel - 1) + 1`.
        span: usize,
        /// Cells of the padded input.
        padded: usize,
    },
    /// `groups` divides not both channel counts.
    Groups {
        /// Number of groups.
        groups: usize,
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
    },
    /// A pooling pad is not smaller than the kernel, or a dilated window sees padding only.
    EmptyWindow {
        /// Name of the axis, `"height"` or `"width"`.
        axis: &'static str,
    },
    /// A resize scale is not a positive finite number.
    Scale {
        /// Name of the axis, `"height"` or `"width"`.
        axis: &'static str,
        /// The offending scale.
        scale: f64,
    },
    /// A number of elements does not fit the address space (or a plane index does not fit `u32`).
    Overflow {
        /// What was being counted.
        what: &'static str,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "{what} must be at least 1"),
            Self::KernelTooLarge { axis, span, padded } => {
                write!(
                    f,
                    "the kernel spans {span} cells of {axis}, the padded input has only {padded}"
                )
            }
            Self::Groups {
                groups,
                c_in,
                c_out,
            } => {
                write!(
                    f,
                    "{groups} groups do not divide {c_in} input and {c_out} output channels"
                )
            }
            Self::EmptyWindow { axis } => {
                write!(
                    f,
                    "a pooling window along {axis} may lie in the padding only"
                )
            }
            Self::Scale { axis, scale } => {
                write!(
                    f,
                    "the {axis} scale {scale} is not a positive finite number"
                )
            }
            Self::Overflow { what } => write!(f, "the {what} is too large"),
        }
    }
}

impl std::error::Error for ShapeError {}

pub(crate) const AXES: [&str; 2] = ["height", "width"];

/// One spatial axis of a sliding window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) len: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) before: usize,
    pub(crate) after: usize,
}

impl Axis {
    /// Cells from the first to the last tap, and of the padded input.
    fn spans(&self) -> Result<(usize, usize), ShapeError> {
        for (what, v) in [
            ("input size", self.len),
            ("kernel size", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ] {
            if v == 0 {
                return Err(ShapeError::Zero { what });
            }
        }
        let too_large = ShapeError::Overflow {
            what: "padded input",
        };
        let span = (self.kernel - 1)
            .checked_mul(self.dilation)
            .and_then(|s| s.checked_add(1));
        let padded = self
            .len
            .checked_add(self.before)
            .and_then(|s| s.checked_add(self.after));
        let (Some(span), Some(padded)) = (span, padded) else {
            return Err(too_large);
        };
        // Positions are signed in the kernels, and their sums must fit too.
        if padded > isize::MAX as usize / 4 || self.stride > isize::MAX as usize / 4 {
            return Err(too_large);
        }
        if span > padded {
            return Err(ShapeError::KernelTooLarge {
                axis: self.name,
                span,
                padded,
            });
        }
        Ok((span, padded))
    }

    /// Number of window positions. With `ceil` the last window may overhang the far padding, unless
    /// it would start there.
    pub(crate) fn out(&self, ceil: bool) -> Result<usize, ShapeError> {
        let (span, padded) = self.spans()?;
        let room = padded - span;
        let mut out = room / self.stride + 1;
        // `out * stride` is at most `room + stride`, which cannot overflow after `spans`.
        if ceil && !room.is_multiple_of(self.stride) && out * self.stride < self.len + self.before {
            out += 1;
        }
        Ok(out)
    }
}

/// Product of sizes that must be addressable as 8-byte numbers.
pub(crate) fn product(what: &'static str, sizes: &[usize]) -> Result<usize, ShapeError> {
    sizes
        .iter()
        .try_fold(1usize, |p, &s| p.checked_mul(s))
        .filter(|&p| p <= isize::MAX as usize / 8)
        .ok_or(ShapeError::Overflow { what })
}

pub(crate) fn saturating_product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |p, &s| p.saturating_mul(s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axis(len: usize, kernel: usize, stride: usize, before: usize, after: usize) -> Axis {
        Axis {
            name: "height",
            len,
            kernel,
            stride,
            dilation: 1,
            before,
            after,
        }
    }

    #[test]
    fn known_sizes() {
        assert_eq!(axis(28, 4, 2, 1, 1).out(false), Ok(14));
        assert_eq!(axis(28, 3, 1, 1, 1).out(false), Ok(28));
        assert_eq!(axis(5, 2, 2, 0, 0).out(false), Ok(2));
        assert_eq!(axis(5, 2, 2, 0, 0).out(true), Ok(3));
        // Rounded up, the last window would start in the far padding.
        assert_eq!(axis(4, 2, 3, 1, 1).out(true), Ok(2));
        assert_eq!(axis(3, 2, 2, 1, 0).out(true), Ok(2));
        assert_eq!(axis(2, 2, 3, 1, 1).out(true), Ok(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]
        #[test]
        fn ceil_mode_agrees_with_counting_starts(
            len in 1usize..9, kernel in 1usize..5, stride in 1usize..5,
            before in 0usize..3, after in 0usize..3,
        ) {
            // Pools need pads below the kernel.
            let (before, after) = (before.min(kernel - 1), after.min(kernel - 1));
            let a = axis(len, kernel, stride, before, after);
            match a.out(true) {
                Err(_) => prop_assert!(kernel > len + before + after),
                Ok(out) => {
                    let padded = len + before + after;
                    let exact = (padded - kernel).div_ceil(stride) + 1;
                    let starts_inside = (exact - 1) * stride < len + before;
                    prop_assert_eq!(out, if starts_inside { exact } else { exact - 1 });
                }
            }
        }
    }

    #[test]
    fn extreme_numbers_are_errors() {
        let m = usize::MAX;
        for (len, kernel, stride, before, after) in [
            (m, 3, 1, 1, 1),
            (5, m, 1, 0, 0),
            (5, 3, m, 1, 1),
            (5, 3, 1, m, m),
            (0, 1, 1, 0, 0),
            (5, 0, 1, 0, 0),
            (5, 1, 0, 0, 0),
        ] {
            assert!(axis(len, kernel, stride, before, after).out(true).is_err());
        }
        let text = ShapeError::KernelTooLarge {
            axis: "width",
            span: 5,
            padded: 4,
        }
        .to_string();
        assert_eq!(
            text,
            "the kernel spans 5 cells of width, the padded input has only 4"
        );
    }
}
