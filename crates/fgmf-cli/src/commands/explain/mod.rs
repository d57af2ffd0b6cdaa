//! `fgmf explain`.

mod block;
mod command;
mod written;

pub(crate) use command::run;
