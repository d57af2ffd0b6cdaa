//! Whole batches, run in chunks on all threads.
//!
//! An image's results do not depend on its chunk where batch normalisation evaluates; in training a
//! chunk's size depends on the network alone. Results are put together in order, so that one thread
//! gives the same bytes as two. Single precision runs on compiled plans (`plan`), double precision
//! and derivatives along a direction on the graph walk (`walk`).

use super::plan::{Purpose, unbiased};
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::graph::head::Head;
use crate::graph::op::{Mode, Saved};
use crate::graph::{Dim, LARGEST_CHUNK, Network, ValueId};
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// Examples in a training chunk; batch normalisation sees this many at once. No chunk is larger.
pub const TRAINING_CHUNK: usize = LARGEST_CHUNK;

/// Numbers of all values of an image below which a network counts as small: 64 of its images fit
/// into a core's second cache.
const SMALL: usize = 1 << 14;

/// A loss, the logits behind it, and gradients.
#[derive(Clone, Debug)]
pub struct LossGradients {
    /// One loss an example.
    pub losses: Vec<f64>,
    /// `[n, k]`.
    pub logits: Tensor,
    /// Values asked for, `[n, …]` each.
    pub values: Vec<Tensor>,
    /// Gradient of the summed loss in each of these values.
    pub gradients: Vec<Tensor>,
}

/// What a training step needs.
#[derive(Clone, Debug)]
pub struct ParameterGradients {
    /// One loss an example.
    pub losses: Vec<f64>,
    /// `[n, k]`.
    pub logits: Tensor,
    /// Gradient of the *mean* loss in every trainable parameter, in the order of
    /// [`Network::trainable`].
    pub gradients: Vec<Tensor>,
    /// Mean and unbiased variance of each batch normalisation node over the batch (averages over
    /// chunks), by node.
    pub statistics: Vec<(usize, Tensor, Tensor)>,
}

