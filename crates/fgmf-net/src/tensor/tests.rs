//! What views promise: the values of the plain definition, and no copy where none is due.

use super::{Precision, Tensor, broadcast_shape};
use proptest::prelude::*;

/// 0, 1, 2, … in the given shape.
fn counted(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::new(shape, (0..n).map(|v| v as f32).collect())
}

fn address(t: &Tensor) -> Option<*const f32> {
    t.as_slice::<f32>().map(<[f32]>::as_ptr)
}

#[test]
fn views_of_views_read_the_right_values() {
    let a = counted(&[2, 3, 4]);
    let turned = a.permute(&[2, 0, 1]);
    assert_eq!(turned.shape(), [4, 2, 3]);
    let cut = turned.narrow(0, 1, 2).narrow(2, 1, 2);
    assert_eq!(cut.to_f32(), [5., 9., 17., 21., 6., 10., 18., 22.]);
    let back = cut.permute(&[1, 2, 0]);
    assert_eq!(back.to_f32(), [5., 6., 9., 10., 17., 18., 21., 22.]);
    assert_eq!(back.rows(1, 1).to_f32(), [17., 18., 21., 22.]);
}

#[test]
fn narrow_of_transposed() {
    let a = counted(&[3, 2]).transpose();
    assert_eq!(a.narrow(1, 1, 2).to_f32(), [2., 4., 3., 5.]);
    assert_eq!(a.rows(1, 1).to_f32(), [1., 3., 5.]);
}

#[test]
fn expand_then_permute_then_reshape() {
    let a = counted(&[3, 1]).expand(&[2, 3, 2]);
    assert_eq!(a.to_f32(), [0., 0., 1., 1., 2., 2., 0., 0., 1., 1., 2., 2.]);
    let turned = a.permute(&[2, 1, 0]);
    assert_eq!(
        turned.reshape(&[2, 6]).to_f32(),
        [0., 0., 1., 1., 2., 2., 0., 0., 1., 1., 2., 2.]
    );
    assert_eq!(
        a.permute(&[1, 0, 2]).reshape(&[3, 4]).to_f32(),
        [0., 0., 0., 0., 1., 1., 1., 1., 2., 2., 2., 2.]
    );
    // What repeats nothing stays in place.
    let one = counted(&[2, 3]);
    assert_eq!(address(&one.expand(&[1, 2, 3])), address(&one));
}

#[test]
fn large_transposes_meet_every_tile() {
    let (rows, columns) = (37, 50);
    let a = counted(&[2, rows, columns]);
    let turned = a.transpose().to_f32();
    for (i, v) in turned.into_iter().enumerate() {
        let (plane, rest) = (i / (rows * columns), i % (rows * columns));
        let (column, row) = (rest / rows, rest % rows);
        assert_eq!(v as usize, (plane * rows + row) * columns + column);
    }
}

#[test]
fn concat_of_views() {
    let a = counted(&[2, 3]);
    let joined = Tensor::concat(&[a.narrow(1, 1, 2), a.narrow(1, 0, 1).expand(&[2, 2])], 1);
    assert_eq!(joined.shape(), [2, 4]);
    assert_eq!(joined.to_f32(), [1., 2., 0., 0., 4., 5., 3., 3.]);
    let below = Tensor::concat(
        &[
            a.transpose(),
            counted(&[0, 2]),
            a.rows(1, 1).narrow(1, 0, 2),
        ],
        0,
    );
    assert_eq!(below.to_f32(), [0., 3., 1., 4., 2., 5., 3., 4.]);
}

#[test]
fn cast_of_views() {
    let a = counted(&[2, 2]).transpose();
    let wide = a.cast(Precision::F64);
    assert_eq!(wide.precision(), Precision::F64);
    assert_eq!(wide.to_f64(), [0., 2., 1., 3.]);
    assert_eq!(
        wide.transpose().cast(Precision::F32).to_f32(),
        [0., 1., 2., 3.]
    );
    assert_eq!(
        address(&a.transpose()),
        address(&a.transpose().cast(Precision::F32))
    );
}

#[test]
fn rank_zero_and_no_values() {
    let one = Tensor::full(&[], 3.0, Precision::F32);
    assert_eq!((one.rank(), one.len()), (0, 1));
    assert_eq!(one.add(&one).to_f32(), [6.]);
    assert_eq!(one.mul(&counted(&[2, 2])).to_f32(), [0., 3., 6., 9.]);
    assert_eq!(one.permute(&[]).reshape(&[1, 1]).to_f32(), [3.]);

    let none = counted(&[2, 0, 3]);
    assert!(none.is_empty());
    assert_eq!(none.transpose().reshape(&[0]).to_f32(), [] as [f32; 0]);
    assert_eq!(none.add(&counted(&[3])).shape(), [2, 0, 3]);
    assert_eq!(
        counted(&[2, 3]).narrow(1, 3, 0).transpose().to_f32(),
        [] as [f32; 0]
    );
    assert_eq!(none.sum(&[1]).to_f32(), [0.; 6]);
}

#[test]
fn memory_goes_in_and_out_without_a_copy() {
    let values = vec![1.0f32, 2.0, 3.0, 4.0];
    let place = values.as_ptr();
    let a = Tensor::new(&[4], values);
    assert_eq!(address(&a), Some(place));
    // A view that covers everything in order gives it back as well.
    let view = a.reshape(&[2, 2]).reshape(&[1, 4]);
    drop(a);
    let values = view.into_f32();
    assert_eq!(values.as_ptr(), place);
}

