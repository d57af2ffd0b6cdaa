//! What to train, on what, how: everything that decides the bytes of the result.

use crate::defend::k_wta::KWtaParams;
use crate::defend::resize_pad::ResizePadParams;
use crate::defend::sgam::SgamParams;
use crate::error::{Error, Result};
use crate::explain::sgam::branch::SgamMapParams;
use crate::record::ModelFile;
use crate::threat::{Norm, ThreatModel};
use crate::train::augment::AugmentParams;
use crate::train::base::Objective;
use crate::train::list::ObjectiveConfig;
use crate::train::mask_augment::MaskAugmentParams;
use crate::train::monitor::MonitorParams;
use crate::train::optimise::{Optimiser, Schedule};
use crate::train::validation::ValidationParams;
use fgmf_net::zoo::{Activation, Architecture};
use serde::{Deserialize, Serialize};

/// All settings of a training run. Stored in `run.json`; the same settings on the same data give
/// the same bytes.
///
/// | field | default | range |
/// | --- | --- | --- |
/// | `epochs` | 30 | 1 to 100,000 |
/// | `batch` | 128 | 2 to 65,536 |
/// | `learning_rate` | 0.003 (AdamW) | above 0, at most 10 |
/// | `eps_warmup` | 0.2; of `ibp` 0.5 | share of the run, 0 to 1 |
/// | `ema` | 0.99 | none, or 0 to below 1 |
/// | `gradient_clip` | 5 | none, or above 0 (Euclidean norm over all parameters) |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Data source, as the command line takes it.
    pub data: String,
    /// First examples used, all if none.
    pub limit: Option<usize>,
    /// A fresh network; none where training goes on from `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Nonlinearity of a fresh network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// The model that training goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ModelFile>,
    /// Arrays of that model that do not train, by name; `*` stands for any letters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// SGAM in front, if wanted.
    pub sgam: Option<SgamParams>,
    /// Maps of its own beside the network, which the objective teaches, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sgam_map: Option<SgamMapParams>,
    /// Rectifiers replaced by k-winners-take-all, a planted defence, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k_wta: Option<KWtaParams>,
    /// Images resized and padded at random before each step, for a network to be served behind that
    /// planted defence, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_pad: Option<ResizePadParams>,
    /// Images mirrored and shifted at random.
    #[serde(default, skip_serializing_if = "AugmentParams::is_none")]
    pub augment: AugmentParams,
    /// Two masks over each image, for a network that is to be proved against patches, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_augment: Option<MaskAugmentParams>,
    /// Images held out, which choose the epoch whose network is kept; without them the last is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationParams>,
    /// What is looked at after each epoch, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorParams>,
    /// Objective.
    pub objective: ObjectiveConfig,
    /// Norm of the attacks trained against.
    pub norm: Norm,
    /// Their radius, in input units.
    pub eps: f64,
    /// The radius grows from 0 over this share of the run: at full radius from the start, training
    /// can stay at a constant answer.
    pub eps_warmup: f64,
    /// Passes over the data.
    pub epochs: usize,
    /// Examples a step.
    pub batch: usize,
    /// Optimiser.
    pub optimiser: Optimiser,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Decay of the running average of the weights that is saved, per step; none saves the last
    /// weights.
    pub ema: Option<f64>,
    /// Longest gradient.
    pub gradient_clip: Option<f64>,
    /// Seed of weights, order and attacks.
    pub seed: u64,
}

impl TrainConfig {
    /// Defaults for a data source, network and objective at radius `eps` in Linf.
    pub fn new(
        data: &str,
        architecture: Architecture,
        objective: ObjectiveConfig,
        eps: f64,
    ) -> Self {
        Self {
            data: data.into(),
            limit: None,
            architecture: Some(architecture),
            activation: Some(Activation::Relu),
            start: None,
            freeze: Vec::new(),
            sgam: None,
            sgam_map: None,
            k_wta: None,
            resize_pad: None,
            augment: AugmentParams::default(),
            mask_augment: None,
            validation: None,
            monitor: Some(MonitorParams::default()),
            eps_warmup: objective.eps_warmup(),
            objective,
            norm: Norm::Linf,
            eps,
            epochs: 30,
            batch: 128,
            optimiser: Optimiser::adamw(),
            learning_rate: 3e-3,
            schedule: Schedule::Cyclic,
            ema: Some(0.99),
            gradient_clip: Some(5.0),
            seed: 0,
        }
    }

