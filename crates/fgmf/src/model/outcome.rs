//! One map that a random transform may draw.

use fgmf_net::{Precision, Tensor};
use rayon::prelude::*;
use std::ops::AddAssign;

/// A map of the image that moves values and sets the others to 0, with the probability that it is
/// drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Of being drawn.
    pub probability: f64,
    /// (position in the output, position in the image), every output at most once.
    pub moves: Vec<(usize, usize)>,
}

impl Outcome {
    /// What the network sees of an image.
    pub fn apply<T: Copy + Default>(&self, image: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); image.len()];
        self.moves
            .iter()
            .for_each(|&(to, from)| out[to] = image[from]);
        out
    }

    /// A cotangent of that, pulled back to the image.
    pub fn pull_back<T: Copy + Default + AddAssign>(&self, cotangent: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); cotangent.len()];
        self.moves
            .iter()
            .for_each(|&(to, from)| out[from] += cotangent[to]);
        out
    }

    /// [`Self::apply`] on a batch.
    pub(crate) fn seen(&self, x: &Tensor) -> Tensor {
        match x.precision() {
            Precision::F32 => {
                Tensor::new::<f32>(x.shape(), each(x, &x.values(), |image| self.apply(image)))
            }
            Precision::F64 => {
                Tensor::new::<f64>(x.shape(), each(x, &x.values(), |image| self.apply(image)))
            }
        }
    }

    /// [`Self::pull_back`] on a batch.
    pub(crate) fn pulled_back(&self, g: &Tensor) -> Tensor {
        match g.precision() {
            Precision::F32 => Tensor::new::<f32>(
                g.shape(),
                each(g, &g.values(), |cotangent| self.pull_back(cotangent)),
            ),
            Precision::F64 => Tensor::new::<f64>(
                g.shape(),
                each(g, &g.values(), |cotangent| self.pull_back(cotangent)),
            ),
        }
    }
}

/// `f` of the values of every example of a batch.
fn each<T: Copy + Send + Sync>(
    batch: &Tensor,
    values: &[T],
    f: impl Fn(&[T]) -> Vec<T> + Send + Sync,
) -> Vec<T> {
    let size = batch.shape().iter().skip(1).product::<usize>().max(1);
    let rows: Vec<Vec<T>> = values.par_chunks_exact(size).map(f).collect();
    rows.concat()
}
