//! Grad-CAM (Selvaraju et al. 2017).
//!
//! At a feature map A `[d, h, w]` with g = ∂z/∂A, z the target logit: w_d = mean of g_d over
//! positions; map = max(0, Σ_d w_d A_d), resampled to the image (bilinear, half-pixel centres) and
//! stretched to `[0, 1]`. Tokens `[t, d]` are laid out as a map first, without learned tokens
//! (class, distillation, registers).
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `layer` | none: chosen by rule | name of a value of the graph, `[n, c, h, w]` or `[n, t, d]` |
//! | `token_grid` | none: by rule | rows and columns of tokens, 1 or more each |
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: one forward and one
//! backward pass an image.
//!
//! Differences from the paper: (1) the layer is chosen by rule ([`super::choose_layer`]) unless
//! named. From `pytorch-grad-cam`: (2) stretched once, after resampling, without 10⁻⁷ in the
//! divisor.

use crate::error::Result;
use crate::explain::base::ExplainerMethod;
use crate::explain::parts::cam;
use crate::explain::parts::cam::{CamParams, ClassActivationMap};
use crate::settings::read;

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "grad-cam",
    line: "Weights the channels of a late layer by their mean gradient.",
    revision: 1,
    reference: "selvaraju2017",
    example: "{}",
    build: |settings, _| Ok(Box::new(grad_cam(read(settings)?)?)),
}];

/// Checked Grad-CAM.
pub fn grad_cam(params: CamParams) -> Result<ClassActivationMap> {
    ClassActivationMap::new("grad-cam", formula, params)
}

fn formula(values: &[f64], gradients: &[f64], positions: usize) -> Vec<f64> {
    let mean = |g: &[f64]| g.iter().sum::<f64>() / positions as f64;
    cam::weighted(
        values,
        gradients.chunks_exact(positions).map(mean),
        positions,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::base::Context;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    #[test]
    fn matches_a_hand_value() {
        // Mean slopes 0.5 and -1: 0.5 (1, 3, 0) - (0, 1, 2) = (0.5, 0.5, -2).
        let map = formula(
            &[1.0, 3.0, 0.0, 0.0, 1.0, 2.0],
            &[1.5, -0.5, 0.5, -1.0, -1.0, -1.0],
            3,
        );
        assert_eq!(map, [0.5, 0.5, 0.0]);
    }

    /// The gradient at the activation is the dense layer's row, so the map is known.
    #[test]
    fn matches_the_formula_where_gradients_are_known() {
        let (channels, size) = (3, 36);
        let weights = vec![
            toy::spread(channels * size, 2),
            toy::spread(channels * size, 3),
        ];
        let net = toy::conv_dense(
            &toy::spread(channels * 18, 1),
            channels,
            &weights,
            [2, 6, 6],
        );
        let x = toy::images([1, 2, 6, 6], 4);
        let a = net
            .values_at(&x, &[net.find("act").unwrap()])
            .unwrap()
            .swap_remove(0)
            .to_f64();
        for (target, g) in weights.iter().enumerate() {
            let mut expected = [0.0f64; 36];
            for d in 0..channels {
                let w = (0..size).map(|i| g[d * size + i]).sum::<f64>() / size as f64;
                (0..size).for_each(|i| expected[i] += w * a[d * size + i]);
            }
            let expected: Vec<f64> = expected.iter().map(|v| v.max(0.0)).collect();
            let (lo, hi) = expected
                .iter()
                .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let method = grad_cam(CamParams::default()).unwrap();
            let map = explain(
                &method,
                &Oracle::new(&net),
                &x,
                &[target],
                &Context::default(),
            )
            .unwrap()
            .swap_remove(0);
            assert_eq!(map.layer.as_deref(), Some("act"));
            for (v, e) in map.values.values.iter().zip(&expected) {
                assert!(
                    (f64::from(*v) - if hi > lo { (e - lo) / (hi - lo) } else { 0.0 }).abs() < 1e-6
                );
            }
        }
        assert!(
            grad_cam(CamParams {
                layer: Some(String::new()),
                ..CamParams::default()
            })
            .is_err()
        );
    }
}
