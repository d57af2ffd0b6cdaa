//! Erasing objects by the map of an explanation: what deletion to return is made of.

use crate::agent::account::contrast::object_maps;
use crate::agent::interfere::base::{Interference, TeamMoment};
use crate::error::{Error, Result};
use crate::model::Gradients;
use crate::rng::{Purpose, Stream};
use fgmf_net::Tensor;

/// Which objects go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureOrder {
    /// Those with the most evidence for the action.
    MostFirst,
    /// Those with the least.
    LeastFirst,
    /// Any: the control.
    Random,
}

impl ErasureOrder {
    /// As on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::MostFirst => "most relevant first",
            Self::LeastFirst => "least relevant first",
            Self::Random => "random order",
        }
    }
}

/// Erases a share of the objects of each view, rounded up.
pub struct EraseObjects<'m> {
    model: &'m dyn Gradients,
    order: ErasureOrder,
    share: f64,
}

impl<'m> EraseObjects<'m> {
    /// By the maps of this policy; `share` in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a share out of its range.
    pub fn new(model: &'m dyn Gradients, order: ErasureOrder, share: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::parameter("share", "0 to 1", share));
        }
        Ok(Self {
            model,
            order,
            share,
        })
    }
}

impl Interference for EraseObjects<'_> {
    fn id(&self) -> &'static str {
        "erase-objects"
    }

    fn parameters(&self) -> serde_json::Value {
        serde_json::json!({ "order": self.order.name(), "share": self.share })
    }

    fn views(&self, at: &TeamMoment<'_>) -> Result<Tensor> {
        let size = at.spec.size();
        let mut views = at.views.to_f32();
        let maps = object_maps(self.model, at.spec, at.raw, &views)?;
        for (row, map) in maps.iter().enumerate() {
            let n = map.objects.len();
            let mut order: Vec<usize> = (0..n).collect();
            match self.order {
                ErasureOrder::MostFirst => {
                    order.sort_by(|&a, &b| map.map[b].total_cmp(&map.map[a]));
                }
                ErasureOrder::LeastFirst => {
                    order.sort_by(|&a, &b| map.map[a].total_cmp(&map.map[b]));
                }
                ErasureOrder::Random => {
                    let (episode, index) = (at.episodes[row], at.index(row));
                    let mut draws = Stream::new(at.seed, Purpose::Evaluation, episode, index);
                    order = draws.permutation(n);
                }
            }
            let count = (self.share * n as f64).ceil() as usize;
            for &i in order.iter().take(count) {
                views[row * size + map.objects[i].at(at.spec)] = 0.0;
            }
        }
        Ok(Tensor::new::<f32>(at.views.shape(), views))
    }
}
