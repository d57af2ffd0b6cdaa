//! `fgmf agents`: one file a command.

mod attack;
mod evaluate;
mod explain;
mod list;
mod policy;
mod route;
mod table;
mod train;

pub(crate) use route::run;
