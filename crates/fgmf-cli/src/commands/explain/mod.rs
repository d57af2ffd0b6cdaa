//! `fgmf explain`.

mod block;
mod command;
mod images;
mod written;

pub(crate) use command::run;
