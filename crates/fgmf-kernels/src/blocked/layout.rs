//! The blocked layout `[n, ⌈c / 16⌉, h, w, 16]`: channels in sixteens, innermost. Channels past the
//! last are padding; what is converted from rows has zeros there.
#![allow(unsafe_code, reason = "see `simd`")]

use crate::simd::{self, Kernel, LANES, Vector};

/// Blocks that `c` channels take.
pub(crate) fn blocks(c: usize) -> usize {
    c.div_ceil(LANES)
}

/// Numbers that `[n, c, h, w]` takes in the blocked layout, with `plane = h w`; `usize::MAX` if
/// they are more.
#[must_use]
pub const fn blocked_len(n: usize, c: usize, plane: usize) -> usize {
    n.saturating_mul(c.div_ceil(LANES).saturating_mul(LANES))
        .saturating_mul(plane)
}

/// Rearranges `x` `[n, c, plane]` into the blocked layout.
///
/// # Panics
///
/// If a slice length does not match.
pub fn to_blocked(c: usize, plane: usize, x: &[f32], y: &mut [f32]) {
    let n = images(c, plane, x.len(), y.len());
    // Safety: lengths have been checked.
    unsafe {
        simd::run(ToBlocked {
            n,
            c,
            plane,
            stride: plane,
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// [`to_blocked`] of one image whose channels lie `stride` apart.
pub(crate) fn to_blocked_apart(c: usize, plane: usize, stride: usize, x: &[f32], y: &mut [f32]) {
    assert!(
        c == 0
            || plane == 0
            || (c - 1)
                .checked_mul(stride)
                .and_then(|v| v.checked_add(plane))
                .is_some_and(|end| end <= x.len()),
        "rows of {c} channels by {plane}"
    );
    assert_eq!(
        y.len(),
        blocked_len(1, c, plane),
        "blocked length of {c} channels by {plane}"
    );
    // Safety: lengths have been checked.
    unsafe {
        simd::run(ToBlocked {
            n: 1,
            c,
            plane,
            stride,
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// Rearranges blocked `x` into `y` `[n, c, plane]`.
///
/// # Panics
///
/// If a slice length does not match.
pub fn from_blocked(c: usize, plane: usize, x: &[f32], y: &mut [f32]) {
    let n = images(c, plane, y.len(), x.len());
    // Safety: lengths have been checked.
    unsafe {
        simd::run(FromBlocked {
            n,
            c,
            plane,
            x: x.as_ptr(),
            y: y.as_mut_ptr(),
        })
    }
}

/// Rearranges blocked `x` into `y` `[n, plane, c]`, channels last: `y = x scale`, with one factor a
/// channel, padded to whole blocks, or none.
///
/// # Panics
///
/// If a slice length does not match.
pub fn blocked_to_last(c: usize, plane: usize, scale: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    images(c, plane, y.len(), x.len());
    assert!(
        scale.is_none_or(|s| s.len() == blocks(c) * LANES),
        "scale of {c} channels"
    );
    let channels = (c * plane).max(1);
    let cells = x.chunks_exact((blocks(c) * plane * LANES).max(1));
    for (x, y) in cells.zip(y.chunks_exact_mut(channels)) {
        for (b, x) in x.as_chunks::<LANES>().0.chunks_exact(plane).enumerate() {
            let factors = factors(scale, b);
            let real = LANES.min(c - b * LANES);
            for (x, y) in x.iter().zip(y.chunks_exact_mut(c)) {
                let to = &mut y[b * LANES..][..real];
                match to.first_chunk_mut::<LANES>() {
                    Some(to) => *to = std::array::from_fn(|l| x[l] * factors[l]),
                    None => to
                        .iter_mut()
                        .zip(x.iter().zip(&factors))
                        .for_each(|(y, (x, f))| *y = x * f),
                }
            }
        }
    }
}

/// Rearranges `x` `[n, plane, c]`, channels last, into blocked `y = x scale + add`; `scale` as for
/// [`blocked_to_last`], `add` blocked or none.
///
/// # Panics
///
/// If a slice length does not match.
pub fn last_to_blocked(
    c: usize,
    plane: usize,
    scale: Option<&[f32]>,
    add: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
    images(c, plane, x.len(), y.len());
    assert!(
        scale.is_none_or(|s| s.len() == blocks(c) * LANES),
        "scale of {c} channels"
    );
    assert!(
        add.is_none_or(|a| a.len() == y.len()),
        "addend of {c} channels by {plane}"
    );
    let image = (blocks(c) * plane).max(1);
    let cells = y.as_chunks_mut::<LANES>().0.chunks_exact_mut(image);
    for (i, (x, y)) in x.chunks_exact((c * plane).max(1)).zip(cells).enumerate() {
        for (b, y) in y.chunks_exact_mut(plane).enumerate() {
            let factors = factors(scale, b);
            let real = LANES.min(c - b * LANES);
            let from = (i * image + b * plane) * LANES;
            let add = add.map(|a| a[from..][..plane * LANES].as_chunks::<LANES>().0);
            for (cell, (x, y)) in x.chunks_exact(c).zip(y).enumerate() {
                let x = &x[b * LANES..][..real];
                *y = match x.first_chunk::<LANES>() {
                    Some(x) => std::array::from_fn(|l| x[l] * factors[l]),
                    None => std::array::from_fn(|l| x.get(l).map_or(0.0, |v| v * factors[l])),
                };
                if let Some(add) = add {
                    *y = std::array::from_fn(|l| y[l] + add[cell][l]);
                }
            }
        }
    }
}

/// The factors of a block of channels.
fn factors(scale: Option<&[f32]>, block: usize) -> [f32; LANES] {
    scale.map_or([1.0; LANES], |s| s.as_chunks::<LANES>().0[block])
}

fn images(c: usize, plane: usize, rows: usize, blocked: usize) -> usize {
    let image = c.saturating_mul(plane);
    let n = rows.checked_div(image).unwrap_or(0);
    assert_eq!(
        rows,
        n.saturating_mul(image),
        "rows of {c} channels by {plane}"
    );
    assert_eq!(
        blocked,
        blocked_len(n, c, plane),
        "blocked length of {n} images, {c} channels by {plane}"
    );
    n
}

struct ToBlocked {
    n: usize,
    c: usize,
    plane: usize,
    /// From a channel to the next.
    stride: usize,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for ToBlocked {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            n,
            c,
            plane,
            stride,
            x,
            y,
        } = self;
        // Safety: the lengths are those of the layouts; a part of a plane is read and written as a
        // part.
        unsafe {
            let blocks = c.div_ceil(LANES);
            for b in 0..n * blocks {
                let (image, first) = (b / blocks, b % blocks * LANES);
                let real = LANES.min(c - first);
                let (x, y) = (
                    x.add((image * c + first) * stride),
                    y.add(b * plane * LANES),
                );
                for at in (0..plane).step_by(LANES) {
                    let count = LANES.min(plane - at);
                    let mut square = [V::zero(); LANES];
                    for (l, v) in square.iter_mut().enumerate().take(real) {
                        let from = x.add(l * stride + at);
                        *v = if count < LANES {
                            V::load_part(from, count)
                        } else {
                            V::load(from)
                        };
                    }
                    V::transpose(&mut square);
                    for (i, v) in square.into_iter().enumerate().take(count) {
                        v.store(y.add((at + i) * LANES));
                    }
                }
            }
        }
    }
}

struct FromBlocked {
    n: usize,
    c: usize,
    plane: usize,
    x: *const f32,
    y: *mut f32,
}

impl Kernel for FromBlocked {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { n, c, plane, x, y } = self;
        // Safety: as in `ToBlocked`.
        unsafe {
            let blocks = c.div_ceil(LANES);
            for b in 0..n * blocks {
                let (image, first) = (b / blocks, b % blocks * LANES);
                let real = LANES.min(c - first);
                let (x, y) = (x.add(b * plane * LANES), y.add((image * c + first) * plane));
                for at in (0..plane).step_by(LANES) {
                    let count = LANES.min(plane - at);
                    let mut square = [V::zero(); LANES];
                    for (i, v) in square.iter_mut().enumerate().take(count) {
                        *v = V::load(x.add((at + i) * LANES));
                    }
                    V::transpose(&mut square);
                    for (l, v) in square.into_iter().enumerate().take(real) {
                        let to = y.add(l * plane + at);
                        if count < LANES {
                            v.store_part(to, count)
                        } else {
                            v.store(to)
                        }
                    }
                }
            }
        }
    }
}
