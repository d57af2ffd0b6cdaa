//! What the norms mean.

use crate::words::Norm;

impl Norm {
    /// The norm q of the largest v · w over ‖v‖ = 1, as a function of w: 1/p + 1/q = 1.
    pub fn dual(self) -> Self {
        match self {
            Self::Linf => Self::L1,
            Self::L2 => Self::L2,
            Self::L1 => Self::Linf,
        }
    }

    /// ‖v‖ of a vector of n ones: 1 for Linf, √n for L2, n for L1.
    pub fn of_ones(self, n: usize) -> f64 {
        match self {
            Self::Linf => 1.0,
            Self::L2 => (n as f64).sqrt(),
            Self::L1 => n as f64,
        }
    }

    /// ‖v‖ in this norm, accumulated in `f64`; NaN if any value is.
    pub fn of(self, v: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::Linf => v.fold(0.0, |m, x| {
                // `f64::max` would drop a NaN for the next number.
                if m.is_nan() || x.is_nan() {
                    f64::NAN
                } else {
                    m.max(x.abs())
                }
            }),
            Self::L2 => v.map(|x| x * x).sum::<f64>().sqrt(),
            Self::L1 => v.map(f64::abs).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_a_known_vector() {
        let of = |norm: Norm| norm.of([3.0, -4.0, 0.0].into_iter());
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(of(Norm::Linf), 4.0) && near(of(Norm::L2), 5.0) && near(of(Norm::L1), 7.0));
        assert!(Norm::ALL.iter().all(|n| n.dual().dual() == *n));
        let ones = |norm: Norm| norm.of([1.0; 7].into_iter());
        assert!(Norm::ALL.iter().all(|n| near(n.of_ones(7), ones(*n))));
    }

    #[test]
    fn a_value_that_is_not_a_number_is_not_hidden_by_the_next() {
        for norm in Norm::ALL {
            assert!(norm.of([f64::NAN, 1.0].into_iter()).is_nan());
            assert!(norm.of([1.0, f64::NAN].into_iter()).is_nan());
        }
    }
}
