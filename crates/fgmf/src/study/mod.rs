//! Studies: attacks and metrics over a data set, in a fixed order, with state that survives a kill.

pub(crate) mod adversarial;
pub(crate) mod amortised;
pub(crate) mod audit;
pub(crate) mod black_box;
pub(crate) mod blocks;
pub(crate) mod bracket;
pub(crate) mod breach;
pub(crate) mod calibrate;
pub(crate) mod cases;
pub(crate) mod certify;
pub(crate) mod compare;
pub(crate) mod curve;
pub(crate) mod demo_models;
pub(crate) mod entry;
pub(crate) mod evaluation;
pub(crate) mod evaluation_state;
pub(crate) mod found;
pub(crate) mod guides;
pub(crate) mod judged;
pub(crate) mod leakage;
pub(crate) mod leakage_figures;
pub(crate) mod marks;
pub(crate) mod mask_map;
pub(crate) mod report_model;
pub(crate) mod suite;
pub(crate) mod suite_state;
pub(crate) mod suite_verdict;
pub(crate) mod suites;

pub use adversarial::{AdversarialFile, AdversarialOrigin, read_adversarial, write_adversarial};
pub use amortised::{AmortisedError, amortised_error};
pub use audit::{
    AUDIT, AuditJob, BUNDLE, ExplanationPolicy, POLICY, Policy, STATEMENT, VerifiedRow,
    compare_audits, read_audit, remove_audit_state, run_audit, verify_checks, verify_files,
    verify_images, verify_searches,
};
pub use black_box::{RemoteJob, RemoteOutcome, black_box_suite, run_remote_suite};
pub use bracket::{BallProofs, bracket, bracket_pictures, prove_balls};
pub use breach::Breach;
pub use calibrate::{calibration_pairs, check_calibration, promise, promise_sentence, withhold};
pub use cases::{CASE_IMAGES, case_settings, explain_models};
pub use certify::{CertifyJob, CertifyOutcome, certify};
pub use curve::{Curve, curve, remove_curve_state};
pub use demo_models::plans;
pub use entry::{Entry, SuiteJob};
pub use evaluation::{Evaluation, EvaluationInput, EvaluationJob, evaluate, evaluate_maps};
pub use found::FoundImages;
pub use judged::{ATTACK, RADII, judge_model, judge_settings};
pub use leakage::{
    GUIDED_ATTACKS, LeakageJob, LeakageOutcome, ServedKind, leakage, leakage_attacks,
};
pub use leakage_figures::{blind_rows, leakage_forms, whole_faithfulness};
pub use marks::map_facts;
pub use report_model::ReportModel;
pub use suite::{SuiteOutcome, run_suite, run_suite_until};
pub use suite_state::remove as remove_state;
pub use suites::{SUITES, lone, suite, transfer};
