//! What a backward rule is, and which node has which.

use crate::dual::Dual;
use crate::graph::op::{Local, Op};
use std::collections::HashMap;
use std::sync::Arc;

/// Replaces the backward step of a node.
pub trait BackwardRule: Send + Sync {
    /// Cotangents for the node's inputs; `None` where none is wanted or none is passed.
    fn backward(&self, op: &Op, local: &Local<'_>) -> Vec<Option<Dual>>;
}

/// Rules by node; nodes without one use their derivative.
#[derive(Clone, Default)]
pub struct Rules(HashMap<usize, Arc<dyn BackwardRule>>);

impl Rules {
    /// True derivatives everywhere.
    pub fn exact() -> Self {
        Self::default()
    }

    /// Sets the rule of one node.
    pub fn set(&mut self, node: usize, rule: Arc<dyn BackwardRule>) {
        self.0.insert(node, rule);
    }

    /// These rules, and `others` for the nodes that have one there.
    #[must_use]
    pub fn overlaid(&self, others: &Self) -> Self {
        let all = self.0.iter().chain(&others.0);
        Self(all.map(|(&node, rule)| (node, rule.clone())).collect())
    }

    /// Whether every node uses its derivative.
    pub fn is_exact(&self) -> bool {
        self.0.is_empty()
    }

    /// The nodes that have a rule, in ascending order.
    pub(crate) fn nodes(&self) -> Vec<usize> {
        let mut nodes: Vec<usize> = self.0.keys().copied().collect();
        nodes.sort_unstable();
        nodes
    }

    pub(crate) fn get(&self, node: usize) -> Option<&dyn BackwardRule> {
        self.0.get(&node).map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
