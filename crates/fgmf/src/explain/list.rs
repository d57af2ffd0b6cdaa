//! The list of explainers: ids, and how each is made from its settings.

use crate::error::{Error, Result};
use crate::explain::attention_rollout::AttentionRolloutParams;
use crate::explain::base::{Context, Explainer};
use crate::explain::contrast::ContrastParams;
use crate::explain::deep_lift::DeepLiftParams;
use crate::explain::deep_shap::DeepShapParams;
use crate::explain::grad_cam::grad_cam;
use crate::explain::grad_cam_pp::grad_cam_pp;
use crate::explain::gradient_shap::GradientShapParams;
use crate::explain::gradient_x_input::GradientXInputParams;
use crate::explain::guided_backprop::GuidedBackpropParams;
use crate::explain::integrated_gradients::IntegratedGradientsParams;
use crate::explain::kernel_shap::KernelShapParams;
use crate::explain::layer_cam::layer_cam;
use crate::explain::lrp::{LrpAlphaBetaParams, LrpEpsilonParams};
use crate::explain::noise_tunnel::{Moment, NoiseTunnelParams};
use crate::explain::occlusion::OcclusionParams;
use crate::explain::pgca::params::PgcaParams;
use crate::explain::rise::RiseParams;
use crate::explain::saliency::SaliencyParams;
use crate::explain::score_cam::ScoreCamParams;
use crate::explain::sealed::explain;
use crate::explain::transformer_attribution::TransformerAttributionParams;
use crate::model::access::Gradients;
use crate::settings::{read, read_over};
use fgmf_net::{Precision, Tensor};

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
