//! How much of a map lies where it should. `inside` marks the pixels that are known to matter.

use crate::error::{Error, Result};
use crate::measure::checked::checked;
use crate::measure::similarity::top;

fn checked_mask<T: Copy + Into<f64>>(
    operation: &'static str,
    map: &[T],
    inside: &[bool],
) -> Result<Vec<f64>> {
    let map = checked(operation, map)?;
    if inside.len() != map.len() || !inside.contains(&true) {
        let found = format!(
            "{} marks, {} of them set",
            inside.len(),
            inside.iter().filter(|&&m| m).count()
        );
        return Err(Error::mismatch(
            operation,
            format!("{} marks, at least one set", map.len()),
            found,
        ));
    }
    Ok(map)
}

/// Pointing game: 1 if the largest value lies inside, else 0. Where several pixels share it, the
/// share of them inside.
///
/// Range `[0, 1]`, higher is better. Source: Zhang et al. 2018.
pub fn hit<T: Copy + Into<f64>>(map: &[T], inside: &[bool]) -> Result<f64> {
    let map = checked_mask("pointing game", map, inside)?;
    let peak = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let peaks = || map.iter().zip(inside).filter(|(v, _)| **v >= peak);
    Ok(peaks().filter(|(_, m)| **m).count() as f64 / peaks().count() as f64)
}

/// Mass accuracy: share of the positive values that lies inside, Σ_inside x⁺ / Σ x⁺. A map without
/// positive values scores the share of pixels inside, which is what an even map gets.
///
/// Range `[0, 1]`, higher is better. Source: Arras et al. 2022 (relevance mass accuracy).
pub fn mass<T: Copy + Into<f64>>(map: &[T], inside: &[bool]) -> Result<f64> {
    let map = checked_mask("mass accuracy", map, inside)?;
    let (mut within, mut all) = (0.0, 0.0);
    for (v, &m) in map.iter().zip(inside).filter(|(v, _)| **v > 0.0) {
        all += v;
        within += if m { *v } else { 0.0 };
    }
    let share = inside.iter().filter(|&&m| m).count() as f64 / inside.len() as f64;
    Ok(if all > 0.0 {
        (within / all).min(1.0)
    } else {
        share
    })
}

/// Rank accuracy: share of the k largest values that lie inside, k the number of pixels inside; of
/// equal values the one at the smaller position goes first.
///
/// Range `[0, 1]`, higher is better. Source: Arras et al. 2022 (relevance rank accuracy).
pub fn rank<T: Copy + Into<f64>>(map: &[T], inside: &[bool]) -> Result<f64> {
    let map = checked_mask("rank accuracy", map, inside)?;
    let k = inside.iter().filter(|&&m| m).count();
    Ok(top(&map, k)
        .iter()
        .zip(inside)
        .filter(|(t, m)| **t && **m)
        .count() as f64
        / k as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_values() {
        let (map, inside) = ([3.0, 1.0, -2.0, 3.0, 2.0], [true, false, true, false, true]);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
        near(hit(&map, &inside).unwrap(), 0.5);
        near(mass(&map, &inside).unwrap(), 5.0 / 9.0);
        near(rank(&map, &inside).unwrap(), 2.0 / 3.0);
        near(mass(&[-1.0, 0.0], &[true, false]).unwrap(), 0.5);
        assert!(
            hit(&map, &[false; 5]).is_err()
                && mass(&map, &[true; 4]).is_err()
                && rank(&[f64::NAN], &[true]).is_err()
        );
    }
}
