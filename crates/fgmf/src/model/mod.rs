//! Models as attacks and explainers see them: what may be asked, counted, served at random,
//! averaged.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod averaged;
pub(crate) mod counted;
pub(crate) mod error_rate;
pub(crate) mod expected;
pub(crate) mod guided;
pub(crate) mod oracle;
pub(crate) mod outcome;
pub(crate) mod served;
pub(crate) mod served_maps;
pub(crate) mod transform;

pub use crate::record::Passes;
pub use access::{
    Curvature, FeatureGradient, Gradients, LossGradient, Scores, ShownAnswer, ShownMaps, Variants,
};
pub(crate) use answer::argmax;
pub use answer::{misclassified, predictions, softmax, undecided};
pub use averaged::{Averaged, Smoothed};
pub use counted::Counted;
pub use error_rate::{breaks, error_rate};
pub use expected::Expected;
pub use guided::{Guide, Guided};
pub use oracle::Oracle;
pub use outcome::Outcome;
pub use served::Served;
pub use served_maps::{MapsBeside, ServedMaps};
pub use transform::Transform;
