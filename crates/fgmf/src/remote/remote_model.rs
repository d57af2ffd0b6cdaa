//! A model behind an address, as attacks and explainers see it: scores of images, and no gradient.
//!
//! Each answer is checked, kept, and asked for once: [`KeptAnswers`] knows it by its image.

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::model::access::{FeatureGradient, Gradients, Scores};
use crate::model::answer::argmax;
use crate::record::QueryRecord;
use crate::remote::address::Address;
use crate::remote::answers::KeptAnswers;
use crate::remote::http::Http;
use crate::remote::limits::Limits;
use crate::remote::pipe::Pipe;
use crate::remote::transport::{Facts, Failure, Reply, ScoreKind, Transport};
use fgmf_net::head::Head;
use fgmf_net::op::{Flatten, Gemm, Op, Reduce, ReduceKind};
use fgmf_net::{Builder, LossGradients, Network, Rules, Tensor, ValueId};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Least probability whose logarithm is taken: below it f32 has little left to tell.
const FLOOR: f64 = 1e-12;
/// How far probabilities may be outside `[0, 1]` by rounding.
const SLACK: f32 = 1e-3;
/// Wait before the first retry; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between retries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A model behind an address.
pub struct RemoteModel {
    address: String,
    facts: Facts,
    limits: Limits,
    shape: Network,
    line: Mutex<Connection>,
}

/// What one request at a time changes.
struct Connection {
    transport: Box<dyn Transport>,
    answers: KeptAnswers,
    /// When the rate allows the next request.
    free: Option<Instant>,
}

impl RemoteModel {
    /// Reaches the model and hears what it takes and gives. `scores` is what an `http` address
    /// answers with; a command says it itself.
    ///
    /// # Errors
    /// [`Error::Parameter`] for limits out of range; [`Error::Remote`] when nobody answers, or what
    /// answers is no image classifier.
    pub fn open(text: &str, address: &Address, scores: ScoreKind, limits: Limits) -> Result<Self> {
        limits.check()?;
        let patience = limits.patience();
        let transport: std::result::Result<Box<dyn Transport>, Failure> = match address {
            Address::Pipe(words) => Pipe::open(words, patience).map(|p| Box::new(p) as _),
            Address::Http(url) => Http::open(url, scores, patience).map(|h| Box::new(h) as _),
        };
        let transport = transport.map_err(|f| remote(text, &f, ""))?;
        let facts = transport.facts().clone();
        Ok(Self {
            address: text.to_owned(),
            shape: stand_in(&facts)?,
            facts,
            limits,
            line: Mutex::new(Connection {
                transport,
                answers: KeptAnswers::default(),
                free: None,
            }),
        })
    }

    /// What tells it from other models: the hash of its address and of what it says of itself. The
    /// weights behind the address are not seen, so `id` of the protocol should name them.
    pub fn sha256(&self) -> String {
        let facts = json!({ "address": self.address, "facts": self.facts });
        sha256(facts.to_string().as_bytes())
    }

    /// What it answers with.
    pub fn scores(&self) -> ScoreKind {
        self.facts.scores
    }

