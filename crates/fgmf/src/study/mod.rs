//! Studies: attacks and metrics over a data set, in a fixed order, with state that survives a kill.

pub(crate) mod adversarial;
pub(crate) mod compare;
pub(crate) mod entry;
pub(crate) mod evaluation;
pub(crate) mod evaluation_state;
pub(crate) mod suite;
pub(crate) mod suite_state;
pub(crate) mod suite_verdict;
pub(crate) mod suites;

pub use adversarial::read_adversarial;
pub use entry::{Entry, SuiteJob};
pub use evaluation::{Evaluation, EvaluationInput, EvaluationJob, evaluate, evaluate_maps};
pub use suite::{SuiteOutcome, curve, run_suite, run_suite_until};
pub use suite_state::remove as remove_state;
pub use suites::{ATTACKS, SUITES, lone, suite, transfer};
