//! The report of an audit for three readers: operator, regulator, engineer.

mod annex;
mod clauses;
#[cfg(test)]
pub(crate) mod fixture;
mod operator;
mod page;
mod regulator;

pub use page::render_audit;
