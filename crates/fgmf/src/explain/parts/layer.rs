//! Which value of the graph a map is read from, found without help from the user.
//!
//! 1. With attention (a softmax over products of two values that both depend on the image): the
//!    last layer normalisation `[n, t, d]` that leads to the last such softmax, which is the first
//!    norm of the last block. Where the normalisation is written out in small operators: the last
//!    value `[n, t, d]` that both factors of the scores are made from, of the width of the patch
//!    embedding if there is one. Tokens are laid out like the last feature map before them, else as
//!    a square.
//! 2. Otherwise the last value `[n, c, h, w]` on the way to the logits with both sides above 1 that
//!    is not merely a pooled, resized, padded or cut copy of another. An activation after a
//!    convolution comes later and so is preferred.
//! 3. A network without any such value is read at the image.
//!
//! A map is laid over the whole image, so one that the network has cropped or padded on one side is
//! a little out of place. "Last" is in the order of the nodes. Values named `sgam.…` are the mask
//! in front of the network and are left out.

use crate::error::{Error, Result};
use fgmf_net::op::Op;
use fgmf_net::{Dim, Network, Node, ValueId};
use std::collections::{HashMap, HashSet};

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
    /// `[n, t, d]`, with t = `prefix` + h · w tokens, row by row.
    Tokens {
        /// Rows of tokens.
        h: usize,
        /// Columns of tokens.
        w: usize,
        /// Tokens in front that have no place in the image: 1 if there is a class token, else 0.
        prefix: usize,
    },
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
}

/// The layer that the rule at the top of this file chooses.
pub fn choose_layer(net: &Network) -> Result<TargetLayer> {
    let graph = Graph::new(net);
    let found = graph
        .attention_layer()
        .or_else(|| graph.last_map())
        .or_else(|| graph.layer(net.input()));
    found.ok_or_else(|| {
        Error::mismatch(
            "choose layer",
            "a value of shape [n, c, h, w] or [n, t, d]",
            &net.name,
        )
    })
}

/// The layer of that name, which must be `[n, c, h, w]` or `[n, t, d]` and lead from the image to
/// the logits.
pub fn named_layer(net: &Network, name: &str) -> Result<TargetLayer> {
    let graph = Graph::new(net);
    let on_path = |id: &ValueId| graph.leads(*id) && graph.from_image.contains(id);
    let found = net
        .find(name)
        .filter(on_path)
        .and_then(|id| graph.layer(id));
    found.ok_or_else(|| {
        Error::parameter(
            "layer",
            "the name of a value of shape [n, c, h, w] or [n, t, d] between image and logits",
            format!("`{name}`"),
        )
    })
}

/// Outputs of all attention softmaxes (over products of two values that both depend on the image)
/// on the way to the logits, in the order of the nodes.
pub(crate) fn attention_weights(net: &Network) -> Vec<ValueId> {
    let graph = Graph::new(net);
    let mut found: Vec<ValueId> = graph
        .backwards()
        .filter(|(node, _)| graph.scores(node).is_some())
        .map(|(_, id)| id)
        .collect();
    found.reverse();
    found
}

/// What the rule needs to know about a network.
struct Graph<'a> {
    net: &'a Network,
    /// Values that depend on the image.
    from_image: HashSet<ValueId>,
    /// Values that the logits depend on.
    to_logits: HashSet<ValueId>,
    /// Values of rank 4 whose layout is known, and whether channels come first.
    channels_first: HashMap<ValueId, bool>,
}

impl<'a> Graph<'a> {
    fn new(net: &'a Network) -> Self {
        let mut from_image = HashSet::from([net.input()]);
        let mut channels_first = HashMap::from([(net.input(), true)]);
        for node in net.nodes().iter().filter(|n| !n.outputs.is_empty()) {
            if node.inputs.iter().any(|id| from_image.contains(id)) {
                from_image.extend(&node.outputs);
            }
            let known = layout(node, &channels_first);
            let outputs = node
                .outputs
                .iter()
                .filter(|id| net.value(**id).shape.len() == 4);
            channels_first.extend(outputs.filter_map(|id| Some((*id, known?))));
        }
        Self {
            net,
            from_image,
            to_logits: ancestors(net, &[net.output()]),
            channels_first,
        }
    }

    fn leads(&self, id: ValueId) -> bool {
        self.to_logits.contains(&id)
    }

    fn is_mask(&self, node: &Node, id: ValueId) -> bool {
        node.name.starts_with("sgam.") || self.net.value(id).name.starts_with("sgam.")
    }

    /// Outputs of nodes on the way to the logits, last first, the mask left out.
    fn backwards(&self) -> impl Iterator<Item = (&'a Node, ValueId)> {
        let outputs = |n: &'a Node| n.outputs.iter().map(move |&id| (n, id));
        self.net
            .nodes()
            .iter()
            .rev()
            .flat_map(outputs)
            .filter(move |(n, id)| {
                self.leads(*id) && self.from_image.contains(id) && !self.is_mask(n, *id)
            })
    }

