//! The convolution prepared for blocked images of one shape, and how it is computed.

use super::depthwise::{Depthwise, DepthwiseApply, DepthwiseGradWeight, Direction};
use super::direct::{Direct, DirectApply, DirectGradWeight};
use super::layout::{blocked_len, blocks};
use super::pass::Pass;
use super::pointwise::{Pointwise, PointwiseApply, PointwiseGradWeight};
use super::stem::{Stem, StemForward, StemGradInput, StemGradWeight};
use super::winograd::{Winograd, WinogradForward, WinogradGradWeight};
use crate::axis::saturating_product;
use crate::shape::Conv2d;
use crate::simd::{self, LANES};
use crate::tile::Finish;
use std::cell::Cell;

/// What is done to a convolution's output as it is written: `act(y + bias + add)`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One number a channel, padded to whole blocks ([`BlockedConv::bias_len`]).
    pub bias: Option<&'a [f32]>,
    /// A blocked array of the shape of the output.
    pub add: Option<&'a [f32]>,
    /// Whether negative numbers become 0.
    pub relu: bool,
}

#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one a layer, beside weights that dwarf it"
)]
enum Algorithm {
    Winograd {
        forward: Winograd,
        backward: Winograd,
    },
    Direct {
        forward: Direct,
        backward: Direct,
    },
    Pointwise {
        forward: Pointwise,
        backward: Pointwise,
    },
    Stem(Stem),
    Depthwise(Depthwise),
}

/// A convolution prepared for blocked images of one shape; `n` of the shape is ignored.
#[derive(Clone, Debug)]
pub struct BlockedConv {
    shape: Conv2d,
    algorithm: Algorithm,
}

/// Channels up to which an image is kept in rows.
pub(crate) const STEM_CHANNELS: usize = 8;

impl BlockedConv {
    /// Prepares a convolution whose shape passed [`Conv2d::check`]; `None` for groups that are
    /// neither one nor one a channel, for outputs of one or two cells, and for shapes that no
    /// memory holds.
    #[must_use]
    pub fn new(shape: &Conv2d) -> Option<Self> {
        let s = Conv2d { n: 1, ..*shape };
        let [oh, ow] = s.out_size();
        // Outputs of one or two cells leave a register tile nearly empty.
        if s.check().is_err() || oh * ow < 3 || !addressable(&s) {
            return None;
        }
        let algorithm = if s.groups == 1 && s.c_in <= STEM_CHANNELS {
            Algorithm::Stem(Stem::new(&s))
        } else if let Some([forward, backward]) = Pointwise::new(&s) {
            Algorithm::Pointwise { forward, backward }
        } else if let Some([forward, backward]) =
            Some(&s).filter(|s| s.groups == 1).and_then(Winograd::new)
        {
            Algorithm::Winograd { forward, backward }
        } else if s.groups == 1 {
            Algorithm::Direct {
                forward: Direct::forward(&s),
                backward: Direct::backward(&s),
            }
        } else if s.groups == s.c_in && s.c_out == s.c_in {
            Algorithm::Depthwise(Depthwise::new(&s))
        } else {
            return None;
        };
        Some(Self {
            shape: s,
            algorithm,
        })
    }

    /// The same without padding for images of another size, if it reads the weights that this one
    /// packed.
    #[must_use]
    pub fn at_size(&self, [h, w]: [usize; 2]) -> Option<Self> {
        let other = Self::new(&Conv2d {
            h,
            w,
            pad: [0; 4],
            ..self.shape
        })?;
        let alike = match (&self.algorithm, &other.algorithm) {
            (Algorithm::Winograd { forward: a, .. }, Algorithm::Winograd { forward: b, .. }) => {
                a.weight_len() == b.weight_len()
            }
            (Algorithm::Direct { .. }, Algorithm::Direct { .. })
            | (Algorithm::Pointwise { .. }, Algorithm::Pointwise { .. })
            | (Algorithm::Stem(_), Algorithm::Stem(_))
            | (Algorithm::Depthwise(_), Algorithm::Depthwise(_)) => true,
            _ => false,
        };
        alike.then_some(other)
    }

    /// The shape, for one image.
    #[must_use]
    pub fn shape(&self) -> &Conv2d {
        &self.shape
    }

    /// Whether the input is `[n, c, h, w]` in rows, not blocked: images of few channels.
    #[must_use]
    pub fn input_in_rows(&self) -> bool {
        matches!(self.algorithm, Algorithm::Stem(_))
    }

    /// Numbers of `n` inputs in their layout.
    #[must_use]
    pub fn x_len(&self, n: usize) -> usize {
        let s = &self.shape;
        if self.input_in_rows() {
            n * s.x_len()
        } else {
            blocked_len(n, s.c_in, s.h * s.w)
        }
    }

    /// Numbers of `n` blocked outputs.
    #[must_use]
    pub fn y_len(&self, n: usize) -> usize {
        let [oh, ow] = self.shape.out_size();
        blocked_len(n, self.shape.c_out, oh * ow)
    }

    /// Numbers of a padded bias.
    #[must_use]
    pub fn bias_len(&self) -> usize {
        blocks(self.shape.c_out) * LANES
    }

