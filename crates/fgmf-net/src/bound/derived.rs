//! Stored arrays of a bound network, each made of one of the network that is bounded.

use crate::graph::ValueId;
use crate::tensor::{Tensor, unary_fn};

/// What an array is made into, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recipe {
    /// Takes all differences along this axis: row i k + j is row i less row j, of k rows.
    pub(super) pairs: Option<usize>,
    /// Takes magnitudes.
    pub(super) magnitude: bool,
    /// Multiplies.
    pub(super) factor: f64,
}

impl Recipe {
    /// The array times a number.
    pub(super) const fn times(factor: f64) -> Self {
        Self {
            pairs: None,
            magnitude: false,
            factor,
        }
    }

    /// Its magnitudes times a number.
    pub(super) const fn magnitudes(factor: f64) -> Self {
        Self {
            pairs: None,
            magnitude: true,
            factor,
        }
    }

    fn differences(self, from: &Tensor) -> Tensor {
        let Some(axis) = self.pairs else {
            return from.clone();
        };
        let k = from.shape()[axis];
        let first: Vec<usize> = (0..k * k).map(|i| i / k).collect();
        let second: Vec<usize> = (0..k * k).map(|i| i % k).collect();
        from.select(axis, &first).sub(&from.select(axis, &second))
    }

    /// The array that this makes of `from`.
    pub(super) fn make(self, from: &Tensor) -> Tensor {
        let made = self.differences(from);
        let made = if self.magnitude {
            magnitude(&made)
        } else {
            made
        };
        made.affine(self.factor, 0.0)
    }

    /// The gradient in `from`, given that in what was made of it. Magnitudes have the derivative 0
    /// at 0.
    pub(super) fn pull(self, from: &Tensor, gradient: &Tensor) -> Tensor {
        let mut g = gradient.affine(self.factor, 0.0);
        if self.magnitude {
            g = g.mul(&sign(&self.differences(from)));
        }
        let Some(axis) = self.pairs else {
            return g;
        };
        let shape = from.shape();
        let (outer, k) = (shape[..axis].iter().product::<usize>(), shape[axis]);
        let inner: usize = shape[axis + 1..].iter().product();
        let g = g.reshape(&[outer, k, k, inner]);
        let of = |summed: usize| g.sum(&[summed]).reshape(shape);
        of(2).sub(&of(1))
    }
}

fn magnitude(x: &Tensor) -> Tensor {
    unary_fn!(Magnitude {} |v: T| v.abs());
    x.map(&Magnitude {})
}

fn sign(x: &Tensor) -> Tensor {
    unary_fn!(Sign {} |v: T| if v > T::zero() {
        T::one()
    } else if v < T::zero() {
        T::c(-1.0)
    } else {
        T::zero()
    });
    x.map(&Sign {})
}

/// A stored array of the bound network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Derived {
    /// In the network that is bounded.
    pub(super) from: ValueId,
    /// In the bound network.
    pub(super) to: ValueId,
    /// How the one becomes the other.
    pub(super) recipe: Recipe,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(recipe: Recipe, axis: usize) -> Recipe {
        Recipe {
            pairs: Some(axis),
            ..recipe
        }
    }

    #[test]
    fn differences_and_magnitudes_have_the_gradient_of_finite_differences() {
        let from = Tensor::new(
            &[2, 3, 2],
            (0..12).map(|i| f64::from(i * i % 7) - 2.6).collect(),
        );
        for recipe in [
            Recipe::times(0.5),
            Recipe::magnitudes(2.0),
            pairs(Recipe::times(1.0), 1),
            pairs(Recipe::magnitudes(0.5), 1),
            pairs(Recipe::magnitudes(1.0), 2),
        ] {
            let made = recipe.make(&from);
            let weights: Vec<f64> = (0..made.len())
                .map(|i| f64::from(i as u32 % 5) - 1.3)
                .collect();
            let g = Tensor::new(made.shape(), weights);
            let found = recipe.pull(&from, &g).to_f64();
            for (i, found) in found.iter().enumerate() {
                let moved = |by: f64| {
                    let mut values = from.to_f64();
                    values[i] += by;
                    recipe.make(&Tensor::new(from.shape(), values)).dot(&g)
                };
                let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!(
                    (slope - found).abs() < 1e-6,
                    "{recipe:?} {i}: {slope} {found}"
                );
            }
        }
    }

    #[test]
    fn pairs_are_in_the_order_of_their_classes() {
        let from = Tensor::new(&[3], vec![1.0, 4.0, 9.0]);
        let made = pairs(Recipe::times(1.0), 0).make(&from);
        assert_eq!(
            made.to_f64(),
            [0.0, -3.0, -8.0, 3.0, 0.0, -5.0, 8.0, 5.0, 0.0]
        );
    }
}
