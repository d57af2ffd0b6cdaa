//! Least squares over the probability simplex: the mixture of a few columns that comes nearest to
//! a target, as Decker et al. (2024) weight explanations by their infidelity.
//!
//! w* = argmin over w ≥ 0, Σ w = 1 of Σ_j (t_j − Σ_m w_m a_mj)² + μ ‖w − w0‖², w0 = 1 / M.
//!
//! The problem is strictly convex, so there is one optimum. It is found exactly: of each set of
//! columns the stationary point on the plane Σ w = 1 is solved for, and of those without a negative
//! weight the best is taken.

use crate::error::{Error, Result};
use crate::measure::checked::checked;
use crate::measure::linear::solved;

/// Most columns: all their sets are gone through.
pub const COLUMNS: usize = 8;

/// What μ may be, times the mean square length of the columns, the strongest first: where two do
/// alike, the weights that are nearer to each other are taken. The last only makes the optimum
/// unique.
const PENALTIES: [f64; 9] = [100.0, 10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-8];

/// Parts of the rows that are left out in turn. Rows count along the image, so that a part is a
/// band, and few of its windows overlap those of other parts.
const FOLDS: usize = 5;

/// A target that differs from its mean by less than this (squares, relative) is constant: that is
/// the last digit of single precision.
const CONSTANT: f64 = 1e-12;

/// A convex combination of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvexFit {
    /// 0 or more each, with the sum 1.
    pub weights: Vec<f64>,
    /// μ, in mean square lengths of the columns.
    pub mu: f64,
    /// 1 − Σ (t − Σ w a)² / Σ (t − mean t)²: 1 for a perfect fit, 0 for one no better than the mean
    /// of the target, below 0 for a worse one. 0 for a constant target.
    pub r_squared: f64,
}

/// The scale c ≥ 0 at which c · `column` comes nearest to the target: ⟨t, a⟩ / ⟨a, a⟩, or 0 for a
/// column that is 0 everywhere or speaks against the target.
///
/// # Errors
/// [`Error::Mismatch`] for values that are not finite, for none, or for another number of them.
pub fn own_scale(target: &[f64], column: &[f64]) -> Result<f64> {
    let (t, a) = crate::measure::checked::checked_pair("scale a map", target, column)?;
    // In units of the largest, so that no square is too small or too large for a number.
    let unit = |v: &[f64]| v.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let (of_t, of_a) = (unit(&t), unit(&a));
    if of_t <= 0.0 || of_a <= 0.0 {
        return Ok(0.0);
    }
    let with = |p: &[f64], unit: f64| -> f64 {
        p.iter().zip(&a).map(|(p, a)| p / unit * (a / of_a)).sum()
    };
    Ok((with(&t, of_t) / with(&a, of_a)).max(0.0) * (of_t / of_a))
}

/// Range of μ, in mean square lengths of the columns. Above 0, so that the optimum is unique; at
/// the upper end weights are equal to 12 digits.
pub const MU: [f64; 2] = [1e-8, 1e12];