    /// Keeps answers in the journal at `path`, and takes those of an earlier run of the same
    /// `settings` from there.
    ///
    /// # Errors
    /// [`Error::Record`] when the journal belongs to another model or other settings, or is
    /// damaged.
    pub fn keep_in(&self, path: &Path, settings: &Value) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let header = json!({ "model": self.sha256(), "version": version, "settings": settings });
        self.line().answers = KeptAnswers::open(path, &header)?;
        Ok(())
    }

    /// What was asked so far.
    pub fn queries(&self) -> QueryRecord {
        let line = self.line();
        QueryRecord {
            asked: line.answers.asked(),
            unanswered: line.answers.unanswered(),
            budget: self.limits.queries,
            per_image: None,
            cut_short: 0,
        }
    }

    /// An error unless the budget has room for `n` images that may all be new.
    pub fn check_budget(&self, n: usize) -> Result<()> {
        match self.limits.queries {
            Some(limit) if limit < n as u64 => {
                let expected = format!("{n} or more, one for each image");
                Err(Error::parameter("queries", expected, limit))
            }
            _ => Ok(()),
        }
    }

    /// Whether these images can be asked for, with `reserve` images left in the budget.
    pub(crate) fn affords(&self, x: &Tensor, reserve: u64) -> bool {
        let Some(limit) = self.limits.queries else {
            return true;
        };
        let hashes = self.hashes(&x.to_f32());
        let line = self.line();
        let new = unknown(&hashes, &line.answers).len() as u64;
        new == 0 || line.answers.asked() + new + reserve <= limit
    }

    /// A panic elsewhere leaves nothing half done here.
    fn line(&self) -> MutexGuard<'_, Connection> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size(&self) -> usize {
        self.facts.image_shape.iter().product()
    }

    fn hashes(&self, images: &[f32]) -> Vec<String> {
        let bytes = |image: &[f32]| {
            image
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let images = images.chunks_exact(self.size());
        images.map(|image| sha256(&bytes(image))).collect()
    }

    /// Asks for one request's worth of images and keeps the answers.
    fn fetch(&self, line: &mut Connection, images: &[f32], hashes: Vec<String>) -> Result<()> {
        let n = hashes.len();
        let mut wait = FIRST_WAIT;
        let mut attempt = 0;
        loop {
            if let (Some(free), Some(_)) = (line.free, self.limits.rate) {
                sleep(free.saturating_duration_since(Instant::now()));
            }
            line.answers.ask(n)?;
            if let Some(rate) = self.limits.rate {
                // Longer than a year is as good as never, and fits in a clock.
                let pause = (n as f64 / rate).min(3e7);
                line.free = Some(Instant::now() + Duration::from_secs_f64(pause));
            }
            let reply = line.transport.ask(n, images);
            let failure = match reply.and_then(|reply| self.logits_of(n, reply)) {
                Ok(logits) => return line.answers.put(hashes, &logits),
                Err(failure) => failure,
            };
            let after = match attempt {
                0 => String::new(),
                tries => format!(", after {tries} retries"),
            };
            if !failure.passing || attempt == self.limits.retries {
                return Err(remote(&self.address, &failure, &after));
            }
            let spent = |limit| line.answers.asked() + n as u64 > limit;
            if self.limits.queries.is_some_and(spent) {
                let after = format!("{after}; --queries leaves no image for a retry");
                return Err(remote(&self.address, &failure, &after));
            }
            sleep(wait);
            wait = (2 * wait).min(LONGEST_WAIT);
            attempt += 1;
        }
    }

    /// Logits from what came, `[n, classes]`.
    fn logits_of(&self, n: usize, reply: Reply) -> std::result::Result<Vec<f32>, Failure> {
        let k = self.facts.classes;
        let columns = match self.facts.scores {
            ScoreKind::Label => 1,
            _ => k,
        };
        if reply.shape != [n, columns] || reply.values.len() != n * columns {
            let found = format!("{:?} with {} numbers", reply.shape, reply.values.len());
            return Err(Failure::lasting(
                format!("scores of shape [{n}, {columns}]"),
                found,
            ));
        }
        if let Some(v) = reply.values.iter().find(|v| !v.is_finite()) {
            return Err(Failure::lasting("finite scores", v));
        }
        match self.facts.scores {
            ScoreKind::Logits => Ok(reply.values),
            ScoreKind::Probabilities => {
                let outside = |v: &&f32| !(-SLACK..=1.0 + SLACK).contains(*v);
                if let Some(v) = reply.values.iter().find(outside) {
                    return Err(Failure::lasting("probabilities, 0 to 1", v));
                }
                let log = |v: &f32| f64::from(*v).max(FLOOR).ln() as f32;
                Ok(reply.values.iter().map(log).collect())
            }
            ScoreKind::Label => {
                let mut out = vec![0.0; n * k];
                for (row, v) in out.chunks_exact_mut(k).zip(&reply.values) {
                    let class = *v as usize;
                    // Not a whole number, or no class.
                    if (class as f32 - v).abs() > 0.0 || class >= k {
                        let expected = format!("the number of a class, below {k}");
                        return Err(Failure::lasting(expected, v));
                    }
                    row[class] = 1.0;
                }
                Ok(out)
            }
        }
    }

    fn no_gradients(&self) -> Error {
        let expected = "a method that asks for scores only (occlusion, rise, kernel-shap, pgca)";
        Error::mismatch(
            "explain",
            expected,
            "a method that needs gradients or inner values",
        )
    }
}

/// Positions of the first image of each hash that has no answer.
fn unknown(hashes: &[String], answers: &KeptAnswers) -> Vec<usize> {
    let mut seen = HashSet::new();
    let new = |i: &usize| answers.get(&hashes[*i]).is_none() && seen.insert(&hashes[*i]);
    (0..hashes.len()).filter(new).collect()
}

