//! Explanations: which pixels speak for a class. A small trait for each method, and one entry that
//! checks what goes in and what comes out.
//!
//! | id | method | values | cost of one image, f forward and b backward passes |
//! | --- | --- | --- | --- |
//! | `saliency` | [`Saliency`] | `[0, 1]` | 1 f, 1 b |
//! | `gradient-x-input` | [`GradientXInput`] | signed | 1 f, 1 b |
//! | `guided-backprop` | [`GuidedBackprop`] | signed | 1 f, 1 b |
//! | `integrated-gradients` | [`IntegratedGradients`] | signed | `steps` (f + b), 1 f |
//! | `gradient-shap` | [`GradientShap`] | signed | `samples` (f + b), 1 f |
//! | `deep-lift` | [`DeepLift`] | signed | 1 f, 1 b |
//! | `deep-shap` | [`DeepShap`] | signed | references (f + b) |
//! | `lrp-epsilon`, `lrp-alpha-beta` | [`Lrp`] | signed | 1 f, 1 b |
//! | `grad-cam`, `grad-cam-pp`, `layer-cam` | [`grad_cam()`], [`grad_cam_pp()`], [`layer_cam()`] | `[0, 1]` | 1 f, 1 b |
//! | `score-cam` | [`ScoreCam`] | `[0, 1]` | 1 f, 1 b, channels f |
//! | `occlusion` | [`Occlusion`] | signed | 1 f, windows f |
//! | `rise` | [`Rise`] | `[0, 1]` | `masks` f |
//! | `kernel-shap` | [`KernelShap`] | signed | `samples` f |
//! | `attention-rollout`, `transformer-attribution` | [`AttentionRollout`], [`TransformerAttribution`] | `[0, 1]` | 1 f, 1 b |
//! | `pgca` | [`Pgca`] | `[0, 1]` | 1 f, 1 b, cells · fills f |
//! | `smooth-grad`, `square-grad`, `var-grad` | [`NoiseTunnel`] around any of them | as inside; `[0, 1]` | `samples` times the inner method |
//! | `contrast` | [`Contrast`] around any of them | as inside | as inside |

mod attention;
mod attention_rollout;
mod background;
mod cam;
mod consensus;
mod contrast;
mod deep_lift;
mod deep_shap;
mod grad_cam;
mod grad_cam_pp;
mod gradient_shap;
mod gradient_x_input;
mod guided_backprop;
mod integrated_gradients;
mod kernel_shap;
mod layer;
mod layer_cam;
mod lrp;
mod map;
mod memory;
mod noise_tunnel;
mod occlusion;
mod perturbation;
mod pgca;
mod pgca_params;
mod quadrature;
mod rise;
mod saliency;
mod score_cam;
#[cfg(test)]
mod toy;
mod transformer_attribution;

