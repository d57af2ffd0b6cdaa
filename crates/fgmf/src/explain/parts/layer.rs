//! Which value of the graph a map is read from, found without help from the user, or refused.
//!
//! A layer must be one that **everything later depends on**: every way from the image to the
//! logits passes it (it dominates the logits). Otherwise the map would be of one branch.
//!
//! 1. With attention (a softmax over products of two values that both depend on the image): the
//!    last value of that kind before the last such softmax, and of its normalisation what both
//!    factors of the scores are made from. In a vision transformer this is the first norm of the
//!    last block. Feature maps that convolutions make behind all attention come first.
//! 2. Otherwise the last value of that kind with more than one row and column that is not merely a
//!    pooled, resized, padded, cut or rearranged copy of another.
//! 3. A network without any feature map is read at the image. One whose feature maps are all on
//!    branches is refused.
//!
//! Tokens `[n, t, d]` are laid over the image without those that do not depend on it where they
//! are put in (class, distillation and register tokens). The grid is that of the last feature map
//! before them with as many places, else the one of square patches: rows to columns as the height
//! of the image to its width. Where neither fits, the grid has to be given.
//!
//! A map is laid over the whole image, so one that the network has cropped or padded on one side is
//! a little out of place. "Last" is in the order of the nodes. Values named `sgam.…` are the mask
//! in front of the network and are left out.

use crate::error::{Error, Result};
use crate::explain::parts::paths::{Paths, ancestors};
use crate::explain::parts::spread::{Axes, Spread, kept_tokens};
use fgmf_net::op::Op;
use fgmf_net::{Dim, Network, Node, ValueId};
use std::collections::HashSet;

/// How a value is laid out over the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// `[n, c, h, w]`.
    Map {
        /// Rows.
        h: usize,
        /// Columns.
        w: usize,
    },
    /// `[n, h, w, c]`.
    ChannelsLast {
        /// Rows.
        h: usize,
        /// Columns.
        w: usize,
    },
    /// `[n, t, d]`, with `prefix`, then h · w tokens, row by row, then any others.
    Tokens {
        /// Rows of tokens.
        h: usize,
        /// Columns of tokens.
        w: usize,
        /// Tokens in front that have no place in the image, such as a class token.
        prefix: usize,
    },
}

impl LayerKind {
    /// Rows and columns.
    pub fn size(self) -> [usize; 2] {
        let (Self::Map { h, w } | Self::ChannelsLast { h, w } | Self::Tokens { h, w, .. }) = self;
        [h, w]
    }
}

impl std::fmt::Display for LayerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [h, w] = self.size();
        match self {
            Self::Map { .. } => write!(f, "a feature map of {h} x {w}, channels first"),
            Self::ChannelsLast { .. } => write!(f, "a feature map of {h} x {w}, channels last"),
            Self::Tokens { prefix: 0, .. } => write!(f, "{h} x {w} tokens"),
            Self::Tokens { prefix, .. } => write!(f, "{h} x {w} tokens behind {prefix} others"),
        }
    }
}

/// A value to read a map from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetLayer {
    /// The value.
    pub id: ValueId,
    /// Its name.
    pub name: String,
    /// Its layout.
    pub kind: LayerKind,
    /// Why this one, for the reader of a map.
    pub reason: &'static str,
}

impl TargetLayer {
    /// What a reader of a map should know of its layer: that it is none.
    pub(crate) fn note(&self) -> Option<String> {
        (self.reason == IMAGE).then(|| IMAGE.to_owned())
    }
}

/// Rows and columns of tokens, where the user gives them.
pub(crate) type TokenGrid = Option<[usize; 2]>;

/// Refuses a grid without rows or columns.
pub(crate) fn check_grid(grid: TokenGrid) -> Result<()> {
    match grid {
        Some([h, w]) if h == 0 || w == 0 => Err(Error::parameter(
            "token_grid",
            "1 or more rows and columns",
            format!("{h} x {w}"),
        )),
        _ => Ok(()),
    }
}

/// The layer that the rule at the top of this file chooses.
pub fn choose_layer(net: &Network) -> Result<TargetLayer> {
    layer_of(net, None, None)
}

/// The value of that layer, wherever it lies in the image.
pub(crate) fn choose_value(net: &Network) -> Result<ValueId> {
    Ok(Layers::new(net, None).choose()?.0)
}

