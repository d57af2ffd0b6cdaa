//! `fgmf explain`.

mod block;
mod calibrated;
mod command;
mod gallery;
mod remote;
mod written;

pub(crate) use command::run;
