//! Weights of maps by least squares on the windows of the perturbation map.

use crate::error::Result;
use crate::explain::parts::map::bounds;
use crate::measure::convex::{convex_least_squares, own_scale};
use serde::Serialize;
use std::ops::Range;

/// How the maps of an image were weighted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapWeights {
    /// c_m, from a map's own unit to that of the score, 0 or more.
    pub scales: Vec<f64>,
    /// w_m: the perturbation map first, then the gradient map, then the others.
    pub weights: Vec<f64>,
    /// μ, in mean square lengths of what the maps say of the windows.
    pub mu: f64,
    /// R², 1 or less.
    pub r_squared: f64,
}

/// Σ_m w_m c_m φ_m of row-major maps of `width` columns, divided by its largest size so that it
/// lies in `[-1, 1]`, and the weights. `falls` holds Δ_j, one a window; `mu` is μ, none to have it
/// chosen.
pub(crate) fn weigh(
    falls: &[f64],
    windows: &[[Range<usize>; 2]],
    width: usize,
    maps: &[&[f64]],
    mu: Option<f64>,
) -> Result<(Vec<f64>, MapWeights)> {
    let mut scales = Vec::with_capacity(maps.len());
    let mut columns = Vec::with_capacity(maps.len());
    for map in maps {
        let inside = |[rows, columns]: &[Range<usize>; 2]| -> f64 {
            rows.clone()
                .map(|r| {
                    map[r * width + columns.start..r * width + columns.end]
                        .iter()
                        .sum::<f64>()
                })
                .sum()
        };
        let sums: Vec<f64> = windows.iter().map(inside).collect();
        let scale = own_scale(falls, &sums)?;
        scales.push(scale);
        columns.push(sums.iter().map(|s| scale * s).collect());
    }
    let fit = convex_least_squares(falls, &columns, mu)?;
    let mut mixed = vec![0.0; maps[0].len()];
    for ((map, scale), weight) in maps.iter().zip(&scales).zip(&fit.weights) {
        let by = scale * weight;
        mixed.iter_mut().zip(*map).for_each(|(m, v)| *m += by * v);
    }
    let (low, high) = bounds(&mixed);
    let unit = high.max(-low);
    if unit > 0.0 {
        mixed.iter_mut().for_each(|m| *m /= unit);
    }
    let weights = MapWeights {
        scales,
        weights: fit.weights,
        mu: fit.mu,
        r_squared: fit.r_squared,
    };
    Ok((mixed, weights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::toy::spread;

    /// Windows of 2 x 2 pixels at every pixel of 6 x 6.
    fn windows() -> Vec<[Range<usize>; 2]> {
        let along = |i: usize| i..i + 2;
        (0..5)
            .flat_map(|r| (0..5).map(move |c| [along(r), along(c)]))
            .collect()
    }

    fn sums(map: &[f64]) -> Vec<f64> {
        let of = |[rows, columns]: [Range<usize>; 2]| -> f64 {
            rows.flat_map(|r| columns.clone().map(move |c| 6 * r + c))
                .map(|i| map[i])
                .sum()
        };
        windows().into_iter().map(of).collect()
    }

    fn near(found: f64, expected: f64, within: f64) {
        assert!(
            (found - expected).abs() <= within,
            "{found} against {expected}"
        );
    }

    /// The score is additive and one map holds its terms in another unit: it gets all weight, its
    /// unit is found, and R² is 1.
    #[test]
    fn the_map_of_an_additive_score_gets_all_weight() {
        let truth = spread(36, 1);
        let stretched: Vec<f64> = truth.iter().map(|v| 0.25 * v).collect();
        let (other, another) = (spread(36, 2), spread(36, 3));
        let (mixed, found) = weigh(
            &sums(&truth),
            &windows(),
            6,
            &[&other, &stretched, &another],
            None,
        )
        .unwrap();
        near(found.weights[1], 1.0, 1e-5);
        near(found.scales[1], 4.0, 1e-9);
        near(found.r_squared, 1.0, 1e-9);
        let largest = truth.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for (m, t) in mixed.iter().zip(&truth) {
            near(*m, t / largest, 1e-4);
        }
    }

    /// Maps that speak against the windows get no say.
    #[test]
    fn an_opposite_map_is_given_the_scale_of_zero() {
        let truth = spread(36, 1);
        let minus: Vec<f64> = truth.iter().map(|v| -v).collect();
        let (mixed, found) = weigh(&sums(&truth), &windows(), 6, &[&truth, &minus], None).unwrap();
        near(found.scales[1], 0.0, 0.0);
        near(found.weights[0], 1.0, 1e-5);
        assert!(mixed.iter().zip(&truth).all(|(m, t)| m * t >= 0.0));
    }

    #[test]
    fn constant_falls_and_empty_maps_give_numbers() {
        for fall in [0.0, 2.0] {
            let (mixed, found) = weigh(
                &[fall; 25],
                &windows(),
                6,
                &[&[0.0; 36], &spread(36, 1)],
                None,
            )
            .unwrap();
            near(found.r_squared, 0.0, 0.0);
            assert!(mixed.iter().chain(&found.weights).all(|v| v.is_finite()));
        }
        assert!(weigh(&[f64::NAN; 25], &windows(), 6, &[&[1.0; 36]], None).is_err());
    }
}
