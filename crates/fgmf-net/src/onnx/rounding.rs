//! Quantising and dequantising values that depend on the image.

use super::quantised::{CENTRED, TO, check_scales, range, zeros_for};
use super::site::{Made, Site};
use crate::graph::Dim;
use crate::graph::op::{Binary, Op, Unary, resolve_axis};

/// The node on values that depend on the image.
pub(super) fn quantised(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    a.require("block_size", 0)?;
    let x = site.operand(0)?;
    let scales = site.floats(1)?.ok_or("expected a scale, found none")?;
    check_scales(&scales)?;
    let zeros = zeros_for(&scales, site.ints(2)?.as_deref())?;
    // One number, or one along an axis.
    let dims = site.scope.dims(x);
    let shape = match scales.len() {
        1 => vec![1],
        n => {
            let axis = resolve_axis(a.int_or("axis", 1)?, dims.len())?;
            if dims[axis] != Dim::Fixed(n) {
                let found = dims[axis];
                return Err(format!(
                    "expected {n} numbers along axis {axis}, found {found}"
                ));
            }
            let behind = vec![1; dims.len() - axis - 1];
            [&[n][..], &behind].concat()
        }
    };
    let away = !a.flag(CENTRED, false)? && zeros.iter().any(|&z| z != 0);
    let zero_points = zeros.iter().map(|&z| z as f32).collect();
    if site.node.op_type == "DequantizeLinear" {
        let mut q = x;
        if away {
            let zero = site.stored("zero", &shape, zero_points)?;
            q = site.binary(Binary::Sub, q, zero)?;
        }
        let scale = site.stored("scale", &shape, scales)?;
        return Ok((Op::Binary(Binary::Mul), vec![q, scale]));
    }
    let [low, high] = range(a.int_or(TO, 0)?)?;
    let zero = zeros[0];
    if zeros.iter().any(|&z| z != zero) {
        return Err(format!(
            "expected one zero point for all channels, found {zeros:?}"
        ));
    }
    let (x, scale) = match scales.as_slice() {
        [scale] => (x, f64::from(*scale)),
        _ => {
            let scale = site.stored("scale", &shape, scales)?;
            (site.binary(Binary::Div, x, scale)?, 1.0)
        }
    };
    let rounded = Unary::Quantize {
        scale,
        min: (low - zero) as f64,
        max: (high - zero) as f64,
    };
    if !away {
        return Ok((Op::Unary(rounded), vec![x]));
    }
    let q = site.part("centred", Op::Unary(rounded), &[x])?;
    let zero = site.stored("zero", &[1], vec![zero as f32])?;
    Ok((Op::Binary(Binary::Add), vec![q, zero]))
}
