//! What the class activation maps share: reading a layer, summing its weighted channels,
//! resampling.
//!
//! A method gives a formula from values A and gradients g = ∂z/∂A of one image, both
//! `[d, positions]`, to a map of the layer's size. The map is resampled to the image (bilinear,
//! half-pixel centres) and stretched to `[0, 1]`; one that is the same everywhere becomes zeros.
//! Tokens `[t, d]` are laid out as a map first, without class, distillation and register tokens.

use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer};
use crate::explain::parts::ask::{calls, four, plain};
use crate::explain::parts::layer::{LayerKind, TargetLayer, TokenGrid, check_grid, layer_of};
use crate::explain::parts::map;
use crate::model::access::Gradients;
use fgmf_net::Tensor;
use fgmf_net::head::Logit;
use serde::{Deserialize, Serialize};

/// Settings of the class activation maps that are a formula; the table is at the top of each
/// method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CamParams {
    /// Value of the graph to read.
    pub layer: Option<String>,
    /// Rows and columns of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_grid: Option<[usize; 2]>,
}

/// From values, gradients and the number of positions to a map of the layer's size.
type Formula = fn(&[f64], &[f64], usize) -> Vec<f64>;

/// A checked class activation map that is a formula: Grad-CAM,
/// Grad-CAM++ or Layer-CAM.
#[derive(Clone, Debug)]
pub struct ClassActivationMap {
    id: &'static str,
    formula: Formula,
    params: CamParams,
}

impl ClassActivationMap {
    /// Whether the layer exists shows when it meets a network.
    pub(crate) fn new(id: &'static str, formula: Formula, params: CamParams) -> Result<Self> {
        check_layer(params.layer.as_ref(), params.token_grid)?;
        Ok(Self {
            id,
            formula,
            params,
        })
    }
}

impl Explainer for ClassActivationMap {
    fn id(&self) -> &'static str {
        self.id
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>> {
        let p = &self.params;
        let layer = layer_of(model.network(), p.layer.as_deref(), p.token_grid)?;
        let maps = cams(model, x, targets, &layer, context.cap, self.formula)?;
        let one = |(cam, &target): (Cam, &usize)| stretched(self, &layer, x, target, &cam.map);
        Ok(maps.into_iter().zip(targets).map(one).collect())
    }
}

/// Refuses an empty layer name and an empty grid.
pub(crate) fn check_layer(layer: Option<&String>, grid: TokenGrid) -> Result<()> {
    if layer.is_some_and(String::is_empty) {
        return Err(Error::parameter("layer", "a name", "nothing"));
    }
    check_grid(grid)
}

/// What a layer holds for one image.
pub(crate) struct LayerReading {
    /// `[d, positions]`.
    pub(crate) values: Vec<f64>,
    /// `[d, positions]`.
    pub(crate) gradients: Vec<f64>,
    /// All classes.
    pub(crate) logits: Vec<f64>,
}

/// Reads a layer. Cost: one forward and one backward pass an image.
pub(crate) fn read(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    layer: &TargetLayer,
    cap: usize,
) -> Result<Vec<LayerReading>> {
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), cap) {
        let run = model.feature_gradient(
            &x.rows(call.start, call.len()),
            &Logit::new(&targets[call.clone()]),
            layer.id,
        )?;
        let (logits, values, gradients) = (
            run.logits.to_f64(),
            channels_first(&run.value, layer.kind),
            channels_first(&run.gradient, layer.kind),
        );
        let (size, k) = (values.len() / call.len(), logits.len() / call.len());
        let one = |i: usize| LayerReading {
            values: values[i * size..][..size].to_vec(),
            gradients: gradients[i * size..][..size].to_vec(),
            logits: logits[i * k..][..k].to_vec(),
        };
        out.extend((0..call.len()).map(one));
    }
    Ok(out)
}

