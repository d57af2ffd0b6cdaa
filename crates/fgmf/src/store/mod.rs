//! Files that survive a kill.

pub(crate) mod atomic;
