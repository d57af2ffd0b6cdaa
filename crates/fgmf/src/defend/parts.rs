//! Layers in front of a finished network.

use crate::error::Result;
use fgmf_net::zoo::{Activation, Layers};
use fgmf_net::{Builder, Network, ValueId};

/// Ending of the name of a clip that belongs to a rounding and is bypassed with it.
pub(crate) const BYPASSED_CLIP: &str = ".bypass-clip";

/// Builds `front` on the images and puts the network behind it; `key` and `settings` go into the
/// metadata.
pub(crate) fn in_front(
    net: &Network,
    (key, settings): (&str, serde_json::Value),
    front: impl FnOnce(&mut Layers, ValueId) -> Result<ValueId>,
) -> Result<Network> {
    let input = &net.value(net.input()).name;
    let mut layers = Layers::on(
        Builder::new(&net.name, input, net.image_shape())?,
        Activation::Relu,
        0,
    );
    let image = layers.input();
    let seen = front(&mut layers, image)?;
    let logits = net.graft(layers.builder(), seen)?;
    let mut out = layers.finish(logits)?;
    out.metadata = net.metadata.clone();
    out.metadata
        .insert(format!("fgmf.{key}"), settings.to_string());
    Ok(out)
}
