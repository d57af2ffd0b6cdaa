//! JPEG-like compression (Dziugaite et al. 2016; Guo et al. 2018): the coefficients of 8x8 cosine
//! transforms are divided by a table and rounded. Planted: between the jumps the derivative is 0.
//!
//! c = D (255 x − 128) for each 8x8 block, D the orthonormal DCT-II; c' = q round(c / q); x' =
//! clip((Dᵀ c' + 128) / 255, 0, 1). q is the luminance table of ISO 10918-1 annex K scaled as
//! libjpeg does: s = 5000 / Q below Q = 50, else 200 − 2 Q, and qᵢ = clamp(⌊(s tᵢ + 50) / 100⌋, 1,
//! 255). The transforms are convolutions of the graph; images are `[n, c, h, w]` in `[0, 1]`.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `quality` | 50 | Q in 1 to 100 |
//!
//! Goes around it: [`super::bypass_rules`], rounding and clip taken for the identity, after which D
//! and Dᵀ cancel; and [`super::SoftRounding`], which spends the radius on the coefficients near a
//! jump and none on what is rounded away again.
//!
//! Differences from JPEG: (1) each channel is treated as luminance, without a change of colour
//! space or subsampling; (2) images whose sides are no multiples of 8 are padded with mid-grey, not
//! by repeating the edge; (3) no entropy coding, which loses nothing. Reference: `guo2018`.

use crate::defend::base::{Defence, DefenceMethod};
use crate::defend::parts::{BYPASSED_CLIP, in_front};
use crate::error::{Error, Result};
use crate::settings::read;
use fgmf_net::op::{Binary, Conv, ConvTranspose, Op, Pad, Slice, SliceAxis, Unary};
use fgmf_net::zoo::Layers;
use fgmf_net::{Network, ValueId};
use serde::{Deserialize, Serialize};

pub(crate) const METHODS: &[DefenceMethod] = &[DefenceMethod {
    id: "jpeg",
    line: "Compresses the image as JPEG does.",
    revision: 1,
    reference: "guo2018",
    example: r#"{"quality": 30}"#,
    build: |settings| {
        Ok(Defence::rewrite(
            read::<JpegParams>(settings)?,
            |net, params, _| with_jpeg(net, params),
        ))
    },
}];

/// Annex K of ISO 10918-1, table K.1, by rows.
const LUMINANCE: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// Settings of [`with_jpeg`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JpegParams {
    /// Quality as libjpeg counts it.
    pub quality: u32,
}

impl Default for JpegParams {
    fn default() -> Self {
        Self { quality: 50 }
    }
}

/// Quantisation steps by frequency, row by row.
fn table(quality: u32) -> Vec<f64> {
    let scale = if quality < 50 {
        5000 / quality
    } else {
        200 - 2 * quality
    };
    LUMINANCE
        .iter()
        .map(|t| f64::from(((scale * t + 50) / 100).clamp(1, 255)))
        .collect()
}

