//! Architectures that can be trained from scratch. Every network starts with its normalisation, so
//! images come in `[0, 1]`.

mod build;
mod cnn;
mod config;
mod layers;
mod resnet;
mod vit;

pub use build::build;
pub use config::{Activation, Architecture, ZooConfig};
pub use layers::{Layers, Square};
