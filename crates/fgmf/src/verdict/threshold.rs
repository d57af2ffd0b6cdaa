//! Numbers from which something is a sign, each with its source.

/// Largest relative difference of two answers to one query that rounding explains (AutoAttack's
/// 10⁻⁴).
pub const RANDOM_GAP: f64 = 1e-4;

/// Share of examples, beyond what the reference broke, from which one search beats another
/// (AutoAttack's 0.2 points).
pub const WIN_SHARE: f64 = 0.002;

/// Least number of examples for that: one is an accident of a random start (ours).
pub const WIN_LEAST: usize = 2;

/// Share of examples whose gradient contradicts differences of the loss (ours; honest models show
/// none but at kinks).
pub const CONTRADICTED_SHARE: f64 = 0.1;

/// Share of standing examples whose search is unfinished (ours; what counts as unfinished is the 5%
/// of Pintor et al.).
pub const UNFINISHED_SHARE: f64 = 0.25;

/// Share of standing examples whose loss does not grow with the radius. The number of broken
/// examples alone is no evidence: at a radius too small for any it does not grow on an honest model
/// either (ours).
pub const STUCK_SHARE: f64 = 0.5;

/// Mean relative change of the margin under small random noise (Pintor et al.'s 10%).
pub const UNSTABLE_MEAN: f64 = 0.1;

/// Share of examples whose cross-entropy gradient is lost to rounding (ours).
pub const SATURATED_SHARE: f64 = 0.05;

/// Share of images that the probes break beyond a suite's attacks, from which the suite is too weak
/// for the model, and above which the gap of a search that beats the gradients is a proof (ours:
/// PGD-20 on honest networks leaves up to 2% that 50 steps break).
pub const MISSED_SHARE: f64 = 0.02;