/// The layer of that name, which must be `[n, c, h, w]`, `[n, h, w, c]` or `[n, t, d]` and lead
/// from the image to the logits.
pub fn named_layer(net: &Network, name: &str) -> Result<TargetLayer> {
    layer_of(net, Some(name), None)
}

/// The layer of that name, or the one the rule chooses, with tokens laid out as given.
pub(crate) fn layer_of(net: &Network, name: Option<&str>, grid: TokenGrid) -> Result<TargetLayer> {
    let layers = Layers::new(net, grid);
    let (id, reason) = name.map_or_else(|| layers.choose(), |name| layers.named(name))?;
    layers.layer(id, reason)
}

/// Outputs of all attention softmaxes on the way to the logits, in the order of the nodes.
pub(crate) fn attention_weights(net: &Network) -> Vec<ValueId> {
    Paths::new(net).attentions()
}

/// Which of the `t` tokens behind the last attention the answer is read from: those that are
/// picked where every way to the logits passes them, all if none are.
pub(crate) fn answer_tokens(net: &Network, t: usize) -> Vec<usize> {
    let paths = Paths::new(net);
    let all = || (0..t).collect();
    let Some(last) = paths.bottlenecks().into_iter().rev().find(|&id| {
        let behind = |(softmax, _): (ValueId, &Node)| ancestors(net, &[id]).contains(&softmax);
        matches!(paths.sizes(id)[..], [found, _] if found == t)
            && paths.last_attention().is_some_and(behind)
    }) else {
        return all();
    };
    let mut read = Vec::new();
    for node in net.nodes().iter().filter(|n| n.inputs.contains(&last)) {
        for &out in node.outputs.iter().filter(|id| paths.on_path(**id)) {
            match kept_tokens(&paths, node, out) {
                Some(kept) => read.extend(kept),
                None => return all(),
            }
        }
    }
    read.sort_unstable();
    read.dedup();
    read
}

const ATTENDED: &str = "the last tokens before the last attention that everything later depends on";
const NORMALISED: &str = "the normalisation, in front of the last attention, of the last tokens \
    that everything later depends on";
const LAST_MAP: &str = "the last feature map that everything later depends on";
const IMAGE: &str = "the network has no feature map, so the map is read at the image";
const NAMED: &str = "named by the user";

/// What the rule needs to know about a network.
struct Layers<'a> {
    paths: Paths<'a>,
    spread: Spread,
    grid: TokenGrid,
}

impl<'a> Layers<'a> {
    fn new(net: &'a Network, grid: TokenGrid) -> Self {
        let paths = Paths::new(net);
        let spread = Spread::new(&paths);
        Self {
            paths,
            spread,
            grid,
        }
    }

    fn choose(&self) -> Result<(ValueId, &'static str)> {
        let bottlenecks = self.paths.bottlenecks();
        let map = |id: &&ValueId| self.is_wide(**id) && !self.is_copy(**id);
        let last = bottlenecks.iter().rev().find(map).copied();
        let Some((softmax, scores)) = self.paths.last_attention() else {
            return match last {
                Some(id) => Ok((id, LAST_MAP)),
                None => self.image(),
            };
        };
        let behind = |id: &ValueId| {
            self.spread.of(*id) == Some(&Axes::ChannelsFirst)
                && ancestors(self.paths.net, &[*id]).contains(&softmax)
        };
        if let Some(id) = last.filter(behind) {
            return Ok((id, LAST_MAP));
        }
        let before = ancestors(self.paths.net, &[softmax]);
        let tokens = |id: &&ValueId| {
            before.contains(id) && (self.is_wide(**id) || self.paths.sizes(**id).len() == 2)
        };
        match bottlenecks.iter().rev().find(tokens) {
            Some(&id) => Ok(match self.normalised(id, scores) {
                Some(norm) => (norm, NORMALISED),
                None => (id, ATTENDED),
            }),
            None => self.image(),
        }
    }

    fn named(&self, name: &str) -> Result<(ValueId, &'static str)> {
        let found = self.paths.net.find(name);
        match found.filter(|id| self.paths.on_path(*id)) {
            Some(id) => Ok((id, NAMED)),
            None => Err(Error::parameter(
                "layer",
                "the name of a value of shape [n, c, h, w], [n, h, w, c] or [n, t, d] between \
                    image and logits",
                format!("`{name}`"),
            )),
        }
    }

