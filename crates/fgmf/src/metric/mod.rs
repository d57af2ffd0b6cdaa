//! Metrics of explanations that question the model: a small trait for each.
//!
//! [`infos`] lists them with family, figures, direction, range, needs and reference;
//! `docs/metrics.md` is that list. Pure figures of maps are in [`crate::measure`], runs over
//! explainers and inputs in [`crate::study`].

pub(crate) mod attacked_stability;
pub(crate) mod base;
pub(crate) mod certified_top_k;
pub(crate) mod criteria;
pub(crate) mod deletion;
#[cfg(test)]
mod dummy;
pub(crate) mod efficient_mprt;
pub(crate) mod entropy;
pub(crate) mod faithfulness_correlation;
pub(crate) mod infidelity;
pub(crate) mod insertion;
pub(crate) mod lerf_morf;
pub(crate) mod list;
pub(crate) mod map_shift;
pub(crate) mod max_sensitivity;
pub(crate) mod mosaic;
pub(crate) mod mprt;
pub(crate) mod parts;
pub(crate) mod relative_stability;
pub(crate) mod road;
pub(crate) mod sensitivity_n;
pub(crate) mod smooth_mprt;
pub(crate) mod sparseness;
pub(crate) mod sufficiency;
#[cfg(test)]
mod tests;

pub use attacked_stability::{AttackedStability, AttackedStabilityParams};
pub use base::{Metric, MetricValues};
pub use certified_top_k::{CertifiedTopK, CertifiedTopKParams};
pub use criteria::{Criteria, CriteriaParams};
pub use deletion::Deletion;
pub use efficient_mprt::{EfficientMprt, EfficientMprtParams};
pub use entropy::Entropy;
pub use faithfulness_correlation::{FaithfulnessCorrelation, FaithfulnessCorrelationParams};
pub use infidelity::{Infidelity, InfidelityParams};
pub use insertion::Insertion;
pub use lerf_morf::LerfMinusMorf;
pub use list::{by_id, ids, infos, table, with_parameters};
pub use max_sensitivity::MaxSensitivity;
pub use mosaic::{Mosaic, MosaicParams};
pub use mprt::{Mprt, MprtParams};
pub use parts::{CurveParams, Direction, Family, Figure, Fill, Info, Need, NoiseParams, Reading};
pub use relative_stability::RelativeStability;
pub use road::{Road, RoadParams};
pub use sensitivity_n::{SensitivityN, SensitivityNParams};
pub use smooth_mprt::{SmoothMprt, SmoothMprtParams};
pub use sparseness::Sparseness;
pub use sufficiency::{Sufficiency, SufficiencyParams};
