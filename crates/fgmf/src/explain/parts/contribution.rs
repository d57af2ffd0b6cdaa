//! What each pixel adds to the difference from a reference image, by the rescale rule.

use crate::error::Result;
use crate::explain::base::Attribution;
use crate::explain::parts::ask::plain;
use crate::explain::parts::map;
use crate::model::access::Gradients;
use fgmf_net::Tensor;
use fgmf_net::head::Logit;
use fgmf_net::rule::Rescaling;

/// What the difference of an image from one reference is made of.
pub(crate) struct Contribution {
    /// m Δx, `[c · h · w]`.
    pub(crate) terms: Vec<f64>,
    /// z(x) − z(reference).
    pub(crate) difference: f64,
}

/// Contributions of each image against one reference `[1, c, h, w]`.
pub(crate) fn contributions(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    reference: &Tensor,
) -> Result<Vec<Contribution>> {
    let net = model.network();
    let rescaling = Rescaling::of(net)?;
    let at = model.features(
        reference,
        &Logit::new(&targets[..1]),
        rescaling.values(),
        &rescaling.derivatives(),
    )?;
    let found = model.features(
        x,
        &Logit::new(targets),
        &[net.input()],
        &rescaling.rules(net, &at.values),
    )?;
    let (m, x, b, before) = (
        found.gradients[0].to_f64(),
        x.to_f64(),
        reference.to_f64(),
        at.logits.to_f64(),
    );
    let size = b.len();
    let one = |(i, &target): (usize, &usize)| {
        let at = i * size..(i + 1) * size;
        let terms = m[at.clone()]
            .iter()
            .zip(&x[at])
            .zip(&b)
            .map(|((m, x), b)| m * (x - b))
            .collect();
        Contribution {
            terms,
            difference: found.losses[i] - before[target],
        }
    };
    Ok(targets.iter().enumerate().map(one).collect())
}

/// The map of a sum of contributions, with its gap.
pub(crate) fn attribution(
    method: &'static str,
    target: usize,
    size: [usize; 2],
    sum: &Contribution,
) -> Attribution {
    let map = map::channel_sum(&sum.terms, size[0] * size[1]);
    let gap = (map.iter().sum::<f64>() - sum.difference).abs() / sum.difference.abs().max(1e-6);
    Attribution {
        completeness_gap: Some(gap),
        ..plain(method, target, size, &map, true)
    }
}
