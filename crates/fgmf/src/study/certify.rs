//! Proofs against patches over a data set, and attacks that try to break what was proved.
//!
//! Images go in blocks. A block is a line of a journal, so that a run that was killed goes on where
//! it was, to the same record.
//!
//! Attacks search patches against the bare model. The point of each is shown to the defended model
//! and to the detector. Of an image the worst point is kept: one that does what the proof excludes,
//! else one that fools defended model and detector, the defended model, or the bare model.

use crate::attack::patch::{PatchAttack, run_patch_attack};
use crate::certify::{BlindFill, MaskSet, Masked, certify_image, defended_answer};
use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::model::access::Scores as _;
use crate::model::answer::{predictions, undecided};
use crate::model::oracle::Oracle;
use crate::record::{
    BuildRecord, CertifiedImage, CertifiedPicture, MapRecord, MaskSetRecord, MethodRecord, Passes,
    PatchAttackRecord, PatchThreatRecord, PatchedImage, Proof, Proportion, Rectangle, Refutation,
};
use crate::store::build::build;
use crate::study::blocks::{BlockLine, in_blocks};
use crate::threat::PatchThreat;
use fgmf_net::Session;
use fgmf_net::chunks::as_one_of_many;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// Images that are proved and attacked together.
const BLOCK: usize = 64;

/// Images of each kind on the page.
const PICTURES: usize = 4;

/// What is proved, on what.
#[derive(Clone, Copy)]
pub struct CertifyJob<'a> {
    /// The network.
    pub net: &'a Session,
    /// Hash of its file, which ties the state to it.
    pub model_sha256: &'a str,
    /// The images.
    pub data: &'a Dataset,
    /// What an attacker may do.
    pub threat: &'a PatchThreat,
    /// Masks that hide it.
    pub masks: &'a MaskSet,
    /// What stands in the place of hidden pixels.
    pub fill: BlindFill,
    /// Attacks, in their order; none to prove alone.
    pub attacks: &'a [Box<dyn PatchAttack>],
    /// Seed of the attacks.
    pub seed: u64,
}

/// What was proved, and what patches did.
#[derive(Clone, Debug)]
pub struct CertifyOutcome {
    /// One row an image.
    pub images: Vec<CertifiedImage>,
    /// Passes of proofs and defended answers.
    pub passes: Passes,
    /// Wall time of these, seconds.
    pub seconds: f64,
    /// What patches did, if there were attacks.
    pub attack: Option<PatchAttackRecord>,
}

impl CertifyOutcome {
    /// The share of images of which this holds.
    pub fn share(&self, holds: impl Fn(&CertifiedImage) -> bool) -> Proportion {
        let count = self.images.iter().filter(|i| holds(i)).count();
        Proportion::new(count, self.images.len())
    }

    /// Images that fell although they were proved, by their index: faults of the program.
    pub fn contradictions(&self) -> Vec<usize> {
        let fell = self.images.iter().filter(|i| i.is_contradiction());
        fell.map(|i| i.index).collect()
    }

    /// Some images of each kind, with what their masks hide and with their patches.
    pub fn pictures(&self, job: &CertifyJob<'_>) -> Result<Vec<CertifiedPicture>> {
        let oracle = Oracle::new(job.net);
        let masked = Masked::new(&oracle, job.masks, job.fill)?;
        let mut left = [PICTURES; 4];
        let mut out = Vec::new();
        for (at, image) in self.images.iter().enumerate() {
            let kind = match image.proof {
                _ if image.is_broken() => 3,
                Proof::Right => 0,
                Proof::Detected => 1,
                Proof::Open => 2,
            };
            if left[kind] == 0 {
                continue;
            }
            left[kind] -= 1;
            let pixels = job.data.image(image.index)?;
            let refuted = image.refuted.as_ref();
            let hidden = refuted.map(|r| masked.hidden(&pixels, &r.hidden));
            let patched = image.patched.as_ref().map(|p| put(&pixels, job, p));
            let map = |values| map_of(values, job.data.shape());
            out.push(CertifiedPicture {
                at,
                masked: hidden.map(map),
                patched: patched.map(map),
                image: map(pixels),
            });
        }
        Ok(out)
    }
}

fn map_of(values: Vec<f32>, [channels, height, width]: [usize; 3]) -> MapRecord {
    MapRecord {
        channels,
        height,
        width,
        values,
    }
}

