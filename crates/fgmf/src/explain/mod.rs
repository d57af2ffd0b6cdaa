//! Explanations: which pixels speak for a class. A small trait for each method, and one entry that
//! checks what goes in and what comes out.
//! Each method says on its page in `docs/methods/` what its values mean and what an image costs.

pub(crate) mod attention_rollout;
pub(crate) mod base;
pub(crate) mod contrast;
pub(crate) mod deep_lift;
pub(crate) mod deep_shap;
#[cfg(test)]
mod dummy;
pub(crate) mod grad_cam;
pub(crate) mod grad_cam_pp;
pub(crate) mod gradient_shap;
pub(crate) mod gradient_x_input;
pub(crate) mod guided_backprop;
pub(crate) mod integrated_gradients;
pub(crate) mod kernel_shap;
pub(crate) mod layer_cam;
pub(crate) mod list;
pub(crate) mod lrp;
pub(crate) mod noise_tunnel;
pub(crate) mod occlusion;
pub(crate) mod parts;
pub(crate) mod pgca;
pub(crate) mod rise;
pub(crate) mod saliency;
pub(crate) mod score_cam;
pub(crate) mod sealed;
pub(crate) mod served_form;
pub(crate) mod sgam;
pub(crate) mod subject;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
pub(crate) mod transformer_attribution;

pub use attention_rollout::{AttentionRollout, AttentionRolloutParams};
pub use base::{Attribution, Context, Explainer, Inner, Make, image_names};
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
pub use layer_cam::layer_cam;
pub use list::{applicable, by_id, ids, make, with_parameters};
pub use lrp::{Lrp, LrpAlphaBetaParams, LrpEpsilonParams};
pub use noise_tunnel::{Moment, NoiseTunnel, NoiseTunnelParams};
pub use occlusion::{Occlusion, OcclusionParams};
pub use parts::{
    Calls, CamParams, ClassActivationMap, LayerKind, Score, TargetLayer, Work, choose_layer,
    named_layer,
};
pub use pgca::{Fusion, MapWeights, Pgca, PgcaParams, PgcaParts, Scale};
pub use rise::{Rise, RiseParams};
pub use saliency::{Saliency, SaliencyParams};
pub use score_cam::{ScoreCam, ScoreCamParams};
pub use sealed::explain;
pub use served_form::{MapSign, ServedForm, ServedFormParams};
pub use sgam::{
    MAP, MAP_DOUBT, MAP_KEY, SgamExplainer, SgamExplainerParams, SgamMapParams, with_map,
};
pub use subject::{Output, Subject};
pub use transformer_attribution::{TransformerAttribution, TransformerAttributionParams};
