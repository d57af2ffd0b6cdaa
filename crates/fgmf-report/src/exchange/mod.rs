//! Files that other tools read, from the record of an audit alone.

mod bom;
mod card;
mod check;
mod junit;
mod metrics;

pub use bom::cyclonedx;
pub use card::model_card;
pub use check::check_script;
pub use junit::junit;
pub use metrics::open_metrics;
