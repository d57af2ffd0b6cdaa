//! SGAM, saliency-guided adaptive masking: a small attention subgraph predicts where the evidence
//! is, and the mask made of that prediction is applied to the image. Prediction and mask are values
//! of the graph, so both can be drawn and audited.
//!
//! s = resize(σ(conv1x1(relu(conv3x3/2(relu(conv3x3(x))))))) in `[0, 1]`, `[n, 1, h, w]`, taught by
//! Grad-CAM++ while the network trains. The mask is m = 1 − a (1 − s) (keep), m = 1 − a s (invert,
//! the seed's form), and the image becomes m x, or b + m (x − b) with a 5x5 mean b (soften).
//!
//! An optional backward gate multiplies the gradient that is *served* for the image by 1 − g s. It
//! changes no prediction; any attacker who has the weights goes around it, and [`attacker_rules`]
//! does. It is measured as leakage, not as robustness.
//!
//! Our reconstruction (the source text gives no formulas). Decisions of ours: (1) keep is the
//! default: for a linear model a mask that falls with the evidence x·w can only bring the boundary
//! nearer, one that rises with it can only move it away; (2) the teacher is Grad-CAM++ of the
//! network in training, refreshed every few epochs; (3) the mask is deterministic and
//! differentiable, so that an attacker's gradient exists.

use crate::defend::base::{Defence, DefenceMethod};
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::op::{AveragePool, Binary, Op, Resize, Unary, Window};
use fgmf_net::rule::Gate;
use fgmf_net::zoo::{Activation, Layers, Square};
use fgmf_net::{Builder, Network, Rules, ValueId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "sgam-mask",
    line: "Predicts where the evidence is and dims the rest of the image.",
    revision: 1,
    reference: "islam2024",
    example: r#"{"strength": 0.25, "form": "soften"}"#,
    build: |settings| {
        let params: SgamParams = read(settings)?;
        params.check()?;
        Ok(Defence::rewrite(params, with_sgam))
    },
}];

/// Name of the predicted saliency map in the graph.
pub const SALIENCY: &str = "sgam.saliency";

/// Name of the mask in the graph.
pub const MASK: &str = "sgam.mask";

/// Name of the node that multiplies by the mask.
const APPLY: &str = "sgam.apply";

/// How the mask follows the saliency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskForm {
    /// Salient pixels pass, the rest is dimmed.
    Keep,
    /// Salient pixels are dimmed: the seed's form.
    Invert,
    /// Salient pixels pass, the rest is blurred.
    Soften,
}

/// Settings of the mask layer.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `form` | keep | |
/// | `strength` | 0.5 | a in [0, 1] |
/// | `gate` | 0 | g in [0, 1] |
/// | `teach` | 1 | weight of the squared error to the teacher, 0 or more |
/// | `refresh` | 5 | epochs that the teacher's maps last, 1 or more |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgamParams {
    /// Forward mask.
    pub form: MaskForm,
    /// How much it dims.
    pub strength: f64,
    /// Strength of the gate on served gradients.
    pub gate: f64,
    /// Weight of the teacher.
    pub teach: f64,
    /// Epochs between refreshes of the teacher.
    pub refresh: usize,
}

impl Default for SgamParams {
    fn default() -> Self {
        Self {
            form: MaskForm::Keep,
            strength: 0.5,
            gate: 0.0,
            teach: 1.0,
            refresh: 5,
        }
    }
}

impl SgamParams {
    /// Checks every range.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("sgam.strength", self.strength), ("sgam.gate", self.gate)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::parameter(name, "0 to 1", value));
            }
        }
        // The gate reads the mask, and a mask of strength 0 is 1 everywhere.
        if self.gate > 0.0 && self.strength <= 0.0 {
            return Err(Error::parameter(
                "sgam.gate",
                "0 where `sgam.strength` is 0",
                self.gate,
            ));
        }
        if !(self.teach.is_finite() && self.teach >= 0.0) {
            return Err(Error::parameter(
                "sgam.teach",
                "a finite number, 0 or more",
                self.teach,
            ));
        }
        if self.refresh == 0 {
            return Err(Error::parameter("sgam.refresh", "1 or more", self.refresh));
        }
        Ok(())
    }
}

