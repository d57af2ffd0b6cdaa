//! `fgmf explain`.

mod block;
mod command;
mod gallery;
mod remote;
mod written;

pub(crate) use command::run;
