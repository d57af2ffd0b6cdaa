//! Which values depend on the image, and who reads them.

use crate::graph::{Network, Node, ValueId};

/// Which values depend on the image, by value.
pub(super) fn image_dependent(net: &Network) -> Vec<bool> {
    let mut depends = vec![false; net.values().len()];
    depends[net.input().0] = true;
    for node in net.nodes() {
        if node.inputs.iter().any(|id| depends[id.0]) {
            node.outputs.iter().for_each(|id| depends[id.0] = true);
        }
    }
    depends
}

/// Positions of a node's inputs that depend on the image.
pub(super) fn moving(node: &Node, depends: &[bool]) -> Vec<usize> {
    (0..node.inputs.len())
        .filter(|&i| depends[node.inputs[i].0])
        .collect()
}

/// The only node that reads a value, if there is one and the value is not the logits.
pub(super) fn only_reader(net: &Network, id: ValueId) -> Option<usize> {
    let mut readers = net
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, n)| n.inputs.contains(&id));
    match (readers.next(), readers.next()) {
        (Some((i, _)), None) if id != net.output() => Some(i),
        _ => None,
    }
}