/// The weights of `columns`, each as long as the target. `mu` is μ in mean square lengths of the
/// columns, in the range [`MU`]; where none is given it is the one whose weights fit the bands
/// of rows best that were left out in turn (five, or one a row where there are fewer rows).
/// Multiplying target and columns by the same number changes neither weights nor R².
///
/// # Errors
/// [`Error::Parameter`] for a μ out of range; [`Error::Mismatch`] for no column, more than
/// [`COLUMNS`], columns of another length, no row, or values that are not finite.
pub fn convex_least_squares(
    target: &[f64],
    columns: &[Vec<f64>],
    mu: Option<f64>,
) -> Result<ConvexFit> {
    const NAME: &str = "weigh maps";
    if let Some(mu) = mu.filter(|mu| !(*mu >= MU[0] && *mu <= MU[1])) {
        return Err(Error::parameter(
            "mu",
            format!("{:e} to {:e}", MU[0], MU[1]),
            mu,
        ));
    }
    if !(1..=COLUMNS).contains(&columns.len()) {
        let expected = format!("1 to {COLUMNS} maps");
        return Err(Error::mismatch(NAME, expected, columns.len()));
    }
    let target = checked(NAME, target)?;
    let rows = target.len();
    if let Some(other) = columns.iter().find(|c| c.len() != rows) {
        let expected = format!("{rows} values of every map");
        return Err(Error::mismatch(NAME, expected, other.len()));
    }
    for column in columns {
        checked(NAME, column)?;
    }
    let all = target.iter().chain(columns.iter().flatten());
    let unit = all.fold(0.0, |m: f64, v| m.max(v.abs()));
    let unit = if unit > 0.0 { unit } else { 1.0 };
    let t: Vec<f64> = target.iter().map(|v| v / unit).collect();
    let in_units = |c: &Vec<f64>| c.iter().map(|v| v / unit).collect();
    let a: Vec<Vec<f64>> = columns.iter().map(in_units).collect();

    let whole = Moments::of(&t, &a, 0..rows);
    let mu = mu.unwrap_or_else(|| chosen(&t, &a, &whole));
    let weights = whole.weights(mu);
    let mean = t.iter().sum::<f64>() / rows as f64;
    let spread: f64 = t.iter().map(|v| (v - mean).powi(2)).sum();
    let mixed = |j: usize| -> f64 { weights.iter().zip(&a).map(|(w, a)| w * a[j]).sum() };
    let residual: f64 = (0..rows).map(|j| (t[j] - mixed(j)).powi(2)).sum();
    let r_squared = if spread <= CONSTANT * t.iter().map(|v| v * v).sum::<f64>() {
        0.0
    } else {
        1.0 - residual / spread
    };
    Ok(ConvexFit {
        weights,
        mu,
        r_squared,
    })
}

/// The μ whose weights fit the bands best that were left out in turn.
fn chosen(t: &[f64], a: &[Vec<f64>], whole: &Moments) -> f64 {
    let rows = t.len();
    let folds = FOLDS.min(rows);
    let bands: Vec<_> = (0..folds)
        .map(|f| f * rows / folds..(f + 1) * rows / folds)
        .collect();
    let apart: Vec<(Moments, Moments)> = bands
        .into_iter()
        .map(|band| {
            let left = Moments::of(t, a, band);
            (whole.less(&left), left)
        })
        .collect();
    let mut best = (f64::INFINITY, PENALTIES[0]);
    // With one row there is nothing left to fit when it is left out.
    for penalty in PENALTIES.into_iter().filter(|_| rows > 1) {
        let error = |(rest, left): &(Moments, Moments)| left.error(&rest.weights(penalty));
        let error: f64 = apart.iter().map(error).sum();
        if error < best.0 * (1.0 - 1e-9) {
            best = (error, penalty);
        }
    }
    best.1
}

/// Sums over rows that the squared error is made of.
struct Moments {
    /// ⟨a_m, a_n⟩.
    gram: Vec<f64>,
    /// ⟨a_m, t⟩.
    with_target: Vec<f64>,
    /// ⟨t, t⟩.
    square: f64,
}

impl Moments {
    fn of(t: &[f64], a: &[Vec<f64>], rows: std::ops::Range<usize>) -> Self {
        let dot = |p: &[f64], q: &[f64]| -> f64 {
            let (p, q) = (&p[rows.clone()], &q[rows.clone()]);
            p.iter().zip(q).map(|(p, q)| p * q).sum()
        };
        Self {
            gram: a
                .iter()
                .flat_map(|p| a.iter().map(|q| dot(p, q)).collect::<Vec<f64>>())
                .collect(),
            with_target: a.iter().map(|p| dot(p, t)).collect(),
            square: dot(t, t),
        }
    }