use crate::error::{Error, Result};
use crate::oracle::Gradients;
use crate::record::MapRecord;
use fgmf_net::head::Logit;
use fgmf_net::{Precision, Rules, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::Range;

pub use attention_rollout::{AttentionRollout, AttentionRolloutParams};
pub use cam::{CamParams, ClassActivationMap};
pub use consensus::{Fusion, Scale};
pub use contrast::{Contrast, ContrastParams};
pub use deep_lift::{DeepLift, DeepLiftParams};
pub use deep_shap::{DeepShap, DeepShapParams};
pub use grad_cam::grad_cam;
pub use grad_cam_pp::grad_cam_pp;
pub use gradient_shap::{GradientShap, GradientShapParams};
pub use gradient_x_input::{GradientXInput, GradientXInputParams};
pub use guided_backprop::{GuidedBackprop, GuidedBackpropParams};
pub use integrated_gradients::{IntegratedGradients, IntegratedGradientsParams};
pub use kernel_shap::{KernelShap, KernelShapParams};
pub use layer::{LayerKind, TargetLayer, choose_layer, named_layer};
pub use layer_cam::layer_cam;
pub use lrp::{Lrp, LrpAlphaBetaParams, LrpEpsilonParams};
pub(crate) use map::upsample;
pub use memory::Calls;
pub use noise_tunnel::{Moment, NoiseTunnel, NoiseTunnelParams};
pub use occlusion::{Occlusion, OcclusionParams};
pub use perturbation::Score;
pub use pgca::{Pgca, PgcaParts};
pub use pgca_params::PgcaParams;
pub use rise::{Rise, RiseParams};
pub use saliency::{Saliency, SaliencyParams};
pub use score_cam::{ScoreCam, ScoreCamParams};
pub use transformer_attribution::{TransformerAttribution, TransformerAttributionParams};

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
    /// First less second part of the method, if it has two, each on its common scale: 1 x h x w, −1
    /// to 1, or −2 to 2 where both have signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<MapRecord>,
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
    /// Position of the first image in its data set; images count on from it. Names the random
    /// streams.
    pub first_index: u64,
    /// Most images in one model call, 1 or more. Bounds memory and changes no result.
    pub cap: usize,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            seed: 0,
            first_index: 0,
            cap: 256,
        }
    }
}

/// A method that explains. Implement this; call [`explain`].
pub trait Explainer: Sync {
    /// Id in kebab case.
    fn id(&self) -> &'static str;

    /// Every setting, for the record.
    fn parameters(&self) -> serde_json::Value;

    /// One attribution an image; `x [n, c, h, w]` and the `n` targets have been checked.
    fn attribute(
        &self,
        model: &dyn Gradients,
        x: &Tensor,
        targets: &[usize],
        context: &Context,
    ) -> Result<Vec<Attribution>>;
}

/// Ids of all methods, for [`by_id`].
pub const IDS: [&str; 23] = [
    "saliency",
    "gradient-x-input",
    "guided-backprop",
    "integrated-gradients",
    "gradient-shap",
    "deep-lift",
    "deep-shap",
    "lrp-epsilon",
    "lrp-alpha-beta",
    "grad-cam",
    "grad-cam-pp",
    "layer-cam",
    "score-cam",
    "occlusion",
    "rise",
    "kernel-shap",
    "attention-rollout",
    "transformer-attribution",
    "pgca",
    "smooth-grad",
    "square-grad",
    "var-grad",
    "contrast",
];

/// The method of that id, with default parameters.
pub fn by_id(id: &str) -> Option<Box<dyn Explainer>> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The method of that id with these parameters, by name as in [`Explainer::parameters`]; what is
/// left out has its default.
///
/// An error names an unknown method, an unknown parameter, or one out of range.
pub fn with_parameters(id: &str, parameters: serde_json::Value) -> Result<Box<dyn Explainer>> {
    let tunnel = |moment| {
        let default = NoiseTunnelParams {
            moment,
            ..NoiseTunnelParams::default()
        };
        read_over(&default, parameters.clone())?.check()
    };
    Ok(match id {
        "saliency" => Box::new(read::<SaliencyParams>(parameters)?.check()?),
        "gradient-x-input" => Box::new(read::<GradientXInputParams>(parameters)?.check()?),
        "guided-backprop" => Box::new(read::<GuidedBackpropParams>(parameters)?.check()?),
        "integrated-gradients" => Box::new(read::<IntegratedGradientsParams>(parameters)?.check()?),
        "gradient-shap" => Box::new(read::<GradientShapParams>(parameters)?.check()?),
        "deep-lift" => Box::new(read::<DeepLiftParams>(parameters)?.check()?),
        "deep-shap" => Box::new(read::<DeepShapParams>(parameters)?.check()?),
        "lrp-epsilon" => Box::new(read::<LrpEpsilonParams>(parameters)?.check()?),
        "lrp-alpha-beta" => Box::new(read::<LrpAlphaBetaParams>(parameters)?.check()?),
        "grad-cam" => Box::new(grad_cam(read(parameters)?)?),
        "grad-cam-pp" => Box::new(grad_cam_pp(read(parameters)?)?),
        "layer-cam" => Box::new(layer_cam(read(parameters)?)?),
        "score-cam" => Box::new(read::<ScoreCamParams>(parameters)?.check()?),
        "occlusion" => Box::new(read::<OcclusionParams>(parameters)?.check()?),
        "rise" => Box::new(read::<RiseParams>(parameters)?.check()?),
        "kernel-shap" => Box::new(read::<KernelShapParams>(parameters)?.check()?),
        "attention-rollout" => Box::new(read::<AttentionRolloutParams>(parameters)?.check()?),
        "transformer-attribution" => {
            Box::new(read::<TransformerAttributionParams>(parameters)?.check()?)
        }
        "pgca" => Box::new(read::<PgcaParams>(parameters)?.check()?),
        "smooth-grad" => Box::new(tunnel(Moment::Mean)?),
        "square-grad" => Box::new(tunnel(Moment::Square)?),
        "var-grad" => Box::new(tunnel(Moment::Variance)?),
        "contrast" => Box::new(read::<ContrastParams>(parameters)?.check()?),
        _ => return Err(Error::parameter("method", IDS.join(", "), id)),
    })
}

