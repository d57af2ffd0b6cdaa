//! The largest values along an axis.

use super::base::{Local, Mode, Operator, Saved, arity, known, resolve_axis};
use crate::dual::Dual;
use crate::tensor::split_axis;

/// The `k` largest values along an axis, falling; of equals the first come first, and get the
/// gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The axis, negative counted from the end.
    pub axis: i64,
    /// How many.
    pub k: usize,
}

impl TopK {
    /// The axis moved to the end: the order of axes that does it, and the one that undoes it.
    fn order(&self, rank: usize) -> [Vec<usize>; 2] {
        let axis = known(resolve_axis(self.axis, rank));
        let last: Vec<usize> = (0..rank).filter(|&a| a != axis).chain([axis]).collect();
        let back = (0..rank)
            .map(|a| last.iter().position(|&b| b == a).unwrap_or(0))
            .collect();
        [last, back]
    }

    /// Shape of the result, and the shape with the axis at the end.
    fn shapes(&self, x: &[usize]) -> [Vec<usize>; 2] {
        let mut out = x.to_vec();
        out[known(resolve_axis(self.axis, x.len()))] = self.k;
        let last = self.order(x.len())[0].iter().map(|&a| out[a]).collect();
        [out, last]
    }
}

/// Positions of the `k` largest of each row of `n` values.
fn largest(values: &[f64], n: usize, k: usize) -> Vec<u32> {
    let mut index = Vec::with_capacity(values.len() / n * k);
    for row in values.chunks_exact(n) {
        let falling =
            |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        let mut order: Vec<u32> = (0..n as u32).collect();
        if k < n {
            order.select_nth_unstable_by(k, falling);
            order.truncate(k);
        }
        order.sort_unstable_by(falling);
        index.extend(order);
    }
    index
}

impl Operator for TopK {
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>, String> {
        arity(inputs, 1, 1)?;
        let axis = resolve_axis(self.axis, inputs[0].len())?;
        if !(1..=inputs[0][axis]).contains(&self.k) {
            return Err(format!(
                "expected k from 1 to {}, found {}",
                inputs[0][axis], self.k
            ));
        }
        Ok(vec![self.shapes(inputs[0])[0].clone()])
    }

    fn forward(&self, inputs: &[&Dual], _: Mode) -> (Vec<Dual>, Saved) {
        let x = inputs[0];
        let [last, back] = self.order(x.rank());
        let (_, n, _) = split_axis(x.shape(), last[x.rank() - 1]);
        let rows = x.permute(&last).reshape(&[x.value.len() / n, 1, 1, n]);
        let index = largest(&rows.value.to_f64(), n, self.k);
        let y = rows.linear(|t| t.gather_planes(&index, [1, self.k]));
        (
            vec![y.reshape(&self.shapes(x.shape())[1]).permute(&back)],
            Saved::Index(index),
        )
    }

    fn backward(&self, local: &Local<'_>) -> Vec<Option<Dual>> {
        let Saved::Index(index) = local.saved else {
            unreachable!("the largest values keep their positions")
        };
        let x = local.inputs[0].shape();
        let [last, back] = self.order(x.len());
        let n = x[last[x.len() - 1]];
        let full: Vec<usize> = last.iter().map(|&a| x[a]).collect();
        let spread = || {
            let g = local.g().permute(&last);
            let rows = g.reshape(&[index.len() / self.k, 1, 1, self.k]);
            rows.linear(|t| t.scatter_planes(index, [1, n]))
                .reshape(&full)
                .permute(&back)
        };
        vec![local.when(0, spread)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falling_and_the_first_of_equals() {
        assert_eq!(
            largest(&[1.0, 5.0, 5.0, -2.0, 0.0, 7.0], 3, 2),
            [1, 2, 2, 1]
        );
        assert_eq!(largest(&[3.0, 3.0, 3.0, 3.0], 4, 3), [0, 1, 2]);
        assert_eq!(largest(&[1.0, 2.0], 2, 2), [1, 0]);
    }
}
