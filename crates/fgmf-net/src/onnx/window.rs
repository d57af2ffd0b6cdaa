//! From nodes to operators: convolution, pooling, resizing.

use super::attributes::{Attributes, two};
use super::site::{Made, Site};
use crate::graph::op::{
    AveragePool, Conv, ConvTranspose, GlobalAveragePool, MaxPool, Op, Resize, Window, resolve_axis,
};
use crate::graph::{Dim, ValueId};
use fgmf_kernels::{Coordinates, NearestRounding, Pool2d, ResizeMode};

/// Rows and columns of a value.
fn spatial(site: &Site<'_, '_>, id: ValueId, what: &str) -> Result<[usize; 2], String> {
    match site.scope.dims(id).as_slice() {
        [_, _, Dim::Fixed(h), Dim::Fixed(w)] => Ok([*h, *w]),
        other => Err(format!(
            "expected {what} with two spatial axes (only 2-D operators are supported), found {}",
            shown(other)
        )),
    }
}

fn shown(dims: &[Dim]) -> String {
    let list: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("shape [{}]", list.join(", "))
}

/// Window size, step, spacing.
struct Geometry {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

impl Geometry {
    fn read(a: Attributes<'_>, kernel: [usize; 2]) -> Result<Self, String> {
        Ok(Self {
            kernel,
            stride: a.pair("strides", [1, 1])?,
            dilation: a.pair("dilations", [1, 1])?,
        })
    }

    /// Cells that the window spans along an axis.
    fn span(&self, i: usize) -> Result<usize, String> {
        let reach = self.kernel[i]
            .checked_sub(1)
            .and_then(|k| k.checked_mul(self.dilation[i]))
            .and_then(|r| r.checked_add(1));
        reach.filter(|&r| r < 1 << 40).ok_or_else(|| {
            format!(
                "expected a sensible window, found {:?} spaced {:?}",
                self.kernel, self.dilation
            )
        })
    }

