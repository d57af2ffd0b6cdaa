//! One file a command.

mod address;
mod agents;
mod amortise;
mod attack;
mod attack_remote;
mod attack_served;
mod attack_table;
mod attacked;
mod audit;
mod audit_files;
mod audit_table;
mod calibrate;
mod certify;
mod certify_ball;
mod chosen;
mod class;
mod demo;
mod dispatch;
mod evaluate;
mod explain;
mod harden;
mod images;
mod info;
mod limit;
mod memory;
mod model;
mod predict;
mod shared;
mod sign;
mod train;
mod verify;

pub(crate) use dispatch::run;
pub(crate) use model::GUARDED;
