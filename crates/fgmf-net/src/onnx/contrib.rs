//! Operators that ONNX Runtime writes when it optimises a model, in a domain of its own: replaced
//! by the standard ones that they fuse, before a file is read.

use super::attributes::Attributes;
use super::messages::{float, text};
use super::proto::{AttributeProto, GraphProto, NodeProto};
use crate::graph::MOST_NODES;
use std::collections::HashSet;

const DOMAIN: &str = "com.microsoft";

/// Replaces every operator of that domain that is known.
pub(super) fn unfuse(graph: &mut GraphProto) -> Result<(), String> {
    if !graph.node.iter().any(|n| n.domain == DOMAIN) {
        return Ok(());
    }
    let mut names: HashSet<String> = graph.initializer.iter().map(|t| t.name.clone()).collect();
    names.extend(graph.input.iter().map(|i| i.name.clone()));
    names.extend(graph.node.iter().flat_map(|n| n.output.iter().cloned()));
    let mut out = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let mut parts = Parts {
            node: &node,
            names: &mut names,
            made: Vec::new(),
        };
        let known = node.domain == DOMAIN
            && parts
                .build()
                .map_err(|e| format!("node `{}` ({}): {e}", node.name, node.op_type))?;
        if known {
            out.extend(parts.named());
        } else {
            out.push(node);
        }
        if out.len() > MOST_NODES {
            return Err(format!("expected at most {MOST_NODES} nodes, found more"));
        }
    }
    graph.node = out;
    Ok(())
}

/// The nodes that take the place of one.
struct Parts<'a> {
    node: &'a NodeProto,
    names: &'a mut HashSet<String>,
    made: Vec<NodeProto>,
}

impl Parts<'_> {
    /// The nodes, of which the last has the name and the output of the one that they replace.
    fn named(mut self) -> Vec<NodeProto> {
        if let Some(last) = self.made.last_mut() {
            last.output = self.node.output.iter().take(1).cloned().collect();
            last.name = self.node.name.clone();
        }
        self.made
    }

    /// One more node: the name of what it makes.
    fn with(&mut self, operator: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        let base = self.node.output.first().map_or("", String::as_str);
        let mut count = self.made.len();
        let mut name = format!("{base}/{operator}_{count}");
        while !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{base}/{operator}_{count}");
        }
        self.made.push(NodeProto {
            op_type: operator.to_owned(),
            input: input.iter().map(|&i| i.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            attribute,
            ..Default::default()
        });
        name
    }

    fn add(&mut self, operator: &str, input: &[&str]) -> String {
        self.with(operator, input, Vec::new())
    }

    /// A constant number.
    fn number(&mut self, value: f64) -> String {
        self.with("Constant", &[], vec![float("value_float", value)])
    }

    /// Builds the parts; `false` if the operator is not known.
    fn build(&mut self) -> Result<bool, String> {
        let node = self.node;
        let a = Attributes(&node.attribute);
        let input = |i: usize| node.input.get(i).map_or("", String::as_str);
        let x = input(0);
        let all: Vec<&str> = node.input.iter().map(String::as_str).collect();
        let kept = |drop: &[&str]| -> Vec<AttributeProto> {
            let stays = |a: &&AttributeProto| !drop.contains(&a.name.as_str());
            node.attribute.iter().filter(stays).cloned().collect()
        };
        match node.op_type.as_str() {
            // Standard by now.
            "Gelu" | "LayerNormalization" => {
                self.with(&node.op_type, &all, kept(&[]));
            }
            // x σ(α x).
            "QuickGelu" => {
                let alpha = self.number(a.float_or("alpha", 1.702)?);
                let inner = self.add("Mul", &[x, &alpha]);
                let gate = self.add("Sigmoid", &[&inner]);
                self.add("Mul", &[x, &gate]);
            }
            // GELU of a sum.
            "FastGelu" | "BiasGelu" => {
                let mut sum = x.to_owned();
                if !input(1).is_empty() {
                    sum = self.add("Add", &[x, input(1)]);
                }
                let fast = node.op_type == "FastGelu";
                let how = text("approximate", if fast { "tanh" } else { "none" });
                self.with("Gelu", &[&sum], vec![how]);
            }
            "FusedConv" | "FusedGemm" => {
                let of_conv = node.op_type == "FusedConv";
                let names = [
                    "activation",
                    "activation_params",
                    "activation_alpha",
                    "activation_beta",
                    "activation_gamma",
                ];
                let plain = if of_conv { "Conv" } else { "Gemm" };
                let mut y = self.with(plain, &all[..all.len().min(3)], kept(&names));
                if of_conv && !input(3).is_empty() {
                    y = self.add("Add", &[&y, input(3)]);
                }
                self.activated(a, &y)?;
            }
            // α op(a) op(b).
            "FusedMatMul" => {
                a.require("transBatchA", 0)?;
                a.require("transBatchB", 0)?;
                let left = ["...ik", "...ki"][usize::from(a.flag("transA", false)?)];
                let right = ["...kj", "...jk"][usize::from(a.flag("transB", false)?)];
                let equation = text("equation", &format!("{left},{right}->...ij"));
                let y = self.with("Einsum", &[x, input(1)], vec![equation]);
                let alpha = self.number(a.float_or("alpha", 1.0)?);
                self.add("Mul", &[&y, &alpha]);
            }
            // Layer normalisation of a sum, which may be an output too.
            "SkipLayerNormalization" => {
                let mut sum = self.add("Add", &[x, input(1)]);
                if !input(4).is_empty() {
                    sum = self.add("Add", &[&sum, input(4)]);
                }
                if let Some(name) = node.output.get(3).filter(|o| !o.is_empty()) {
                    self.add("Identity", &[&sum]);
                    if let Some(last) = self.made.last_mut() {
                        last.output = vec![name.clone()];
                    }
                }
                let epsilon = float("epsilon", a.float_or("epsilon", 1e-12)?);
                let mut inputs = vec![sum.as_str(), input(2), input(3)];
                inputs.truncate(if input(3).is_empty() { 2 } else { 3 });
                self.with("LayerNormalization", &inputs, vec![epsilon]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The activation that ONNX Runtime put into a node.
    fn activated(&mut self, a: Attributes<'_>, y: &str) -> Result<(), String> {
        let listed = a.find("activation_params").map(|p| p.floats.clone());
        let alone = a.find("activation_alpha").and_then(|p| p.f);
        let parameters = listed.unwrap_or_else(|| alone.into_iter().collect());
        let named = |names: &[&str]| {
            let both = names.iter().zip(&parameters);
            both.map(|(n, &v)| float(n, f64::from(v)))
                .collect::<Vec<_>>()
        };
        match a.string_or("activation", "")? {
            "" => {
                self.add("Identity", &[y]);
            }
            kind @ ("Relu" | "Sigmoid" | "Tanh") => {
                self.add(kind, &[y]);
            }
            kind @ ("LeakyRelu" | "Elu") => {
                self.with(kind, &[y], named(&["alpha"]));
            }
            "HardSigmoid" => {
                self.with("HardSigmoid", &[y], named(&["alpha", "beta"]));
            }
            "Clip" => {
                let bounds: Vec<String> = parameters
                    .iter()
                    .take(2)
                    .map(|&v| self.number(f64::from(v)))
                    .collect();
                let bounds = bounds.iter().map(String::as_str);
                let all: Vec<&str> = std::iter::once(y).chain(bounds).collect();
                self.with("Clip", &all, Vec::new());
            }
            other => return Err(format!("expected a known activation, found `{other}`")),
        }
        Ok(())
    }
}
