//! Gauss-Legendre quadrature on `[0, 1]`.

/// Nodes in ascending order and their weights, which sum to one: exact for polynomials of degree 2n
/// − 1.
///
/// The roots of the Legendre polynomial Pₙ by Newton's method from cos(π (i + ¾) / (n + ½)),
/// weights 2 / ((1 − t²) Pₙ′(t)²), moved from `[-1, 1]`. Accurate to a few units of the last place
/// for n up to a thousand.
pub(crate) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let node = |i: usize| {
        let mut t = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        for _ in 0..100 {
            let (p, slope) = legendre(n, t);
            let step = p / slope;
            t -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        let (_, slope) = legendre(n, t);
        (0.5 * (1.0 - t), 1.0 / ((1.0 - t * t) * slope * slope))
    };
    (0..n).map(node).collect()
}

/// Pₙ(t) and its derivative, |t| < 1, by the three-term recurrence.
fn legendre(n: usize, t: f64) -> (f64, f64) {
    let (mut before, mut p) = (0.0, 1.0);
    for k in 1..=n {
        let k = k as f64;
        (before, p) = (p, ((2.0 * k - 1.0) * t * p - (k - 1.0) * before) / k);
    }
    (p, n as f64 * (t * p - before) / (t * t - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_weights_match_the_closed_forms() {
        let close = |rule: &[(f64, f64)], expected: &[(f64, f64)]| {
            assert_eq!(rule.len(), expected.len());
            for ((t, w), (et, ew)) in rule.iter().zip(expected) {
                assert!((t - et).abs() < 1e-15 && (w - ew).abs() < 1e-15, "{rule:?}");
            }
        };
        close(&gauss_legendre(1), &[(0.5, 1.0)]);
        let r = 0.5 / 3f64.sqrt();
        close(&gauss_legendre(2), &[(0.5 - r, 0.5), (0.5 + r, 0.5)]);
        let r = 0.5 * 0.6f64.sqrt();
        close(
            &gauss_legendre(3),
            &[
                (0.5 - r, 5.0 / 18.0),
                (0.5, 4.0 / 9.0),
                (0.5 + r, 5.0 / 18.0),
            ],
        );
        // Abramowitz & Stegun, table 25.4, n = 5.
        let five = [
            (0.906_179_845_938_664, 0.236_926_885_056_189),
            (0.538_469_310_105_683, 0.478_628_670_499_366),
            (0.0, 0.568_888_888_888_889),
        ];
        for (i, (t, w)) in five.into_iter().enumerate() {
            let (at, weight) = gauss_legendre(5)[i];
            assert!((at - 0.5 * (1.0 - t)).abs() < 1e-15 && (weight - 0.5 * w).abs() < 1e-15);
        }
    }

    #[test]
    fn integrates_polynomials_up_to_degree_2n_minus_1() {
        for n in [1, 2, 7, 32, 200] {
            let rule = gauss_legendre(n);
            assert!(rule.windows(2).all(|w| w[0].0 < w[1].0));
            for degree in [0, n, 2 * n - 1] {
                let sum: f64 = rule.iter().map(|(t, w)| w * t.powi(degree as i32)).sum();
                assert!(
                    (sum * (degree as f64 + 1.0) - 1.0).abs() < 1e-11,
                    "n {n}, degree {degree}: {sum}"
                );
            }
        }
    }
}
