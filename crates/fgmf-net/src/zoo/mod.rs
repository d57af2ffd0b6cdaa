//! Architectures that can be trained from scratch. Every network starts with its normalisation, so
//! images come in `[0, 1]`.

mod cnn;
mod layers;
mod resnet;
mod vit;

use crate::error::{Error, Result};
use crate::network::Network;
use serde::{Deserialize, Serialize};

pub use layers::{Layers, Square};

/// Names of the networks this crate can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// conv 4x4/2 16, conv 4x4/2 32, dense 100 (Wong et al. 2020's MNIST network).
    CnnTiny,
    /// conv 3x3 32, 32, pool, 64, 64, pool, dense 200.
    CnnSmall,
    /// Pre-activation ResNet-18 for small images (He et al. 2016).
    PreactResnet18,
    /// Wide ResNet 28-10 (Zagoruyko & Komodakis 2016).
    #[serde(rename = "wrn-28-10")]
    Wrn28x10,
    /// Vision transformer: patches of 4, width 192, 6 blocks, 3 heads, mean over tokens.
    VitTiny,
    /// Hybrid: three 3x3 convolutions down to a quarter of the size, then 4 attention blocks of
    /// width 128, 4 heads.
    ConvvitTiny,
}

impl Architecture {
    /// All, in the order of this list.
    pub const ALL: [Self; 6] = [
        Self::CnnTiny,
        Self::CnnSmall,
        Self::PreactResnet18,
        Self::Wrn28x10,
        Self::VitTiny,
        Self::ConvvitTiny,
    ];

    /// Name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::CnnTiny => "cnn-tiny",
            Self::CnnSmall => "cnn-small",
            Self::PreactResnet18 => "preact-resnet18",
            Self::Wrn28x10 => "wrn-28-10",
            Self::VitTiny => "vit-tiny",
            Self::ConvvitTiny => "convvit-tiny",
        }
    }

    /// The architecture of that name.
    pub fn parse(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| Error::call("architecture", format!("one of {}", known()), name))
    }
}

/// Nonlinearity of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(0, x).
    #[default]
    Relu,
    /// x Φ(x).
    Gelu,
    /// ln(1 + eˣ).
    Softplus,
}

/// What to build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooConfig {
    /// Which network.
    pub architecture: Architecture,
    /// Nonlinearity (attention blocks use GELU unless softplus is asked for).
    #[serde(default)]
    pub activation: Activation,
    /// Image shape `[c, h, w]`.
    pub image: [usize; 3],
    /// Number of classes, 2 or more.
    pub classes: usize,
    /// Mean of each channel, subtracted first.
    pub mean: Vec<f64>,
    /// Deviation of each channel, positive, divided by next.
    pub deviation: Vec<f64>,
    /// Seed of the initial weights.
    pub seed: u64,
}

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
            vit::Size {
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
            vit::Size {
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