    fn less(&self, other: &Self) -> Self {
        let less = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            gram: less(&self.gram, &other.gram),
            with_target: less(&self.with_target, &other.with_target),
            square: self.square - other.square,
        }
    }

    /// Mean square length of the columns.
    fn level(&self) -> f64 {
        let m = self.with_target.len();
        (0..m).map(|i| self.gram[i * m + i]).sum::<f64>() / m as f64
    }

    /// Σ (t − Σ w a)².
    fn error(&self, w: &[f64]) -> f64 {
        let m = w.len();
        let cross: f64 = w.iter().zip(&self.with_target).map(|(w, h)| w * h).sum();
        let own: f64 = (0..m * m).map(|i| w[i / m] * w[i % m] * self.gram[i]).sum();
        // Rounding may leave a perfect fit below 0.
        (self.square - 2.0 * cross + own).max(0.0)
    }

    /// w*, with μ = `penalty` times the mean square length of the columns.
    fn weights(&self, penalty: f64) -> Vec<f64> {
        let m = self.with_target.len();
        let (equal, mu) = (1.0 / m as f64, penalty * self.level());
        // Columns that are 0 everywhere: any weights do, and these are w0.
        if mu <= 0.0 {
            return vec![equal; m];
        }
        let a = |i: usize, j: usize| self.gram[i * m + j] + if i == j { mu } else { 0.0 };
        let b = |i: usize| self.with_target[i] + mu * equal;
        let mut best = (f64::INFINITY, vec![equal; m]);
        for set in 1..1usize << m {
            let kept: Vec<usize> = (0..m).filter(|i| set >> i & 1 == 1).collect();
            let matrix: Vec<f64> = kept
                .iter()
                .flat_map(|&i| kept.iter().map(move |&j| a(i, j)))
                .collect();
            let right: Vec<f64> = kept.iter().map(|&i| b(i)).collect();
            let (x, y) = (
                solved(&matrix, &right),
                solved(&matrix, &vec![1.0; kept.len()]),
            );
            let multiplier = (x.iter().sum::<f64>() - 1.0) / y.iter().sum::<f64>();
            let mut w = vec![0.0; m];
            for (at, &i) in kept.iter().enumerate() {
                w[i] = x[at] - multiplier * y[at];
            }
            if w.iter().any(|w| *w < 0.0) {
                continue;
            }
            let value: f64 = (0..m)
                .map(|i| w[i] * (0..m).map(|j| a(i, j) * w[j]).sum::<f64>() - 2.0 * w[i] * b(i))
                .sum();
            if value < best.0 {
                best = (value, w);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    fn draws(n: usize, seed: u64) -> Vec<f64> {
        let mut stream = Stream::new(seed, Purpose::Evaluation, 0, 0);
        (0..n).map(|_| f64::from(stream.symmetric())).collect()
    }

    fn near(found: f64, expected: f64, within: f64) {
        assert!(
            (found - expected).abs() <= within,
            "{found} against {expected}"
        );
    }

    #[test]
    fn the_right_column_gets_all_weight() {
        let t = draws(60, 1);
        let fit = convex_least_squares(
            &t,
            &[draws(60, 2), t.clone(), draws(60, 3), draws(60, 4)],
            None,
        )
        .unwrap();
        near(fit.weights[1], 1.0, 1e-6);
        near(fit.r_squared, 1.0, 1e-9);
    }

    #[test]
    fn two_columns_whose_mean_is_right_get_a_half_each() {
        let (t, e) = (draws(60, 1), draws(60, 2));
        let with =
            |sign: f64| -> Vec<f64> { t.iter().zip(&e).map(|(t, e)| t + sign * e).collect() };
        let fit = convex_least_squares(&t, &[with(1.0), with(-1.0)], None).unwrap();
        near(fit.weights[0], 0.5, 1e-9);
        near(fit.weights[1], 0.5, 1e-9);
        near(fit.r_squared, 1.0, 1e-9);
        // The same column twice: neither is preferred.
        let fit = convex_least_squares(&t, &[with(1.0), with(1.0)], None).unwrap();
        near(fit.weights[0], 0.5, 1e-6);
    }

    /// t = (1, 0, 0, …), columns along other axes: R² is below 0, and said so.
    #[test]
    fn a_bad_fit_has_an_r_squared_below_zero() {
        let unit = |at: usize| {
            (0..10)
                .map(|i| f64::from(u8::from(i == at)))
                .collect::<Vec<_>>()
        };
        let fit = convex_least_squares(&unit(0), &[unit(1)], None).unwrap();
        // Residual 2, spread 1 − 1 / 10.
        near(fit.r_squared, 1.0 - 2.0 / 0.9, 1e-12);
    }

    #[test]
    fn constant_targets_and_empty_columns_give_numbers() {
        for level in [0.0, 3.0, -1e-300, 1e300] {
            let fit = convex_least_squares(&[level; 9], &[draws(9, 1), draws(9, 2)], None).unwrap();
            near(fit.r_squared, 0.0, 0.0);
            near(fit.weights.iter().sum(), 1.0, 1e-9);
        }
        let fit = convex_least_squares(&draws(9, 1), &[vec![0.0; 9], vec![0.0; 9]], None).unwrap();
        assert_eq!(fit.weights, [0.5, 0.5]);
        let fit = convex_least_squares(&[2.0], &[vec![2.0], vec![1.0]], None).unwrap();
        near(fit.weights.iter().sum(), 1.0, 1e-9);
    }

    /// The optimum is not above any point of a grid of the simplex, and keeps to the simplex.
    #[test]
    fn no_point_of_a_grid_is_better() {
        let steps = 40usize;
        for seed in 0..20 {
            let t = draws(30, 10 * seed + 1);
            let columns: Vec<Vec<f64>> = (2..5)
                .map(|m| {
                    let other = draws(30, 10 * seed + m);
                    // Some with the target, some apart from it: optima inside and on faces.
                    let share = 0.3 * (m as f64 - 2.0);
                    t.iter().zip(other).map(|(t, o)| share * t + o).collect()
                })
                .collect();
            let moments = Moments::of(&t, &columns, 0..30);
            for penalty in PENALTIES {
                let mu = penalty * moments.level();
                let value = |w: &[f64]| {
                    let away: f64 = w.iter().map(|w| (w - 1.0 / 3.0).powi(2)).sum();
                    moments.error(w) + mu * away
                };
                let w = moments.weights(penalty);
                near(w.iter().sum(), 1.0, 1e-9);
                assert!(w.iter().all(|w| *w >= 0.0), "{w:?}");
                for i in 0..=steps {
                    for j in 0..=steps - i {
                        let at = [i, j, steps - i - j].map(|k| k as f64 / steps as f64);
                        assert!(value(&w) <= value(&at) + 1e-9, "{w:?} against {at:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_unit_of_the_target_changes_nothing() {
        let (t, a) = (draws(40, 1), [draws(40, 2), draws(40, 3), draws(40, 4)]);
        let fit = convex_least_squares(&t, &a, None).unwrap();
        for unit in [1e-120, 1e-3, 7.0, 1e120] {
            let times = |v: &Vec<f64>| v.iter().map(|v| unit * v).collect::<Vec<f64>>();
            let other = convex_least_squares(&times(&t), &a.each_ref().map(times), None).unwrap();
            for (a, b) in fit.weights.iter().zip(&other.weights) {
                near(*a, *b, 1e-9);
            }
            near(fit.r_squared, other.r_squared, 1e-9);
            near(
                own_scale(&times(&t), &a[0]).unwrap() / unit,
                own_scale(&t, &a[0]).unwrap(),
                1e-9,
            );
        }
    }

    #[test]
    fn a_large_mu_gives_equal_weights() {
        let t = draws(40, 1);
        let fit = convex_least_squares(&t, &[t.clone(), draws(40, 2)], Some(1e12)).unwrap();
        near(fit.weights[0], 0.5, 1e-9);
        near(fit.mu, 1e12, 0.0);
    }

    #[test]
    fn own_scales_in_closed_form() {
        let scale = |t: &[f64], a: &[f64]| own_scale(t, a).unwrap();
        near(scale(&[2.0, 4.0], &[1.0, 2.0]), 2.0, 1e-12);
        near(scale(&[1.0, 0.0], &[1.0, 1.0]), 0.5, 1e-12);
        near(scale(&[1.0, 1.0], &[-1.0, -1.0]), 0.0, 0.0);
        near(scale(&[1.0, 1.0], &[0.0, 0.0]), 0.0, 0.0);
    }

    #[test]
    fn what_cannot_be_weighed_is_refused_by_name() {
        let says = |t: &[f64], a: &[Vec<f64>], text: &str| {
            let error = convex_least_squares(t, a, None).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        says(&[1.0], &[], "1 to 8 maps");
        says(&[1.0], &vec![vec![1.0]; 9], "1 to 8 maps");
        says(&[1.0, 2.0], &[vec![1.0]], "2 values of every map");
        says(&[f64::NAN], &[vec![1.0]], "finite values");
        says(&[1.0], &[vec![f64::INFINITY]], "finite values");
        says(&[], &[vec![]], "at least one value");
        assert!(own_scale(&[1.0], &[]).is_err());
        for mu in [0.0, -1.0, f64::NAN, 1e13] {
            let error = convex_least_squares(&[1.0], &[vec![1.0]], Some(mu)).unwrap_err();
            assert!(error.to_string().contains("`mu`"), "{error}");
        }
    }
}
