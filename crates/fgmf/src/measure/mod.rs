//! Measures of maps and samples: pure functions of slices of `f32` or `f64`, computed in `f64`.
//!
//! A pair of maps must have the same number of values, at least one, all finite; anything else is
//! an error.

pub(crate) mod bootstrap;
pub(crate) mod calibration;
pub(crate) mod checked;
pub(crate) mod complexity;
pub(crate) mod convex;
pub(crate) mod learn_then_test;
pub(crate) mod linear;
pub(crate) mod localisation;
pub(crate) mod logistic;
pub(crate) mod mcnemar;
pub(crate) mod paired;
pub(crate) mod probability;
pub(crate) mod similarity;
pub(crate) mod structure;
pub(crate) mod summary;
pub(crate) mod weighting;

pub use crate::record::{PairedTest, mean_interval};
pub use bootstrap::paired_ratio;
pub use calibration::{calibration, calibration_error, calibration_interval};
pub use complexity::{entropy, histogram_entropy, moran};
pub use convex::{COLUMNS, ConvexFit, MU, convex_least_squares, own_scale};
pub use learn_then_test::{RiskLevels, RiskThreshold, learn_then_test};
pub use localisation::{hit, mass, rank};
pub use logistic::{Logistic, logistic};
pub use mcnemar::mcnemar;
pub use paired::{holm, paired_t, wilcoxon};
pub use probability::{binomial_at_most, binomial_bounds, normal_cdf, normal_quantile, sign_test};
pub use similarity::{cosine, pearson, spearman, top_k_overlap};
pub use structure::{ssim, tolerant_top_k_overlap};
pub use summary::gini;
pub use weighting::entropy_weights;
