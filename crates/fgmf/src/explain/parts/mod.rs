//! What explainers share.

pub(crate) mod ask;
pub(crate) mod attention;
pub(crate) mod background;
pub(crate) mod cam;
pub(crate) mod contribution;
pub(crate) mod layer;
pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod paths;
pub(crate) mod perturbation;
pub(crate) mod quadrature;
pub(crate) mod spread;

pub use cam::{CamParams, ClassActivationMap};
pub use layer::{LayerKind, TargetLayer, choose_layer, named_layer};
pub use memory::{Calls, Work};
pub use perturbation::Score;