fn remote(address: &str, failure: &Failure, after: &str) -> Error {
    Error::Remote {
        address: address.to_owned(),
        expected: failure.expected.clone(),
        found: format!("{}{after}", failure.found),
    }
}

/// A graph with the images and classes of the model, for those who ask for these. Its weights are
/// no numbers, so that nobody can take its answers for the model's.
fn stand_in(facts: &Facts) -> Result<Network> {
    let ([c, ..], k) = (facts.image_shape, facts.classes);
    let mut b = Builder::new("remote", "image", facts.image_shape)?;
    let weight = Tensor::new(&[k, c], vec![f32::NAN; k * c]);
    let (weight, bias) = (
        b.parameter("weight", weight, false)?,
        b.parameter("bias", Tensor::new(&[k], vec![f32::NAN; k]), false)?,
    );
    let mean = Reduce {
        kind: ReduceKind::Mean,
        axes: vec![2, 3],
        keep: false,
    };
    let x = b.input();
    let mean = b.node("mean", Op::Reduce(mean), &[x])?;
    let flat = b.node("flat", Op::Flatten(Flatten { axis: 1 }), &[mean])?;
    let z = b.node("scores", Op::Gemm(Gemm::DENSE), &[flat, weight, bias])?;
    Ok(b.finish(z)?)
}

impl Scores for RemoteModel {
    fn image_shape(&self) -> [usize; 3] {
        self.facts.image_shape
    }

    fn classes(&self) -> usize {
        self.facts.classes
    }

    /// Logits: those of earlier answers, and of the images that have none.
    ///
    /// # Errors
    /// [`Error::Budget`] when the budget has no room for all new images: none is asked then.
    /// [`Error::Remote`] when the model does not answer as it should.
    fn logits(&self, x: &Tensor) -> Result<Tensor> {
        crate::model::transform::check(self, x)?;
        let images = x.to_f32();
        if let Some(v) = images.iter().find(|v| !v.is_finite()) {
            return Err(Error::mismatch(
                "ask a model",
                "images of finite numbers",
                v,
            ));
        }
        let hashes = self.hashes(&images);
        let mut line = self.line();
        let new = unknown(&hashes, &line.answers);
        if let Some(limit) = self.limits.queries {
            let asked = line.answers.asked();
            if !new.is_empty() && asked + new.len() as u64 > limit {
                return Err(Error::Budget { limit });
            }
        }
        let size = self.size();
        for part in new.chunks(self.limits.at_once) {
            let chosen: Vec<&[f32]> = part.iter().map(|&i| &images[i * size..][..size]).collect();
            let names = part.iter().map(|&i| hashes[i].clone()).collect();
            self.fetch(&mut line, &chosen.concat(), names)?;
        }
        let mut logits = Vec::with_capacity(hashes.len() * self.facts.classes);
        for hash in &hashes {
            let none = || Error::mismatch("ask a model", "an answer to each image", "none");
            logits.extend_from_slice(line.answers.get(hash).ok_or_else(none)?);
        }
        Ok(Tensor::new(&[hashes.len(), self.facts.classes], logits))
    }
}

/// For explainers, which are handed this trait and may ask for scores alone.
impl Gradients for RemoteModel {
    /// A graph of the same images and classes that computes nothing.
    fn network(&self) -> &Network {
        &self.shape
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn feature_gradient(&self, _: &Tensor, _: &dyn Head, _: ValueId) -> Result<FeatureGradient> {
        Err(self.no_gradients())
    }

    fn features(
        &self,
        _: &Tensor,
        _: &dyn Head,
        _: &[ValueId],
        _: &Rules,
    ) -> Result<LossGradients> {
        Err(self.no_gradients())
    }
}

/// Whether each row of logits is a row of probabilities: in `[0, 1]`, adding up to 1 within 1e-3.
pub(crate) fn like_probabilities(logits: &Tensor) -> bool {
    let rows = logits.to_f32();
    let mut rows = rows.chunks_exact(logits.shape()[1]);
    rows.all(|z| {
        let inside = z.iter().all(|v| (0.0..=1.0).contains(v));
        // One-hot rows are labels.
        inside && (z.iter().sum::<f32>() - 1.0).abs() < 1e-3 && z[argmax(z)] < 1.0
    })
}