#[test]
fn memory_is_reclaimed_only_when_it_is_whole_and_unshared() {
    let a = counted(&[2, 2]);
    let other = a.clone();
    let a = a.reclaim().expect_err("a clone holds it");
    drop(other);
    let view = a.rows(0, 1);
    let a = a.reclaim().expect_err("a view holds it");
    drop(a);
    let view = view.reclaim().expect_err("half of the memory is nobody's");
    assert_eq!(view.into_f32(), [0., 1.]);
    let turned = counted(&[2, 2]).transpose();
    let turned = turned.reclaim().expect_err("not in this order");
    assert_eq!(turned.into_f32(), [0., 2., 1., 3.]);
    assert!(counted(&[3]).cast(Precision::F64).reclaim().is_err());
}

#[test]
fn not_a_number_passes_through() {
    let nan = f64::NAN;
    let (a, b) = (
        Tensor::new(&[4], vec![nan, 0.0, f64::INFINITY, -0.0]),
        Tensor::new(&[1], vec![0.0]),
    );
    let bits = |t: &Tensor| t.to_f64().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(
        bits(&a.sub(&b))[1..],
        [0.0, f64::INFINITY, -0.0].map(f64::to_bits)
    );
    assert!(a.add(&b).to_f64()[0].is_nan());
    assert!(a.mul(&b).to_f64()[2].is_nan());
    assert!(a.div(&b).to_f64()[1].is_nan());
    assert!(!a.is_finite());
}

#[test]
#[should_panic(expected = "do not broadcast")]
fn shapes_that_do_not_fit_are_refused() {
    counted(&[2, 3]).add(&counted(&[2]));
}

#[test]
#[should_panic(expected = "F64 asked for as F32")]
fn precisions_do_not_mix() {
    counted(&[2]).add(&counted(&[2]).cast(Precision::F64));
}

/// A tensor with every value at its place, as plain data.
#[derive(Clone, Debug)]
struct Plain {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Plain {
    /// The array whose value at a place is that of `self` at `from(place)`.
    fn moved(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        let values = places(&shape)
            .iter()
            .map(|place| {
                let source = from(place);
                let flat = source
                    .iter()
                    .zip(&self.shape)
                    .fold(0, |at, (i, n)| at * n + i);
                self.values[flat]
            })
            .collect();
        Self { shape, values }
    }
}

fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |places, &n| {
        let longer = |p: &Vec<usize>| {
            (0..n)
                .map(|i| [p.as_slice(), &[i]].concat())
                .collect::<Vec<_>>()
        };
        places.iter().flat_map(longer).collect()
    })
}

/// One view after another, chosen by `choices`; the same on both representations.
fn views(mut t: Tensor, mut p: Plain, choices: &[(u8, usize, usize)]) -> (Tensor, Plain) {
    for &(kind, a, b) in choices {
        let rank = p.shape.len();
        match kind % 4 {
            0 => {
                let mut axes: Vec<usize> = (0..rank).collect();
                axes.swap(a % rank, b % rank);
                t = t.permute(&axes);
                let shape = axes.iter().map(|&i| p.shape[i]).collect();
                p = p.moved(shape, |place| axes.iter().map(|&i| place[i]).collect());
            }
            1 => {
                let axis = a % rank;
                let start = b % (p.shape[axis] + 1);
                let len = (p.shape[axis] - start).div_ceil(1 + b % 2);
                t = t.narrow(axis, start, len);
                let mut shape = p.shape.clone();
                shape[axis] = len;
                p = p.moved(shape, |place| {
                    let mut from = place.to_vec();
                    from[axis] += start;
                    from
                });
            }
            2 => {
                let shape: Vec<usize> = std::iter::once(1 + a % 3)
                    .chain(p.shape.iter().map(|&n| if n == 1 { 1 + b % 3 } else { n }))
                    .collect();
                t = t.expand(&shape);
                let old = p.shape.clone();
                p = p.moved(shape, |place| {
                    place[1..]
                        .iter()
                        .zip(&old)
                        .map(|(&i, &n)| i.min(n - 1))
                        .collect()
                });
            }
            _ => {
                let first = p.shape[0];
                let rest: usize = p.shape[1..].iter().product();
                let shape = if a % 2 == 0 {
                    vec![rest, first]
                } else {
                    vec![first, 1, rest]
                };
                t = t.reshape(&shape);
                p.shape = shape;
            }
        }
        if p.values.len() > 2000 || p.shape.len() > 6 {
            break;
        }
    }
    (t, p)
}

fn chain() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    prop::collection::vec((any::<u8>(), 0usize..12, 0usize..12), 0..7)
}

proptest! {
    #[test]
    fn any_chain_of_views_is_the_plain_array(
        shape in prop::collection::vec(1usize..5, 1..4),
        first in chain(),
        second in chain(),
    ) {
        let start = counted(&shape);
        let plain = Plain { values: start.to_f32(), shape };
        let (a, p) = views(start.clone(), plain.clone(), &first);
        prop_assert_eq!(a.shape(), &p.shape);
        prop_assert_eq!(a.to_f32(), p.values.clone());
        let (b, q) = views(start, plain, &second);
        // Elementwise functions of two views are those of the arrays they stand for.
        if let Some(common) = broadcast_shape(&p.shape, &q.shape) {
            let dense = |t: &Tensor| Tensor::new(&common, t.expand(&common).to_f32());
            prop_assert_eq!(a.sub(&b).to_f32(), dense(&a).sub(&dense(&b)).to_f32());
        }
        // And so is what is joined.
        let joined = Tensor::concat(&[a.clone(), a.clone()], 0);
        prop_assert_eq!(joined.to_f32(), [p.values.clone(), p.values].concat());
    }
}
