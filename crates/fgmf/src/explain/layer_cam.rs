//! Layer-CAM (Jiang et al. 2021).
//!
//! At a feature map A `[d, h, w]` with g = ∂z/∂A, z the target logit: map = max(0, Σ_d max(g_d, 0)
//! A_d), the weight of a channel is its own at each position; resampled to the image (bilinear,
//! half-pixel centres) and stretched to `[0, 1]`. Tokens `[t, d]` are laid out as a map first,
//! without learned tokens (class, distillation, registers).
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
//! named; (2) one layer: no fusion of several and no tanh of the maps of early ones, as in
//! `pytorch-grad-cam`, from which (3) stretching once, without 10⁻⁷, differs.

use crate::error::Result;
use crate::explain::base::ExplainerMethod;
use crate::explain::parts::cam;
use crate::explain::parts::cam::{CamParams, ClassActivationMap};
use crate::settings::read;

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "layer-cam",
    line: "Weights each value of a layer by its own gradient.",
    revision: 1,
    reference: "jiang2021",
    example: "{}",
    build: |settings, _| Ok(Box::new(layer_cam(read(settings)?)?)),
}];

/// Checked Layer-CAM.
pub fn layer_cam(params: CamParams) -> Result<ClassActivationMap> {
    ClassActivationMap::new("layer-cam", formula, params)
}

fn formula(values: &[f64], gradients: &[f64], positions: usize) -> Vec<f64> {
    let mut map = vec![0.0; positions];
    for (i, (a, g)) in values.iter().zip(gradients).enumerate() {
        // A slope that is not a number stays one.
        map[i % positions] += if *g < 0.0 { 0.0 } else { g * a };
    }
    cam::rectified(map)
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
        let map = formula(
            &[1.0, 3.0, -2.0, 0.0, 1.0, 2.0],
            &[1.5, -0.5, 0.5, -1.0, 2.0, 0.25],
            3,
        );
        assert_eq!(map, [1.5, 2.0, 0.0]);
        assert!(formula(&[1.0], &[f64::NAN], 1)[0].is_nan());
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
            let at = |i: usize| {
                (0..channels)
                    .map(|d| g[d * size + i].max(0.0) * a[d * size + i])
                    .sum::<f64>()
                    .max(0.0)
            };
            let expected: Vec<f64> = (0..size).map(at).collect();
            let (lo, hi) = expected
                .iter()
                .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let method = layer_cam(CamParams::default()).unwrap();
            let map = explain(
                &method,
                &Oracle::new(&net),
                &x,
                &[target],
                &Context::default(),
            )
            .unwrap()
            .swap_remove(0);
            for (v, e) in map.values.values.iter().zip(&expected) {
                assert!((f64::from(*v) - (e - lo) / (hi - lo)).abs() < 1e-6);
            }
        }
    }
}
