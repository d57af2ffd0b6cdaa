//! A bracket around robust accuracy: what is proved of a data set, and what attacks leave standing.
//!
//! Bounds are of the network without what squashes its scores at the end, as that keeps their
//! order. Attacks are a suite's.

use crate::certify::Intervals;
use crate::data::batch::batch_of;
use crate::defend::knowledge::unsquashed;
use crate::error::Result;
use crate::record::{
    BracketImage, BracketPicture, BuildRecord, MapRecord, Passes, Proof, ThreatRecord,
};
use crate::store::build::build;
use crate::study::blocks::{BlockLine, in_blocks};
use crate::study::entry::SuiteJob;
use crate::study::suite::SuiteOutcome;
use fgmf_net::Network;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// Images that are bounded together.
const BLOCK: usize = 256;

/// Images of each kind on the page.
const PICTURES: usize = 4;

/// What interval bounds prove of each image of a data set.
#[derive(Clone, Debug)]
pub struct BallProofs {
    /// For each image the lower bound of its margin, if that is finite, and what it proves.
    pub images: Vec<(Option<f64>, Proof)>,
    /// Passes: one for the centre and one for the radius of each ball.
    pub passes: Passes,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// First line of the journal: what the rest belongs to.
#[derive(Serialize)]
struct BoundsHeader {
    model_sha256: String,
    data_sha256: String,
    threat: ThreatRecord,
    version: &'static str,
    build: BuildRecord,
    block: usize,
}

#[derive(Serialize, Deserialize)]
struct BoundedBlock {
    first: usize,
    images: Vec<(Option<f64>, Proof)>,
    seconds: f64,
}

impl BlockLine for BoundedBlock {
    fn first(&self) -> Option<usize> {
        (!self.images.is_empty()).then_some(self.first)
    }
}

/// Why interval bounds say nothing of a network; none where each of its operators has a rule.
///
/// # Errors
/// Those of the network.
pub(crate) fn unbounded(net: &Network) -> Result<Option<String>> {
    let why = match unsquashed(net)? {
        Some(found) => Intervals::new(&found.network).err(),
        None => Intervals::new(net).err(),
    };
    Ok(why.map(|e| e.to_string()))
}

/// Proves what interval bounds can prove of each image. `state` names the file that keeps what was
/// done; `watch` hears (images done, images proved right).
///
/// # Errors
/// A network with an operator that bounds have no rule for.
pub fn prove_balls(
    job: &SuiteJob<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<BallProofs> {
    let intervals = match unsquashed(job.net)? {
        Some(found) => Intervals::new(&found.network)?,
        None => Intervals::new(job.net)?,
    };
    let header = BoundsHeader {
        model_sha256: job.model_sha256.into(),
        data_sha256: job.data.sha256(),
        threat: job.threat.record(),
        version: env!("CARGO_PKG_VERSION"),
        build: build(),
        block: BLOCK,
    };
    let run = |rows: &[usize]| {
        let started = Instant::now();
        let batch = batch_of(job.data, rows)?;
        let found = intervals.margins(&batch.x, &batch.labels, job.threat)?;
        let said = found.iter().map(|m| {
            let proof = if m.proved { Proof::Right } else { Proof::Open };
            (m.least.is_finite().then_some(m.least), proof)
        });
        Ok(BoundedBlock {
            first: rows[0],
            images: said.collect(),
            seconds: started.elapsed().as_secs_f64(),
        })
    };
    let (mut done, mut right) = (0, 0);
    let count = |block: &BoundedBlock| {
        done += block.images.len();
        right += block.images.iter().filter(|i| i.1 == Proof::Right).count();
        watch(done, right);
    };
    let blocks = in_blocks([job.data.len(), BLOCK], state, &header, run, count)?;
    let mut out = BallProofs {
        images: Vec::with_capacity(job.data.len()),
        passes: Passes::default(),
        seconds: 0.0,
    };
    for block in blocks {
        out.seconds += block.seconds;
        out.images.extend(block.images);
    }
    out.passes.forward = 2 * out.images.len() as u64;
    Ok(out)
}

/// Proofs and attacks, image by image.
pub fn bracket(proofs: &BallProofs, attacked: &SuiteOutcome) -> Vec<BracketImage> {
    let both = attacked.examples.iter().zip(&proofs.images);
    let one = |(example, &(margin, proof)): (&_, &(Option<f64>, Proof))| BracketImage {
        example: Clone::clone(example),
        margin,
        proof,
    };
    both.map(one).collect()
}

/// Some images of each kind, with what attacks found.
///
/// # Errors
/// Images that cannot be read again.
pub fn bracket_pictures(
    images: &[BracketImage],
    attacked: &SuiteOutcome,
    job: &SuiteJob<'_>,
) -> Result<Vec<BracketPicture>> {
    let [channels, height, width] = job.data.shape();
    let map = |values| MapRecord {
        channels,
        height,
        width,
        values,
    };
    let mut left = [PICTURES; 4];
    let mut out = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let kind = match image.proof {
            _ if image.example.broken_by.is_some() => 3,
            Proof::Right => 0,
            _ if image.example.robust => 1,
            _ => 2,
        };
        if left[kind] > 0 {
            left[kind] -= 1;
            out.push(BracketPicture {
                at,
                image: map(job.data.image(image.example.index)?),
                attacked: attacked.found.get(at)?.map(map),
            });
        }
    }
    Ok(out)
}
