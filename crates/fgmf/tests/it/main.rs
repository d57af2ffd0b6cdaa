//! Integration tests of the library.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails should fail the test"
)]

mod amortising;
mod attacks;
mod autoattack;
mod certify;
mod explain_parity;
mod fuzz;
mod hardening;
mod hidden;
mod layering;
mod leakage;
mod minimum_norm;
mod objectives;
mod pictures;
mod planted;
mod quantus;
mod registry;
mod streaming;
mod tokens;
mod training;
