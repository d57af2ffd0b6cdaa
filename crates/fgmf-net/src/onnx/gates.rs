//! Activations that are products and sums of others.

use super::site::{Made, Site};
use crate::graph::op::{Binary, Op, Unary};

/// x σ(α x).
pub(super) fn swish(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let alpha = site.attributes.float_or("alpha", 1.0)?;
    let inner = if alpha.to_bits() == 1f64.to_bits() {
        x
    } else {
        let alpha = site.number("alpha", alpha)?;
        site.binary(Binary::Mul, x, alpha)?
    };
    let gate = site.unary(Unary::Sigmoid, inner)?;
    Ok((Op::Binary(Binary::Mul), vec![x, gate]))
}

/// x tanh(ln(1 + eˣ)).
pub(super) fn mish(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let soft = site.unary(Unary::Softplus, x)?;
    let gate = site.unary(Unary::Tanh, soft)?;
    Ok((Op::Binary(Binary::Mul), vec![x, gate]))
}

/// x / (1 + |x|).
pub(super) fn softsign(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let size = site.unary(Unary::Abs, x)?;
    let one = site.number("one", 1.0)?;
    let below = site.binary(Binary::Add, size, one)?;
    Ok((Op::Binary(Binary::Div), vec![x, below]))
}

/// γ ELU(x; α).
pub(super) fn selu(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    // In single precision, as a file has them.
    let alpha = site.attributes.float_or("alpha", 1.673_263_2)?;
    let gamma = site.attributes.float_or("gamma", 1.050_701)?;
    let inner = site.unary(Unary::Elu { alpha }, x)?;
    let gamma = site.number("gamma", gamma)?;
    Ok((Op::Binary(Binary::Mul), vec![inner, gamma]))
}

/// α ELU(x / α; 1).
pub(super) fn celu(site: &mut Site<'_, '_>) -> Made {
    let x = site.operand(0)?;
    let alpha = site.attributes.float_or("alpha", 1.0)?;
    let alpha = site.number("alpha", alpha)?;
    let inner = site.binary(Binary::Div, x, alpha)?;
    let inner = site.unary(Unary::Elu { alpha: 1.0 }, inner)?;
    Ok((Op::Binary(Binary::Mul), vec![inner, alpha]))
}