    /// Pads as given, or so that the output has ⌈size / stride⌉ cells.
    fn pads(&self, a: Attributes<'_>, size: [usize; 2]) -> Result<[usize; 4], String> {
        let upper = match a.string_or("auto_pad", "NOTSET")? {
            "NOTSET" => return explicit(a),
            "VALID" => return Ok([0; 4]),
            "SAME_UPPER" => true,
            "SAME_LOWER" => false,
            other => return Err(unknown_pad(other)),
        };
        let mut total = [0; 2];
        for i in 0..2 {
            let steps = size[i].div_ceil(self.stride[i].max(1)) - 1;
            total[i] = (steps * self.stride[i] + self.span(i)?).saturating_sub(size[i]);
        }
        Ok(divided(total, upper))
    }
}

/// Total padding on both sides; an odd cell goes to the far end if `upper`.
fn divided(total: [usize; 2], upper: bool) -> [usize; 4] {
    let near = total.map(|t| if upper { t / 2 } else { t.div_ceil(2) });
    [near[0], near[1], total[0] - near[0], total[1] - near[1]]
}

fn unknown_pad(found: &str) -> String {
    format!(
        "expected attribute `auto_pad` to be NOTSET, VALID, SAME_UPPER or SAME_LOWER, \
            found `{found}`"
    )
}

fn explicit(a: Attributes<'_>) -> Result<[usize; 4], String> {
    match a.ints("pads")? {
        None => Ok([0; 4]),
        Some(list) if list.len() == 4 => {
            let ([t, l], [b, r]) = (two("pads", &list[..2])?, two("pads", &list[2..])?);
            Ok([t, l, b, r])
        }
        Some(list) => Err(format!(
            "expected 4 entries in `pads` (only 2-D operators are supported), found {}",
            list.len()
        )),
    }
}

fn group(a: Attributes<'_>) -> Result<usize, String> {
    let group = a.int_or("group", 1)?;
    usize::try_from(group)
        .map_err(|_| format!("expected a positive attribute `group`, found {group}"))
}

/// Window of a convolution, from its weight; the attribute must agree.
fn weight_geometry(site: &Site<'_, '_>, weight: ValueId) -> Result<Geometry, String> {
    let kernel = spatial(site, weight, "a weight")?;
    let stated = site.attributes.pair("kernel_shape", kernel)?;
    if stated != kernel {
        return Err(format!(
            "expected attribute `kernel_shape` to be {kernel:?} as the weight has it, \
                found {stated:?}"
        ));
    }
    Geometry::read(site.attributes, kernel)
}

pub(super) fn conv(site: &mut Site<'_, '_>) -> Made {
    let inputs = site.operands()?;
    let (&x, &w) = inputs
        .first()
        .zip(inputs.get(1))
        .ok_or("expected an input and a weight")?;
    let size = spatial(site, x, "an input")?;
    let g = weight_geometry(site, w)?;
    let pads = g.pads(site.attributes, size)?;
    Ok((
        Op::Conv(Conv {
            stride: g.stride,
            pads,
            dilation: g.dilation,
            groups: group(site.attributes)?,
        }),
        inputs,
    ))
}

pub(super) fn conv_transpose(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    let inputs = site.operands()?;
    let (&x, &w) = inputs
        .first()
        .zip(inputs.get(1))
        .ok_or("expected an input and a weight")?;
    let size = spatial(site, x, "an input")?;
    let g = weight_geometry(site, w)?;
    let output_padding = a.pair("output_padding", [0, 0])?;
    let auto = a.string_or("auto_pad", "NOTSET")?;
    let same = matches!(auto, "SAME_UPPER" | "SAME_LOWER");
    if !same && !matches!(auto, "NOTSET" | "VALID") {
        return Err(unknown_pad(auto));
    }
    let wanted = match a.ints("output_shape")? {
        Some(list) => Some(two("output_shape", &list[list.len().saturating_sub(2)..])?),
        None if same => {
            let times = |i: usize| {
                size[i]
                    .checked_mul(g.stride[i])
                    .ok_or("expected a sensible stride")
            };
            Some([times(0)?, times(1)?])
        }
        None => None,
    };
    let pads = match wanted {
        None if auto == "VALID" => [0; 4],
        None => explicit(a)?,
        Some(out) => {
            let total = |i: usize| -> Option<usize> {
                let full = (size[i] - 1)
                    .checked_mul(g.stride[i])?
                    .checked_add(g.span(i).ok()?)?
                    .checked_add(output_padding[i])?;
                full.checked_sub(out[i])
            };
            let total = total(0).zip(total(1)).ok_or_else(|| {
                format!("expected an output that padding can reach, found {out:?}")
            })?;
            divided([total.0, total.1], auto == "SAME_UPPER")
        }
    };
    let conv = Conv {
        stride: g.stride,
        pads,
        dilation: g.dilation,
        groups: group(a)?,
    };
    Ok((
        Op::ConvTranspose(ConvTranspose {
            conv,
            output_padding,
        }),
        inputs,
    ))
}

pub(super) fn pool(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    let x = site.operand(0)?;
    let size = spatial(site, x, "an input")?;
    let operator = site.node.op_type.as_str();
    if operator == "GlobalAveragePool" {
        return Ok((Op::GlobalAveragePool(GlobalAveragePool), vec![x]));
    }
    let kernel = a
        .ints("kernel_shape")?
        .ok_or("expected attribute `kernel_shape`, found none")?;
    let g = Geometry::read(a, two("kernel_shape", &kernel)?)?;
    let mut window = Window {
        kernel: g.kernel,
        stride: g.stride,
        pads: g.pads(a, size)?,
        dilation: g.dilation,
        ceil: a.flag("ceil_mode", false)?,
    };
    window.ceil = rounds_up(&window, size);
    if operator == "MaxPool" {
        a.require("storage_order", 0)?;
        return Ok((Op::MaxPool(MaxPool(window)), vec![x]));
    }
    let count_include_pad = a.flag("count_include_pad", false)?;
    Ok((
        Op::AveragePool(AveragePool {
            window,
            count_include_pad,
        }),
        vec![x],
    ))
}

/// Whether rounding the output size up makes a difference. Where it makes none it is left out,
/// because tools disagree about a last window that lies in the padding.
pub(super) fn rounds_up(window: &Window, [h, w]: [usize; 2]) -> bool {
    let &Window {
        kernel,
        stride,
        pads,
        dilation,
        ..
    } = window;
    let out = |ceil| {
        Pool2d {
            planes: 1,
            h,
            w,
            kernel,
            stride,
            pad: pads,
            dilation,
            ceil,
        }
        .out_size()
    };
    window.ceil && out(true) != out(false)
}

pub(super) fn resize(site: &mut Site<'_, '_>) -> Made {
    let a = site.attributes;
    let x = site.operand(0)?;
    let input = spatial(site, x, "an input")?;
    a.require("antialias", 0)?;
    match a.string_or("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => {}
        other => {
            return Err(format!(
                "expected attribute `keep_aspect_ratio_policy` to be `stretch`, found `{other}`"
            ));
        }
    }
    let (mode, coordinates) = (resize_mode(a)?, coordinates(a)?);
    let axes = match a.ints("axes")? {
        None => vec![0, 1, 2, 3],
        Some(axes) => axes
            .iter()
            .map(|&a| resolve_axis(a, 4))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let entry = |n: usize| -> Result<(), String> {
        let fits = n == axes.len();
        fits.then_some(())
            .ok_or_else(|| format!("expected {} scales or sizes, found {n}", axes.len()))
    };
    let shapes = site.shapes(x);
    let (mut scale, mut size) = ([1.0; 2], input);
    if let Some(sizes) = site.sizes(3)?.filter(|s| !s.is_empty()) {
        entry(sizes.len())?;
        for (&axis, s) in axes.iter().zip(&sizes) {
            match (axis, usize::try_from(s[0]), usize::try_from(s[1])) {
                (2 | 3, Ok(a), Ok(b)) if a == b => size[axis - 2] = a,
                (_, Ok(a), Ok(b)) if [a, b] == [shapes[0][axis], shapes[1][axis]] => {}
                _ => {
                    return Err(format!(
                        "expected fixed sizes that change only the two spatial axes, \
                            found {sizes:?}"
                    ));
                }
            }
        }
        scale = ratio(size, input);
    } else {
        let scales = site
            .floats(2)?
            .filter(|s| !s.is_empty())
            .ok_or("expected scales or sizes, found none")?;
        entry(scales.len())?;
        for (&axis, &s) in axes.iter().zip(&scales) {
            match axis {
                2 | 3 => {
                    (scale[axis - 2], size[axis - 2]) = (f64::from(s), scaled(input[axis - 2], s))
                }
                _ if s.to_bits() != 1f32.to_bits() => {
                    return Err(format!(
                        "expected scales that change only the two spatial axes, found {scales:?}"
                    ));
                }
                _ => {}
            }
        }
    }
    Ok((
        Op::Resize(Resize {
            size,
            scale,
            mode,
            coordinates,
        }),
        vec![x],
    ))
}

/// Output size of a scaled axis, in single precision as runtimes compute it.
pub(super) fn scaled(size: usize, scale: f32) -> usize {
    (size as f32 * scale).floor() as usize
}

/// Scales that sizes stand for, in single precision as runtimes compute them.
pub(super) fn ratio(out: [usize; 2], input: [usize; 2]) -> [f64; 2] {
    [0, 1].map(|i| f64::from(out[i] as f32 / input[i] as f32))
}

fn resize_mode(a: Attributes<'_>) -> Result<ResizeMode, String> {
    let rounding = match a.string_or("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => NearestRounding::RoundPreferFloor,
        "round_prefer_ceil" => NearestRounding::RoundPreferCeil,
        "floor" => NearestRounding::Floor,
        "ceil" => NearestRounding::Ceil,
        other => {
            return Err(format!(
                "expected a known attribute `nearest_mode`, found `{other}`"
            ));
        }
    };
    match a.string_or("mode", "nearest")? {
        "nearest" => Ok(ResizeMode::Nearest(rounding)),
        "linear" => Ok(ResizeMode::Linear),
        "cubic" => {
            a.require("exclude_outside", 0)?;
            let coefficient = a.float_or("cubic_coeff_a", -0.75)?;
            (coefficient.to_bits() == (-0.75_f64).to_bits())
                .then_some(ResizeMode::Cubic)
                .ok_or_else(|| {
                    format!("expected attribute `cubic_coeff_a` to be -0.75, found {coefficient}")
                })
        }
        other => Err(format!(
            "expected attribute `mode` to be `nearest`, `linear` or `cubic`, found `{other}`"
        )),
    }
}

fn coordinates(a: Attributes<'_>) -> Result<Coordinates, String> {
    match a.string_or("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Ok(Coordinates::HalfPixel),
        "pytorch_half_pixel" => Ok(Coordinates::PytorchHalfPixel),
        "align_corners" => Ok(Coordinates::AlignCorners),
        "asymmetric" => Ok(Coordinates::Asymmetric),
        other => Err(format!(
            "expected attribute `coordinate_transformation_mode` to be half_pixel, \
                pytorch_half_pixel, align_corners or asymmetric, found `{other}`"
        )),
    }
}
