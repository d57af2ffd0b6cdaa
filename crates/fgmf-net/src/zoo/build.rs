//! From a description to a network.

use super::config::{Architecture, ZooConfig};
use super::layers::Layers;
use super::{cnn, resnet, vit};
use crate::error::{Error, Result};
use crate::graph::Network;

/// Builds a network with fresh weights.
pub fn build(config: &ZooConfig) -> Result<Network> {
    let [c, h, w] = config.image;
    if config.mean.len() != c
        || config.deviation.len() != c
        || config.deviation.iter().any(|d| !d.is_finite() || *d <= 0.0)
    {
        let found = format!("{:?} and {:?}", config.mean, config.deviation);
        return Err(Error::call(
            "build network",
            format!("{c} means and {c} positive deviations"),
            found,
        ));
    }
    if config.classes < 2 || h < 8 || w < 8 {
        return Err(Error::call(
            "build network",
            "2 or more classes and images of 8x8 or more",
            format!("{} classes, {h}x{w}", config.classes),
        ));
    }
    let mut layers = Layers::new(
        config.architecture.name(),
        config.image,
        config.activation,
        config.seed,
    )?;
    let x = layers.normalise(&config.mean, &config.deviation)?;
    let z = match config.architecture {
        Architecture::CnnTiny => cnn::tiny(&mut layers, x, config.classes)?,
        Architecture::CnnSmall => cnn::small(&mut layers, x, config.classes)?,
        Architecture::PreactResnet18 => {
            resnet::preact(&mut layers, x, &[64, 128, 256, 512], 64, 2, config.classes)?
        }
        Architecture::Wrn28x10 => {
            resnet::preact(&mut layers, x, &[160, 320, 640], 16, 4, config.classes)?
        }
        Architecture::VitTiny => vit::plain(
            &mut layers,
            x,
            vit::Encoder {
                width: 192,
                heads: 3,
                depth: 6,
            },
            4,
            config.classes,
        )?,
        Architecture::ConvvitTiny => vit::hybrid(
            &mut layers,
            x,
            vit::Encoder {
                width: 128,
                heads: 4,
                depth: 4,
            },
            config.classes,
        )?,
    };
    let mut net = layers.finish(z)?;
    net.metadata.insert("fgmf.bounds".into(), "0,1".into());
    net.metadata.insert(
        "fgmf.architecture".into(),
        config.architecture.name().into(),
    );
    Ok(net)
}
