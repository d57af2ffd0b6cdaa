//! Windows of the Square Attack: their size, the starts, and the L2 and L1 exchange between two
//! windows.

use crate::rng::Stream;
use crate::threat::{Norm, ThreatModel};

/// Side of a square that covers the share `p` of an image, at least 1; for L2 and L1 odd and at
/// least 3. Never more than the image has.
pub(crate) fn window_side(p: f64, height: usize, width: usize, norm: Norm) -> usize {
    let side = ((p * (height * width) as f64).sqrt().round() as usize).max(1);
    let side = if norm == Norm::Linf {
        side
    } else {
        side.max(3) | 1
    };
    side.min(height).min(width)
}

fn size(norm: Norm, v: &[f32]) -> f32 {
    norm.of(v.iter().map(|&v| f64::from(v))) as f32
}

/// Squares around the middle of a `rows` x `columns` field, the one at radius r adding r^(−2) for
/// L2, r^(−4) for L1.
fn pyramid(rows: usize, columns: usize, norm: Norm) -> Vec<f32> {
    let power = if norm == Norm::L2 { 2 } else { 4 };
    let (middle_row, middle_column) = (rows / 2, columns / 2);
    let height = |i: usize, j: usize| {
        let nearest = i.abs_diff(middle_row).max(j.abs_diff(middle_column)) + 1;
        let last = rows.max(columns) / 2 + 1;
        (nearest..=last).map(|r| (r as f32).powi(-power)).sum()
    };
    let mut field: Vec<f32> = (0..rows * columns)
        .map(|at| height(at / columns, at % columns))
        .collect();
    let total = size(norm, &field).max(1e-12);
    field.iter_mut().for_each(|v| *v /= total);
    field
}

/// η: a pyramid over the upper part of a square and a negative one over the lower, of norm 1; on
/// its side half of the time.
fn bump(side: usize, norm: Norm, rng: &mut Stream) -> Vec<f32> {
    let mut field = pyramid(side / 2, side, norm);
    field.extend(pyramid(side - side / 2, side, norm).into_iter().map(|v| -v));
    let total = size(norm, &field).max(1e-12);
    field.iter_mut().for_each(|v| *v /= total);
    if rng.unit() < 0.5 {
        field
    } else {
        (0..side * side)
            .map(|at| field[at % side * side + at / side])
            .collect()
    }
}

/// Adds `patch`, scaled, to a square of a channel.
fn add(
    channel: &mut [f32],
    width: usize,
    (top, left): (usize, usize),
    patch: &[f32],
    side: usize,
    scale: f32,
) {
    for (line, values) in channel
        .chunks_exact_mut(width)
        .skip(top)
        .zip(patch.chunks_exact(side))
    {
        line[left..left + side]
            .iter_mut()
            .zip(values)
            .for_each(|(v, p)| *v += scale * p);
    }
}

/// The perturbation at the start: vertical stripes of ± eps for Linf, 5 x 5 tiles of bumps
/// otherwise.
pub(crate) fn start(
    delta: &mut [f32],
    [_, h, w]: [usize; 3],
    threat: &ThreatModel,
    rng: &mut Stream,
) {
    if threat.norm() == Norm::Linf {
        for channel in delta.chunks_exact_mut(h * w) {
            let stripe: Vec<f32> = (0..w).map(|_| threat.eps() as f32 * rng.sign()).collect();
            channel
                .chunks_exact_mut(w)
                .for_each(|line| line.copy_from_slice(&stripe));
        }
        return;
    }
    let side = (h.min(w) / 5).max(1);
    let margin = h.min(w).saturating_sub(5 * side) / 2;
    for top in (margin..=h - side).step_by(side) {
        for left in (margin..=w - side).step_by(side) {
            let tile = bump(side, threat.norm(), rng);
            for channel in delta.chunks_exact_mut(h * w) {
                add(channel, w, (top, left), &tile, side, rng.sign());
            }
        }
    }
}

