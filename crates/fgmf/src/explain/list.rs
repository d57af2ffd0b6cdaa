//! The list of explainers: ids, and how each is made from its settings.

use crate::error::Result;
use crate::explain::base::{Context, Explainer, ExplainerBuild, Inner};
use crate::explain::sealed::explain;
use crate::method::{Family, List};
use crate::model::access::Gradients;
use fgmf_net::{Precision, Tensor};

/// All explainers; the build script writes the list.
pub(crate) static LIST: List<ExplainerBuild> = List::new(
    Family::Explainer,
    "method",
    include!(concat!(env!("OUT_DIR"), "/explain.rs")),
);

/// Ids of all methods, for [`by_id`].
pub fn ids() -> Vec<&'static str> {
    LIST.ids()
}

/// The method of that id, with default parameters.
pub fn by_id(id: &str) -> Option<Box<dyn Explainer>> {
    with_parameters(id, serde_json::json!({})).ok()
}

/// The method of that id with these parameters, by name as in [`Explainer::parameters`]; what is
/// left out has its default.
///
/// An error names an unknown method, an unknown parameter, or one out of range.
pub fn with_parameters(id: &str, parameters: serde_json::Value) -> Result<Box<dyn Explainer>> {
    (LIST.find(id)?.build)(parameters, &make)
}

/// The explainer that a wrapper names.
pub fn make(inner: &Inner) -> Result<Box<dyn Explainer>> {
    with_parameters(&inner.id, inner.parameters.clone())
}

/// Ids of the methods that explain a grey image of the model: the others need something that it
/// does not have (attention, a layer, an operator with a rule). Found by trying each, as `make`
/// makes it ([`by_id`] with settings), with at most `cap` images in a model call.
pub fn applicable(
    model: &dyn Gradients,
    cap: usize,
    make: &dyn Fn(&str) -> Result<Box<dyn Explainer>>,
) -> Vec<&'static str> {
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
    let mut able = ids();
    able.retain(|id| make(id).is_ok_and(explains));
    able
}
