//! Grad-CAM++ (Chattopadhay et al. 2018), as the library `pytorch-grad-cam` computes it.
//!
//! At a feature map A `[d, h, w]` with g = ∂z/∂A, z the target logit: α = g² / (2 g² + (Σ A) g³ + 10⁻⁶) where g ≠ 0, else 0, with the
//! sum over positions; w_d = Σ α max(g, 0) over positions; map = max(0, Σ_d w_d A_d). It is resampled to the image (bilinear,
//! half-pixel centres) and stretched to `[0, 1]`. Tokens `[t, d]` are laid out as a map first, without the class token.
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: one forward and one backward pass an image.
//!
//! Differences from the paper: (1) the closed form of α holds for exp(z), and g is taken of z, as the library does; (2) the layer is
//! chosen by rule ([`super::choose_layer`]). From the library: (3) stretched once, after resampling, without 10⁻⁷ in the
//! divisor; (4) α is 0 where its divisor is 0.

use super::layer::{LayerKind, TargetLayer, choose_layer, named_layer};
use super::{Attribution, Context, Explainer, calls, four, map, map_record};
use crate::error::{Error, Result};
use crate::oracle::Gradients;
use fgmf_net::head::Logit;
use fgmf_net::{Network, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`GradCamPp`].
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `layer` | none: chosen by rule | name of a value of the graph, `[n, c, h, w]` or `[n, t, d]` |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradCamPpParams {
    /// Value of the graph to read.
    pub layer: Option<String>,
}

impl GradCamPpParams {
    /// The checked method. Whether the layer exists shows when it meets a network.
    pub fn check(self) -> Result<GradCamPp> {
        if self.layer.as_deref() == Some("") {
            return Err(Error::parameter("layer", "a name", "nothing"));
        }
        Ok(GradCamPp { params: self })
    }
}

/// Checked Grad-CAM++.
#[derive(Clone, Debug)]
pub struct GradCamPp {
    params: GradCamPpParams,
}

/// The layer of that name, or the one the rule chooses.
pub(super) fn resolve(net: &Network, name: Option<&str>) -> Result<TargetLayer> {
    name.map_or_else(|| choose_layer(net), |name| named_layer(net, name))
}

/// Map of one image, and what the same passes told.
pub(super) struct Cam {
    /// At the size of the image, 0 or more, not stretched.
    pub(super) map: Vec<f64>,
    /// All classes.
    pub(super) logits: Vec<f64>,
}

/// Grad-CAM++ of each image at a layer.
pub(super) fn cams(model: &dyn Gradients, x: &Tensor, targets: &[usize], layer: &TargetLayer, cap: usize) -> Result<Vec<Cam>> {
    let [_, _, h, w] = four(x);
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), cap) {
        let run = model.feature_gradient(&x.rows(call.start, call.len()), &Logit::new(&targets[call.clone()]), layer.id)?;
        let (logits, values, gradients) =
            (run.logits.to_f64(), channels_first(&run.value, layer.kind), channels_first(&run.gradient, layer.kind));
        let (LayerKind::Map { h: rows, w: columns } | LayerKind::Tokens { h: rows, w: columns, .. }) = layer.kind;
        let (size, k) = (values.len() / call.len(), logits.len() / call.len());
        for i in 0..call.len() {
            let raw = cam(&values[i * size..][..size], &gradients[i * size..][..size], rows * columns);
            out.push(Cam { map: map::upsample(&raw, [rows, columns], [h, w]), logits: logits[i * k..][..k].to_vec() });
        }
    }
    Ok(out)
}

/// `[n, d, h · w]`, whatever the layer's layout.
fn channels_first(value: &Tensor, kind: LayerKind) -> Vec<f64> {
    match kind {
        LayerKind::Map { .. } => value.to_f64(),
        LayerKind::Tokens { h, w, prefix } => value.narrow(1, prefix, h * w).permute(&[0, 2, 1]).to_f64(),
    }
}

/// The formula at the top of this file, before resampling; `positions` = h · w.
fn cam(values: &[f64], gradients: &[f64], positions: usize) -> Vec<f64> {
    let mut map = vec![0.0; positions];
    for (a, g) in values.chunks_exact(positions).zip(gradients.chunks_exact(positions)) {
        let total: f64 = a.iter().sum();
        // α max(g, 0); a slope that is not a number stays one.
        let pull = |&g: &f64| {
            let divisor = 2.0 * g * g + total * g * g * g + 1e-6;
            if g <= 0.0 || divisor.abs() <= 0.0 { 0.0 } else { g * g * g / divisor }
        };
        let weight: f64 = g.iter().map(pull).sum();
        map.iter_mut().zip(a).for_each(|(m, a)| *m += weight * a);
    }
    // Not `max`, which would turn NaN into 0 unseen.
    map.iter().map(|&m| if m < 0.0 { 0.0 } else { m }).collect()
}

