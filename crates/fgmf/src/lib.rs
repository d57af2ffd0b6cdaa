//! Frontier Gradient-Masking Framework: harden, attack, explain and audit image classifiers.
//!
//! The parts, in the order data flows through them:
//!
//! - [`data`] reads images; [`threat`] says what an attacker may do to them;
//! - [`oracle`] is a network as an attack or explainer may see it, counted;
//! - [`attack`] breaks what can be broken, [`explain`] shows why a model answers as it does,
//!   [`evaluate`] scores the maps with the figures of [`metric`];
//! - [`defend`] rewrites networks (SGAM), [`train`] fits them (standard, PGD-AT, SCOR-PIO 2.0);
//! - [`record`] is the plain data that comes out; the crate `fgmf-report` draws it.
//!
//! `docs/architecture.md` draws the modules and the edges that are allowed between them.

pub mod attack;
pub mod data;
pub mod defend;
mod error;
pub mod evaluate;
pub mod explain;
pub mod metric;
pub mod oracle;
pub mod registry;
pub mod rng;
pub mod threat;
pub mod train;

pub use error::{Error, Result};
pub use fgmf_record::{self as record, hash};
