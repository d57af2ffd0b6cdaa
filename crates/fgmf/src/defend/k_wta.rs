//! k-winners-take-all (Xiao et al. 2020): in the place of each rectifier, the largest activations
//! of a layer pass and the rest are 0. Planted: which units win changes with every small step, so
//! that the loss is full of jumps and its gradient at a point says little of the point beside it.
//!
//! y = x · 1[x ≥ t(x)], t(x) the k-th largest of the N values that the layer has for an image, k =
//! ⌈share · N⌉. In the graph: TopK gives t, and the step is clip(10³⁰ (x − t) + 2, 0, 1), which is
//! 1 at and above t, 0 below, and flat.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `share` | 0.1 | above 0, up to 1 |
//!
//! Goes around it: gradients averaged over small noise, which smooths the kinks
//! ([`crate::attack::Smooth`], Tramèr et al. 2020), and searches by scores alone. Its own gradient
//! is exact: there is nothing for backward rules to replace.
//!
//! Cost: a partial sort of each layer.
//!
//! Differences from the paper: (1) no training schedule that lowers `share` step by step. A network
//! should be rewritten before it is trained. Reference: `xiao2020`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::op::{Binary, Flatten, Op, Reshape, Slice, SliceAxis, TopK, Unary};
use fgmf_net::{Builder, Dim, Network, Precision, Tensor, ValueId};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "k-wta",
    line: "Lets only the largest activations of a layer pass.",
    revision: 1,
    reference: "xiao2020",
    example: r#"{"share": 0.2}"#,
    build: |settings| {
        let params: KWtaParams = read(settings)?;
        params.check()?;
        Ok(Defence::rewrite(params, |net, params, _| {
            with_k_wta(net, params)
        }))
    },
}];

/// Settings of [`with_k_wta`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KWtaParams {
    /// Share of a layer's units that pass.
    pub share: f64,
}

impl Default for KWtaParams {
    fn default() -> Self {
        Self { share: 0.1 }
    }
}

impl KWtaParams {
    /// An error if the share is out of range.
    pub fn check(&self) -> Result<()> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Error::parameter("share", "above 0, up to 1", self.share))
    }
}

/// The network with every rectifier replaced. An error if it has none.
pub fn with_k_wta(net: &Network, params: &KWtaParams) -> Result<Network> {
    params.check()?;
    if !net
        .nodes()
        .iter()
        .any(|n| matches!(n.op, Op::Unary(Unary::Relu)))
    {
        return Err(Error::mismatch(
            "k-winners-take-all",
            "a network with rectifiers",
            "none",
        ));
    }
    let input = &net.value(net.input()).name;
    let mut b = Builder::new(&net.name, input, net.image_shape())?;
    let precision = net.precision().unwrap_or(Precision::F32);
    let mut constant = |name: &str, v| b.parameter(name, Tensor::full(&[1], v, precision), false);
    let constants = [constant("k-wta.huge", 1e30)?, constant("k-wta.two", 2.0)?];
    let image = b.input();
    let logits = net.graft_with(&mut b, image, &mut |b, node, inputs| match node.op {
        Op::Unary(Unary::Relu) => Ok(Some(vec![winners(
            b,
            &node.name,
            inputs[0],
            params.share,
            constants,
        )?])),
        _ => Ok(None),
    })?;
    let mut out = b.finish(logits)?;
    out.metadata = net.metadata.clone();
    out.metadata
        .insert("fgmf.k-wta".into(), serde_json::json!(params).to_string());
    Ok(out)
}