    /// Packs a weight `[c_out, c_in / groups, kh, kw]` for the forward pass.
    ///
    /// # Panics
    ///
    /// If the weight's length does not match.
    #[must_use]
    pub fn pack_forward(&self, w: &[f32]) -> Vec<f32> {
        let mut packed = Vec::new();
        self.pack_forward_into(w, &mut packed);
        packed
    }

    /// [`Self::pack_forward`] into memory that is there already.
    ///
    /// # Panics
    ///
    /// If the weight's length does not match.
    pub fn pack_forward_into(&self, w: &[f32], packed: &mut Vec<f32>) {
        let s = &self.shape;
        assert_eq!(w.len(), s.w_len(), "weight length of {s:?}");
        let taps = s.taps();
        let at = |o: usize, i: usize| (o * s.c_in + i) * taps;
        match &self.algorithm {
            Algorithm::Winograd { forward, .. } => {
                forward.pack(w, at, sized(packed, forward.weight_len()))
            }
            Algorithm::Direct { forward, .. } => {
                forward.pack(w, at, sized(packed, forward.weight_len()))
            }
            Algorithm::Pointwise { forward, .. } => {
                forward.pack(w, at, sized(packed, forward.weight_len()))
            }
            Algorithm::Stem(stem) => stem.pack_forward(w, sized(packed, stem.forward_len())),
            Algorithm::Depthwise(d) => d.pack(w, sized(packed, d.weight_len())),
        }
    }

    /// Packs a weight for the gradient to the input.
    ///
    /// # Panics
    ///
    /// If the weight's length does not match.
    #[must_use]
    pub fn pack_backward(&self, w: &[f32]) -> Vec<f32> {
        let mut packed = Vec::new();
        self.pack_backward_into(w, &mut packed);
        packed
    }

    /// [`Self::pack_backward`] into memory that is there already.
    ///
    /// # Panics
    ///
    /// If the weight's length does not match.
    pub fn pack_backward_into(&self, w: &[f32], packed: &mut Vec<f32>) {
        let s = &self.shape;
        assert_eq!(w.len(), s.w_len(), "weight length of {s:?}");
        let taps = s.taps();
        let at = |i: usize, o: usize| (o * s.c_in + i) * taps;
        match &self.algorithm {
            Algorithm::Winograd { backward, .. } => {
                backward.pack(w, at, sized(packed, backward.weight_len()))
            }
            Algorithm::Direct { backward, .. } => {
                backward.pack(w, at, sized(packed, backward.weight_len()))
            }
            Algorithm::Pointwise { backward, .. } => {
                backward.pack(w, at, sized(packed, backward.weight_len()))
            }
            Algorithm::Stem(stem) => stem.pack_backward(w, sized(packed, stem.backward_len())),
            Algorithm::Depthwise(d) => d.pack(w, sized(packed, d.weight_len())),
        }
    }

