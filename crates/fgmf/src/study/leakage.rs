//! What served maps give to attackers by scores: searches with maps beside the same searches
//! without, image by image, and how faithful the maps are.
//!
//! Images that the model names rightly are attacked one by one, so that the queries of each are
//! known: every attack without maps, with the image itself in the place of its map, and with the
//! maps in each form, all with the same seed. The image is what everybody has: an object that is
//! darkened is an object less, whatever a map says. So what the image does as well, no map leaks. A
//! search stops at its first success or at the budget. The maps are also judged by LeRF minus MoRF
//! under ROAD, whole and in each form.
//!
//! Images go in blocks. A block is a line of a journal, so that a run that was killed goes on where
//! it was, to the same record.

use crate::attack::base::{Attack, BlackBox};
use crate::attack::list::with_parameters;
use crate::attack::sealed::run_black_box_within;
use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::error::{Error, Result};
use crate::explain::base::{Attribution, Context, Explainer};
use crate::explain::list::with_parameters as explainer_with;
use crate::explain::sealed::explain;
use crate::explain::served_form::{ServedForm, ServedFormParams};
use crate::explain::subject::Subject;
use crate::metric::list::with_parameters as metric_with;
use crate::model::access::Scores;
use crate::model::answer::misclassified;
use crate::model::oracle::Oracle;
use crate::model::served_maps::{MapsBeside, ServedMaps};
use crate::record::{BuildRecord, LeakageImage, MethodRecord, Passes, ThreatRecord};
use crate::store::build::build;
use crate::study::blocks::{BlockLine, in_blocks};
use crate::study::mask_map::MaskMap;
use crate::threat::ThreatModel;
use fgmf_net::chunks::as_one_of_many;
use fgmf_net::{Network, Session, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// Images that make a line of the journal.
const BLOCK: usize = 16;

/// What judges maps.
const METRIC: &str = "lerf-minus-morf";

/// Attacks by scores that can use a map.
pub const GUIDED_ATTACKS: [&str; 4] = ["square", "nes", "spsa", "evolution"];

/// What a server gives with its scores.
#[derive(Clone, Debug, PartialEq)]
pub enum ServedKind {
    /// Nothing.
    Scores,
    /// Maps of the explainer of this id, with these settings.
    Maps(String, serde_json::Value),
    /// The saliency that the SGAM layer predicts.
    Mask,
}

impl ServedKind {
    /// `scores`, `maps`, `mask`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Scores => "scores",
            Self::Maps(..) => "maps",
            Self::Mask => "mask",
        }
    }

    /// What makes the maps; nothing where none are served.
    ///
    /// # Errors
    /// An unknown explainer or setting; a network without the layer whose mask is asked for.
    pub fn explainer(&self, net: &Network) -> Result<Option<Box<dyn Explainer>>> {
        Ok(match self {
            Self::Scores => None,
            Self::Maps(id, settings) => Some(explainer_with(id, settings.clone())?),
            Self::Mask => Some(Box::new(MaskMap::of(net)?)),
        })
    }

    /// The maps in one form; nothing where none are served.
    ///
    /// # Errors
    /// As [`Self::explainer`], and a form out of range.
    pub fn form(&self, net: &Network, form: &ServedFormParams) -> Result<Option<ServedForm>> {
        let inner = self.explainer(net)?;
        inner.map(|inner| form.clone().around(inner)).transpose()
    }
}

/// The attacks of these names, each with as many queries as the budget has.
///
/// # Errors
/// [`Error::Parameter`] for a name that is not in [`GUIDED_ATTACKS`] or that comes twice, and for a
/// budget of 0 or of more than 10,000,000.
pub fn leakage_attacks(names: &[&str], budget: u64) -> Result<Vec<Box<dyn BlackBox>>> {
    if !(1..=10_000_000).contains(&budget) {
        return Err(Error::parameter(
            "queries-per-image",
            "1 to 10000000",
            budget,
        ));
    }
    let mut out: Vec<Box<dyn BlackBox>> = Vec::new();
    for &name in names {
        if !GUIDED_ATTACKS.contains(&name) || out.iter().any(|a| a.id() == name) {
            let expected = format!("some of {}, each once", GUIDED_ATTACKS.join(", "));
            return Err(Error::parameter("suite", expected, name));
        }
        let settings = match name {
            "nes" | "spsa" => {
                let defaults = with_parameters(name, json!({}))?.parameters();
                let pairs = defaults["pairs"].as_u64().unwrap_or(1);
                let steps = (budget / (2 * pairs + 1)).clamp(1, 100_000);
                json!({ "steps": steps })
            }
            _ => json!({ "queries": budget }),
        };
        let Attack::Black(attack) = with_parameters(name, settings)? else {
            return Err(Error::parameter("suite", "an attack by scores", name));
        };
        out.push(attack);
    }
    Ok(out)
}