/// `[n, d, h · w]`, whatever the layer's layout.
fn channels_first(value: &Tensor, kind: LayerKind) -> Vec<f64> {
    match kind {
        LayerKind::Map { .. } => value.to_f64(),
        LayerKind::ChannelsLast { .. } => value.permute(&[0, 3, 1, 2]).to_f64(),
        LayerKind::Tokens { h, w, prefix } => {
            value.narrow(1, prefix, h * w).permute(&[0, 2, 1]).to_f64()
        }
    }
}

/// Map of one image, and what the same passes told.
pub(crate) struct Cam {
    /// At the size of the image, 0 or more, not stretched.
    pub(crate) map: Vec<f64>,
    /// All classes.
    pub(crate) logits: Vec<f64>,
}

/// A formula's map of each image at a layer, before stretching.
pub(crate) fn cams(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    layer: &TargetLayer,
    cap: usize,
    formula: impl Fn(&[f64], &[f64], usize) -> Vec<f64>,
) -> Result<Vec<Cam>> {
    let ([_, _, h, w], from) = (four(x), layer.kind.size());
    let one = |r: LayerReading| Cam {
        map: map::upsample(
            &formula(&r.values, &r.gradients, from[0] * from[1]),
            from,
            [h, w],
        ),
        logits: r.logits,
    };
    Ok(read(model, x, targets, layer, cap)?
        .into_iter()
        .map(one)
        .collect())
}

/// max(0, Σ_d w_d A_d).
pub(crate) fn weighted(
    values: &[f64],
    weights: impl Iterator<Item = f64>,
    positions: usize,
) -> Vec<f64> {
    let mut map = vec![0.0; positions];
    for (a, weight) in values.chunks_exact(positions).zip(weights) {
        map.iter_mut().zip(a).for_each(|(m, a)| *m += weight * a);
    }
    rectified(map)
}

/// Grad-CAM++ before resampling, by the formula on its page; `positions` = h · w.
pub(crate) fn curved(values: &[f64], gradients: &[f64], positions: usize) -> Vec<f64> {
    let weight = |(a, g): (&[f64], &[f64])| {
        let total: f64 = a.iter().sum();
        // α max(g, 0); a slope that is not a number stays one.
        let pull = |&g: &f64| {
            let divisor = 2.0 * g * g + total * g * g * g + 1e-6;
            if g <= 0.0 || divisor.abs() <= 0.0 {
                0.0
            } else {
                g * g * g / divisor
            }
        };
        g.iter().map(pull).sum()
    };
    let weights = values
        .chunks_exact(positions)
        .zip(gradients.chunks_exact(positions))
        .map(weight);
    weighted(values, weights, positions)
}

/// max(0, m).
pub(crate) fn rectified(map: Vec<f64>) -> Vec<f64> {
    // Not `max`, which would turn NaN into 0 unseen.
    map.into_iter()
        .map(|m| if m < 0.0 { 0.0 } else { m })
        .collect()
}

/// A map at the size of the image, stretched to `[0, 1]`.
pub(crate) fn stretched(
    method: &dyn Explainer,
    layer: &TargetLayer,
    x: &Tensor,
    target: usize,
    map: &[f64],
) -> Attribution {
    let [_, _, h, w] = four(x);
    Attribution {
        layer: Some(layer.name.clone()),
        layer_reason: Some(layer.reason),
        note: layer.note(),
        ..plain(method.id(), target, [h, w], &map::min_max(map), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lose_the_class_token_and_become_a_grid() {
        let tokens = Tensor::new(&[1, 5, 2], (0..10).map(f64::from).collect::<Vec<_>>());
        let kind = LayerKind::Tokens {
            h: 2,
            w: 2,
            prefix: 1,
        };
        assert_eq!(
            channels_first(&tokens, kind),
            [2.0, 4.0, 6.0, 8.0, 3.0, 5.0, 7.0, 9.0]
        );
    }

    #[test]
    fn weighted_sums_are_cut_at_zero_and_keep_nan() {
        assert_eq!(
            weighted(&[1.0, -3.0, 2.0, 1.0], [1.0, 2.0].into_iter(), 2),
            [5.0, 0.0]
        );
        assert!(weighted(&[f64::NAN, 1.0], [1.0].into_iter(), 2)[0].is_nan());
    }
}
