//! Frontier Gradient-Masking Framework: harden, attack, explain and audit image classifiers.
//!
//! The rooms, in the order data flows through them:
//!
//! - [`data`] reads images; [`threat`] says what an attacker may do to them;
//! - [`input`] finds what a model expects of its images, and puts it in front of the model;
//! - [`model`] is a network as an attack or explainer may see it, counted;
//! - [`attack`] breaks what can be broken, [`explain`] shows why a model answers as it does,
//!   [`metric`] scores the maps with the figures of [`measure`], [`verdict`] names masking;
//! - [`certify`] proves answers against patches;
//! - [`defend`] rewrites networks (SGAM), [`train`] fits them (standard, PGD-AT, SCOR-PIO 2.0);
//! - [`agent`] trains, attacks and explains teams of agents;
//! - [`study`] runs suites and evaluations over data sets;
//! - [`remote`] asks models that answer at an address, and keeps their answers;
//! - [`attest`] makes statements about files that others can check: digests, signatures;
//! - [`store`] writes files that survive a kill;
//! - [`record`] is the plain data that comes out; the crate `fgmf-report` draws it.
//!
//! `docs/architecture.md` draws the rooms and the edges that are allowed between them.

pub mod agent;
pub mod attack;
pub mod attest;
pub mod certify;
pub mod data;
pub mod defend;
mod error;
pub mod explain;
pub(crate) mod image;
pub mod input;
pub mod measure;
mod method;
pub mod metric;
pub mod model;
pub mod registry;
pub mod remote;
pub mod rng;
pub(crate) mod settings;
pub mod store;
pub mod study;
pub mod threat;
pub mod train;
pub mod verdict;

pub use error::{Error, Result};
pub use fgmf_record::{self as record, hash};
