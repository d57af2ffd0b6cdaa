//! Vectors of sixteen `f32` on three instruction sets, chosen at run time.
//!
//! A kernel is a struct that implements [`Kernel`], generic over [`Vector`]. [`run`] picks the
//! instruction set; [`Vector::isolated`] compiles a piece of a kernel as a function of its own,
//! which keeps register tiles in registers. Sixteen lanes on every machine: one 512-bit register,
//! two of 256 bits, or an array that the compiler maps to what the target has (four NEON registers
//! on aarch64).
#![allow(
    unsafe_code,
    reason = "vector instructions and unchecked addressing live in this crate and nowhere else"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod portable;
mod vector;

pub use isa::instruction_set;
#[cfg(test)]
pub(crate) use isa::{Isa, on_each};
pub(crate) use isa::{arch, run};
pub(crate) use vector::{Kernel, LANES, Vector};
