//! How the values of a network hang together: what depends on the image, what the logits depend
//! on, which values everything later depends on, and where attention is.

use fgmf_net::op::Op;
use fgmf_net::{Dim, Network, Node, ValueId};
use std::collections::{HashMap, HashSet};

/// The values on the way from the image to the logits.
pub(crate) struct Paths<'a> {
    pub(crate) net: &'a Network,
    /// Values that depend on the image.
    from_image: HashSet<ValueId>,
    /// Values that the logits depend on.
    to_logits: HashSet<ValueId>,
}

impl<'a> Paths<'a> {
    pub(crate) fn new(net: &'a Network) -> Self {
        let mut from_image = HashSet::from([net.input()]);
        for node in net.nodes() {
            if data(node).iter().any(|id| from_image.contains(id)) {
                from_image.extend(&node.outputs);
            }
        }
        Self {
            net,
            from_image,
            to_logits: ancestors(net, &[net.output()]),
        }
    }

    /// Whether the value depends on the image.
    pub(crate) fn sees(&self, id: ValueId) -> bool {
        self.from_image.contains(&id)
    }

    /// Whether the value lies between image and logits.
    pub(crate) fn on_path(&self, id: ValueId) -> bool {
        self.sees(id) && self.to_logits.contains(&id)
    }

    /// Inputs of a node that depend on the image.
    pub(crate) fn seeing<'b>(&'b self, node: &'b Node) -> impl Iterator<Item = ValueId> + 'b {
        data(node).iter().copied().filter(|id| self.sees(*id))
    }

    /// Outputs of nodes on the way to the logits, last first; the mask in front is left out.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = (&'a Node, ValueId)> {
        let outputs = |n: &'a Node| n.outputs.iter().map(move |&id| (n, id));
        let nodes = self.net.nodes().iter().rev().flat_map(outputs);
        nodes.filter(move |(n, id)| self.on_path(*id) && !self.is_mask(n, *id))
    }

    fn is_mask(&self, node: &Node, id: ValueId) -> bool {
        node.name.starts_with("sgam.") || self.net.value(id).name.starts_with("sgam.")
    }

    /// Sizes behind the batch axis; empty if the first axis is not the batch alone.
    pub(crate) fn sizes(&self, id: ValueId) -> Vec<usize> {
        let fixed = |d: &Dim| match d {
            Dim::Fixed(d) => Some(*d),
            Dim::Batch(_) => None,
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

    /// Values that every way from the image to the logits passes (dominators of the logits), in
    /// order; without the image and the mask in front.
    pub(crate) fn bottlenecks(&self) -> Vec<ValueId> {
        // A value is one if nothing else is alive right after it is made.
        let nodes = self.net.nodes();
        let mut last_use = HashMap::from([(self.net.output(), nodes.len())]);
        for (i, node) in nodes.iter().enumerate() {
            if node.outputs.iter().any(|id| self.on_path(*id)) {
                last_use.extend(self.seeing(node).map(|id| (id, i)));
            }
        }
        last_use.insert(self.net.output(), nodes.len());
        let mut alive = HashSet::from([self.net.input()]);
        let mut found = Vec::new();
        for (i, node) in nodes.iter().enumerate() {
            let made: Vec<ValueId> = node
                .outputs
                .iter()
                .copied()
                .filter(|id| self.on_path(*id))
                .collect();
            if made.is_empty() {
                continue;
            }
            alive.retain(|id| last_use.get(id) != Some(&i));
            alive.extend(&made);
            if let ([id], 1) = (&made[..], alive.len())
                && !self.is_mask(node, *id)
            {
                found.push(*id);
            }
        }
        found
    }

    /// The last attention: output of its softmax, and the product behind it.
    pub(crate) fn last_attention(&self) -> Option<(ValueId, &'a Node)> {
        self.backwards()
            .find_map(|(node, id)| Some((id, self.scores(node)?)))
    }

    /// Outputs of all attention softmaxes, in the order of the nodes.
    pub(crate) fn attentions(&self) -> Vec<ValueId> {
        let mut found: Vec<ValueId> = self
            .backwards()
            .filter(|(node, _)| self.scores(node).is_some())
            .map(|(_, id)| id)
            .collect();
        found.reverse();
        found
    }

    /// The product behind an attention softmax (over products of two values that both depend on
    /// the image): `None` if the node is none.
    fn scores(&self, node: &Node) -> Option<&'a Node> {
        if !matches!(&node.op, Op::Softmax(s) if !s.log)
            || node.outputs.contains(&self.net.output())
        {
            return None;
        }
        let mut at = *node.inputs.first()?;
        // Scaling, masks and rearrangement may stand between product and softmax.
        loop {
            let maker = &self.net.nodes()[self.net.producer(at)?];
            match maker.op {
                Op::MatMul(_) if self.seeing(maker).count() == 2 => return Some(maker),
                Op::Binary(_)
                | Op::Unary(_)
                | Op::Reshape(_)
                | Op::Transpose(_)
                | Op::Squeeze(_)
                | Op::Unsqueeze(_) => at = self.seeing(maker).next()?,
                _ => return None,
            }
        }
    }
}

/// The inputs whose numbers a node uses. The second input of `Expand` gives the batch size only.
fn data(node: &Node) -> &[ValueId] {
    match node.op {
        Op::Expand(_) => &node.inputs[..1],
        _ => &node.inputs,
    }
}

/// Everything that the given values are made from, themselves included.
pub(crate) fn ancestors(net: &Network, of: &[ValueId]) -> HashSet<ValueId> {
    let mut found: HashSet<ValueId> = of.iter().copied().collect();
    for node in net.nodes().iter().rev() {
        if node.outputs.iter().any(|id| found.contains(id)) {
            found.extend(data(node));
        }
    }
    found
}
