//! How values of a network are spread over the image: which axes are rows, columns, channels and
//! tokens, and which tokens are patches of the image. Classes, registers and other learned tokens
//! have no place in it.

use crate::explain::parts::paths::Paths;
use fgmf_net::op::Op;
use fgmf_net::{Dim, Node, ValueId};
use std::collections::HashMap;

/// The axes behind the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Axes {
    /// `[c, h, w]`.
    ChannelsFirst,
    /// `[h, w, c]`.
    ChannelsLast,
    /// `[t, d]`: whether each token is a patch; patches count row by row.
    Tokens(Vec<bool>),
    /// `[d, t]`.
    TokensLast(Vec<bool>),
}

/// The axes of every value for which they are known.
pub(crate) struct Spread(HashMap<ValueId, Axes>);

impl Spread {
    pub(crate) fn new(paths: &Paths<'_>) -> Self {
        let mut spread = Self(HashMap::from([(paths.net.input(), Axes::ChannelsFirst)]));
        for node in paths.net.nodes() {
            for &id in node.outputs.iter().filter(|id| paths.sees(**id)) {
                let axes = spread.of_output(paths, node, id);
                let axes = axes.filter(|a| a.fits(&paths.sizes(id)));
                spread.0.extend(axes.map(|axes| (id, axes)));
            }
        }
        spread
    }

    pub(crate) fn of(&self, id: ValueId) -> Option<&Axes> {
        self.0.get(&id)
    }

    /// Rows and columns of a value with both.
    pub(crate) fn map_size(&self, paths: &Paths<'_>, id: ValueId) -> Option<[usize; 2]> {
        match (self.of(id)?, &paths.sizes(id)[..]) {
            (Axes::ChannelsFirst, &[_, h, w]) | (Axes::ChannelsLast, &[h, w, _]) => Some([h, w]),
            _ => None,
        }
    }

    fn of_output(&self, paths: &Paths<'_>, node: &Node, id: ValueId) -> Option<Axes> {
        let (sizes, rank) = (paths.sizes(id), paths.net.value(id).shape.len());
        let of_rank = |from: &ValueId| paths.net.value(*from).shape.len() == rank;
        let seeing: Vec<ValueId> = paths.seeing(node).collect();
        let first = self.of(*seeing.first()?);
        let inherited = || {
            let known = seeing.iter().filter(|v| of_rank(v));
            known
                .filter_map(|v| self.of(*v))
                .find(|a| a.fits(&sizes))
                .cloned()
        };
        match &node.op {
            Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool(_)
            | Op::Resize(_)
            | Op::BatchNorm(_)
                if rank == 4 =>
            {
                Some(Axes::ChannelsFirst)
            }
            Op::Transpose(t) => match (first?.clone(), &t.perm[..]) {
                (Axes::ChannelsFirst, [0, 2, 3, 1]) => Some(Axes::ChannelsLast),
                (Axes::ChannelsLast, [0, 3, 1, 2]) => Some(Axes::ChannelsFirst),
                (Axes::TokensLast(patches), [0, 2, 1]) => Some(Axes::Tokens(patches)),
                (Axes::Tokens(patches), [0, 2, 1]) => Some(Axes::TokensLast(patches)),
                _ => None,
            },
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                reshaped(first?, &paths.sizes(seeing[0]), &sizes)
            }
            // A product along the last axis, which must be the channels.
            Op::MatMul(_) if seeing.len() == 1 => {
                inherited().filter(|a| matches!(a, Axes::ChannelsLast | Axes::Tokens(_)))
            }
            Op::MatMul(_) | Op::Gemm(_) => None,
            // What is normalised are the channels of each position.
            Op::LayerNorm(l) if is_axis(l.axis, rank, rank - 1) => {
                inherited().or_else(|| match sizes[..] {
                    [t, _] => Some(Axes::Tokens(vec![true; t])),
                    [_, _, _] => Some(Axes::ChannelsLast),
                    _ => None,
                })
            }
            Op::Concat(c) if rank == 3 && is_axis(c.axis, rank, 1) => {
                let part = |v: &ValueId| match (self.of(*v), &paths.net.value(*v).shape[..]) {
                    (Some(Axes::Tokens(patches)), _) => Some(patches.clone()),
                    // What does not depend on the image is learned, and no patch of it.
                    (_, [_, Dim::Fixed(t), _]) => Some(vec![paths.sees(*v); *t]),
                    _ => None,
                };
                let parts = node.inputs.iter().map(part);
                Some(Axes::Tokens(parts.collect::<Option<Vec<_>>>()?.concat()))
            }
            _ => match (first, kept_tokens(paths, node, id)) {
                (Some(Axes::Tokens(patches)), Some(kept)) => {
                    Some(Axes::Tokens(kept.iter().map(|&t| patches[t]).collect()))
                }
                _ => inherited(),
            },
        }
    }
}

impl Axes {
    /// Whether a value of these sizes can have these axes.
    fn fits(&self, sizes: &[usize]) -> bool {
        match (self, sizes) {
            (Self::ChannelsFirst | Self::ChannelsLast, [_, _, _]) => true,
            (Self::Tokens(patches), [t, _]) | (Self::TokensLast(patches), [_, t]) => {
                patches.len() == *t
            }
            _ => false,
        }
    }
}

/// Axes after the same numbers, in the same order, have been given other sizes.
fn reshaped(axes: &Axes, from: &[usize], to: &[usize]) -> Option<Axes> {
    match (axes, from, to) {
        _ if from == to => Some(axes.clone()),
        (Axes::ChannelsFirst, &[c, h, w], &[d, t]) if [d, t] == [c, h * w] => {
            Some(Axes::TokensLast(vec![true; t]))
        }
        (Axes::ChannelsLast, &[h, w, c], &[t, d]) if [t, d] == [h * w, c] => {
            Some(Axes::Tokens(vec![true; t]))
        }
        (Axes::Tokens(patches), &[t, d], &[h, w, c])
            if [t, d] == [h * w, c] && patches.iter().all(|p| *p) =>
        {
            Some(Axes::ChannelsLast)
        }
        (Axes::TokensLast(patches), &[d, t], &[c, h, w])
            if [d, t] == [c, h * w] && patches.iter().all(|p| *p) =>
        {
            Some(Axes::ChannelsFirst)
        }
        _ => None,
    }
}

/// Which tokens of `[n, t, d]` an output of a node keeps, if the node cuts or picks tokens.
pub(crate) fn kept_tokens(paths: &Paths<'_>, node: &Node, output: ValueId) -> Option<Vec<usize>> {
    let &[t, _] = &paths.sizes(*node.inputs.first()?)[..] else {
        return None;
    };
    match &node.op {
        Op::Gather(g) if is_axis(g.axis, 3, 1) => Some(g.index.clone()),
        Op::Slice(s) => {
            let mut kept: Vec<usize> = (0..t).collect();
            for cut in s.axes.iter().filter(|a| a.axis == 1) {
                let at = |i: usize| (cut.start as i64 + i as i64 * cut.step) as usize;
                kept = (0..cut.count).map(at).collect();
            }
            Some(kept)
        }
        Op::Split(s) if is_axis(s.axis, 3, 1) => {
            let place = node.outputs.iter().position(|id| *id == output)?;
            let start = s.sizes[..place].iter().sum::<usize>();
            Some((start..start + s.sizes[place]).collect())
        }
        _ => None,
    }
}

/// Whether an axis, which may count from the end, is this one.
fn is_axis(axis: i64, rank: usize, wanted: usize) -> bool {
    (if axis < 0 { axis + rank as i64 } else { axis }) == wanted as i64
}
