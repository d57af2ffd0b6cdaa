//! Grad-CAM++ (Chattopadhay et al. 2018), as the library `pytorch-grad-cam` computes it.
//!
//! At a feature map A `[d, h, w]` with g = ∂z/∂A, z the target logit: α = g² / (2 g² + (Σ A) g³ +
//! 10⁻⁶) where g ≠ 0, else 0, with the sum over positions; w_d = Σ α max(g, 0) over positions; map
//! = max(0, Σ_d w_d A_d). It is resampled to the image (bilinear, half-pixel centres) and stretched
//! to `[0, 1]`. Tokens `[t, d]` are laid out as a map first, without learned tokens (class,
//! distillation, registers).
//!
//! | parameter | default | range |
//! | --- | --- | --- |
//! | `layer` | none: chosen by rule | name of a value of the graph, `[n, c, h, w]` or `[n, t, d]` |
//! | `token_grid` | none: by rule | rows and columns of tokens, 1 or more each |
//!
//! Values in `[0, 1]`; a map that is the same everywhere becomes zeros. Cost: one forward and one
//! backward pass an image.
//!
//! Differences from the paper: (1) the closed form of α holds for exp(z), and g is taken of z, as
//! the library does; (2) the layer is chosen by rule ([`super::choose_layer`]). From the library:
//! (3) stretched once, after resampling, without 10⁻⁷ in the divisor; (4) α is 0 where its divisor
//! is 0.

use crate::error::Result;
use crate::explain::base::ExplainerMethod;
use crate::explain::parts::cam::{CamParams, ClassActivationMap, curved};
use crate::settings::read;

pub(crate) const METHODS: &[ExplainerMethod] = &[ExplainerMethod {
    id: "grad-cam-pp",
    line: "Weights the channels of a late layer by their rising gradients.",
    revision: 1,
    reference: "chattopadhay2018",
    example: "{}",
    build: |settings, _| Ok(Box::new(grad_cam_pp(read(settings)?)?)),
}];

/// Checked Grad-CAM++.
pub fn grad_cam_pp(params: CamParams) -> Result<ClassActivationMap> {
    ClassActivationMap::new("grad-cam-pp", curved, params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::base::Context;
    use crate::explain::sealed::explain;
    use crate::explain::toy;
    use crate::model::oracle::Oracle;

    /// From the formula, index by index; `a` and `g` are `[d][position]`.
    #[allow(
        clippy::needless_range_loop,
        clippy::float_cmp,
        reason = "written as the formula is"
    )]
    fn slow_twin(a: &[Vec<f64>], g: &[Vec<f64>]) -> Vec<f64> {
        let mut map = vec![0.0; a[0].len()];
        for d in 0..a.len() {
            let mut w = 0.0;
            for ij in 0..a[d].len() {
                let sum_a: f64 = a[d].iter().sum();
                let alpha = if g[d][ij] == 0.0 {
                    0.0
                } else {
                    g[d][ij].powi(2) / (2.0 * g[d][ij].powi(2) + sum_a * g[d][ij].powi(3) + 1e-6)
                };
                w += alpha * f64::max(g[d][ij], 0.0);
            }
            for ij in 0..a[d].len() {
                map[ij] += w * a[d][ij];
            }
        }
        let map: Vec<f64> = map.iter().map(|v| v.max(0.0)).collect();
        let (lo, hi) = (
            map.iter().copied().fold(f64::INFINITY, f64::min),
            map.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        map.iter().map(|v| (v - lo) / (hi - lo)).collect()
    }

    #[test]
    fn matches_the_formula_where_gradients_are_known() {
        let (channels, size) = (3, 36);
        let kernel = toy::spread(channels * 2 * 9, 1);
        let mut weights = vec![
            toy::spread(channels * size, 2),
            toy::spread(channels * size, 3),
        ];
        weights[1].iter_mut().step_by(3).for_each(|w| *w = 0.0);
        let net = toy::conv_dense(&kernel, channels, &weights, [2, 6, 6]);
        let x = toy::images([1, 2, 6, 6], 4);
        let values = net
            .values_at(&x, &[net.find("act").unwrap()])
            .unwrap()
            .swap_remove(0)
            .to_f64();
        let split = |v: &[f64]| {
            v.chunks_exact(size)
                .map(<[f64]>::to_vec)
                .collect::<Vec<_>>()
        };
        let method = grad_cam_pp(CamParams::default()).unwrap();
        for (target, w) in weights.iter().enumerate() {
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
            let expected = slow_twin(&split(&values), &split(w));
            assert!(
                map.values
                    .values
                    .iter()
                    .zip(&expected)
                    .all(|(v, e)| (f64::from(*v) - e).abs() < 1e-6),
                "{map:?} against {expected:?}"
            );
        }
    }

    /// The formula of the whole method once by hand: one channel, A = (1, 3), g = (0.5, -1).
    #[test]
    fn matches_a_hand_value() {
        let weight = 0.25 / (0.5 + 4.0 * 0.125 + 1e-6) * 0.5;
        let map = curved(&[1.0, 3.0], &[0.5, -1.0], 2);
        assert!((map[0] - weight).abs() < 1e-15 && (map[1] - 3.0 * weight).abs() < 1e-15);
        assert!(curved(&[1.0, 3.0], &[f64::NAN, 1.0], 2)[0].is_nan());
        assert_eq!(curved(&[1.0, 3.0], &[0.0, -1.0], 2), [0.0, 0.0]);
    }

    #[test]
    fn no_gradient_leaves_a_map_of_zeros() {
        let net = toy::conv_dense(&[0.1; 9], 1, &[vec![0.0; 36], vec![1.0; 36]], [1, 6, 6]);
        let map = explain(
            &grad_cam_pp(CamParams::default()).unwrap(),
            &Oracle::new(&net),
            &toy::images([1, 1, 6, 6], 1),
            &[0],
            &Context::default(),
        )
        .unwrap();
        assert_eq!(map[0].values.values, [0.0; 36]);
    }
}
