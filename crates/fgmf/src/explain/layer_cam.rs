//! Layer-CAM (Jiang et al. 2021).
//!
//! At a feature map A `[d, h, w]` with g = ∂z/∂A, z the target logit: map = max(0, Σ_d max(g_d, 0) A_d), the weight of a channel is its
//! own at each position; resampled to the image (bilinear, half-pixel centres) and stretched to `[0, 1]`. Tokens `[t, d]` are laid out
//! as a map first, without the class token.
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `layer` | none: chosen by rule | name of a value of the graph, `[n, c, h, w]` or `[n, t, d]` |
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: one forward and one backward pass an image.
//!
//! Differences from the paper: (1) the layer is chosen by rule ([`super::choose_layer`]) unless named; (2) one layer: no fusion of several
//! and no tanh of the maps of early ones, as in `pytorch-grad-cam`, from which (3) stretching once, without 10⁻⁷, differs.

use super::{Attribution, Context, Explainer, cam};
use crate::error::Result;
use crate::oracle::Gradients;
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of [`LayerCam`]; the table is at the top of the method's page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerCamParams {
    /// Value of the graph to read.
    pub layer: Option<String>,
}

impl LayerCamParams {
    /// The checked method. Whether the layer exists shows when it meets a network.
    pub fn check(self) -> Result<LayerCam> {
        cam::check_layer(self.layer.as_ref())?;
        Ok(LayerCam { params: self })
    }
}

/// Checked Layer-CAM.
#[derive(Clone, Debug)]
pub struct LayerCam {
    params: LayerCamParams,
}

fn formula(values: &[f64], gradients: &[f64], positions: usize) -> Vec<f64> {
    let mut map = vec![0.0; positions];
    for (i, (a, g)) in values.iter().zip(gradients).enumerate() {
        // A slope that is not a number stays one.
        map[i % positions] += if *g < 0.0 { 0.0 } else { g * a };
    }
    cam::rectified(map)
}

impl Explainer for LayerCam {
    fn id(&self) -> &'static str {
        "layer-cam"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!(self.params)
    }

    fn attribute(&self, model: &dyn Gradients, x: &Tensor, targets: &[usize], context: &Context) -> Result<Vec<Attribution>> {
        cam::attribute(self, self.params.layer.as_deref(), model, (x, targets), context, formula)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{explain, toy};
    use crate::oracle::Oracle;

    #[test]
    fn matches_a_hand_value() {
        let map = formula(&[1.0, 3.0, -2.0, 0.0, 1.0, 2.0], &[1.5, -0.5, 0.5, -1.0, 2.0, 0.25], 3);
        assert_eq!(map, [1.5, 2.0, 0.0]);
        assert!(formula(&[1.0], &[f64::NAN], 1)[0].is_nan());
    }

    /// The gradient at the activation is the dense layer's row, so the map is known.
    #[test]
    fn matches_the_formula_where_gradients_are_known() {
        let (channels, size) = (3, 36);
        let weights = vec![toy::spread(channels * size, 2), toy::spread(channels * size, 3)];
        let net = toy::conv_dense(&toy::spread(channels * 18, 1), channels, &weights, [2, 6, 6]);
        let x = toy::images([1, 2, 6, 6], 4);
        let a = net.values_at(&x, &[net.find("act").unwrap()]).unwrap().swap_remove(0).to_f64();
        for (target, g) in weights.iter().enumerate() {
            let at = |i: usize| (0..channels).map(|d| g[d * size + i].max(0.0) * a[d * size + i]).sum::<f64>().max(0.0);
            let expected: Vec<f64> = (0..size).map(at).collect();
            let (lo, hi) = expected.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let method = LayerCamParams::default().check().unwrap();
            let map = explain(&method, &Oracle::new(&net), &x, &[target], &Context::default()).unwrap().swap_remove(0);
            for (v, e) in map.values.values.iter().zip(&expected) {
                assert!((f64::from(*v) - (e - lo) / (hi - lo)).abs() < 1e-6);
            }
        }
    }
}