/// What is attacked, and what is served.
#[derive(Clone, Copy)]
pub struct LeakageJob<'a> {
    /// The network.
    pub net: &'a Session,
    /// Hash of its file, which ties the state to it.
    pub model_sha256: &'a str,
    /// The images.
    pub data: &'a Dataset,
    /// What an attacker may do.
    pub threat: &'a ThreatModel,
    /// Attacks, in their order.
    pub attacks: &'a [Box<dyn BlackBox>],
    /// Most queries of an attack on one image.
    pub budget: u64,
    /// What makes the maps; none where scores alone are served.
    pub whole: Option<&'a dyn Explainer>,
    /// The forms in which they are served.
    pub forms: &'a [ServedForm],
    /// Queries of an attack on one image that come with a map; `None` for all.
    pub maps: Option<u64>,
    /// Seed of attacks and explanations.
    pub seed: u64,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct LeakageOutcome {
    /// One row an image that was attacked: those that the model names rightly.
    pub images: Vec<LeakageImage>,
    /// Passes of everything.
    pub passes: Passes,
}

/// First line of the journal: what the rest belongs to.
#[derive(Serialize)]
struct LeakageHeader {
    model_sha256: String,
    data_sha256: String,
    threat: ThreatRecord,
    attacks: Vec<MethodRecord>,
    budget: u64,
    explainer: Option<MethodRecord>,
    forms: Vec<MethodRecord>,
    maps: Option<u64>,
    seed: u64,
    version: &'static str,
    build: BuildRecord,
    block: usize,
}

/// What was done to a block: a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LeakedBlock {
    first: usize,
    images: Vec<LeakageImage>,
    passes: Passes,
}

impl BlockLine for LeakedBlock {
    fn first(&self) -> Option<usize> {
        Some(self.first)
    }
}

fn method(id: &str, parameters: serde_json::Value) -> MethodRecord {
    MethodRecord {
        id: id.into(),
        parameters,
    }
}

impl LeakageJob<'_> {
    /// The attacks and their settings.
    pub fn attack_records(&self) -> Vec<MethodRecord> {
        let attacks = self.attacks.iter();
        attacks.map(|a| method(a.id(), a.parameters())).collect()
    }

    /// What makes the maps, and its settings.
    pub fn explainer_record(&self) -> Option<MethodRecord> {
        self.whole.map(|e| method(e.id(), e.parameters()))
    }

    /// The forms and their settings.
    pub fn form_records(&self) -> Vec<MethodRecord> {
        let forms = self.forms.iter();
        forms.map(|f| method(f.id(), f.parameters())).collect()
    }

    fn header(&self) -> LeakageHeader {
        LeakageHeader {
            model_sha256: self.model_sha256.into(),
            data_sha256: self.data.sha256(),
            threat: self.threat.record(),
            attacks: self.attack_records(),
            budget: self.budget,
            explainer: self.explainer_record(),
            forms: self.form_records(),
            maps: self.maps,
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION"),
            build: build(),
            block: BLOCK,
        }
    }

    fn context(&self) -> Context<'static> {
        Context {
            seed: self.seed,
            ..Context::default()
        }
    }
}

/// Runs every attack with and without maps on each image that the model names rightly, and judges
/// the maps. `state` names the file that keeps what was done; `watch` hears how many images are
/// done.
///
/// # Errors
/// What keeps the model from answering, or the explainer from explaining it.
pub fn leakage(
    job: &LeakageJob<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize),
) -> Result<LeakageOutcome> {
    let n = job.data.len();
    let run = |rows: &[usize]| of_block(job, rows);
    let count = |block: &LeakedBlock| watch((block.first + BLOCK).min(n));
    let blocks = in_blocks([n, BLOCK], state, &job.header(), run, count)?;
    let mut out = LeakageOutcome {
        images: Vec::new(),
        passes: Passes::default(),
    };
    for block in blocks {
        out.images.extend(block.images);
        out.passes += block.passes;
    }
    Ok(out)
}

