//! Explanations: which pixels speak for a class. A small trait for each method, and one entry that checks what goes in and
//! what comes out.
//!
//! | id | method | sign | cost of one image |
//! | --- | --- | --- | --- |
//! | `integrated-gradients` | [`IntegratedGradients`] | signed | `steps` forward and backward, 1 forward |
//! | `grad-cam-pp` | [`GradCamPp`] | `[0, 1]` | 1 forward and backward |
//! | `pgca` | [`Pgca`] | `[0, 1]` | 1 forward and backward, cells · fills forward |

mod consensus;
mod grad_cam_pp;
mod integrated_gradients;
mod layer;
mod map;
mod perturbation;
mod pgca;
mod pgca_params;
mod quadrature;
#[cfg(test)]
mod toy;

use crate::error::{Error, Result};
use crate::oracle::Gradients;
use crate::record::MapRecord;
use fgmf_net::Tensor;
use serde::Serialize;
use std::ops::Range;

pub use grad_cam_pp::{GradCamPp, GradCamPpParams};
pub use integrated_gradients::{IntegratedGradients, IntegratedGradientsParams};
pub use layer::{LayerKind, TargetLayer, choose_layer, named_layer};
pub use perturbation::Score;
pub use pgca::{Pgca, PgcaParts};
pub use pgca_params::PgcaParams;

/// Explanation of one image for one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribution {
    /// 1 x h x w, the size of the image; channels are summed.
    pub values: MapRecord,
    /// The class explained.
    pub target: usize,
    /// [`Explainer::id`].
    pub method: &'static str,
    /// Whether values below zero speak against the class; if not, values lie in `[0, 1]`.
    pub signed: bool,
    /// |Σ values − (f(x) − f(baseline))| relative to |f(x) − f(baseline)|, for methods that promise 0.
    pub completeness_gap: Option<f64>,
    /// Name of the value of the graph that was looked at, if one was.
    pub layer: Option<String>,
    /// Agreement of the parts of the method (Spearman, −1 to 1), if it has parts.
    pub agreement: Option<f64>,
    /// What a reader should know although the map can be shown.
    pub note: Option<String>,
    /// Why an operator should not be shown the map; `None` when it can be shown.
    pub withheld: Option<String>,
}

/// What an explanation depends on besides model, images and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Seed of random fills.
    pub seed: u64,
    /// Position of the first image in its data set; images count on from it. Names the random streams.
    pub first_index: u64,
    /// Most images in one model call, 1 or more. Bounds memory and changes no result.
    pub cap: usize,
}

impl Default for Context {
    fn default() -> Self {
        Self { seed: 0, first_index: 0, cap: 256 }
    }
}

/// A method that explains. Implement this; call [`explain`].
pub trait Explainer: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// One attribution an image; `x [n, c, h, w]` and the `n` targets have been checked.
    fn attribute(&self, model: &dyn Gradients, x: &Tensor, targets: &[usize], context: &Context) -> Result<Vec<Attribution>>;
}

/// Ids of all methods, for [`by_id`].
pub const IDS: [&str; 3] = ["integrated-gradients", "grad-cam-pp", "pgca"];

/// The method of that id, with default parameters.
pub fn by_id(id: &str) -> Option<Box<dyn Explainer>> {
    match id {
        "integrated-gradients" => Some(Box::new(IntegratedGradientsParams::default().check().ok()?)),
        "grad-cam-pp" => Some(Box::new(GradCamPpParams::default().check().ok()?)),
        "pgca" => Some(Box::new(PgcaParams::default().check().ok()?)),
        _ => None,
    }
}

/// Explains each image of `x [n, c, h, w]` for its class.
///
/// Checks shapes, targets, precision and that pixels are finite; hands the method at most [`Context::cap`] images at a time;
/// checks that one finite map of the image's size came back for each.
pub fn explain(
    explainer: &dyn Explainer,
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    context: &Context,
) -> Result<Vec<Attribution>> {
    check(model, x, targets, context)?;
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), context.cap) {
        let part = Context { first_index: context.first_index.wrapping_add(call.start as u64), ..*context };
        let found = explainer.attribute(model, &x.rows(call.start, call.len()), &targets[call.clone()], &part)?;
        if found.len() != call.len() {
            return Err(Error::mismatch("explain", format!("{} maps from {}", call.len(), explainer.id()), found.len()));
        }
        out.extend(found);
    }
    let [_, h, w] = model.image_shape();
    for map in out.iter().map(|a| &a.values) {
        if [map.channels, map.height, map.width, map.values.len()] != [1, h, w, h * w] {
            let found = format!("{}x{}x{}", map.channels, map.height, map.width);
            return Err(Error::mismatch("explain", format!("maps of 1x{h}x{w} from {}", explainer.id()), found));
        }
        if let Some(v) = map.values.iter().find(|v| !v.is_finite()) {
            return Err(Error::mismatch("explain", format!("finite maps from {}", explainer.id()), v));
        }
    }
    Ok(out)
}

fn check(model: &dyn Gradients, x: &Tensor, targets: &[usize], context: &Context) -> Result<()> {
    let ([c, h, w], n) = (model.image_shape(), targets.len());
    if context.cap == 0 {
        return Err(Error::parameter("cap", "1 or more", 0));
    }
    if n == 0 || x.shape() != [n, c, h, w] {
        let expected = format!("one target an image, at least one, and images of shape [{n}, {c}, {h}, {w}]");
        return Err(Error::mismatch("explain", expected, format!("{n} targets and images of shape {:?}", x.shape())));
    }
    if let Some(y) = targets.iter().find(|&&y| y >= model.classes()) {
        return Err(Error::mismatch("explain", format!("targets below {}", model.classes()), y));
    }
    if model.network().precision().is_some_and(|p| p != x.precision()) {
        return Err(Error::mismatch("explain", "images in the precision of the network", format!("{:?}", x.precision())));
    }
    if !x.is_finite() {
        return Err(Error::mismatch("explain", "finite pixels", "NaN or an infinite value"));
    }
    Ok(())
}

/// `0..count` in pieces of at most `cap`.
fn calls(count: usize, cap: usize) -> impl Iterator<Item = Range<usize>> {
    let cap = cap.max(1);
    (0..count).step_by(cap).map(move |start| start..(start + cap).min(count))
}

/// A batch of images of the shape and precision of `like`, from values in `f64`.
fn images(like: &Tensor, values: Vec<f64>) -> Tensor {
    let [_, c, h, w] = four(like);
    Tensor::new(&[values.len() / (c * h * w).max(1), c, h, w], values).cast(like.precision())
}

/// Sizes of `x [n, c, h, w]`.
fn four(x: &Tensor) -> [usize; 4] {
    let at = |i: usize| x.shape().get(i).copied().unwrap_or(1);
    [at(0), at(1), at(2), at(3)]
}

fn map_record([height, width]: [usize; 2], values: &[f64]) -> MapRecord {
    MapRecord { channels: 1, height, width, values: values.iter().map(|&v| v as f32).collect() }
}

#[cfg(test)]
mod tests;
