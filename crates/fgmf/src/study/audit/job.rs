//! What an audit runs on, and where it keeps what it did.

use crate::data::dataset::Dataset;
use crate::defend::knowledge::unsquashed;
use crate::error::Result;
use crate::model::answer::softmax;
use crate::record::{DataRecord, ModelFile};
use crate::store::atomic;
use crate::study::audit::policy::Policy;
use crate::study::entry::SuiteJob;
use crate::threat::ThreatModel;
use fgmf_net::Session;
use std::path::{Path, PathBuf};

/// Name of the record in the folder of an audit.
pub const AUDIT: &str = "audit.json";
/// Name of the policy there.
pub const POLICY: &str = "policy.toml";
const STATE: &str = "audit.state.jsonl";

/// What an audit runs on.
#[derive(Clone, Copy)]
pub struct AuditJob<'a> {
    /// The network.
    pub net: &'a Session,
    /// Its file.
    pub file: &'a ModelFile,
    /// What decides its answers: the hash of the file, and how images are prepared.
    pub identity: &'a str,
    /// The images, as many as the policy wants.
    pub data: &'a Dataset,
    /// What the record says of them.
    pub facts: &'a DataRecord,
    /// What is measured, and what must hold.
    pub policy: &'a Policy,
    /// The folder of the audit.
    pub folder: &'a Path,
    /// Most images in a model call, 1 or more; bounds memory and changes no result.
    pub cap: usize,
}

impl AuditJob<'_> {
    /// The state of its stages.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// The state of one stage that has its own.
    pub(crate) fn state_of(&self, stage: &str) -> PathBuf {
        self.folder.join(format!("{stage}.state.jsonl"))
    }

    /// The threat of a radius.
    pub(crate) fn threat(&self, eps: f64) -> Result<ThreatModel> {
        ThreatModel::new(self.policy.norm, eps, [0.0, 1.0])
    }

    /// The job of a suite within this threat.
    pub(crate) fn suite<'b>(&'b self, threat: &'b ThreatModel) -> SuiteJob<'b> {
        SuiteJob {
            net: self.net,
            model_sha256: self.identity,
            data: self.data,
            threat,
            seed: self.policy.seed,
            cap: self.cap,
        }
    }
}

/// Name of the file of images that broke the model at the radius of this number, from 0.
pub(crate) fn adversarial_name(number: usize) -> String {
    format!("adversarial-{}.safetensors", number + 1)
}

/// Removes what an audit kept to go on after a kill.
pub fn remove_audit_state(folder: &Path) -> Result<()> {
    atomic::remove(&folder.join(STATE))
}

/// A network as its probabilities are read and its answers explained: before whatever squashes its
/// scores at the end.
pub(crate) struct ScoredNet {
    bare: Option<Session>,
    pub(crate) operators: Vec<String>,
}

impl ScoredNet {
    pub(crate) fn of(net: &Session) -> Result<Self> {
        let found = unsquashed(net)?;
        let operators = found.iter().flat_map(|f| &f.operators);
        Ok(Self {
            operators: operators.map(|o| (*o).to_owned()).collect(),
            bare: found.map(|f| Session::new(f.network)),
        })
    }

    pub(crate) fn session<'a>(&'a self, net: &'a Session) -> &'a Session {
        self.bare.as_ref().unwrap_or(net)
    }

    /// The largest probability that these scores mean; 0 if one is not finite.
    pub(crate) fn confidence(&self, scores: &[f64]) -> f64 {
        if scores.iter().any(|z| !z.is_finite()) {
            return 0.0;
        }
        let largest = |p: Vec<f64>| p.into_iter().fold(0.0, f64::max).min(1.0);
        if self.operators == ["Sigmoid"] {
            largest(scores.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect())
        } else {
            largest(softmax(scores))
        }
    }
}
