//! Overcooked: two cooks in a kitchen, 26 planes, no chance.

pub(crate) mod cook;
pub(crate) mod environment;
pub(crate) mod kitchen;

pub use cook::Dynamics;
pub use environment::Overcooked;