/// Ids of the methods that explain a grey image of the model: the others need something that it
/// does not have (attention, a layer, an operator with a rule). Found by trying each, with at most
/// `cap` images in a model call.
pub fn applicable(model: &dyn Gradients, cap: usize) -> Vec<&'static str> {
    let ([c, h, w], precision) = (
        model.image_shape(),
        model.network().precision().unwrap_or(Precision::F32),
    );
    let x = Tensor::full(&[1, c, h, w], 0.5, precision);
    let context = Context {
        cap,
        ..Context::default()
    };
    let explains = |e: Box<dyn Explainer>| explain(e.as_ref(), model, &x, &[0], &context).is_ok();
    IDS.into_iter()
        .filter(|id| by_id(id).is_some_and(explains))
        .collect()
}

/// Settings from JSON; an error names what is wrong.
pub(crate) fn read<P: DeserializeOwned>(parameters: serde_json::Value) -> Result<P> {
    let shown = parameters.to_string();
    if !parameters.is_object() {
        return Err(Error::parameter(
            "parameters",
            "an object of settings by name",
            shown,
        ));
    }
    serde_json::from_value(parameters).map_err(|e| {
        Error::parameter(
            "parameters",
            format!("the settings of the method by name ({e})"),
            shown,
        )
    })
}

/// [`read`], where what is left out is as in `base`.
pub(crate) fn read_over<P: Serialize + DeserializeOwned>(
    base: &P,
    given: serde_json::Value,
) -> Result<P> {
    let mut all = serde_json::json!(base);
    match (all.as_object_mut(), given) {
        (Some(fields), serde_json::Value::Object(given)) => fields.extend(given),
        (_, given) => {
            return Err(Error::parameter(
                "parameters",
                "an object of settings by name",
                given,
            ));
        }
    }
    read(all)
}

/// The method inside a wrapper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inner {
    /// Its id.
    pub id: String,
    /// Its parameters; those left out have their default.
    #[serde(default = "no_parameters")]
    pub parameters: serde_json::Value,
}

fn no_parameters() -> serde_json::Value {
    serde_json::json!({})
}

impl Inner {
    fn explainer(&self) -> Result<Box<dyn Explainer>> {
        with_parameters(&self.id, self.parameters.clone())
    }
}

