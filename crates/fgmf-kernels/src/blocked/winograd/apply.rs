//! The passes: to the points, the products, and back.

use super::super::pass::Pass;
use super::tiles::{LARGE, SIDE, Winograd};
use super::transform::{FromPoints, ToPoints};
use super::weight::{Pack, Unpack};
use crate::real::at_least;
use crate::simd::{Kernel, LANES, Vector};
use crate::tile::{Finish, Product, Segment};

impl Winograd {
    /// Packs weights; `at(o, i)` is where the window of an output and an input channel of this
    /// direction begins in `w`.
    pub(crate) fn pack(&self, w: &[f32], at: impl Fn(usize, usize) -> usize, packed: &mut [f32]) {
        assert_eq!(packed.len(), self.weight_len(), "packed weights");
        // Safety: `pays` and the lengths of weights are checked by the caller; `packed` is as long
        // as stated.
        unsafe {
            match (self.taps, self.side) {
                (3, _) => crate::simd::run(Pack::<_, 6, 3> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
                (_, SIDE) => crate::simd::run(Pack::<_, 5, 2> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
                _ => crate::simd::run(Pack::<_, 8, 2> {
                    plan: self,
                    w,
                    at,
                    packed,
                }),
            }
        }
    }
}

/// Convolution of blocked images.
pub(crate) struct WinogradForward<'a> {
    pub(crate) plan: &'a Winograd,
    pub(crate) n: usize,
    pub(crate) pass: Pass<'a>,
    pub(crate) packed: *const f32,
    pub(crate) finish: Finish,
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl Kernel for WinogradForward<'_> {
    type Output = ();

    /// # Safety
    ///
    /// Pointers cover `n` images and the packed weights.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // Safety: passed on to the caller.
        unsafe {
            match (self.plan.taps, self.plan.side) {
                (3, _) => self.tiles::<V, 6, SIDE>(),
                (_, SIDE) => self.tiles::<V, 5, SIDE>(),
                _ => self.tiles::<V, 8, LARGE>(),
            }
        }
    }
}

impl WinogradForward<'_> {
    /// With `N` points and `M` outputs along a side of a tile.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn tiles<V: Vector, const N: usize, const M: usize>(self) {
        let Self {
            plan,
            n,
            pass,
            packed,
            finish,
            scratch,
        } = self;
        let (ib, ob, points) = (plan.input.blocks(), plan.output.blocks(), plan.points());
        at_least(scratch, points * (plan.point(ib) + plan.point(ob)));
        let v = scratch.as_mut_ptr();
        // Safety: `v` and `m` share the scratch, the rest is stated above.
        unsafe {
            let m = v.add(points * plan.point(ib));
            for (first, count) in plan.pieces(n) {
                let planes = &plan.input;
                if plan.adjoint {
                    V::isolated(ToPoints::<M, N> {
                        plan,
                        planes,
                        pass,
                        first,
                        count,
                        to: v,
                    });
                } else {
                    V::isolated(ToPoints::<N, N> {
                        plan,
                        planes,
                        pass,
                        first,
                        count,
                        to: v,
                    });
                }
                for p in 0..points {
                    let product = Product::<LANES, 1> {
                        a: v.add(p * plan.point(ib)),
                        rows: count,
                        b: packed.add(p * plan.weight_point()),
                        panel: plan.depth() * LANES,
                        panels: ob,
                        segments: &plan.segments,
                        finish: Finish::plain(m.add(p * plan.point(ob)), LANES, plan.piece * LANES),
                    };
                    product.run::<V>();
                }
                if plan.adjoint {
                    V::isolated(FromPoints::<N, N> {
                        plan,
                        first,
                        count,
                        from: m,
                        finish,
                    });
                } else {
                    V::isolated(FromPoints::<N, M> {
                        plan,
                        first,
                        count,
                        from: m,
                        finish,
                    });
                }
            }
        }
    }
}

/// Gradient to the weight, in the forward direction: `dw[o, i, kh, kw]` is added to.
pub(crate) struct WinogradGradWeight<'a> {
    pub(crate) plan: &'a Winograd,
    pub(crate) n: usize,
    pub(crate) x: Pass<'a>,
    pub(crate) dy: Pass<'a>,
    pub(crate) dw: &'a mut [f32],
    pub(crate) scratch: &'a mut Vec<f32>,
}

impl Kernel for WinogradGradWeight<'_> {
    type Output = ();

    /// # Safety
    ///
    /// `x` and `dy` cover `n` images.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // Safety: passed on to the caller.
        unsafe {
            match (self.plan.taps, self.plan.side) {
                (3, _) => self.tiles::<V, 6, SIDE, 3>(),
                (_, SIDE) => self.tiles::<V, 5, SIDE, 2>(),
                _ => self.tiles::<V, 8, LARGE, 2>(),
            }
        }
    }
}

impl WinogradGradWeight<'_> {
    /// With `N` points and `M` outputs along a side of a tile, and `R` taps along one of a window.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn tiles<V: Vector, const N: usize, const M: usize, const R: usize>(self) {
        let Self {
            plan,
            n,
            x,
            dy,
            dw,
            scratch,
        } = self;
        let (ib, ob, points) = (plan.input.blocks(), plan.output.blocks(), plan.points());
        if n == 0 {
            return;
        }
        // A point's products, `[c_in, c_out]` in whole blocks.
        let sums = ib * ob * LANES * LANES;
        let held = points * (plan.point(ib) + plan.point(ob));
        at_least(scratch, held + points * sums);
        let v = scratch.as_mut_ptr();
        // Safety: three parts of the scratch; cells are inside their planes.
        unsafe {
            let m = v.add(points * plan.point(ib));
            let du = v.add(held);
            for (first, count) in plan.pieces(n) {
                V::isolated(ToPoints::<N, N> {
                    plan,
                    planes: &plan.input,
                    pass: x,
                    first,
                    count,
                    to: v,
                });
                V::isolated(ToPoints::<M, N> {
                    plan,
                    planes: &plan.output,
                    pass: dy,
                    first,
                    count,
                    to: m,
                });
                let all = [Segment {
                    a: 0,
                    b: 0,
                    len: count,
                }];
                for p in 0..points {
                    for b in 0..ib {
                        let to = du.add(p * sums + b * LANES * ob * LANES);
                        let product = Product::<1, LANES> {
                            a: v.add(p * plan.point(ib) + b * plan.piece * LANES),
                            rows: LANES,
                            b: m.add(p * plan.point(ob)),
                            panel: plan.piece * LANES,
                            panels: ob,
                            segments: &all,
                            finish: Finish::plain(to, ob * LANES, LANES).accumulate(first > 0),
                        };
                        product.run::<V>();
                    }
                }
            }
            let u = &scratch[held..held + points * sums];
            V::isolated(Unpack::<N, R> { plan, u, dw });
        }
    }
}
