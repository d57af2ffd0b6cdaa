//! How far a network's own maps are from what their teacher says, on images that taught nothing.

use crate::error::Result;
use crate::explain::base::{Context, Explainer};
use crate::explain::sealed::explain;
use crate::explain::sgam::branch::taught;
use crate::model::access::Gradients;
use crate::record::mean_interval;
use fgmf_net::Tensor;
use serde::Serialize;

/// Error of the maps of `sgam`, and what the network expects of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AmortisedError {
    /// Images.
    pub n: usize,
    /// Mean of ⟨s − φ₁, s − φ₂⟩ over the images, in means of ⟨φ₁, φ₂⟩, over the cells of the map: 0
    /// for the teacher's expected map, 1 for a map of zeros. Noise of the teacher counts in
    /// neither, and what differs inside a cell is not seen.
    pub error: f64,
    /// Its 95% interval, with the teacher's mean square taken as known.
    pub interval: [f64; 2],
    /// Mean of what the network expects.
    pub expected: f64,
}

/// Compares the maps that a network draws at `drawn` with two of the teacher at `x`, each with
/// draws of its own. `drawn` is `x`, or attacked images made of it.
///
/// # Errors
/// Those of [`explain`], also where the network has no maps of its own.
pub fn amortised_error(
    model: &dyn Gradients,
    teacher: &dyn Explainer,
    [x, drawn]: [&Tensor; 2],
    targets: &[usize],
    context: &Context<'_>,
) -> Result<AmortisedError> {
    let own = taught(model.network())?.draw(model, drawn, targets)?;
    let half = |round: u64| explain(teacher, model, x, targets, &context.redrawn(round));
    let (one, two) = (half(0)?, half(1)?);
    let (mut errors, mut power) = (Vec::new(), 0.0);
    for (guess, (one, two)) in own.cells.iter().zip(one.iter().zip(&two)) {
        let mut error = 0.0;
        let halves = one.cells(own.grid).into_iter().zip(two.cells(own.grid));
        for (s, (a, b)) in guess.iter().zip(halves) {
            error += (s - a) * (s - b);
            power += a * b / targets.len() as f64;
        }
        errors.push(error);
    }
    let power = power.max(f64::MIN_POSITIVE);
    errors.iter_mut().for_each(|e| *e /= power);
    let (error, interval) = mean_interval(&errors);
    Ok(AmortisedError {
        n: targets.len(),
        error,
        interval,
        expected: own.doubts.iter().sum::<f64>() / targets.len().max(1) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::base::Inner;
    use crate::explain::list::with_parameters;
    use crate::explain::sgam::branch::{SgamMapParams, taught_by, with_map};
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    /// Fresh maps are 0 everywhere, which is an error of 1, and that is what they expect.
    #[test]
    fn maps_of_zeros_are_off_by_one() {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 12, 12],
            classes: 3,
            mean: vec![0.3],
            deviation: vec![0.4],
            seed: 2,
        };
        let mut net = with_map(&build(&config).unwrap(), &SgamMapParams::default(), 1).unwrap();
        let teacher = Inner {
            id: "gradient-shap".into(),
            parameters: serde_json::json!({ "samples": 4 }),
        };
        taught_by(&mut net, &teacher);
        let net = Session::new(net);
        let values = (0..4 * 144).map(|i| (i * 31 % 89) as f32 / 89.0);
        let x = Tensor::new(&[4, 1, 12, 12], values.collect::<Vec<f32>>());
        let teacher = with_parameters(&teacher.id, teacher.parameters).unwrap();
        let context = Context::default();
        let oracle = Oracle::new(&net);
        let targets = [0, 1, 2, 0];
        let found =
            amortised_error(&oracle, teacher.as_ref(), [&x, &x], &targets, &context).unwrap();
        assert!((found.error - 1.0).abs() < 1e-9, "{found:?}");
        assert!((found.expected - 1.0).abs() < 1e-6 && found.n == 4);
    }
}