/// Positions in a channel that a window covers, row by row.
fn cells(width: usize, (top, left): (usize, usize), side: usize) -> impl Iterator<Item = usize> {
    (top..top + side).flat_map(move |row| row * width + left..row * width + left + side)
}

/// Moves the perturbation inside window `from` into window `to`, as a new bump on top of what `to`
/// holds. With n the norm of the whole and m that of both windows in a channel, of c channels, the
/// window's new norm is √((eps² − n²)₊ / c + m²) for L2 and (eps − n)₊ + c m for L1 (as in the
/// paper's code).
pub(crate) fn accumulate(
    delta: &mut [f32],
    [c, h, w]: [usize; 3],
    side: usize,
    to: (usize, usize),
    from: (usize, usize),
    threat: &ThreatModel,
    rng: &mut Stream,
) {
    let norm = threat.norm();
    let (eps, whole) = (threat.eps() as f32, size(norm, delta));
    let eta = bump(side, norm, rng);
    let apart = |at: &usize| {
        !(to.0..to.0 + side).contains(&(at / w)) || !(to.1..to.1 + side).contains(&(at % w))
    };
    for channel in delta.chunks_exact_mut(h * w) {
        let held: Vec<f32> = cells(w, to, side).map(|at| channel[at]).collect();
        let both: Vec<f32> = held
            .iter()
            .copied()
            .chain(cells(w, from, side).filter(apart).map(|at| channel[at]))
            .collect();
        let (held_size, both_size, sign) =
            (size(norm, &held) + 1e-12, size(norm, &both), rng.sign());
        let mut patch: Vec<f32> = eta
            .iter()
            .zip(&held)
            .map(|(e, old)| sign * e + old / held_size)
            .collect();
        let target = match norm {
            Norm::L2 => {
                ((eps * eps - whole * whole).max(0.0) / c as f32 + both_size * both_size).sqrt()
            }
            Norm::Linf | Norm::L1 => (eps - whole).max(0.0) + both_size * c as f32,
        };
        let scale = target / (1e-12 + size(norm, &patch));
        patch.iter_mut().for_each(|v| *v *= scale);
        cells(w, to, side)
            .chain(cells(w, from, side))
            .for_each(|at| channel[at] = 0.0);
        add(channel, w, to, &patch, side, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    /// Sizes on 28x28 as the reference computes them.
    #[test]
    fn sides() {
        let sides = |norm| {
            [0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.001].map(|p| window_side(p, 28, 28, norm))
        };
        assert_eq!(sides(Norm::Linf), [25, 18, 13, 9, 6, 4, 3, 1]);
        assert_eq!(sides(Norm::L2), [25, 19, 13, 9, 7, 5, 3, 3]);
        assert_eq!(window_side(1.0, 2, 9, Norm::L1), 2);
    }

    /// Bumps have norm 1 and an exchange keeps to the radius where the perturbation did.
    #[test]
    fn norms() {
        for norm in [Norm::L2, Norm::L1] {
            let mut rng = Stream::new(3, Purpose::AttackStep, 0, 0);
            for side in [1, 2, 3, 5, 8, 25] {
                assert!(
                    (size(norm, &bump(side, norm, &mut rng)) - 1.0).abs() < 1e-5,
                    "{norm:?} {side}"
                );
            }
            let threat = ThreatModel::new(norm, 2.0, [0.0, 1.0]).unwrap();
            let mut delta = vec![0.0; 28 * 28];
            start(&mut delta, [1, 28, 28], &threat, &mut rng);
            let scale = 2.0 / size(norm, &delta);
            delta.iter_mut().for_each(|v| *v *= scale);
            for to in [(0, 0), (3, 4), (23, 23)] {
                accumulate(&mut delta, [1, 28, 28], 5, to, (10, 1), &threat, &mut rng);
                assert!(
                    (size(norm, &delta) - 2.0).abs() < 1e-4,
                    "{norm:?}: {}",
                    size(norm, &delta)
                );
            }
        }
    }
}
