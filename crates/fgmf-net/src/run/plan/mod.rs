//! Plans: a network compiled for speed.
//!
//! A [`Plan`] computes in `f32` what the graph walk computes, for one purpose: these values, these
//! gradients. Nodes become steps. Batch normalisation is folded into convolutions, additions and
//! rectifiers into what precedes them. Feature maps stay in the blocked layout of the kernels.
//! Weights are packed once, gradients that nobody asked for are left out, and buffers are used
//! again. What no step covers runs as the node itself. Of images that differ inside one window only
//! what it reaches is computed (`window`). Results agree with the walk within 1e-4. They are the
//! same bytes for any number of threads: a batch is cut into chunks by a rule that looks at the
//! network alone.

mod attention;
mod blocked;
mod cache;
mod compile;
mod compiled;
mod conv;
mod dense;
mod generic;
mod last;
mod memory;
mod norm;
mod packed;
mod places;
mod rows;
mod run;
mod slopes;
mod step;
mod surroundings;
mod view;
mod window;

pub(crate) use cache::Cache;
pub(crate) use compiled::Plan;
pub(crate) use memory::Arenas;
pub(crate) use surroundings::Kept;
