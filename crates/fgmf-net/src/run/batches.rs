//! Whole batches: what a session computes of them, chunk by chunk.

use super::chunks::{TRAINING_CHUNK, in_chunks};
use super::engine::{Prepared, Purpose};
use super::session::Session;
use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::graph::head::Head;
use crate::graph::op::Mode;
use crate::graph::{Dim, ValueId};
use crate::rule::Rules;
use crate::tensor::{Precision, Tensor};
use rayon::prelude::*;
use std::ops::Range;

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
    /// [`Network::trainable`](crate::Network::trainable).
    pub gradients: Vec<Tensor>,
    /// Mean and unbiased variance of each batch normalisation node over the batch (averages over
    /// chunks), by node.
    pub statistics: Vec<(usize, Tensor, Tensor)>,
}

impl Session {
    /// Logits `[n, k]` of images `[n, c, h, w]`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.values_at(x, &[self.output()])?.swap_remove(0))
    }

    /// Values of the graph for images: all of the batch, along the axis where the graph has it.
    pub fn values_at(&self, x: &Tensor, ids: &[ValueId]) -> Result<Vec<Tensor>> {
        self.check_images(x)?;
        let engine = self.engine();
        let ready = engine.prepare(self, Purpose::values(ids.to_vec(), x.precision()))?;
        let chunks = self.evaluated(ready.as_ref(), x, |r| {
            let chunk = x.rows(r.start, r.len()).into();
            let outcome = ready.run(&chunk, &Rules::exact(), &mut |_| Vec::new())?;
            Ok(plain(outcome.values))
        })?;
        Ok(self.joined(chunks, ids, |first, _| first))
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
        let purpose = Purpose {
            gradients: at.to_vec(),
            ruled: rules.nodes(),
            ..Purpose::values(with_logits(self, &made), x.precision())
        };
        let engine = self.engine();
        let ready = engine.prepare(self, purpose)?;
        let chunks = self.evaluated(ready.as_ref(), x, |r| {
            let mut losses = None;
            let chunk = x.rows(r.start, r.len()).into();
            let mut outcome = ready.run(&chunk, rules, &mut |values| {
                let (found, cotangent) = head.evaluate(&values[0], r.clone());
                losses = Some(found);
                vec![(self.output(), cotangent)]
            })?;
            let losses = losses.unwrap_or_else(|| head.evaluate(&outcome.values[0], r).0);
            let logits = outcome.values.remove(0).value;
            Ok((
                losses,
                logits,
                plain(outcome.values),
                plain(outcome.gradients),
            ))
        })?;
        let mut losses = Vec::new();
        let (mut logits, mut values, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
        for (l, z, v, g) in chunks {
            losses.extend(l);
            logits.push(z);
            values.push(v);
            gradients.push(g);
        }
        let mut made = self.joined(values, &made, |first, _| first).into_iter();
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
            gradients: self.joined(gradients, at, |sum, g| sum.add(g)),
        })
    }

    /// Runs `f` on the chunks of a batch that evaluates.
    fn evaluated<R: Send>(
        &self,
        ready: &dyn Prepared,
        x: &Tensor,
        f: impl Fn(Range<usize>) -> Result<R> + Send + Sync,
    ) -> Result<Vec<R>> {
        let n = x.shape()[0];
        in_chunks(n, ready.chunk(n, self.most()), f)
    }

    /// The values of all chunks along their batch axis, which a transposition may have moved from
    /// the front; the memory of the chunks is used again. Of a value without a batch axis `still`
    /// makes one out of two chunks'.
    fn joined(
        &self,
        chunks: Vec<Vec<Tensor>>,
        ids: &[ValueId],
        still: impl Fn(Tensor, &Tensor) -> Tensor,
    ) -> Vec<Tensor> {
        let whole = |(i, id): (usize, &ValueId)| {
            let grows = |d: &Dim| matches!(d, Dim::Batch(_));
            let parts: Vec<Tensor> = chunks.iter().map(|c| c[i].clone()).collect();
            match (self.value(*id).shape.iter().position(grows), &parts[..]) {
                (None, [first, others @ ..]) => others.iter().fold(first.clone(), &still),
                (axis, _) => Tensor::concat(&parts, axis.unwrap_or(0)),
            }
        };
        let joined = ids.iter().enumerate().map(whole).collect();
        self.engine().reuse(&mut chunks.into_iter().flatten());
        joined
    }

    /// Jacobian-vector product: the change of the logits `[n, k]` along directions `v` of the shape
    /// of `x`.
    pub fn jvp(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        self.check_directions(x, v)?;
        let purpose = Purpose {
            directed: true,
            ..Purpose::values(vec![self.output()], x.precision())
        };
        let engine = self.engine();
        let ready = engine.prepare(self, purpose)?;
        let chunks = self.evaluated(ready.as_ref(), x, |r| {
            let outcome = ready.run(&directed(x, v, r), &Rules::exact(), &mut |_| Vec::new())?;
            Ok(outcome.values[0].tangent_or_zeros())
        })?;
        Ok(Tensor::concat(&chunks, 0))
    }

    /// Exact Hessian-vector product of each example's loss in its image: gradient `[n, c, h, w]`
    /// and `H v` of the same shape. Costs two forward and two backward passes.
    pub fn hvp(&self, x: &Tensor, head: &dyn Head, v: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check_directions(x, v)?;
        let purpose = Purpose {
            directed: true,
            gradients: vec![self.input()],
            ..Purpose::values(vec![self.output()], x.precision())
        };
        let engine = self.engine();
        let ready = engine.prepare(self, purpose)?;
        let chunks = self.evaluated(ready.as_ref(), x, |r| {
            let chunk = directed(x, v, r.clone());
            let outcome = ready.run(&chunk, &Rules::exact(), &mut |values| {
                let (_, cotangent) = head.evaluate(&values[0], r.clone());
                vec![(self.output(), cotangent)]
            })?;
            let g = &outcome.gradients[0];
            Ok((g.value.clone(), g.tangent_or_zeros()))
        })?;
        let (g, hv): (Vec<_>, Vec<_>) = chunks.into_iter().unzip();
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
        self.gradients_of_mean(x, head, mode, self.trainable())
    }

    /// [`Session::parameter_gradients`], and the gradient `[n, c, h, w]` of the mean loss in the
    /// images, from the same passes.
    pub fn parameter_and_image_gradients(
        &self,
        x: &Tensor,
        head: &dyn Head,
        mode: Mode,
    ) -> Result<(ParameterGradients, Tensor)> {
        let parameters = self.trainable();
        let last = parameters.len();
        let wanted = parameters.into_iter().chain([self.input()]).collect();
        let mut found = self.gradients_of_mean(x, head, mode, wanted)?;
        let images = found.gradients.split_off(last);
        Ok((found, Tensor::concat(&images, 0)))
    }

    /// Gradients of the mean loss in parameters, summed over chunks, and, where the images are the
    /// last that is wanted, those in the images behind them, chunk by chunk.
    fn gradients_of_mean(
        &self,
        x: &Tensor,
        head: &dyn Head,
        mode: Mode,
        wanted: Vec<ValueId>,
    ) -> Result<ParameterGradients> {
        self.check_images(x)?;
        let n = x.shape()[0];
        let extra = head.auxiliary_values();
        let share = 1.0 / n as f64;
        // Losses and cotangents of a chunk, given the logits and the values that carry further
        // losses.
        let evaluate = |values: &[Dual], r: Range<usize>| {
            let (losses, cotangent) = head.evaluate(&values[0], r.clone());
            let further: Vec<Tensor> = values[1..].iter().map(|v| v.value.clone()).collect();
            let further = head.auxiliary(&further, r).into_iter().map(Dual::from);
            let all = std::iter::once((self.output(), cotangent))
                .chain(extra.iter().copied().zip(further));
            let weighted: Vec<_> = all.map(|(id, g)| (id, g.affine(share, 0.0))).collect();
            (losses, weighted)
        };
        let shared = wanted.iter().filter(|&&id| id != self.input()).count();
        let purpose = Purpose {
            mode,
            gradients: wanted,
            ..Purpose::values(with_logits(self, &extra), x.precision())
        };
        let engine = self.engine();
        let ready = engine.prepare(self, purpose)?;
        let group = head.group().max(1);
        let size = (TRAINING_CHUNK / group).max(1) * group;
        let chunks = in_chunks(n, size, |r: Range<usize>| {
            let mut losses = None;
            let chunk = x.rows(r.start, r.len()).into();
            let mut outcome = ready.run(&chunk, &Rules::exact(), &mut |values| {
                let (found, cotangents) = evaluate(values, r.clone());
                losses = Some(found);
                cotangents
            })?;
            let weight = r.len() as f64 * share;
            let statistics = outcome.statistics.iter();
            let statistics: Vec<_> = statistics
                .map(|s| s.weighted(weight, x.precision()))
                .collect();
            let losses = losses.unwrap_or_else(|| evaluate(&outcome.values, r).0);
            let logits = outcome.values.swap_remove(0).value;
            let mut gradients = plain(outcome.gradients);
            let images = gradients.split_off(shared);
            Ok((losses, logits, (gradients, images), statistics))
        })?;
        let mut chunks = chunks.into_iter();
        let Some((mut losses, first, (first_gradients, mut images), mut statistics)) =
            chunks.next()
        else {
            return Err(Error::call(
                "parameter gradients",
                "at least one example",
                0,
            ));
        };
        let (mut logits, mut gradients) = (vec![first], vec![first_gradients]);
        for (l, z, (g, x), s) in chunks {
            losses.extend(l);
            logits.push(z);
            images.extend(x);
            gradients.push(g);
            statistics = statistics
                .iter()
                .zip(&s)
                .map(|((i, m, v), (_, m2, v2))| (*i, m.add(m2), v.add(v2)))
                .collect();
        }
        let mut gradients = sums(&gradients);
        gradients.extend(images);
        Ok(ParameterGradients {
            losses,
            logits: Tensor::concat(&logits, 0),
            gradients,
            statistics,
        })
    }
}

