//! One node of a file at a time: computed at once where it is constant, added to the network where
//! it is not.

use super::array::{Array, Data, Known};
use super::attributes::{Attributes, MOST_AXES as LONGEST};
use super::fold::evaluate;
use super::nodes::convert;
use super::scope::{MOST_AXES, Reading, Scope};
use super::site::Site;
use super::survey::{Listed, is_standard};
use super::widen::keeps_images_apart;
use crate::error::Error;
use crate::graph::op::Op;
use crate::graph::{Dim, PROBES, ValueId, concrete};
use std::sync::Arc;

/// Most numbers in all computed constants together.
const MOST_FOLDED_IN_ALL: usize = 1 << 24;
/// Takes the next node into the scope.
pub(super) fn step<'a>(scope: &mut Scope<'a>, step: &Listed<'a>) -> Reading<()> {
    let node = step.node;
    if !is_standard(&node.domain) {
        return Err(format!(
            "expected an operator of the standard domain, found domain `{}`",
            node.domain
        ));
    }
    if step.constant {
        let known = fold(scope, step)?;
        scope
            .known
            .extend(node.output.first().map(|o| (o.as_str(), known)));
        return Ok(());
    }
    let (op, inputs) = convert(&mut Site {
        scope,
        node,
        attributes: Attributes(&node.attribute),
    })?;
    let outputs = if let Op::Split(s) = &op {
        s.sizes.len()
    } else {
        1
    };
    if let Some(extra) = node
        .output
        .iter()
        .skip(outputs)
        .find(|o| scope.survey.read.contains(o.as_str()))
    {
        return Err(format!(
            "expected only the first output to be used, found `{extra}` in use"
        ));
    }
    let name_at = |i: usize| node.output.get(i).filter(|o| !o.is_empty());
    let names: Vec<String> = (0..outputs)
        .map(|i| {
            name_at(i)
                .cloned()
                .unwrap_or_else(|| scope.builder.fresh(&format!("{}/output{i}", step.name)))
        })
        .collect();
    let made = scope
        .builder
        .nodes(step.name, op.clone(), &inputs, &names)
        .map_err(|e| match e {
            Error::Node { reason, .. } => reason,
            other => other.to_string(),
        })?;
    if mixes_examples(scope, &op, &inputs) {
        return Err(
            "expected an operator that treats each example on its own, found one that \
            works along the batch axis"
                .to_owned(),
        );
    }
    if let (Op::Reshape(_) | Op::Flatten(_), [x], [y]) = (&op, inputs.as_slice(), made.as_slice()) {
        scope.widened |= !keeps_images_apart(&scope.dims(*x), &scope.dims(*y));
    }
    for (i, id) in made.into_iter().enumerate() {
        if scope.dims(id).len() > MOST_AXES {
            return Err(format!(
                "expected at most {MOST_AXES} axes, found {}",
                scope.dims(id).len()
            ));
        }
        scope.ids.extend(name_at(i).map(|o| (o.as_str(), id)));
    }
    Ok(())
}

fn fold<'a>(scope: &mut Scope<'a>, step: &Listed<'a>) -> Reading<Known> {
    let node = step.node;
    let pair = if matches!(node.op_type.as_str(), "Shape" | "Size") {
        shape_node(scope, step)?
    } else {
        let inputs: Vec<Option<Known>> = node
            .input
            .iter()
            .map(|i| {
                if i.is_empty() {
                    Ok(None)
                } else {
                    scope.constant(i)
                }
            })
            .collect::<Reading<_>>()?;
        // Two of these at a time meet all of the others' numbers.
        if matches!(node.op_type.as_str(), "Min" | "Max") && inputs.len() > LONGEST {
            return Err(format!(
                "expected at most {LONGEST} constants, found {}",
                inputs.len()
            ));
        }
        for known in inputs.iter().flatten() {
            scope.look_at(known)?;
        }
        let at = |p: usize| {
            evaluate(
                node,
                &inputs
                    .iter()
                    .map(|k| k.as_ref().map(|k| k.0[p].as_ref()))
                    .collect::<Vec<_>>(),
            )
        };
        let first = Arc::new(at(0)?);
        let once = inputs
            .iter()
            .flatten()
            .all(|k| Arc::ptr_eq(&k.0[0], &k.0[1]));
        Known([first.clone(), if once { first } else { Arc::new(at(1)?) }])
    };
    if pair.0.iter().any(|a| a.shape.len() > LONGEST) {
        return Err(format!(
            "expected constants of at most {LONGEST} axes, found {}",
            pair.0[0].shape.len()
        ));
    }
    scope.folded += pair.0[0].len() + pair.0[1].len();
    if scope.folded > MOST_FOLDED_IN_ALL {
        return Err(format!(
            "expected at most {MOST_FOLDED_IN_ALL} numbers in computed constants"
        ));
    }
    Ok(pair)
}

