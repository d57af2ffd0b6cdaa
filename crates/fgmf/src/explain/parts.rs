//! Where the parts of a method differ.

use super::{Context, Explainer, PgcaParams, calls, check, read};
use crate::error::Result;
use crate::oracle::Gradients;
use crate::record::MapRecord;
use fgmf_net::Tensor;

/// PGCA's perturbation map less its gradient map, pixel by pixel, each on its common scale: −1 to 1, or −2 to 2 where both have signs. `None`
/// for methods that do not keep two parts. Cost: that of the explanation.
pub fn disagreement(
    explainer: &dyn Explainer,
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    context: &Context,
) -> Result<Option<Vec<MapRecord>>> {
    if explainer.id() != "pgca" {
        return Ok(None);
    }
    check(model, x, targets, context)?;
    let pgca = read::<PgcaParams>(explainer.parameters())?.check()?;
    let [_, height, width] = model.image_shape();
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), context.cap) {
        let part = Context { first_index: context.first_index.wrapping_add(call.start as u64), ..*context };
        let found = pgca.with_parts(model, &x.rows(call.start, call.len()), &targets[call], &part)?;
        out.extend(found.into_iter().map(|(_, parts)| {
            let values = parts.perturbation.iter().zip(&parts.cam).map(|(p, g)| p - g).collect();
            MapRecord { channels: 1, height, width, values }
        }));
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{by_id, toy};
    use crate::oracle::Oracle;

    #[test]
    fn the_difference_is_that_of_the_parts_whatever_the_cap() {
        let net = toy::quadrant([1, 16, 16]);
        let x = toy::images([3, 1, 16, 16], 4);
        let targets = [0, 1, 0];
        let maps = |cap| {
            let context = Context { cap, ..Context::default() };
            disagreement(by_id("pgca").unwrap().as_ref(), &Oracle::new(&net), &x, &targets, &context).unwrap().unwrap()
        };
        let parts = PgcaParams::default().check().unwrap().with_parts(&Oracle::new(&net), &x, &targets, &Context::default()).unwrap();
        for (map, (_, parts)) in maps(256).iter().zip(&parts) {
            assert!((0..256).all(|i| (map.values[i] - (parts.perturbation[i] - parts.cam[i])).abs() < 1e-6));
        }
        assert_eq!(maps(256), maps(1));
        let none = disagreement(by_id("saliency").unwrap().as_ref(), &Oracle::new(&net), &x, &targets, &Context::default());
        assert_eq!(none.unwrap(), None);
    }
}
