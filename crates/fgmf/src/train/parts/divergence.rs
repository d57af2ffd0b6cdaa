//! The Kullback-Leibler divergence of two answers, with its gradient in both.

/// log softmax(z).
pub(crate) fn log_softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = z.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
    z.iter().map(|v| v - top - total).collect()
}

/// KL(p ‖ q) = Σ p (log p − log q) of p = softmax(z) and q = softmax(z′).
pub(crate) struct Divergence {
    /// Its value, 0 or more.
    pub(crate) value: f64,
    /// Its gradient in z: p (log p − log q − KL).
    pub(crate) first: Vec<f64>,
    /// Its gradient in z′: q − p.
    pub(crate) second: Vec<f64>,
}

impl Divergence {
    /// From log p and log q.
    pub(crate) fn new(p: &[f64], q: &[f64]) -> Self {
        let pairs = || p.iter().zip(q);
        let value = pairs().map(|(p, q)| p.exp() * (p - q)).sum();
        Self {
            value,
            first: pairs().map(|(p, q)| p.exp() * (p - q - value)).collect(),
            second: pairs().map(|(p, q)| q.exp() - p.exp()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_match_differences() {
        let z = [1.0, -0.5, 0.3];
        let other = [0.2, 0.9, -1.0];
        let value = |z: &[f64], o: &[f64]| Divergence::new(&log_softmax(z), &log_softmax(o)).value;
        let at = Divergence::new(&log_softmax(&z), &log_softmax(&other));
        let h = 1e-5;
        for i in 0..3 {
            let moved = |v: [f64; 3], by: f64| {
                let mut v = v;
                v[i] += by;
                v
            };
            let first = (value(&moved(z, h), &other) - value(&moved(z, -h), &other)) / (2.0 * h);
            let second = (value(&z, &moved(other, h)) - value(&z, &moved(other, -h))) / (2.0 * h);
            assert!((first - at.first[i]).abs() < 1e-9);
            assert!((second - at.second[i]).abs() < 1e-9);
        }
        assert!(at.value > 0.0 && value(&z, &z).abs() < 1e-15);
    }
}
