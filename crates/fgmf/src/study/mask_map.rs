//! The prediction of a mask layer as a map, as a server gives it that shows the mask.

use crate::defend::sgam::{SALIENCY, has_mask};
use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer};
use crate::explain::parts::ask::plain;
use crate::model::access::Gradients;
use fgmf_net::head::Logit;
use fgmf_net::{Network, Rules, Tensor, ValueId};

/// The saliency that the SGAM layer of a network predicts: `[h, w]` in `[0, 1]`, whatever class is
/// asked about. Cost: one forward and one backward pass (of which the values are used) an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskMap {
    at: ValueId,
}

impl MaskMap {
    /// The map of this network.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a network without the layer.
    pub(crate) fn of(net: &Network) -> Result<Self> {
        let at = net.find(SALIENCY).filter(|_| has_mask(net));
        let none = || {
            let expected = "a model with the SGAM mask layer in front (`fgmf train --sgam`)";
            Error::mismatch("serve the mask", expected, "a model without one")
        };
        Ok(Self {
            at: at.ok_or_else(none)?,
        })
    }
}

impl Explainer for MaskMap {
    fn id(&self) -> &'static str {
        "sgam-mask"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        _: &Context,
    ) -> Result<Vec<Attribution>> {
        let [_, h, w] = model.image_shape();
        let run = model.features(x, &Logit::new(targets), &[self.at], &Rules::exact())?;
        let values = run.values[0].to_f64();
        let one = |(values, &target): (&[f64], &usize)| Attribution {
            layer: Some(SALIENCY.into()),
            ..plain(self.id(), target, [h, w], values, false)
        };
        let maps = values.chunks_exact(h * w).zip(targets);
        Ok(maps.map(one).collect())
    }
}