fn shape_node<'a>(scope: &mut Scope<'a>, step: &Listed<'a>) -> Reading<Known> {
    let input = step
        .node
        .input
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let shapes = match scope.constant(input)? {
        Some(k) => k.0.map(|a| a.shape.clone()),
        None => PROBES.map(|n| {
            scope
                .ids
                .get(input)
                .map_or_else(Vec::new, |&id| concrete(&scope.dims(id), n))
        }),
    };
    if step.node.op_type == "Size" {
        return Ok(Known(shapes.map(|s| {
            Arc::new(Array {
                shape: vec![],
                data: Data::Int(vec![s.iter().product::<usize>() as i64]),
            })
        })));
    }
    let a = Attributes(&step.node.attribute);
    let (start, end) = (a.int_or("start", 0)?, a.int_or("end", i64::MAX)?);
    let cut = |s: &Vec<usize>| {
        let rank = s.len() as i64;
        let at = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        s.get(at(start)..at(end))
            .unwrap_or_default()
            .iter()
            .map(|&d| d as i64)
            .collect()
    };
    let pair = shapes.map(|s| Arc::new(Array::ints(cut(&s))));
    Ok(if pair[0] == pair[1] {
        Known([pair[0].clone(), pair[0].clone()])
    } else {
        Known(pair)
    })
}

/// Whether an operator works along an axis that grows with the batch.
fn mixes_examples(scope: &Scope<'_>, op: &Op, inputs: &[ValueId]) -> bool {
    let dims: Vec<Vec<Dim>> = inputs.iter().map(|&id| scope.dims(id)).collect();
    let grows = |i: usize, axis: i64| {
        let at = if axis < 0 {
            axis + dims[i].len() as i64
        } else {
            axis
        };
        usize::try_from(at).is_ok_and(|at| matches!(dims[i].get(at), Some(Dim::Batch(_))))
    };
    let beyond = |from: i64| (from..dims[0].len() as i64).any(|a| grows(0, a));
    let others = || {
        dims.iter()
            .skip(1)
            .flatten()
            .any(|d| matches!(d, Dim::Batch(_)))
    };
    match op {
        Op::Softmax(s) => grows(0, s.axis),
        Op::Reduce(r) => r.axes.iter().any(|&a| grows(0, a)),
        Op::LayerNorm(l) => {
            beyond(if l.axis < 0 {
                l.axis + dims[0].len() as i64
            } else {
                l.axis
            }) || others()
        }
        Op::Gather(g) => grows(0, g.axis),
        Op::TopK(t) => grows(0, t.axis),
        Op::Concat(c) => (0..dims.len()).any(|i| grows(i, c.axis)),
        Op::Split(s) => grows(0, s.axis),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::BatchNorm(_) => beyond(1) || others(),
        Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool(_) | Op::Resize(_) => beyond(1),
        Op::MatMul(_) => grows(0, -1) || grows(1, -2),
        Op::Gemm(g) => {
            grows(0, if g.trans_a { 0 } else { 1 }) || grows(1, if g.trans_b { 1 } else { 0 })
        }
        _ => false,
    }
}