/// An image with the patches of a record.
fn put(image: &[f32], job: &CertifyJob<'_>, patched: &PatchedImage) -> Vec<f32> {
    let [_, h, w] = job.data.shape();
    let mut x = image.to_vec();
    for (place, content) in &patched.patches {
        for (i, line) in content.chunks_exact(place.width).enumerate() {
            let (channel, row) = (i / place.height, place.top + i % place.height);
            x[(channel * h + row) * w..][place.columns()].copy_from_slice(line);
        }
    }
    x
}

/// What a patch holds, `[c, height, width]`.
fn content(x: &[f32], place: &Rectangle, [_, h, w]: [usize; 3]) -> Vec<f32> {
    let plane = |plane: &[f32]| {
        let line = |row: usize| plane[row * w..][place.columns()].to_vec();
        place.rows().flat_map(line).collect::<Vec<f32>>()
    };
    x.chunks_exact(h * w).flat_map(plane).collect()
}

/// First line of the journal: what the rest belongs to.
#[derive(Serialize)]
struct CertifyHeader {
    model_sha256: String,
    data_sha256: String,
    threat: PatchThreatRecord,
    masks: MaskSetRecord,
    fill: String,
    attacks: Vec<MethodRecord>,
    seed: u64,
    version: &'static str,
    build: BuildRecord,
    block: usize,
}

/// What was done to a block: a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CertifiedBlock {
    images: Vec<CertifiedImage>,
    passes: u64,
    seconds: f64,
    attack_passes: Passes,
    attack_seconds: f64,
}

impl BlockLine for CertifiedBlock {
    fn first(&self) -> Option<usize> {
        self.images.first().map(|i| i.index)
    }
}