thread_local! {
    static ONE_OF_MANY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as one of many parts that keep all threads busy: batches in it are cut for the cache
/// alone, not so that every thread gets a share of each.
pub fn as_one_of_many<R>(f: impl FnOnce() -> R) -> R {
    let before = ONE_OF_MANY.replace(true);
    let result = f();
    ONE_OF_MANY.set(before);
    result
}

/// Runs `f` on the ranges of a batch, in parallel, results in order.
pub fn in_chunks<R: Send>(
    n: usize,
    chunk: usize,
    f: impl Fn(Range<usize>) -> Result<R> + Send + Sync,
) -> Result<Vec<R>> {
    let ranges: Vec<Range<usize>> = (0..n)
        .step_by(chunk.max(1))
        .map(|s| s..(s + chunk.max(1)).min(n))
        .collect();
    ranges
        .into_par_iter()
        .map(f)
        .collect::<Vec<_>>()
        .into_iter()
        .collect()
}

impl Network {
    /// Keeps chunks at `most` examples, at least one; bounds memory and changes no result.
    pub fn limit_chunks(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Examples per chunk, from the network alone, or fewer ([`Self::limit_chunks`]). Convolutions
    /// block for the cache themselves, and deep ones want several images for each pass over their
    /// weights, the more so if an image's values are few; the rows of a transformer are best kept
    /// in the cache.
    pub fn chunk(&self) -> usize {
        let usual = match 2 * self.convolution_flops() > self.flops() {
            true if self.numbers_per_image() <= SMALL => 32,
            true => 16,
            false => 4,
        };
        usual.min(self.most)
    }

    /// Examples per chunk of `n` on a plan that evaluates: [`Self::chunk`] at most, and the same
    /// number of chunks for every thread that has nothing else to do.
    fn share(&self, n: usize) -> usize {
        let threads = if ONE_OF_MANY.get() {
            1
        } else {
            rayon::current_num_threads()
        };
        let chunks = n.div_ceil(self.chunk()).next_multiple_of(threads);
        n.div_ceil(chunks.max(1)).max(1)
    }

    /// Logits `[n, k]` of images `[n, c, h, w]`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.values_at(x, &[self.output()])?.swap_remove(0))
    }

    /// Values of the graph for images: all of the batch, along the axis where the graph has it.
    pub fn values_at(&self, x: &Tensor, ids: &[ValueId]) -> Result<Vec<Tensor>> {
        self.check_images(x)?;
        let n = x.shape()[0];
        if x.precision() == Precision::F64 {
            let run = |r: Range<usize>| {
                let tape = self.forward(&x.rows(r.start, r.len()).into(), Mode::Evaluate)?;
                Ok(ids
                    .iter()
                    .map(|&id| tape.value(id).value.clone())
                    .collect::<Vec<_>>())
            };
            return Ok(self.joined(in_chunks(n, self.chunk(), run)?, ids));
        }
        let plan = self.cache.plan(
            self,
            &Purpose {
                mode: Mode::Evaluate,
                values: ids.to_vec(),
                gradients: Vec::new(),
                ruled: Vec::new(),
            },
        )?;
        let run = |r: Range<usize>| {
            Ok(plan
                .run(
                    self,
                    &self.cache.arenas,
                    &x.rows(r.start, r.len()),
                    &Rules::exact(),
                    |_| Vec::new(),
                )
                .values)
        };
        Ok(self.joined(in_chunks(n, self.share(n), run)?, ids))
    }

    /// Loss and its gradient in the given values (the images, feature maps).
    pub fn loss_gradients(
        &self,
        x: &Tensor,
        head: &dyn Head,
        at: &[ValueId],
        rules: &Rules,
    ) -> Result<LossGradients> {
        self.check_images(x)?;
        // The images are there already.
        let made: Vec<ValueId> = at
            .iter()
            .copied()
            .filter(|&id| id != self.input())
            .collect();
        let walk = |r: Range<usize>| {
            let tape = self.forward(&x.rows(r.start, r.len()).into(), Mode::Evaluate)?;
            let logits = tape.value(self.output());
            let (losses, cotangent) = head.evaluate(logits, r);
            let gradients = self.backward(&tape, vec![(self.output(), cotangent)], at, rules)?;
            let values: Vec<Tensor> = made
                .iter()
                .map(|&id| tape.value(id).value.clone())
                .collect();
            let gradients: Vec<Tensor> = gradients.into_iter().map(|g| g.value).collect();
            Ok((losses, logits.value.clone(), values, gradients))
        };
        let chunks = if x.precision() == Precision::F64 {
            in_chunks(x.shape()[0], self.chunk(), walk)?
        } else {
            let values = std::iter::once(self.output())
                .chain(made.iter().copied())
                .collect();
            let plan = self.cache.plan(
                self,
                &Purpose {
                    mode: Mode::Evaluate,
                    values,
                    gradients: at.to_vec(),
                    ruled: rules.nodes(),
                },
            )?;
            let n = x.shape()[0];
            in_chunks(n, self.share(n), |r: Range<usize>| {
                let mut losses = Vec::new();
                let outcome = plan.run(
                    self,
                    &self.cache.arenas,
                    &x.rows(r.start, r.len()),
                    rules,
                    |values| {
                        let (found, cotangent) = head.evaluate(&values[0].clone().into(), r);
                        losses = found;
                        vec![(self.output(), cotangent)]
                    },
                );
                let mut values = outcome.values;
                Ok((losses, values.remove(0), values, outcome.gradients))
            })?
        };
        let mut losses = Vec::new();
        let (mut logits, mut values, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        for (l, z, v, g) in chunks {
            losses.extend(l);
            logits.push(z);
            values.push(v);
            gradients.push(g);
        }
        let mut made = self.joined(values, &made).into_iter();
        let mut value = |&id: &ValueId| {
            if id == self.input() {
                Some(x.clone())
            } else {
                made.next()
            }
        };
        Ok(LossGradients {
            losses,
            logits: Tensor::concat(&logits, 0),
            values: at.iter().filter_map(&mut value).collect(),
            gradients: self.joined(gradients, at),
        })
    }

    /// The values of all chunks along their batch axis, which a transposition may have moved from
    /// the front; the memory of the chunks is used again.
    fn joined(&self, chunks: Vec<Vec<Tensor>>, ids: &[ValueId]) -> Vec<Tensor> {
        let axis = |id: &ValueId| {
            self.value(*id)
                .shape
                .iter()
                .position(|d| matches!(d, Dim::Batch(_)))
                .unwrap_or(0)
        };
        let whole = |(i, id): (usize, &ValueId)| {
            Tensor::concat(
                &chunks.iter().map(|c| c[i].clone()).collect::<Vec<_>>(),
                axis(id),
            )
        };
        let joined = ids.iter().enumerate().map(whole).collect();
        self.cache.arenas.reuse(chunks.into_iter().flatten());
        joined
    }

    /// Jacobian-vector product: the change of the logits `[n, k]` along directions `v` of the shape
    /// of `x`.
    pub fn jvp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.check_directions(x, v)?;
        let run = |r: Range<usize>| {
            let dual = Dual::new(x.rows(r.start, r.len()), v.rows(r.start, r.len()));
            Ok(self
                .forward(&dual, Mode::Evaluate)?
                .value(self.output())
                .tangent_or_zeros())
        };
        Ok(Tensor::concat(
            &in_chunks(x.shape()[0], self.chunk(), run)?,
            0,
        ))
    }

    /// Exact Hessian-vector product of each example's loss in its image: gradient `[n, c, h, w]`
    /// and `H v` of the same shape. Costs two forward and two backward passes.
    pub fn hvp(&self, x: &Tensor, head: &dyn Head, v: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check_directions(x, v)?;
        let run = |r: Range<usize>| {
            let dual = Dual::new(x.rows(r.start, r.len()), v.rows(r.start, r.len()));
            let tape = self.forward(&dual, Mode::Evaluate)?;
            let (_, cotangent) = head.evaluate(tape.value(self.output()), r);
            let g = self.backward(
                &tape,
                vec![(self.output(), cotangent)],
                &[self.input()],
                &Rules::exact(),
            )?;
            Ok((g[0].value.clone(), g[0].tangent_or_zeros()))
        };
        let (g, hv): (Vec<_>, Vec<_>) = in_chunks(x.shape()[0], self.chunk(), run)?
            .into_iter()
            .unzip();
        Ok((Tensor::concat(&g, 0), Tensor::concat(&hv, 0)))
    }

    fn check_directions(&self, x: &Tensor, v: &Tensor) -> Result<()> {
        self.check_images(x)?;
        if v.shape() != x.shape() || v.precision() != x.precision() {
            return Err(Error::call(
                "directional derivative",
                format!("a direction of shape {:?}", x.shape()),
                format!("{:?}", v.shape()),
            ));
        }
        Ok(())
    }

    /// Mean loss over the batch and its gradient in every trainable parameter. Chunks of
    /// [`TRAINING_CHUNK`] run in parallel and are added in order.
    pub fn parameter_gradients(
        &self,
        x: &Tensor,
        head: &dyn Head,
        mode: Mode,
    ) -> Result<ParameterGradients> {
        self.check_images(x)?;
        let n = x.shape()[0];
        let wanted = self.trainable();
        let extra = head.auxiliary_values();
        let share = 1.0 / n as f64;
        // Losses and cotangents of a chunk, given the logits and the values that carry further
        // losses.
        let start = |logits: &Dual, values: &[Tensor], r: Range<usize>| {
            let (losses, cotangent) = head.evaluate(logits, r.clone());
            let further = extra
                .iter()
                .copied()
                .zip(head.auxiliary(values, r).into_iter().map(Dual::from));
            let all = std::iter::once((self.output(), cotangent)).chain(further);
            (
                losses,
                all.map(|(id, g)| (id, g.affine(share, 0.0)))
                    .collect::<Vec<_>>(),
            )
        };
        let walk = |r: Range<usize>| {
            let weight = r.len() as f64 * share;
            let tape = self.forward(&x.rows(r.start, r.len()).into(), mode)?;
            let logits = tape.value(self.output());
            let values: Vec<Tensor> = extra
                .iter()
                .map(|&id| tape.value(id).value.clone())
                .collect();
            let (losses, cotangents) = start(logits, &values, r);
            let g = self.backward(&tape, cotangents, &wanted, &Rules::exact())?;
            let statistics: Vec<_> = tape
                .saved()
                .iter()
                .enumerate()
                .filter_map(|(i, s)| weighted_statistics(i, s, weight))
                .collect();
            Ok((
                losses,
                logits.value.clone(),
                g.into_iter().map(|g| g.value).collect::<Vec<_>>(),
                statistics,
            ))
        };
        let group = head.group().max(1);
        let size = (TRAINING_CHUNK / group).max(1) * group;
        let chunks = if x.precision() == Precision::F64 {
            in_chunks(n, size, walk)?
        } else {
            let values = std::iter::once(self.output())
                .chain(extra.iter().copied())
                .collect();
            let plan = self.cache.plan(
                self,
                &Purpose {
                    mode,
                    values,
                    gradients: wanted.clone(),
                    ruled: Vec::new(),
                },
            )?;
            in_chunks(n, size, |r: Range<usize>| {
                let weight = r.len() as f64 * share;
                let mut losses = Vec::new();
                let mut outcome = plan.run(
                    self,
                    &self.cache.arenas,
                    &x.rows(r.start, r.len()),
                    &Rules::exact(),
                    |values| {
                        let (found, cotangents) = start(&values[0].clone().into(), &values[1..], r);
                        losses = found;
                        cotangents
                    },
                );
                let statistics = outcome
                    .statistics
                    .iter()
                    .map(|s| s.weighted(weight))
                    .collect();
                Ok((
                    losses,
                    outcome.values.swap_remove(0),
                    outcome.gradients,
                    statistics,
                ))
            })?
        };
        let mut chunks = chunks.into_iter();
        let Some((mut losses, first, mut gradients, mut statistics)) = chunks.next() else {
            return Err(Error::call(
                "parameter gradients",
                "at least one example",
                0,
            ));
        };
        let mut logits = vec![first];
        for (l, z, g, s) in chunks {
            losses.extend(l);
            logits.push(z);
            gradients = gradients.iter().zip(&g).map(|(a, b)| a.add(b)).collect();
            statistics = statistics
                .iter()
                .zip(&s)
                .map(|((i, m, v), (_, m2, v2))| (*i, m.add(m2), v.add(v2)))
                .collect();
        }
        Ok(ParameterGradients {
            losses,
            logits: Tensor::concat(&logits, 0),
            gradients,
            statistics,
        })
    }
}

fn weighted_statistics(node: usize, saved: &Saved, weight: f64) -> Option<(usize, Tensor, Tensor)> {
    let Saved::BatchStatistics {
        mean,
        variance,
        count,
    } = saved
    else {
        return None;
    };
    Some((
        node,
        mean.affine(weight, 0.0),
        variance.affine(weight * unbiased(*count), 0.0),
    ))
}
