//! What metrics share.

pub(crate) mod checked;
pub(crate) mod curve;
pub(crate) mod fill;
pub(crate) mod impute;
pub(crate) mod info;
pub(crate) mod likeness;
pub(crate) mod noise;
pub(crate) mod randomise;
pub(crate) mod stages;
pub(crate) mod subsets;

pub use curve::CurveParams;
pub use fill::Fill;
pub use info::{Direction, Family, Figure, Info, Need};
pub use noise::NoiseParams;
pub use subsets::Reading;