fn of_block(job: &LeakageJob<'_>, rows: &[usize]) -> Result<LeakedBlock> {
    let batch = batch_of(job.data, rows)?;
    let oracle = Oracle::new(job.net);
    let wrong = misclassified(&oracle.logits(&batch.x)?, &batch.labels);
    let right: Vec<usize> = (0..rows.len()).filter(|&i| !wrong[i]).collect();
    let faithful = if right.is_empty() {
        Vec::new()
    } else {
        faithfulness(job, &oracle, &batch.select(&right))?
    };
    let one = |(at, &i): (usize, &usize)| -> Result<LeakageImage> {
        let image = batch.select(&[i]);
        let searches = || -> Result<_> {
            let blind = job.attacks.iter();
            let blind = blind.map(|a| queries(job, a.as_ref(), &oracle, None, &image));
            let blind = blind.collect::<Result<Vec<_>>>()?;
            let with = |maps: &dyn MapsBeside| -> Result<Vec<Option<u64>>> {
                let attacks = job.attacks.iter();
                let all = attacks.map(|a| queries(job, a.as_ref(), &oracle, Some(maps), &image));
                all.collect()
            };
            let by_form = |form: &ServedForm| {
                with(&ExplainedMaps {
                    oracle: &oracle,
                    form,
                    context: job.context(),
                })
            };
            let guided = job.forms.iter().map(by_form).collect::<Result<Vec<_>>>()?;
            Ok((blind, with(&OwnImage)?, guided))
        };
        let (blind, by_image, guided) = as_one_of_many(searches)?;
        Ok(LeakageImage {
            index: rows[i],
            label: batch.labels[i],
            blind,
            by_image,
            guided,
            faithfulness: faithful.iter().map(|figures| figures[at]).collect(),
        })
    };
    let found: Vec<Result<LeakageImage>> = right.par_iter().enumerate().map(one).collect();
    Ok(LeakedBlock {
        first: rows[0],
        images: found.into_iter().collect::<Result<_>>()?,
        passes: oracle.passes(),
    })
}

/// Maps as the server shows them.
struct ExplainedMaps<'a> {
    oracle: &'a Oracle<'a>,
    form: &'a ServedForm,
    context: Context<'static>,
}

impl MapsBeside for ExplainedMaps<'_> {
    /// A map that is withheld is not shown: zeros stand in its place.
    fn maps(&self, x: &Tensor, classes: &[usize]) -> Result<Vec<Vec<f32>>> {
        let found = explain(self.form, self.oracle, x, classes, &self.context)?;
        let shown = |a: Attribution| match a.withheld {
            None => a.values.values,
            Some(_) => vec![0.0; a.values.values.len()],
        };
        Ok(found.into_iter().map(shown).collect())
    }
}

/// The image in the place of its map: means over the channels.
struct OwnImage;

impl MapsBeside for OwnImage {
    fn maps(&self, x: &Tensor, classes: &[usize]) -> Result<Vec<Vec<f32>>> {
        let (values, channels) = (x.to_f32(), x.shape()[1]);
        let size = values.len() / classes.len().max(1);
        let area = (size / channels).max(1);
        let map = |image: &[f32]| {
            let mean = |i: usize| {
                let over = (0..channels).map(|c| image[c * area + i]);
                over.sum::<f32>() / channels as f32
            };
            (0..area).map(mean).collect()
        };
        Ok(values.chunks_exact(size.max(1)).map(map).collect())
    }
}

/// Queries until the attack succeeds on the one image of the batch; `None` if it does not.
fn queries(
    job: &LeakageJob<'_>,
    attack: &dyn BlackBox,
    oracle: &Oracle<'_>,
    maps: Option<&dyn MapsBeside>,
    image: &Batch,
) -> Result<Option<u64>> {
    let run = |model: &dyn Scores| -> Result<Option<u64>> {
        let LeakageJob {
            threat,
            seed,
            budget,
            ..
        } = *job;
        let found = run_black_box_within(attack, model, image, threat, seed, budget)?;
        Ok(found.success[0].then_some(found.passes.forward))
    };
    let Some(maps) = maps else {
        return run(oracle);
    };
    let served = ServedMaps::new(oracle, maps);
    match job.maps {
        // The entry asks about the clean image first; that answer is not the search's.
        Some(most) => run(&served.at_most(most.saturating_add(1))),
        None => run(&served),
    }
}

/// LeRF minus MoRF of the maps of each image, whole and in each form.
fn faithfulness(job: &LeakageJob<'_>, oracle: &Oracle<'_>, batch: &Batch) -> Result<Vec<Vec<f64>>> {
    let Some(whole) = job.whole else {
        return Ok(Vec::new());
    };
    let metric = metric_with(METRIC, json!({}))?;
    let forms = job.forms.iter().map(|f| f as &dyn Explainer);
    let one = |explainer: &dyn Explainer| -> Result<Vec<f64>> {
        let context = job.context();
        let maps = explain(explainer, oracle, &batch.x, &batch.labels, &context)?;
        let found = metric.score(&Subject {
            oracle,
            explainer,
            x: &batch.x,
            targets: &batch.labels,
            maps: &maps,
            threat: job.threat,
            context,
        })?;
        let none = || Error::mismatch("judge maps", "a figure for each image", "none");
        let figures = found.into_iter().next().ok_or_else(none)?;
        figures.into_iter().map(|v| v.ok_or_else(none)).collect()
    };
    std::iter::once(whole).chain(forms).map(one).collect()
}