/// The sum over chunks of each array, added in the order of the chunks. Blocks of an array are
/// added on all threads.
fn sums(chunks: &[Vec<Tensor>]) -> Vec<Tensor> {
    const BLOCK: usize = 1 << 13;
    let Some((first, others)) = chunks.split_first() else {
        return Vec::new();
    };
    let sum = |(i, array): (usize, &Tensor)| {
        if array.precision() != Precision::F32 {
            return others.iter().fold(array.clone(), |sum, c| sum.add(&c[i]));
        }
        let parts: Vec<_> = others.iter().map(|c| c[i].values::<f32>()).collect();
        let mut sum = array.to_f32();
        sum.par_chunks_mut(BLOCK).enumerate().for_each(|(at, sum)| {
            for part in &parts {
                let part = &part[at * BLOCK..][..sum.len()];
                sum.iter_mut().zip(part).for_each(|(s, v)| *s += v);
            }
        });
        Tensor::new(array.shape(), sum)
    };
    first.iter().enumerate().map(sum).collect()
}

/// The logits, then other values.
fn with_logits(session: &Session, others: &[ValueId]) -> Vec<ValueId> {
    let logits = std::iter::once(session.output());
    logits.chain(others.iter().copied()).collect()
}

/// Rows of a batch with their directions.
fn directed(x: &Tensor, v: &Tensor, r: Range<usize>) -> Dual {
    Dual::new(x.rows(r.start, r.len()), v.rows(r.start, r.len()))
}

fn plain(duals: Vec<Dual>) -> Vec<Tensor> {
    duals.into_iter().map(|d| d.value).collect()
}