    /// Fills blocked `y` from `x`, with weights packed by [`Self::pack_forward`].
    ///
    /// # Panics
    ///
    /// If a length does not match.
    pub fn forward(&self, x: &[f32], packed: &[f32], epilogue: Epilogue<'_>, y: &mut [f32]) {
        let n = x.len() / self.x_len(1);
        assert_eq!(
            [x.len(), y.len()],
            [self.x_len(n), self.y_len(n)],
            "input and output of {:?}",
            self.shape
        );
        assert!(
            epilogue.bias.is_none_or(|b| b.len() == self.bias_len()),
            "bias of {:?}",
            self.shape
        );
        assert!(
            epilogue.add.is_none_or(|a| a.len() == y.len()),
            "addend of {:?}",
            self.shape
        );
        let finish = Finish {
            bias: epilogue.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            add: epilogue.add.map_or(std::ptr::null(), <[f32]>::as_ptr),
            relu: epilogue.relu,
            ..Finish::plain(y.as_mut_ptr(), LANES, 0)
        };
        let pass = Pass::new(x);
        with_scratch(|scratch| {
            let packed_len = packed.len();
            let packed = packed.as_ptr();
            // Safety: lengths of inputs, outputs and weights have been checked against the shape
            // that the plans were made for.
            unsafe {
                match &self.algorithm {
                    Algorithm::Winograd { forward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(WinogradForward {
                            plan,
                            n,
                            pass,
                            packed,
                            finish,
                            scratch,
                        });
                    }
                    Algorithm::Direct { forward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(DirectApply {
                            plan,
                            n,
                            pass,
                            packed,
                            finish,
                            scratch,
                        });
                    }
                    Algorithm::Pointwise { forward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(PointwiseApply {
                            plan,
                            n,
                            pass,
                            packed,
                            finish,
                            scratch,
                        });
                    }
                    Algorithm::Stem(plan) => {
                        assert_eq!(packed_len, plan.forward_len(), "packed weights");
                        simd::run(StemForward {
                            plan,
                            x,
                            packed,
                            finish,
                            scratch,
                        });
                    }
                    Algorithm::Depthwise(plan) => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(DepthwiseApply {
                            plan,
                            direction: Direction::Forward,
                            n,
                            pass,
                            packed,
                            finish,
                            scratch,
                        });
                    }
                }
            }
        });
    }

    /// Fills `dx`, in the layout of the input, from the gradient of the blocked output, with
    /// weights packed by [`Self::pack_backward`].
    ///
    /// # Panics
    ///
    /// If a length does not match.
    pub fn grad_input(&self, dy: Pass<'_>, packed: &[f32], dx: &mut [f32]) {
        let n = dx.len() / self.x_len(1);
        assert_eq!(
            [dx.len(), dy.values.len()],
            [self.x_len(n), self.y_len(n)],
            "input and output of {:?}",
            self.shape
        );
        with_scratch(|scratch| {
            let (packed_len, pass) = (packed.len(), dy);
            // Made where it is used: another use of `dx` ends what a pointer into it may do.
            let finish = |dx: &mut [f32]| Finish::plain(dx.as_mut_ptr(), LANES, 0);
            let packed = packed.as_ptr();
            // Safety: as in `forward`.
            unsafe {
                match &self.algorithm {
                    Algorithm::Winograd { backward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(WinogradForward {
                            plan,
                            n,
                            pass,
                            packed,
                            finish: finish(dx),
                            scratch,
                        });
                    }
                    Algorithm::Direct { backward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(DirectApply {
                            plan,
                            n,
                            pass,
                            packed,
                            finish: finish(dx),
                            scratch,
                        });
                    }
                    Algorithm::Pointwise { backward: plan, .. } => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(PointwiseApply {
                            plan,
                            n,
                            pass,
                            packed,
                            finish: finish(dx),
                            scratch,
                        });
                    }
                    Algorithm::Stem(plan) => {
                        assert_eq!(packed_len, plan.backward_len(), "packed weights");
                        simd::run(StemGradInput {
                            plan,
                            dy,
                            packed,
                            dx,
                            scratch,
                        });
                    }
                    Algorithm::Depthwise(plan) => {
                        assert_eq!(packed_len, plan.weight_len(), "packed weights");
                        simd::run(DepthwiseApply {
                            plan,
                            direction: Direction::Backward,
                            n,
                            pass,
                            packed,
                            finish: finish(dx),
                            scratch,
                        });
                    }
                }
            }
        });
    }

    /// Adds the gradient to the weight, summed over the images in a fixed order, to `dw`
    /// `[c_out, c_in / groups, kh, kw]`.
    ///
    /// # Panics
    ///
    /// If a length does not match.
    pub fn grad_weight(&self, x: &[f32], dy: Pass<'_>, dw: &mut [f32]) {
        let n = x.len() / self.x_len(1);
        assert_eq!(
            [x.len(), dy.values.len()],
            [self.x_len(n), self.y_len(n)],
            "input and output of {:?}",
            self.shape
        );
        assert_eq!(
            dw.len(),
            self.shape.w_len(),
            "weight length of {:?}",
            self.shape
        );
        with_scratch(|scratch| {
            let pass = Pass::new(x);
            // Safety: as in `forward`.
            unsafe {
                match &self.algorithm {
                    Algorithm::Winograd { forward: plan, .. } => simd::run(WinogradGradWeight {
                        plan,
                        n,
                        x: pass,
                        dy,
                        dw,
                        scratch,
                    }),
                    Algorithm::Direct { forward: plan, .. } => simd::run(DirectGradWeight {
                        plan,
                        n,
                        x: pass,
                        dy,
                        dw,
                        scratch,
                    }),
                    Algorithm::Pointwise { forward: plan, .. } => simd::run(PointwiseGradWeight {
                        plan,
                        n,
                        x: pass,
                        dy,
                        dw,
                        scratch,
                    }),
                    Algorithm::Stem(plan) => simd::run(StemGradWeight {
                        plan,
                        x,
                        dy,
                        dw,
                        scratch,
                    }),
                    Algorithm::Depthwise(plan) => simd::run(DepthwiseGradWeight {
                        plan,
                        n,
                        x: pass,
                        dy,
                        dw,
                        scratch,
                    }),
                }
            }
        });
    }
}

/// Lends `f` this thread's buffer, which keeps its memory between calls.
fn with_scratch<R>(f: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = Cell::default();
    }
    let mut scratch = SCRATCH.take();
    let result = f(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// Whether lengths of inputs, outputs, padded copies (at most twice the padded image along each
/// side) and unrolled windows do not wrap around: the kernels' addresses rely on it.
fn addressable(s: &Conv2d) -> bool {
    let [oh, ow] = s.out_size();
    let side = |i: usize| {
        [s.h, s.w][i]
            .saturating_add(s.pad[i])
            .saturating_add(s.pad[i + 2])
    };
    let padded = saturating_product(&[s.c_in.max(s.c_out).saturating_add(LANES), side(0), side(1)]);
    let windows = saturating_product(&[
        s.c_in.saturating_mul(s.taps()).saturating_add(LANES),
        oh,
        ow,
    ]);
    padded.max(windows) <= isize::MAX as usize / 64
}

/// `buffer` at a length, in the memory it has if that is enough.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(len, 0.0);
    buffer
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