/// The subgraph in the place of a rectifier on `x`.
fn winners(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    share: f64,
    [huge, two]: [ValueId; 2],
) -> fgmf_net::Result<ValueId> {
    // A size of 0 stands for the batch: it is kept as it is.
    let sizes = b
        .network()
        .value(x)
        .shape
        .iter()
        .map(|d| if let Dim::Fixed(d) = d { *d as i64 } else { 0 });
    let sizes: Vec<i64> = sizes.collect();
    let count = sizes.iter().skip(1).product::<i64>() as usize;
    let k = ((share * count as f64).ceil() as usize).clamp(1, count);
    let mut node =
        |part: &str, op, inputs: &[ValueId]| b.node(&format!("{name}{part}"), op, inputs);
    let flat = node(".flat", Op::Flatten(Flatten { axis: 1 }), &[x])?;
    let top = node(".top", Op::TopK(TopK { axis: 1, k }), &[flat])?;
    let last = SliceAxis {
        axis: 1,
        start: k - 1,
        step: 1,
        count: 1,
    };
    let threshold = node(".threshold", Op::Slice(Slice { axes: vec![last] }), &[top])?;
    let above = node(".above", Op::Binary(Binary::Sub), &[flat, threshold])?;
    let above = node(".steep", Op::Binary(Binary::Mul), &[above, huge])?;
    let above = node(".shifted", Op::Binary(Binary::Add), &[above, two])?;
    let wins = node(
        ".wins",
        Op::Unary(Unary::Clip { min: 0.0, max: 1.0 }),
        &[above],
    )?;
    let kept = node(".kept", Op::Binary(Binary::Mul), &[flat, wins])?;
    node("", Op::Reshape(Reshape { shape: sizes }), &[kept])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::tests::{base, images};
    use fgmf_net::Rules;
    use fgmf_net::Session;
    use fgmf_net::head::Logit;

    #[test]
    fn the_largest_pass_and_the_rest_is_zero() {
        let (net, x) = (base(), images(2));
        let defended = Session::new(with_k_wta(&net, &KWtaParams { share: 0.25 }).unwrap());
        assert_eq!(defended.trainable().len(), net.trainable().len());
        let at = |name: &str| {
            defended
                .values_at(&x, &[defended.find(name).unwrap()])
                .unwrap()
                .swap_remove(0)
        };
        let (before, after) = (at("conv1"), at("act1"));
        assert_eq!(before.shape(), after.shape());
        let n = before.len() / 2;
        for (b, a) in before
            .to_f32()
            .chunks_exact(n)
            .zip(after.to_f32().chunks_exact(n))
        {
            let mut falling = b.to_vec();
            falling.sort_by(|a, b| b.total_cmp(a));
            let least = falling[n.div_ceil(4) - 1];
            assert!(
                b.iter()
                    .zip(a)
                    .all(|(b, a)| (a - if *b >= least { *b } else { 0.0 }).abs() <= 0.0)
            );
        }
        assert!(
            with_k_wta(&defended, &KWtaParams { share: 0.25 }).is_err(),
            "no rectifier is left"
        );
        for share in [0.0, 1.1, f64::NAN] {
            assert!(with_k_wta(&net, &KWtaParams { share }).is_err());
        }
    }

    /// Winners fixed, the gradient is that of the layer without the losers: by central differences
    /// in `f64`, over steps too small to change who wins.
    #[test]
    fn its_gradient_is_its_derivative() {
        let x = images(1).cast(Precision::F64);
        let net = Session::new(
            with_k_wta(&base(), &KWtaParams { share: 0.2 })
                .unwrap()
                .cast(Precision::F64),
        );
        let head = Logit::new(&[1]);
        let g = net
            .loss_gradients(&x, &head, &[net.input()], &Rules::exact())
            .unwrap()
            .gradients
            .swap_remove(0)
            .to_f64();
        let logit = |i: usize, h: f64| {
            let mut v = x.to_f64();
            v[i] += h;
            net.logits(&Tensor::new(&[1, 1, 12, 12], v))
                .unwrap()
                .to_f64()[1]
        };
        for i in (0..144).step_by(7) {
            let slope = (logit(i, 1e-7) - logit(i, -1e-7)) / 2e-7;
            assert!(
                (slope - g[i]).abs() < 1e-5 * (1.0 + g[i].abs()),
                "{slope} for {} at {i}",
                g[i]
            );
        }
    }
}
