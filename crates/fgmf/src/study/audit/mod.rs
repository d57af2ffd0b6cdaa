//! Audits: what a policy asks for, measured on a model and its data, and kept as evidence.

pub(crate) mod answers;
pub(crate) mod checks;
pub(crate) mod comparison;
pub(crate) mod corruption;
pub(crate) mod coverage;
pub(crate) mod explanations;
pub(crate) mod figures;
pub(crate) mod job;
pub(crate) mod policy;
pub(crate) mod robustness;
pub(crate) mod run;
pub(crate) mod stages;
pub(crate) mod verify;

pub use comparison::compare_audits;
pub use job::{AUDIT, AuditJob, POLICY, remove_audit_state};
pub use policy::{ExplanationPolicy, Policy};
pub use run::run_audit;
pub use verify::{
    BUNDLE, STATEMENT, VerifiedRow, read_audit, verify_checks, verify_files, verify_images,
    verify_searches,
};