    /// The image, if there is nothing that a map should rather have been read from.
    fn image(&self) -> Result<(ValueId, &'static str)> {
        let made = |n: &Node| matches!(n.op, Op::Conv(_) | Op::ConvTranspose(_));
        let branch = self
            .paths
            .backwards()
            .find(|(n, id)| made(n) && self.is_wide(*id));
        match branch {
            None => Ok((self.paths.net.input(), IMAGE)),
            Some((_, id)) => Err(Error::mismatch(
                "choose layer",
                "a feature map that everything later depends on; name one with `layer`",
                format!("branches only, such as `{}`", self.paths.net.value(id).name),
            )),
        }
    }

    /// Whether a value has more than one row and column.
    fn is_wide(&self, id: ValueId) -> bool {
        match self.spread.map_size(&self.paths, id) {
            Some([h, w]) => h > 1 && w > 1,
            None => matches!(self.spread.of(id), Some(Axes::Tokens(t)) if t.len() > 1),
        }
    }

    /// Whether a value is merely another one pooled, resized, padded, cut or rearranged.
    fn is_copy(&self, id: ValueId) -> bool {
        let maker = self.paths.net.producer(id);
        maker.is_some_and(|i| {
            let op = &self.paths.net.nodes()[i].op;
            matches!(
                op,
                Op::MaxPool(_)
                    | Op::AveragePool(_)
                    | Op::GlobalAveragePool(_)
                    | Op::Resize(_)
                    | Op::Expand(_)
            ) || (moves(op) && !matches!(op, Op::Concat(_)))
        })
    }

    /// The last value that is made of `tokens` place by place, has their shape, and that both
    /// factors of the scores are made from; `None` if that is `tokens` themselves.
    fn normalised(&self, tokens: ValueId, scores: &Node) -> Option<ValueId> {
        let net = self.paths.net;
        let factors: Vec<_> = scores
            .inputs
            .iter()
            .map(|&id| ancestors(net, &[id]))
            .collect();
        let mut in_place = HashSet::from([tokens]);
        let mut found = None;
        for node in net.nodes() {
            let mut inputs = self.paths.seeing(node);
            let mixes = matches!(node.op, Op::MatMul(_)) && self.paths.seeing(node).count() > 1;
            if mixes || moves(&node.op) || !inputs.all(|id| in_place.contains(&id)) {
                continue;
            }
            for &id in node.outputs.iter().filter(|id| self.paths.on_path(**id)) {
                in_place.insert(id);
                if self.paths.sizes(id) == self.paths.sizes(tokens)
                    && factors.iter().all(|f| f.contains(&id))
                {
                    found = Some(id);
                }
            }
        }
        found
    }

    /// The layer at a value, if its layout is understood.
    fn layer(&self, id: ValueId, reason: &'static str) -> Result<TargetLayer> {
        let value = self.paths.net.value(id);
        let kind = match (self.spread.of(id), &self.paths.sizes(id)[..]) {
            (Some(Axes::ChannelsFirst), &[_, h, w]) => LayerKind::Map { h, w },
            (Some(Axes::ChannelsLast), &[h, w, _]) => LayerKind::ChannelsLast { h, w },
            (None | Some(Axes::Tokens(_)), &[t, _]) => self.tokens(id, t)?,
            _ => {
                let shape: Vec<String> = value.shape.iter().map(Dim::to_string).collect();
                return Err(Error::parameter(
                    "layer",
                    "a value of shape [n, c, h, w], [n, h, w, c] or [n, t, d] whose place in the \
                        image is known",
                    format!("`{}` of shape [{}]", value.name, shape.join(", ")),
                ));
            }
        };
        Ok(TargetLayer {
            id,
            name: value.name.clone(),
            kind,
            reason,
        })
    }

