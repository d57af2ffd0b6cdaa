//! What a defence is: a rewrite of a network, or a random transform of its images.

use crate::error::Result;
use crate::method::Method;
use crate::model::transform::Transform;
use fgmf_net::Network;
use serde::Serialize;
use serde_json::Value;

/// What a rewrite does to a network. The seed is that of the weights it adds.
type Write = dyn Fn(&Network, u64) -> Result<Network> + Send + Sync;

/// A defence, made from its settings.
pub enum Defence {
    /// Changes the network, once.
    Rewrite(Rewrite),
    /// Changes each image that the network is asked about, at random.
    Served(Box<dyn Transform>),
}

/// A rewrite of networks with its settings.
pub struct Rewrite {
    parameters: Value,
    write: Box<Write>,
}

impl Rewrite {
    /// The defended network.
    pub fn apply(&self, net: &Network, seed: u64) -> Result<Network> {
        (self.write)(net, seed)
    }
}

impl Defence {
    /// A rewrite that reads these settings.
    pub(crate) fn rewrite<P: Serialize + Send + Sync + 'static>(
        params: P,
        write: fn(&Network, &P, u64) -> Result<Network>,
    ) -> Self {
        Self::Rewrite(Rewrite {
            parameters: serde_json::json!(params),
            write: Box::new(move |net, seed| write(net, &params, seed)),
        })
    }

    /// Every setting, for the record.
    pub fn parameters(&self) -> Value {
        match self {
            Self::Rewrite(r) => r.parameters.clone(),
            Self::Served(t) => t.parameters(),
        }
    }
}

/// Makes a defence from its settings.
pub(crate) type DefenceBuild = fn(Value) -> Result<Defence>;

/// A defence's entry in the list.
pub(crate) type DefenceMethod = Method<DefenceBuild>;