/// Orthonormal DCT-II basis: 64 images of 8x8, in the order of [`table`].
fn basis() -> Vec<f64> {
    let wave = |u: usize, i: usize| {
        let scale = if u == 0 { (1.0f64 / 8.0).sqrt() } else { 0.5 };
        scale * ((2 * i + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
    };
    let pixel = |k: usize| (0..64).map(move |p| wave(k / 8, p / 8) * wave(k % 8, p % 8));
    (0..64).flat_map(pixel).collect()
}

/// The network behind the compression.
pub fn with_jpeg(net: &Network, params: &JpegParams) -> Result<Network> {
    if !(1..=100).contains(&params.quality) {
        return Err(Error::parameter("quality", "1 to 100", params.quality));
    }
    let [c, h, w] = net.image_shape();
    in_front(net, ("jpeg", serde_json::json!(params)), |l, image| {
        compress(l, image, [c, h, w], params.quality)
    })
}

fn compress(
    l: &mut Layers,
    image: ValueId,
    [c, h, w]: [usize; 3],
    quality: u32,
) -> Result<ValueId> {
    let up = l.constant("jpeg.up", &[1], &[255.0])?;
    let down = l.constant("jpeg.down", &[1], &[1.0 / 255.0])?;
    let middle = l.constant("jpeg.middle", &[1], &[128.0])?;
    let filters = l.constant("jpeg.basis", &[64 * c, 1, 8, 8], &basis().repeat(c))?;
    let steps = table(quality).repeat(c);
    let divide = l.constant(
        "jpeg.divide",
        &[1, 64 * c, 1, 1],
        &steps.iter().map(|q| 1.0 / q).collect::<Vec<_>>(),
    )?;
    let multiply = l.constant("jpeg.multiply", &[1, 64 * c, 1, 1], &steps)?;
    let mul = |l: &mut Layers, name: &str, x, by| l.node(name, Op::Binary(Binary::Mul), &[x, by]);
    let x = mul(l, "jpeg.scaled", image, up)?;
    let x = l.node("jpeg.centred", Op::Binary(Binary::Sub), &[x, middle])?;
    let missing = |side: usize| (0, (side.next_multiple_of(8) - side) as i64);
    let pads = vec![(0, 0), (0, 0), missing(h), missing(w)];
    let x = l.node("jpeg.padded", Op::Pad(Pad { pads, value: 0.0 }), &[x])?;
    let conv = Conv {
        stride: [8, 8],
        groups: c,
        ..Conv::default()
    };
    let x = l.node("jpeg.coefficients", Op::Conv(conv.clone()), &[x, filters])?;
    let x = mul(l, "jpeg.divided", x, divide)?;
    let x = l.node("jpeg.rounded", Op::Unary(Unary::Round), &[x])?;
    let x = mul(l, "jpeg.quantised", x, multiply)?;
    let x = l.node(
        "jpeg.blocks",
        Op::ConvTranspose(ConvTranspose {
            conv,
            output_padding: [0, 0],
        }),
        &[x, filters],
    )?;
    let axis = |axis, count| SliceAxis {
        axis,
        start: 0,
        step: 1,
        count,
    };
    let x = l.node(
        "jpeg.cropped",
        Op::Slice(Slice {
            axes: vec![axis(2, h), axis(3, w)],
        }),
        &[x],
    )?;
    let x = l.node("jpeg.uncentred", Op::Binary(Binary::Add), &[x, middle])?;
    let x = mul(l, "jpeg.unscaled", x, down)?;
    Ok(l.node(
        &format!("jpeg{BYPASSED_CLIP}"),
        Op::Unary(Unary::Clip { min: 0.0, max: 1.0 }),
        &[x],
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defend::knowledge::bypass_rules;
    use crate::defend::knowledge::tests::{base, images};
    use crate::model::access::Gradients;
    use crate::model::oracle::Oracle;
    use fgmf_net::Session;
    use fgmf_net::head::Logit;

    #[test]
    fn the_basis_is_orthonormal() {
        let b = basis();
        for (i, p) in b.chunks_exact(64).enumerate() {
            for (j, q) in b.chunks_exact(64).enumerate() {
                let dot: f64 = p.iter().zip(q).map(|(a, b)| a * b).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
        assert_eq!(table(50), LUMINANCE.map(f64::from));
        assert!(table(100).iter().all(|q| (q - 1.0).abs() < 1e-12));
    }

    /// Against the definition, block by block in `f64`.
    #[test]
    fn compression_follows_the_formula() {
        let (net, x) = (base(), images(2));
        let quality = 60;
        let defended = Session::new(with_jpeg(&net, &JpegParams { quality }).unwrap());
        let seen = defended
            .values_at(&x, &[defended.find("jpeg.bypass-clip").unwrap()])
            .unwrap()[0]
            .to_f64();
        let (b, q, x) = (basis(), table(quality), x.to_f64());
        for n in 0..2 {
            for (top, left) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
                let at = |p: usize| (top + p / 8, left + p % 8);
                let pixel = |p: usize| match at(p) {
                    (r, c) if r < 12 && c < 12 => 255.0 * x[n * 144 + r * 12 + c] - 128.0,
                    _ => 0.0,
                };
                let mut out = [128.0; 64];
                for k in 0..64 {
                    let c: f64 = (0..64).map(|p| b[k * 64 + p] * pixel(p)).sum();
                    let kept = (c / q[k]).round_ties_even() * q[k];
                    (0..64).for_each(|p| out[p] += kept * b[k * 64 + p]);
                }
                for (p, v) in out.iter().enumerate() {
                    let (r, c) = at(p);
                    if r < 12 && c < 12 {
                        assert!(
                            (seen[n * 144 + r * 12 + c] - (v / 255.0).clamp(0.0, 1.0)).abs() < 1e-5
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_bypass_is_the_gradient_at_the_compressed_image() {
        let (net, x) = (base(), images(2));
        let defended = Session::new(with_jpeg(&net, &JpegParams::default()).unwrap());
        let head = Logit::new(&[0, 1]);
        let plain = Oracle::new(&defended)
            .loss_gradient(&x, &head)
            .unwrap()
            .gradient
            .to_f32();
        assert!(plain.iter().all(|g| *g == 0.0));
        let seen = defended
            .values_at(&x, &[defended.find("jpeg.bypass-clip").unwrap()])
            .unwrap()
            .swap_remove(0);
        let around = Oracle::with_rules(&defended, bypass_rules(&defended).unwrap())
            .loss_gradient(&x, &head)
            .unwrap()
            .gradient
            .to_f32();
        let own = Oracle::new(&net)
            .loss_gradient(&seen, &head)
            .unwrap()
            .gradient
            .to_f32();
        assert!(
            around.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-4)
                && own.iter().any(|g| *g != 0.0)
        );
        assert!(with_jpeg(&net, &JpegParams { quality: 0 }).is_err());
    }
}