    /// How t tokens lie over the image.
    fn tokens(&self, id: ValueId, t: usize) -> Result<LayerKind> {
        let patches = self.patches(id, t);
        let prefix = patches.iter().take_while(|p| !**p).count();
        let count = patches[prefix..].iter().take_while(|p| **p).count();
        let name = &self.paths.net.value(id).name;
        let [_, height, width] = self.paths.net.image_shape();
        let ask = |found: String| {
            Err(Error::mismatch(
                "lay tokens over the image",
                format!(
                    "tokens that fill a grid of the proportions of the image, {height} to \
                        {width}; give rows and columns with `token_grid` (`--grid RxC`)"
                ),
                format!("{found} at `{name}`"),
            ))
        };
        if let Some([h, w]) = self.grid {
            let places = h.saturating_mul(w);
            // Learned tokens that are not known as such stand in front.
            return match t - count {
                _ if places == count && places > 0 => Ok(LayerKind::Tokens { h, w, prefix }),
                0 if (1..t).contains(&places) => Ok(LayerKind::Tokens {
                    h,
                    w,
                    prefix: t - places,
                }),
                others => Err(Error::parameter(
                    "token_grid",
                    format!("rows x columns of {count} tokens of the image at `{name}`"),
                    format!("{h} x {w}, with {others} other tokens"),
                )),
            };
        }
        if patches[prefix + count..].contains(&true) {
            return ask("tokens of the image with others between them".to_owned());
        }
        let before = ancestors(self.paths.net, &[id]);
        let like_map = self
            .paths
            .backwards()
            .filter(|(_, v)| before.contains(v))
            .filter_map(|(_, v)| self.spread.map_size(&self.paths, v))
            .find(|[h, w]| h * w == count);
        let square = || {
            let grids = (1..=height.min(width))
                .filter(|k| height.is_multiple_of(*k) && width.is_multiple_of(*k))
                .map(|k| [height / k, width / k]);
            grids.into_iter().find(|[h, w]| h * w == count)
        };
        match like_map.or_else(square) {
            Some([h, w]) => Ok(LayerKind::Tokens { h, w, prefix }),
            None if prefix == 0 => ask(format!("{count} tokens")),
            None => ask(format!("{count} tokens behind {prefix} others")),
        }
    }

    /// Which of t tokens are patches of the image. Where it is not known, they are taken for those
    /// of the last value before with as many tokens.
    fn patches(&self, id: ValueId, t: usize) -> Vec<bool> {
        let before = ancestors(self.paths.net, &[id]);
        let known = |v: ValueId| match self.spread.of(v) {
            Some(Axes::Tokens(patches)) if patches.len() == t => Some(patches.clone()),
            _ => None,
        };
        self.paths
            .backwards()
            .filter(|(_, v)| before.contains(v))
            .find_map(|(_, v)| known(v))
            .unwrap_or_else(|| vec![true; t])
    }
}

