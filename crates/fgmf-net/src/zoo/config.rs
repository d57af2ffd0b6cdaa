//! What can be built.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

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