    /// Sizes behind the batch axis.
    fn sizes(&self, id: ValueId) -> Vec<usize> {
        let fixed = |d: &Dim| {
            if let Dim::Fixed(d) = d {
                Some(*d)
            } else {
                None
            }
        };
        match self.net.value(id).shape.split_first() {
            Some((Dim::Batch(1), rest)) => rest
                .iter()
                .map(fixed)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    fn map_size(&self, id: ValueId) -> Option<[usize; 3]> {
        match self.sizes(id)[..] {
            [c, h, w] if self.channels_first.get(&id) == Some(&true) => Some([c, h, w]),
            _ => None,
        }
    }

    /// The layer at a value, if its layout is understood.
    fn layer(&self, id: ValueId) -> Option<TargetLayer> {
        let kind = match (self.map_size(id), &self.sizes(id)[..]) {
            (Some([_, h, w]), _) => LayerKind::Map { h, w },
            (None, &[t, _]) => {
                let ([h, w], prefix) = self.token_grid(id, t)?;
                LayerKind::Tokens { h, w, prefix }
            }
            _ => return None,
        };
        Some(TargetLayer {
            id,
            name: self.net.value(id).name.clone(),
            kind,
        })
    }

    /// Rows and columns of t tokens, and how many tokens stand in front.
    fn token_grid(&self, id: ValueId, t: usize) -> Option<([usize; 2], usize)> {
        let like_map =
            |[_, h, w]: [usize; 3]| (h * w <= t && t - h * w <= 1).then(|| ([h, w], t - h * w));
        let square = |prefix: usize| {
            let side = t.checked_sub(prefix)?.isqrt();
            (side > 0 && side * side == t - prefix).then_some(([side, side], prefix))
        };
        self.maps_before(id)
            .find_map(like_map)
            .or_else(|| square(0))
            .or_else(|| square(1))
    }

    /// Sizes of the feature maps that lead to a value, last first.
    fn maps_before(&self, id: ValueId) -> impl Iterator<Item = [usize; 3]> {
        let before = ancestors(self.net, &[id]);
        self.backwards()
            .filter(move |(_, v)| before.contains(v))
            .filter_map(|(_, v)| self.map_size(v))
    }

    fn attention_layer(&self) -> Option<TargetLayer> {
        let (softmax, scores) = self
            .backwards()
            .find_map(|(node, id)| Some((id, self.scores(node)?)))?;
        let before = ancestors(self.net, &[softmax]);
        let mut norms = self.backwards().filter(|(n, id)| {
            matches!(n.op, Op::LayerNorm(_)) && before.contains(id) && self.sizes(*id).len() == 2
        });
        norms
            .find_map(|(_, id)| self.layer(id))
            .or_else(|| self.written_out(scores))
    }

    /// The product behind an attention softmax: `None` if the node is none.
    fn scores(&self, node: &Node) -> Option<&'a Node> {
        if !matches!(&node.op, Op::Softmax(s) if !s.log)
            || node.outputs.contains(&self.net.output())
        {
            return None;
        }
        let image = |id: &&ValueId| self.from_image.contains(*id);
        let mut at = *node.inputs.first()?;
        // Scaling, masks and rearrangement may stand between product and softmax.
        loop {
            let maker = &self.net.nodes()[self.net.producer(at)?];
            match maker.op {
                Op::MatMul(_) if maker.inputs.iter().filter(image).count() == 2 => {
                    return Some(maker);
                }
                Op::Binary(_)
                | Op::Unary(_)
                | Op::Reshape(_)
                | Op::Transpose(_)
                | Op::Squeeze(_)
                | Op::Unsqueeze(_) => at = *maker.inputs.iter().find(image)?,
                _ => return None,
            }
        }
    }

    /// The last tokens that both factors of the scores are made from.
    fn written_out(&self, scores: &Node) -> Option<TargetLayer> {
        let factors: Vec<_> = scores
            .inputs
            .iter()
            .map(|&id| ancestors(self.net, &[id]))
            .collect();
        let shared = |id: ValueId| factors.iter().all(|f| f.contains(&id));
        let tokens: Vec<ValueId> = self
            .backwards()
            .map(|(_, id)| id)
            .filter(|&id| self.sizes(id).len() == 2 && shared(id))
            .collect();
        let first = *tokens.first()?;
        let width = self.maps_before(first).next().map(|[c, ..]| c);
        let of_width = tokens
            .iter()
            .copied()
            .find(|&id| width.is_some_and(|c| self.sizes(id)[1] == c));
        self.layer(of_width.unwrap_or(first))
    }

    fn last_map(&self) -> Option<TargetLayer> {
        let copies = |op: &Op| {
            matches!(
                op,
                Op::MaxPool(_)
                    | Op::AveragePool(_)
                    | Op::GlobalAveragePool(_)
                    | Op::Resize(_)
                    | Op::Pad(_)
                    | Op::Slice(_)
                    | Op::Split(_)
                    | Op::Gather(_)
                    | Op::Expand(_)
            )
        };
        let wide = |id: ValueId| self.map_size(id).is_some_and(|[_, h, w]| h > 1 && w > 1);
        self.backwards()
            .find(|(n, id)| !copies(&n.op) && wide(*id))
            .and_then(|(_, id)| self.layer(id))
    }
}

/// Everything that the given values are made from, themselves included.
fn ancestors(net: &Network, of: &[ValueId]) -> HashSet<ValueId> {
    let mut found: HashSet<ValueId> = of.iter().copied().collect();
    for node in net.nodes().iter().rev() {
        if node.outputs.iter().any(|id| found.contains(id)) {
            found.extend(&node.inputs);
        }
    }
    found
}

/// Whether the outputs of a node have their channels first; `None` if that is not known.
fn layout(node: &Node, known: &HashMap<ValueId, bool>) -> Option<bool> {
    let inherited = || node.inputs.iter().find_map(|id| known.get(id).copied());
    match &node.op {
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool(_)
        | Op::Resize(_)
        | Op::BatchNorm(_) => Some(true),
        Op::Transpose(t) => match (inherited()?, &t.perm[..]) {
            (true, [0, 2, 3, 1]) => Some(false),
            (false, [0, 3, 1, 2]) => Some(true),
            _ => None,
        },
        Op::MatMul(_) => inherited().filter(|first| !first),
        Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Gather(_)
        | Op::Gemm(_) => None,
        _ => inherited(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::toy;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

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
}