/// Whether an operator moves positions.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Pad(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Gather(_)
            | Op::Concat(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::toy;
    use fgmf_net::op::{
        Binary, Concat, Conv, Expand, Gemm, GlobalAveragePool, LayerNorm, MatMul, Reduce,
        ReduceKind, Reshape, Slice, SliceAxis, Softmax, Transpose,
    };
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};
    use fgmf_net::{Builder, Tensor};

    fn zoo(architecture: Architecture) -> Network {
        let config = ZooConfig {
            architecture,
            activation: Activation::Relu,
            image: [1, 28, 28],
            classes: 10,
            mean: vec![0.3],
            deviation: vec![0.4],
            seed: 1,
        };
        build(&config).unwrap()
    }

    #[test]
    fn zoo_networks() {
        let grid = LayerKind::Tokens {
            h: 7,
            w: 7,
            prefix: 0,
        };
        for (architecture, name, kind) in [
            (Architecture::CnnTiny, "act2", LayerKind::Map { h: 7, w: 7 }),
            (
                Architecture::CnnSmall,
                "act4",
                LayerKind::Map { h: 14, w: 14 },
            ),
            (
                Architecture::PreactResnet18,
                "final.act",
                LayerKind::Map { h: 4, w: 4 },
            ),
            (
                Architecture::Wrn28x10,
                "final.act",
                LayerKind::Map { h: 7, w: 7 },
            ),
            (Architecture::VitTiny, "block6.norm1", grid),
            (Architecture::ConvvitTiny, "block4.norm1", grid),
        ] {
            let found = choose_layer(&zoo(architecture)).unwrap();
            assert_eq!(
                (found.name.as_str(), found.kind),
                (name, kind),
                "{}",
                architecture.name()
            );
        }
    }

    #[test]
    fn exported_networks() {
        let grid = |side, prefix| LayerKind::Tokens {
            h: side,
            w: side,
            prefix,
        };
        let map = |side| LayerKind::Map { h: side, w: side };
        let expected = [
            ("cnn_bn", "/features/features.6/Relu_output_0", map(14)),
            ("resnet", "/blocks/blocks.2/Relu_1_output_0", map(8)),
            (
                "vit",
                "/blocks/blocks.1/norm1/LayerNormalization_output_0",
                grid(4, 1),
            ),
            ("vit_dynamo", "layer_norm_2", grid(4, 1)),
            (
                "timm_vit",
                "/blocks/blocks.1/norm1/LayerNormalization_output_0",
                grid(4, 1),
            ),
            ("depthwise", "/Mul_output_0", map(4)),
            ("concat_resize", "/Concat_8_output_0", map(13)),
            ("convnext_dynamo", "add_1", map(7)),
            ("maths", "/Div_output_0", grid(4, 0)),
            ("maths_dynamo", "div", grid(4, 0)),
        ];
        let choose = |(file, _, _): &(&'static str, &str, LayerKind)| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../fgmf-net/tests/fixtures/onnx/{file}.onnx"));
            let found = choose_layer(&fgmf_net::onnx::read(&path).unwrap()).unwrap();
            (*file, found.name, found.kind)
        };
        let found: Vec<_> = expected.iter().map(choose).collect();
        assert_eq!(
            found,
            expected.map(|(file, name, kind)| (file, name.to_owned(), kind))
        );
    }

    #[test]
    fn the_mask_in_front_is_passed_over() {
        let net = toy::behind_mask([3, 8, 8]);
        let found = choose_layer(&net).unwrap();
        assert_eq!(
            (found.id, found.kind),
            (net.input(), LayerKind::Map { h: 8, w: 8 })
        );
        assert_eq!(
            named_layer(&net, "sgam.masked").unwrap().kind,
            LayerKind::Map { h: 8, w: 8 }
        );
    }

    #[test]
    fn named_layers_must_exist_be_maps_and_matter() {
        let net = zoo(Architecture::ConvvitTiny);
        assert_eq!(
            named_layer(&net, "stem.act2").unwrap().kind,
            LayerKind::Map { h: 14, w: 14 }
        );
        assert_eq!(
            named_layer(&net, "block1").unwrap().kind,
            LayerKind::Tokens {
                h: 7,
                w: 7,
                prefix: 0
            }
        );
        for bad in [
            "nowhere",
            "logits",
            "position",
            "stem.conv1.weight",
            "block1.attention.scores",
        ] {
            assert!(named_layer(&net, bad).is_err(), "{bad}");
        }
    }

    /// A network of random weights, put together value by value.
    struct Made(Builder);

    impl Made {
        fn new(image: [usize; 3]) -> Self {
            Self(Builder::new("made", "image", image).unwrap())
        }

        fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
            self.0.node(name, op, inputs).unwrap()
        }

        fn weights(&mut self, shape: &[usize]) -> ValueId {
            let name = self.0.fresh("weights");
            let values = toy::spread(shape.iter().product(), 3);
            let tensor = Tensor::new(shape, values);
            self.0.parameter(&name, tensor, true).unwrap()
        }

        fn conv(&mut self, name: &str, x: ValueId, [to, from, size]: [usize; 3]) -> ValueId {
            let kernel = self.weights(&[to, from, size, size]);
            let conv = Conv {
                stride: [size; 2],
                ..Conv::default()
            };
            self.node(name, Op::Conv(conv), &[x, kernel])
        }

        fn reshape(&mut self, name: &str, x: ValueId, shape: &[i64]) -> ValueId {
            let shape = shape.to_vec();
            self.node(name, Op::Reshape(Reshape { shape }), &[x])
        }

        fn transpose(&mut self, name: &str, x: ValueId, perm: &[usize]) -> ValueId {
            let perm = perm.to_vec();
            self.node(name, Op::Transpose(Transpose { perm }), &[x])
        }

        fn slice(&mut self, name: &str, x: ValueId, [start, count]: [usize; 2]) -> ValueId {
            let cut = SliceAxis {
                axis: 1,
                start,
                step: 1,
                count,
            };
            self.node(name, Op::Slice(Slice { axes: vec![cut] }), &[x])
        }

        fn norm(&mut self, name: &str, x: ValueId, width: usize) -> ValueId {
            let scale = self.weights(&[width]);
            let norm = LayerNorm {
                axis: -1,
                epsilon: 1e-5,
            };
            self.node(name, Op::LayerNorm(norm), &[x, scale])
        }

        /// Attention of `from` to `to`, both of width 4.
        fn attention(&mut self, from: ValueId, to: ValueId) -> ValueId {
            let weights = self.weights(&[4, 4]);
            let query = self.node("query", Op::MatMul(MatMul), &[from, weights]);
            let key = self.node("key", Op::MatMul(MatMul), &[to, weights]);
            let turned = self.transpose("turned", key, &[0, 2, 1]);
            let scores = self.node("scores", Op::MatMul(MatMul), &[query, turned]);
            let softmax = Softmax {
                axis: -1,
                log: false,
            };
            let weights = self.node("attention", Op::Softmax(softmax), &[scores]);
            self.node("attended", Op::MatMul(MatMul), &[weights, key])
        }

        /// Tokens `[n, 16, 4]` of an image `[1, 8, 8]`.
        fn patches(&mut self) -> ValueId {
            let x = self.0.input();
            let x = self.conv("embedding", x, [4, 1, 2]);
            let x = self.reshape("flat", x, &[0, 4, 16]);
            self.transpose("tokens", x, &[0, 2, 1])
        }

        /// Mean over these axes, then two classes.
        fn finish(mut self, x: ValueId, axes: &[i64], width: usize) -> Network {
            let mean = Reduce {
                kind: ReduceKind::Mean,
                axes: axes.to_vec(),
                keep: false,
            };
            let x = self.node("mean", Op::Reduce(mean), &[x]);
            let (w, b) = (self.weights(&[2, width]), self.weights(&[2]));
            let z = self.node("logits", Op::Gemm(Gemm::DENSE), &[x, w, b]);
            self.0.finish(z).unwrap()
        }
    }

    fn chosen(net: &Network) -> (String, LayerKind) {
        let found = choose_layer(net).unwrap();
        (found.name, found.kind)
    }

    /// As in Inception: the last feature map before branches that meet only behind their pooling,
    /// and the place where branches meet if they do.
    #[test]
    fn branches_are_not_taken_for_the_whole() {
        let concat = || Op::Concat(Concat { axis: 1 });
        let pool = || Op::GlobalAveragePool(GlobalAveragePool);
        let mut made = Made::new([1, 8, 8]);
        let x = made.0.input();
        let trunk = made.conv("trunk", x, [4, 1, 2]);
        let (left, right) = (
            made.conv("left", trunk, [3, 4, 1]),
            made.conv("right", trunk, [2, 4, 2]),
        );
        let pooled = [
            made.node("pool", pool(), &[left]),
            made.node("pool2", pool(), &[right]),
        ];
        let both = made.node("both", concat(), &pooled);
        let net = made.finish(both, &[2, 3], 5);
        assert_eq!(
            chosen(&net),
            ("trunk".into(), LayerKind::Map { h: 4, w: 4 })
        );

        let mut made = Made::new([1, 8, 8]);
        let x = made.0.input();
        let (left, right) = (
            made.conv("left", x, [3, 1, 2]),
            made.conv("right", x, [2, 1, 2]),
        );
        let both = made.node("both", concat(), &[left, right]);
        let net = made.finish(both, &[2, 3], 5);
        assert_eq!(chosen(&net), ("both".into(), LayerKind::Map { h: 4, w: 4 }));

        let mut made = Made::new([1, 8, 8]);
        let x = made.0.input();
        let (left, right) = (
            made.conv("left", x, [3, 1, 2]),
            made.conv("right", x, [2, 1, 4]),
        );
        let pooled = [
            made.node("pool", pool(), &[left]),
            made.node("pool2", pool(), &[right]),
        ];
        let both = made.node("both", concat(), &pooled);
        let told = choose_layer(&made.finish(both, &[2, 3], 5)).unwrap_err();
        assert!(told.to_string().contains("branches only"), "{told}");
    }

    /// As in LeViT: attention of a few tokens to all of them.
    #[test]
    fn a_downsample_is_read_before_its_query() {
        let mut made = Made::new([1, 8, 8]);
        let tokens = made.patches();
        let norm = made.norm("norm", tokens, 4);
        let few = made.slice("few", norm, [0, 4]);
        let out = made.attention(few, norm);
        let grid = LayerKind::Tokens {
            h: 4,
            w: 4,
            prefix: 0,
        };
        assert_eq!(chosen(&made.finish(out, &[1], 4)), ("norm".into(), grid));
    }

    /// As in Swin: channels last, windows of 2 x 2, moved by one row.
    #[test]
    fn windows_are_read_before_they_are_cut() {
        let mut made = Made::new([1, 8, 8]);
        let x = made.0.input();
        let x = made.conv("embedding", x, [4, 1, 2]);
        let x = made.transpose("last", x, &[0, 2, 3, 1]);
        let norm = made.norm("norm1", x, 4);
        let rolled = [
            made.slice("rest", norm, [1, 3]),
            made.slice("top", norm, [0, 1]),
        ];
        let rolled = made.node("rolled", Op::Concat(Concat { axis: 1 }), &rolled);
        let cut = made.reshape("cut", rolled, &[0, 2, 2, 2, 2, 4]);
        let cut = made.transpose("apart", cut, &[0, 1, 3, 2, 4, 5]);
        let windows = made.reshape("windows", cut, &[-1, 4, 4]);
        let out = made.attention(windows, windows);
        let out = made.reshape("together", out, &[-1, 4, 4, 4]);
        let sum = made.node("sum", Op::Binary(Binary::Add), &[x, out]);
        let last = made.norm("final", sum, 4);
        let net = made.finish(last, &[1, 2], 4);
        let kind = LayerKind::ChannelsLast { h: 4, w: 4 };
        assert_eq!(chosen(&net), ("norm1".into(), kind));
        assert_eq!(named_layer(&net, "final").unwrap().kind, kind);
    }

    /// As in MobileViT: convolutions behind all attention.
    #[test]
    fn feature_maps_behind_attention_come_first() {
        let mut made = Made::new([1, 8, 8]);
        let tokens = made.patches();
        let out = made.attention(tokens, tokens);
        let turned = made.transpose("back", out, &[0, 2, 1]);
        let map = made.reshape("map", turned, &[0, 4, 4, 4]);
        let fused = made.conv("fused", map, [3, 4, 1]);
        let net = made.finish(fused, &[2, 3], 3);
        assert_eq!(
            chosen(&net),
            ("fused".into(), LayerKind::Map { h: 4, w: 4 })
        );
    }

    /// A class token, two registers put in behind it, and the patches.
    #[test]
    fn tokens_put_in_later_are_known() {
        let mut made = Made::new([1, 8, 8]);
        let concat = || Op::Concat(Concat { axis: 1 });
        let expand = |made: &mut Made, name: &str, t: usize, like: ValueId| {
            let shape = vec![None, Some(t), Some(4)];
            let learned = made.weights(&[1, t, 4]);
            made.node(name, Op::Expand(Expand { shape }), &[learned, like])
        };
        let patches = made.patches();
        let class = expand(&mut made, "class", 1, patches);
        let all = made.node("all", concat(), &[class, patches]);
        let place = made.weights(&[1, 17, 4]);
        let all = made.node("placed", Op::Binary(Binary::Add), &[all, place]);
        let registers = expand(&mut made, "registers", 2, patches);
        let parts = [
            made.slice("first", all, [0, 1]),
            registers,
            made.slice("rest", all, [1, 16]),
        ];
        let all = made.node("tokens19", concat(), &parts);
        let norm = made.norm("norm", all, 4);
        let out = made.attention(norm, norm);
        let sum = made.node("sum", Op::Binary(Binary::Add), &[all, out]);
        let answer = made.slice("answer", sum, [0, 1]);
        let net = made.finish(answer, &[1], 4);
        let grid = LayerKind::Tokens {
            h: 4,
            w: 4,
            prefix: 3,
        };
        assert_eq!(chosen(&net), ("norm".into(), grid));
        assert_eq!(answer_tokens(&net, 19), [0]);
    }
}
