//! SGAM as an explainer: the part of a network that draws its maps, and the method that reads them.

pub(crate) mod branch;
pub(crate) mod method;

pub use branch::{MAP, MAP_DOUBT, MAP_KEY, SgamMapParams, with_map};
pub use method::{SgamExplainer, SgamExplainerParams};
