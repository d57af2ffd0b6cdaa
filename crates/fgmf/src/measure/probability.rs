//! Distributions behind tests and bounds.

/// Φ, the standard normal distribution function.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Φ⁻¹ for p in (0, 1), by bisection to the last digits; ±∞ at 0 and 1, NaN outside.
#[allow(clippy::float_cmp, reason = "0 and 1 exactly are the ends")]
pub fn normal_quantile(p: f64) -> f64 {
    if !(p > 0.0 && p < 1.0) {
        return if p == 0.0 {
            f64::NEG_INFINITY
        } else if p == 1.0 {
            f64::INFINITY
        } else {
            f64::NAN
        };
    }
    bisect([-40.0, 40.0], |z| normal_cdf(z) < p)
}

/// Exact binomial bounds on a probability (Clopper & Pearson 1934) from `count` successes of `n`:
/// each of the two is wrong with probability `error` at most. `count` at most `n`, `n` 1 or more,
/// `error` in (0, 1).
///
/// Lower: the p at which `count` or more successes have probability `error`, 0 for none; upper
/// likewise, 1 for all.
pub fn binomial_bounds(count: usize, n: usize, error: f64) -> (f64, f64) {
    let (k, n) = (count as f64, n as f64);
    // P(X ≥ k) = I_p(k, n − k + 1), P(X ≤ k) = 1 − I_p(k + 1, n − k).
    let low = if count == 0 {
        0.0
    } else {
        bisect([0.0, 1.0], |p| incomplete_beta(k, n - k + 1.0, p) < error)
    };
    let high = if k >= n {
        1.0
    } else {
        bisect([0.0, 1.0], |p| {
            1.0 - incomplete_beta(k + 1.0, n - k, p) > error
        })
    };
    (low, high)
}

/// P(X ≤ `count`) for X binomial(`n`, `p`): 1 − I_p(count + 1, n − count), 1 from `n` on; `p` in
/// `[0, 1]`.
pub fn binomial_at_most(count: usize, n: usize, p: f64) -> f64 {
    if count >= n {
        return 1.0;
    }
    1.0 - incomplete_beta(count as f64 + 1.0, (n - count) as f64, p)
}

/// One-sided exact sign test: the chance that a fair coin gives `wins` or more of `wins + losses`,
/// I_½(wins, losses + 1).
pub fn sign_test(wins: usize, losses: usize) -> f64 {
    if wins == 0 {
        return 1.0;
    }
    incomplete_beta(wins as f64, losses as f64 + 1.0, 0.5)
}

/// Where a condition that holds at the lower end and not at the upper one changes.
fn bisect([mut low, mut high]: [f64; 2], below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle
        } else {
            high = middle
        }
    }
    0.5 * (low + high)
}

/// Regularised incomplete beta function I_x(a, b) by its continued fraction (modified Lentz), a and
/// b above 0.
pub(crate) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front =
        (libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p())
            .exp()
            / a;
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for i in 1..=1000 {
        let m = f64::from(i);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for step in [even, odd] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_of_the_tables() {
        assert!(
            (normal_cdf(1.959_963_984_540_054) - 0.975).abs() < 1e-12
                && (normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-9
        );
        assert!(
            normal_quantile(0.5).abs() < 1e-12
                && normal_quantile(0.0) < -1e300
                && normal_quantile(1.0) > 1e300
                && normal_quantile(2.0).is_nan()
        );
    }

    /// Against the sum of the terms.
    #[test]
    fn binomial_tails_are_sums() {
        for (n, p) in [(1usize, 0.3f64), (7, 0.1), (29, 0.1), (40, 0.9)] {
            let (mut term, mut sum) = ((1.0 - p).powi(n as i32), 0.0);
            for k in 0..=n {
                sum += term;
                let found = binomial_at_most(k, n, p);
                assert!(
                    (found - sum).abs() < 1e-10,
                    "{k} of {n}: {found}, not {sum}"
                );
                term *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
        }
        assert!((binomial_at_most(0, 0, 0.1) - 1.0).abs() < 1e-12);
    }

    /// None of n: the upper bound solves (1 − p)ⁿ = error; all of n: the lower one pⁿ = error. One
    /// of two: 1 − (1 − p)² = error.
    #[test]
    fn binomial_bounds_in_closed_form() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} against {b}");
        let (low, high) = binomial_bounds(0, 30, 0.01);
        near(low, 0.0);
        near(high, 1.0 - 0.01f64.powf(1.0 / 30.0));
        let (low, high) = binomial_bounds(30, 30, 0.01);
        near(low, 0.01f64.powf(1.0 / 30.0));
        near(high, 1.0);
        let (low, high) = binomial_bounds(1, 2, 0.05);
        near(low, 1.0 - 0.95f64.sqrt());
        near(high, 0.95f64.sqrt());
    }
}