    /// Defaults for going on from a model: as [`TrainConfig::new`], with 10 epochs of 64 examples
    /// and the best one kept.
    pub fn going_on(data: &str, start: ModelFile, objective: ObjectiveConfig, eps: f64) -> Self {
        Self {
            architecture: None,
            activation: None,
            start: Some(start),
            epochs: 10,
            batch: 64,
            validation: Some(ValidationParams::default()),
            // Exact products of large networks take long; images held out say how it stands.
            monitor: None,
            ..Self::new(data, Architecture::CnnTiny, objective, eps)
        }
    }

    /// What trains, in a word: the architecture, or the file of the model.
    pub fn network(&self) -> &str {
        let of_file = || self.start.as_ref().map(|s| s.file.as_str());
        let fresh = self.architecture.map(Architecture::name);
        fresh.or_else(of_file).unwrap_or_default()
    }

    /// Checks every range; the threat is the one trained against.
    pub fn check(&self) -> Result<(ThreatModel, Box<dyn Objective>)> {
        if !(1..=100_000).contains(&self.epochs) {
            return Err(Error::parameter("epochs", "1 to 100000", self.epochs));
        }
        if !(2..=65_536).contains(&self.batch) {
            return Err(Error::parameter("batch", "2 to 65536", self.batch));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            return Err(Error::parameter(
                "learning_rate",
                "above 0, at most 10",
                self.learning_rate,
            ));
        }
        if !(0.0..=1.0).contains(&self.eps_warmup) {
            return Err(Error::parameter("eps_warmup", "0 to 1", self.eps_warmup));
        }
        if let Some(e) = self.ema.filter(|e| !(0.0..1.0).contains(e)) {
            return Err(Error::parameter("ema", "0 to below 1", e));
        }
        if let Some(c) = self.gradient_clip.filter(|c| !(c.is_finite() && *c > 0.0)) {
            return Err(Error::parameter(
                "gradient_clip",
                "a finite number above 0",
                c,
            ));
        }
        let fresh = (self.architecture.is_some(), self.activation.is_some());
        if fresh != (self.start.is_none(), self.start.is_none()) {
            return Err(Error::mismatch(
                "training settings",
                "an architecture with an activation, or a model to start from",
                "both, or half of one",
            ));
        }
        if self.start.is_some() && self.k_wta.is_some() {
            let expected = "a fresh network, whose rectifiers can be replaced";
            return Err(Error::mismatch("k_wta", expected, self.network()));
        }
        if !self.freeze.is_empty() && self.start.is_none() {
            let expected = "nothing, as a fresh network has nothing to keep";
            return Err(Error::parameter("freeze", expected, self.freeze.join(", ")));
        }
        if let Some(validation) = &self.validation {
            validation.check()?;
        }
        if let Some(monitor) = &self.monitor {
            monitor.check()?;
        }
        self.optimiser.check()?;
        if let Some(sgam) = &self.sgam {
            sgam.check()?;
        }
        if let Some(k_wta) = &self.k_wta {
            k_wta.check()?;
        }
        if let Some(resize_pad) = &self.resize_pad {
            resize_pad.clone().check()?;
        }
        let objective = self.objective.check()?;
        if let Some(map) = &self.sgam_map {
            map.check()?;
        }
        let teaches = objective.teaches_map().is_some();
        if teaches != self.sgam_map.is_some() {
            return Err(Error::mismatch(
                "training settings",
                "`sgam_map` with an objective that teaches maps, and with no other",
                if teaches {
                    "none"
                } else {
                    self.objective.name()
                },
            ));
        }
        // What else changes the network would change what the maps are to explain.
        if teaches && (self.start.is_none() || self.sgam.is_some() || self.validation.is_some()) {
            return Err(Error::mismatch(
                "teach maps",
                "a model to start from, without a fresh mask layer and without images held out",
                "other settings",
            ));
        }
        let moved = self.resize_pad.is_some() || !self.augment.is_none();
        if moved && (self.sgam.is_some() || objective.salience().is_some()) {
            return Err(Error::mismatch(
                "move the training images",
                "a run that keeps no salient pixels",
                "SGAM or an objective with salient pixels",
            ));
        }
        // A place in an image that is resized anew is another one in each epoch.
        if self.resize_pad.is_some() && objective.keeps_displacements() {
            return Err(Error::mismatch(
                "resize the training images",
                "a run that keeps nothing of each pixel",
                "an objective whose searches go on from visit to visit",
            ));
        }
        Ok((
            ThreatModel::new(self.norm, self.eps, [0.0, 1.0])?,
            objective,
        ))
    }
}
