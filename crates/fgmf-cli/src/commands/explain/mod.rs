//! `fgmf explain`.

mod block;
mod command;
mod images;

pub(crate) use command::run;