/// Explains each image of `x [n, c, h, w]` for its class.
///
/// Checks shapes, targets, precision and that pixels are finite; hands the method at most
/// [`Context::cap`] images at a time; checks that one finite map of the image's size came back for
/// each.
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
        let part = Context {
            first_index: context.first_index.wrapping_add(call.start as u64),
            ..*context
        };
        let found = explainer.attribute(
            model,
            &x.rows(call.start, call.len()),
            &targets[call.clone()],
            &part,
        )?;
        if found.len() != call.len() {
            return Err(Error::mismatch(
                "explain",
                format!("{} maps from {}", call.len(), explainer.id()),
                found.len(),
            ));
        }
        out.extend(found);
    }
    let [_, h, w] = model.image_shape();
    for map in out.iter().map(|a| &a.values) {
        if [map.channels, map.height, map.width, map.values.len()] != [1, h, w, h * w] {
            let found = format!("{}x{}x{}", map.channels, map.height, map.width);
            return Err(Error::mismatch(
                "explain",
                format!("maps of 1x{h}x{w} from {}", explainer.id()),
                found,
            ));
        }
        if let Some(v) = map.values.iter().find(|v| !v.is_finite()) {
            return Err(Error::mismatch(
                "explain",
                format!("finite maps from {}", explainer.id()),
                v,
            ));
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
        let expected =
            format!("one target an image, at least one, and images of shape [{n}, {c}, {h}, {w}]");
        return Err(Error::mismatch(
            "explain",
            expected,
            format!("{n} targets and images of shape {:?}", x.shape()),
        ));
    }
    if let Some(y) = targets.iter().find(|&&y| y >= model.classes()) {
        return Err(Error::mismatch(
            "explain",
            format!("targets below {}", model.classes()),
            y,
        ));
    }
    if model
        .network()
        .precision()
        .is_some_and(|p| p != x.precision())
    {
        return Err(Error::mismatch(
            "explain",
            "images in the precision of the network",
            format!("{:?}", x.precision()),
        ));
    }
    if !x.is_finite() {
        return Err(Error::mismatch(
            "explain",
            "finite pixels",
            "NaN or an infinite value",
        ));
    }
    Ok(())
}

/// `0..count` in pieces of at most `cap`.
fn calls(count: usize, cap: usize) -> impl Iterator<Item = Range<usize>> {
    let cap = cap.max(1);
    (0..count)
        .step_by(cap)
        .map(move |start| start..(start + cap).min(count))
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
    MapRecord {
        channels: 1,
        height,
        width,
        values: values.iter().map(|&v| v as f32).collect(),
    }
}

/// An attribution without layer, agreement, gap or remark.
fn plain(
    method: &'static str,
    target: usize,
    size: [usize; 2],
    values: &[f64],
    signed: bool,
) -> Attribution {
    Attribution {
        values: map_record(size, values),
        target,
        method,
        signed,
        completeness_gap: None,
        layer: None,
        agreement: None,
        disagreement: None,
        note: None,
        withheld: None,
    }
}

/// Gradient of the target logit in each image, or what backward rules make of it.
fn input_gradients(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    rules: &Rules,
) -> Result<Vec<Vec<f64>>> {
    let head = Logit::new(targets);
    let g = if rules.is_exact() {
        model.loss_gradient(x, &head)?.gradient
    } else {
        model
            .features(x, &head, &[model.network().input()], rules)?
            .gradients
            .swap_remove(0)
    };
    Ok(g.to_f64()
        .chunks_exact((g.len() / targets.len()).max(1))
        .map(<[f64]>::to_vec)
        .collect())
}

/// Target logit of each image.
fn target_logits(
    model: &dyn Gradients,
    x: &Tensor,
    targets: &[usize],
    cap: usize,
) -> Result<Vec<f64>> {
    let k = model.classes();
    let mut out = Vec::with_capacity(targets.len());
    for call in calls(targets.len(), cap) {
        let logits = model.logits(&x.rows(call.start, call.len()))?.to_f64();
        out.extend(
            targets[call]
                .iter()
                .enumerate()
                .map(|(i, &y)| logits[i * k + y]),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