impl Explainer for GradCamPp {
    fn id(&self) -> &'static str {
        "grad-cam-pp"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(&self, model: &dyn Gradients, x: &Tensor, targets: &[usize], context: &Context) -> Result<Vec<Attribution>> {
        let layer = resolve(model.network(), self.params.layer.as_deref())?;
        let [_, _, h, w] = four(x);
        let one = |(cam, &target): (Cam, &usize)| Attribution {
            values: map_record([h, w], &map::min_max(&cam.map)),
            target,
            method: self.id(),
            signed: false,
            completeness_gap: None,
            layer: Some(layer.name.clone()),
            agreement: None,
            note: None,
            withheld: None,
        };
        Ok(cams(model, x, targets, &layer, context.cap)?.into_iter().zip(targets).map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{explain, toy};
    use crate::oracle::Oracle;

    /// From the formula, index by index; `a` and `g` are `[d][position]`.
    #[allow(clippy::needless_range_loop, clippy::float_cmp, reason = "written as the formula is")]
    fn slow_twin(a: &[Vec<f64>], g: &[Vec<f64>]) -> Vec<f64> {
        let mut map = vec![0.0; a[0].len()];
        for d in 0..a.len() {
            let mut w = 0.0;
            for ij in 0..a[d].len() {
                let sum_a: f64 = a[d].iter().sum();
                let alpha =
                    if g[d][ij] == 0.0 { 0.0 } else { g[d][ij].powi(2) / (2.0 * g[d][ij].powi(2) + sum_a * g[d][ij].powi(3) + 1e-6) };
                w += alpha * f64::max(g[d][ij], 0.0);
            }
            for ij in 0..a[d].len() {
                map[ij] += w * a[d][ij];
            }
        }
        let map: Vec<f64> = map.iter().map(|v| v.max(0.0)).collect();
        let (lo, hi) = (map.iter().copied().fold(f64::INFINITY, f64::min), map.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        map.iter().map(|v| (v - lo) / (hi - lo)).collect()
    }

    #[test]
    fn matches_the_formula_where_gradients_are_known() {
        let (channels, size) = (3, 36);
        let kernel = toy::spread(channels * 2 * 9, 1);
        let mut weights = vec![toy::spread(channels * size, 2), toy::spread(channels * size, 3)];
        weights[1].iter_mut().step_by(3).for_each(|w| *w = 0.0);
        let net = toy::conv_dense(&kernel, channels, &weights, [2, 6, 6]);
        let x = toy::images([1, 2, 6, 6], 4);
        let values = net.values_at(&x, &[net.find("act").unwrap()]).unwrap().swap_remove(0).to_f64();
        let split = |v: &[f64]| v.chunks_exact(size).map(<[f64]>::to_vec).collect::<Vec<_>>();
        let method = GradCamPpParams::default().check().unwrap();
        for (target, w) in weights.iter().enumerate() {
            let map = explain(&method, &Oracle::new(&net), &x, &[target], &Context::default()).unwrap().swap_remove(0);
            assert_eq!(map.layer.as_deref(), Some("act"));
            let expected = slow_twin(&split(&values), &split(w));
            assert!(map.values.values.iter().zip(&expected).all(|(v, e)| (f64::from(*v) - e).abs() < 1e-6), "{map:?} against {expected:?}");
        }
    }

    /// The formula of the whole method once by hand: one channel, A = (1, 3), g = (0.5, -1).
    #[test]
    fn matches_a_hand_value() {
        let weight = 0.25 / (0.5 + 4.0 * 0.125 + 1e-6) * 0.5;
        let map = cam(&[1.0, 3.0], &[0.5, -1.0], 2);
        assert!((map[0] - weight).abs() < 1e-15 && (map[1] - 3.0 * weight).abs() < 1e-15);
        assert!(cam(&[1.0, 3.0], &[f64::NAN, 1.0], 2)[0].is_nan());
        assert_eq!(cam(&[1.0, 3.0], &[0.0, -1.0], 2), [0.0, 0.0]);
    }

    #[test]
    fn tokens_lose_the_class_token_and_become_a_grid() {
        let tokens = Tensor::new(&[1, 5, 2], (0..10).map(f64::from).collect::<Vec<_>>());
        let kind = LayerKind::Tokens { h: 2, w: 2, prefix: 1 };
        assert_eq!(channels_first(&tokens, kind), [2.0, 4.0, 6.0, 8.0, 3.0, 5.0, 7.0, 9.0]);
    }

    #[test]
    fn no_gradient_leaves_a_map_of_zeros() {
        let net = toy::conv_dense(&[0.1; 9], 1, &[vec![0.0; 36], vec![1.0; 36]], [1, 6, 6]);
        let map = explain(
            &GradCamPpParams::default().check().unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 6, 6], 1),
            &[0],
            &Context::default(),
        )
        .unwrap();
        assert_eq!(map[0].values.values, [0.0; 36]);
    }
}