/// The same network behind a fresh mask layer. Fails if it has one already.
pub fn with_sgam(net: &Network, params: &SgamParams, seed: u64) -> Result<Network> {
    params.check()?;
    if has_mask(net) {
        return Err(Error::mismatch(
            "put SGAM in front",
            "a network without a mask layer",
            "one that has it",
        ));
    }
    let image = net.image_shape();
    let input = &net.value(net.input()).name;
    let mut layers = Layers::on(
        Builder::new(&net.name, input, image)?,
        Activation::Relu,
        seed,
    );
    let masked = mask_layer(&mut layers, image, params)?;
    let logits = net.graft(layers.builder(), masked)?;
    let mut out = layers.finish(logits)?;
    out.metadata = net.metadata.clone();
    out.metadata
        .insert("fgmf.sgam".into(), serde_json::json!(params).to_string());
    Ok(out)
}

fn mask_layer(l: &mut Layers, [_, h, w]: [usize; 3], params: &SgamParams) -> Result<ValueId> {
    let image = l.input();
    let x = l.conv("sgam.conv1", image, Square::new(8, 3, 1, 1), true)?;
    let x = l.activate("sgam.act1", x)?;
    let x = l.conv("sgam.conv2", x, Square::new(16, 3, 2, 1), true)?;
    let x = l.activate("sgam.act2", x)?;
    let x = l.conv("sgam.conv3", x, Square::new(1, 1, 1, 0), true)?;
    let x = l.node("sgam.attention", Op::Unary(Unary::Sigmoid), &[x])?;
    let small = l.shape(x);
    let scale = [h as f64 / small[2] as f64, w as f64 / small[3] as f64];
    let s = l.node(SALIENCY, Op::Resize(Resize::linear([h, w], scale)), &[x])?;
    // m = offset + slope s.
    let (slope, offset) = affine(params);
    let slope = l.constant("sgam.slope", &[1], &[slope])?;
    let offset = l.constant("sgam.offset", &[1], &[offset])?;
    let scaled = l.node("sgam.scaled", Op::Binary(Binary::Mul), &[s, slope])?;
    let mask = l.node(MASK, Op::Binary(Binary::Add), &[scaled, offset])?;
    if params.form != MaskForm::Soften {
        return Ok(l.node(APPLY, Op::Binary(Binary::Mul), &[image, mask])?);
    }
    let window = Window {
        kernel: [5, 5],
        stride: [1, 1],
        pads: [2; 4],
        dilation: [1, 1],
        ceil: false,
    };
    let blur = l.node(
        "sgam.blur",
        Op::AveragePool(AveragePool {
            window,
            count_include_pad: false,
        }),
        &[image],
    )?;
    let detail = l.node("sgam.detail", Op::Binary(Binary::Sub), &[image, blur])?;
    let kept = l.node(APPLY, Op::Binary(Binary::Mul), &[detail, mask])?;
    Ok(l.node("sgam.softened", Op::Binary(Binary::Add), &[blur, kept])?)
}

/// (slope, offset) of the mask as a function of the saliency.
fn affine(params: &SgamParams) -> (f64, f64) {
    let a = params.strength;
    if params.form == MaskForm::Invert {
        (-a, 1.0)
    } else {
        (a, 1.0 - a)
    }
}

/// Whether the network has a mask layer of ours.
pub fn has_mask(net: &Network) -> bool {
    net.find(MASK).is_some() && apply_node(net).is_some()
}

pub(crate) fn apply_node(net: &Network) -> Option<usize> {
    net.find(APPLY).and_then(|id| net.producer(id))
}