/// Proves what can be proved of each image of a data set, and attacks it if that was asked for.
/// `state` names the file that keeps what was done; `watch` hears (images done, images proved
/// right).
///
/// # Errors
/// Masks of other images than the model's, and whatever keeps a model from answering.
pub fn certify(
    job: &CertifyJob<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<CertifyOutcome> {
    let (mut done, mut right) = (0, 0);
    let count = |block: &CertifiedBlock| {
        let proved = block.images.iter().filter(|i| i.proof == Proof::Right);
        done += block.images.len();
        right += proved.count();
        watch(done, right);
    };
    let run = |rows: &[usize]| of_block(job, rows);
    let blocks = in_blocks([job.data.len(), BLOCK], state, &header(job), run, count)?;
    Ok(outcome(job, blocks))
}

fn attacks(job: &CertifyJob<'_>) -> Vec<MethodRecord> {
    let one = |a: &dyn PatchAttack| MethodRecord {
        id: a.id().into(),
        parameters: a.parameters(),
    };
    job.attacks.iter().map(|a| one(a.as_ref())).collect()
}

fn header(job: &CertifyJob<'_>) -> CertifyHeader {
    CertifyHeader {
        model_sha256: job.model_sha256.into(),
        data_sha256: job.data.sha256(),
        threat: job.threat.record(),
        masks: job.masks.record(),
        fill: job.fill.to_string(),
        attacks: attacks(job),
        seed: job.seed,
        version: env!("CARGO_PKG_VERSION"),
        build: build(),
        block: BLOCK,
    }
}

fn outcome(job: &CertifyJob<'_>, blocks: Vec<CertifiedBlock>) -> CertifyOutcome {
    let mut out = CertifyOutcome {
        images: Vec::with_capacity(job.data.len()),
        passes: Passes::default(),
        seconds: 0.0,
        attack: None,
    };
    let (mut passes, mut seconds) = (Passes::default(), 0.0);
    for block in blocks {
        out.images.extend(block.images);
        out.passes.forward += block.passes;
        out.seconds += block.seconds;
        passes += block.attack_passes;
        seconds += block.attack_seconds;
    }
    if !job.attacks.is_empty() {
        let of = |holds: &dyn Fn(&CertifiedImage, &PatchedImage) -> bool| {
            out.share(|i| i.patched.as_ref().is_some_and(|p| holds(i, p)))
        };
        out.attack = Some(PatchAttackRecord {
            attacks: attacks(job),
            bare: of(&|i, p| p.prediction == Some(i.label) && i.prediction == Some(i.label)),
            defended: of(&|i, p| p.defended == Some(i.label) && i.defended == Some(i.label)),
            detected: of(&|i, p| p.alarm || p.shared == Some(i.label)),
            passes,
            seconds,
            contradictions: out.contradictions(),
        });
    }
    out
}

fn of_block(job: &CertifyJob<'_>, rows: &[usize]) -> Result<CertifiedBlock> {
    let started = Instant::now();
    let batch = batch_of(job.data, rows)?;
    let oracle = Oracle::new(job.net);
    let masked = Masked::new(&oracle, job.masks, job.fill)?;
    let logits = oracle.logits(&batch.x)?;
    let named: Vec<Option<usize>> = predictions(&logits)
        .into_iter()
        .zip(undecided(&logits))
        .map(|(class, none)| (!none).then_some(class))
        .collect();
    let pixels = batch.x.to_f32();
    let size = pixels.len() / rows.len();
    let one = |i: usize| {
        let image = &pixels[i * size..][..size];
        as_one_of_many(|| certify_image(masked, image, batch.labels[i]))
    };
    let found: Vec<Result<_>> = (0..rows.len()).into_par_iter().map(one).collect();
    let mut images = Vec::with_capacity(rows.len());
    for (i, found) in found.into_iter().enumerate() {
        let found = found?;
        images.push(CertifiedImage {
            index: rows[i],
            label: batch.labels[i],
            prediction: named[i],
            defended: found.defended,
            alarm: found.alarm,
            proof: found.proof,
            refuted: found.refuted.map(|(pair, answer)| Refutation {
                hidden: masked.union(pair),
                answer,
            }),
            passes: found.passes,
            patched: None,
        });
    }
    let seconds = started.elapsed().as_secs_f64();
    let passes = oracle.passes().forward;
    let started = Instant::now();
    let mut attack_passes = Passes::default();
    for attack in job.attacks {
        attack_passes += attacked(job, attack.as_ref(), &batch, &mut images)?;
    }
    Ok(CertifiedBlock {
        images,
        passes,
        seconds,
        attack_passes,
        attack_seconds: started.elapsed().as_secs_f64(),
    })
}

/// Runs an attack on a block, and keeps of each image what is worse than what is known of it.
/// Passes of the defence are counted with the attack's.
fn attacked(
    job: &CertifyJob<'_>,
    attack: &dyn PatchAttack,
    batch: &Batch,
    images: &mut [CertifiedImage],
) -> Result<Passes> {
    let oracle = Oracle::new(job.net);
    let masked = Masked::new(&oracle, job.masks, job.fill)?;
    let found = run_patch_attack(attack, &oracle, batch, job.threat, job.seed)?;
    let points = found.adversarial.to_f32();
    let logits = oracle.logits(&found.adversarial)?;
    let named = predictions(&logits).into_iter().zip(undecided(&logits));
    let named: Vec<(usize, bool)> = named.collect();
    let size = points.len() / batch.len();
    let one = |(i, image): (usize, &mut CertifiedImage)| -> Result<()> {
        let x = &points[i * size..][..size];
        let said = as_one_of_many(|| defended_answer(masked, x))?;
        let places = &found.places[i];
        let content = |p: &Rectangle| (*p, content(x, p, job.data.shape()));
        let (class, none) = named[i];
        let new = PatchedImage {
            attack: attack.id().into(),
            patches: places.iter().map(content).collect(),
            prediction: (!none).then_some(class),
            defended: said.answer,
            alarm: said.alarm,
            shared: if said.alarm { None } else { said.answer },
        };
        let before = image.patched.replace(new);
        if let Some(before) = before {
            let after = harm(image);
            let new = image.patched.replace(before);
            if after > harm(image) {
                image.patched = new;
            }
        }
        Ok(())
    };
    let done: Vec<Result<()>> = images.par_iter_mut().enumerate().map(one).collect();
    done.into_iter().collect::<Result<()>>()?;
    Ok(oracle.passes())
}

/// How much the patches of an image did.
fn harm(image: &CertifiedImage) -> usize {
    let Some(patched) = &image.patched else {
        return 0;
    };
    if image.is_contradiction() {
        4
    } else if image.is_broken() {
        // Without an alarm the detector is fooled, too.
        if patched.alarm { 2 } else { 3 }
    } else {
        usize::from(patched.prediction != Some(image.label))
    }
}
