//! What an explainer is, and what it hands back.

use crate::error::Result;
use crate::explain::parts::map::area_means;
use crate::method::Method;
use crate::model::access::Gradients;
use crate::model::transform::content;
use crate::record::MapRecord;
use crate::rng::{Purpose, Stream};
use fgmf_net::Tensor;
use serde::{Deserialize, Serialize};

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
    /// |Σ values − (f(x) − f(baseline))| relative to |f(x) − f(baseline)|, for methods that promise
    /// 0.
    pub completeness_gap: Option<f64>,
    /// Name of the value of the graph that was looked at, if one was.
    pub layer: Option<String>,
    /// Why that value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_reason: Option<&'static str>,
    /// Agreement of the parts of the method, if it has parts: Spearman, −1 to 1, or R², 1 or less,
    /// where the method says so.
    pub agreement: Option<f64>,
    /// First less second part of the method, if it has two, each on its common scale: 1 x h x w, −1
    /// to 1, or −2 to 2 where both have signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<MapRecord>,
    /// What a reader should know although the map can be shown.
    pub note: Option<String>,
    /// Why the map is withheld from operators; `None` when it is not.
    pub withheld: Option<String>,
}

impl Attribution {
    /// Means of the map over cells of equal area.
    pub(crate) fn cells(&self, to: [usize; 2]) -> Vec<f64> {
        let map = &self.values;
        let values: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        area_means(&values, [map.height, map.width], to)
    }

    /// Whether the map is the same everywhere: it points at nothing.
    pub fn is_empty(&self) -> bool {
        let values = &self.values.values;
        values.iter().all(|v| v.total_cmp(&values[0]).is_eq())
    }
}

/// What an explanation depends on besides model, images and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// Seed of random draws.
    pub seed: u64,
    /// Names of the images, one an image, by which their random draws are told apart. Where none
    /// are given, an image is named by its pixels, so that its map does not depend on its place
    /// among others. Given, they let a changed image have the draws of the one it was made of.
    pub names: Option<&'a [u64]>,
    /// Most images in one model call, 1 or more. Bounds memory and changes no result.
    pub cap: usize,
}

impl Default for Context<'_> {
    fn default() -> Self {
        Self {
            seed: 0,
            names: None,
            cap: 256,
        }
    }
}

impl Context<'_> {
    /// The same, with draws of its own for each round: how a method asks another one several times.
    pub(crate) fn redrawn(&self, round: u64) -> Self {
        let mut stream = Stream::new(self.seed, Purpose::Explanation, round, u64::MAX);
        Self {
            seed: stream.below(u64::MAX),
            ..*self
        }
    }

    /// The names of the images `x`.
    pub(crate) fn names_of(&self, x: &Tensor) -> Vec<u64> {
        self.names.map_or_else(|| image_names(x), <[u64]>::to_vec)
    }
}

/// A number for each image of `x [n, …]` that depends on its pixels alone: for
/// [`Context::names`].
pub fn image_names(x: &Tensor) -> Vec<u64> {
    let size = x.shape().iter().skip(1).product::<usize>().max(1);
    x.to_f32().chunks_exact(size).map(content).collect()
}

/// A method that explains. Implement this; call [`explain`](crate::explain::explain).
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
        context: &Context<'_>,
    ) -> Result<Vec<Attribution>>;
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

/// Makes the explainer inside a wrapper. The list hands this to what wraps, so that no explainer
/// knows the list.
pub type Make = dyn Fn(&Inner) -> Result<Box<dyn Explainer>>;

/// Makes an explainer from its settings.
pub(crate) type ExplainerBuild = fn(serde_json::Value, &Make) -> Result<Box<dyn Explainer>>;

/// An explainer's entry in the list.
pub(crate) type ExplainerMethod = Method<ExplainerBuild>;