/// Rules of a deployment that serves gradients: the gate, if the network was given one.
pub(crate) fn served_rules(net: &Network) -> Result<Rules> {
    let mut rules = Rules::exact();
    let (Some(node), Some(text)) = (apply_node(net), net.metadata.get("fgmf.sgam")) else {
        return Ok(rules);
    };
    let params: SgamParams = serde_json::from_str(text)
        .map_err(|e| Error::mismatch("read SGAM settings", "what this tool writes", e))?;
    params.check()?;
    let (slope, offset) = affine(&params);
    if params.gate > 0.0 {
        // 1 − g s with s = (m − offset) / slope.
        rules.set(
            node,
            Arc::new(Gate {
                input: 0,
                gate: 1,
                scale: -params.gate / slope,
                offset: 1.0 + params.gate * offset / slope,
            }),
        );
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::{MaskKnowledge, attacker_rules};
    use crate::model::access::Gradients;
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::Tensor;
    use fgmf_net::head::Logit;
    use fgmf_net::zoo::{Architecture, ZooConfig, build};

    fn base() -> Session {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Softplus,
            image: [1, 12, 12],
            classes: 3,
            mean: vec![0.0],
            deviation: vec![1.0],
            seed: 5,
        };
        Session::new(build(&config).unwrap())
    }

    fn images() -> Tensor {
        Tensor::new::<f32>(
            &[2, 1, 12, 12],
            (0..288).map(|i| (i * 29 % 97) as f32 / 97.0).collect(),
        )
    }

    /// What the layer feeds the network is what the formula says, for each form, and strength 0 is
    /// no mask at all.
    #[test]
    fn masked_image_follows_the_formula() {
        let (net, x) = (base(), images());
        for form in [MaskForm::Keep, MaskForm::Invert, MaskForm::Soften] {
            let masked = Session::new(
                with_sgam(
                    &net,
                    &SgamParams {
                        form,
                        strength: 0.7,
                        ..SgamParams::default()
                    },
                    1,
                )
                .unwrap(),
            );
            let ids = [
                masked.find(SALIENCY).unwrap(),
                masked.find(MASK).unwrap(),
                masked.find("normalise.sub").unwrap(),
            ];
            let v = masked.values_at(&x, &ids).unwrap();
            let (s, m, y) = (v[0].to_f32(), v[1].to_f32(), v[2].to_f32());
            assert!(
                s.iter().all(|s| (0.0..=1.0).contains(s))
                    && s.iter().any(|a| (a - s[0]).abs() > 1e-4)
            );
            for i in 0..s.len() {
                let want = if form == MaskForm::Invert {
                    1.0 - 0.7 * s[i]
                } else {
                    1.0 - 0.7 * (1.0 - s[i])
                };
                assert!((m[i] - want).abs() < 1e-6);
                if form != MaskForm::Soften {
                    assert!((y[i] - want * x.to_f32()[i]).abs() < 1e-6);
                }
            }
            let none = Session::new(
                with_sgam(
                    &net,
                    &SgamParams {
                        form,
                        strength: 0.0,
                        ..SgamParams::default()
                    },
                    1,
                )
                .unwrap(),
            );
            let (a, b) = (
                none.logits(&x).unwrap().to_f32(),
                net.logits(&x).unwrap().to_f32(),
            );
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        let twice = with_sgam(&net, &SgamParams::default(), 1).unwrap();
        assert!(with_sgam(&twice, &SgamParams::default(), 1).is_err());
    }

    /// A mask of strength 0 says nothing of saliency, so that no gate can follow it.
    #[test]
    fn a_gate_needs_a_mask_that_varies() {
        let with = |strength, gate| SgamParams {
            strength,
            gate,
            ..SgamParams::default()
        };
        let message = with(0.0, 0.5).check().unwrap_err().to_string();
        assert!(message.contains("sgam.gate"), "{message}");
        assert!(message.contains("0.5"), "{message}");
        assert!(with(0.0, 0.0).check().is_ok());
        assert!(with(0.1, 0.5).check().is_ok());
    }

    /// The gate scales the served gradient by 1 − g s where the mask is held fixed, and touches
    /// nothing in the forward pass.
    #[test]
    fn gate_bends_served_gradients_only() {
        let (net, x) = (base(), images());
        for form in [MaskForm::Keep, MaskForm::Invert] {
            let masked = Session::new(
                with_sgam(
                    &net,
                    &SgamParams {
                        form,
                        gate: 0.9,
                        ..SgamParams::default()
                    },
                    1,
                )
                .unwrap(),
            );
            let head = Logit::new(&[0, 1]);
            let gradient = |rules: Rules| {
                Oracle::with_rules(&masked, rules)
                    .loss_gradient(&x, &head)
                    .unwrap()
                    .gradient
                    .to_f32()
            };
            let served = gradient(served_rules(&masked).unwrap());
            let exact = gradient(attacker_rules(&masked, MaskKnowledge::EndToEnd));
            let frozen = gradient(attacker_rules(&masked, MaskKnowledge::FrozenMask));
            let s = masked
                .values_at(&x, &[masked.find(SALIENCY).unwrap()])
                .unwrap()[0]
                .to_f32();
            for i in 0..s.len() {
                // exact = frozen + through the head; the gate acts on the frozen part alone.
                let want = frozen[i] * (1.0 - 0.9 * s[i]) + (exact[i] - frozen[i]);
                assert!(
                    (served[i] - want).abs() < 1e-4 * want.abs().max(1e-2),
                    "{form:?}: {} {want}",
                    served[i]
                );
            }
        }
    }
}
