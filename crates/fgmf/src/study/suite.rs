//! Suites: attacks in a fixed order, each on the examples that still stand, worst case per example;
//! with a state file, so that a run that was killed goes on where it was, to the same result.

use crate::attack::base::Ending;
use crate::attack::sealed::{run_attack, run_black_box};
use crate::data::batch::{Batch, batch_of};
use crate::data::dataset::Dataset;
use crate::defend::knowledge::attacker_rules;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::{misclassified, predictions, undecided};
use crate::model::guided::Guided;
use crate::model::oracle::Oracle;
use crate::record::{AttackRow, ExampleRecord, Passes, Proportion, VerdictRecord};
use crate::store::build::build;
use crate::study::adversarial::write_adversarial;
use crate::study::breach::{Breach, Handed};
use crate::study::entry::{Entry, SuiteJob};
use crate::study::found::{FoundImages, Place};
use crate::study::guides::Guides;
use crate::study::suite_state::{Broken, Part, Searched, StateFile, SuiteHeader};
use crate::study::suite_verdict::verdict;
use crate::verdict::judge::Verdict;
use fgmf_net::Tensor;
use std::path::Path;
use std::time::Instant;

/// Examples that each attack takes together; what it did to them is saved together. Larger blocks
/// keep batches full when few examples stand, smaller ones lose less to a kill.
const BLOCK: usize = 256;

/// Outcome of a suite.
#[derive(Debug)]
pub struct SuiteOutcome {
    /// One row an attack.
    pub rows: Vec<AttackRow>,
    /// One row an example.
    pub examples: Vec<ExampleRecord>,
    /// Verdict.
    pub verdict: VerdictRecord,
    /// The adversarial images of the examples that were broken.
    pub found: FoundImages,
    /// Whether the run ended before all examples were attacked, because the question asked was
    /// answered.
    pub stopped: bool,
}

impl SuiteOutcome {
    /// What the attacks of a suite did, and the verdict.
    pub(crate) fn of(
        entries: &[Entry],
        job: &SuiteJob<'_>,
        all: Searched,
        verdict: &Verdict,
    ) -> Self {
        Self {
            rows: summarise(entries, &all.parts, &all.examples),
            verdict: verdict.record(),
            found: all.found,
            stopped: all.examples.len() < job.data.len(),
            examples: all.examples,
        }
    }

    /// Examples that were right before any attack.
    pub fn clean(&self) -> Proportion {
        Proportion::new(
            self.examples.iter().filter(|e| e.right_before()).count(),
            self.examples.len(),
        )
    }

    /// Examples that stand after every attack.
    pub fn overall(&self) -> Proportion {
        Proportion::new(
            self.examples.iter().filter(|e| e.robust).count(),
            self.examples.len(),
        )
    }

    /// Counts adversarial points that something other than the suite's attacks found: every point
    /// counts, whoever found it. The sealed entry projects each and judges it anew. What holds
    /// takes its example down, and a row for each finder says how many.
    pub fn admit(&mut self, job: &SuiteJob<'_>, breaches: &[Breach]) -> Result<()> {
        let stands = |b: &&Breach| self.examples.get(b.example).is_some_and(|e| e.robust);
        let open: Vec<&Breach> = breaches.iter().filter(stands).collect();
        if open.is_empty() {
            return Ok(());
        }
        let judge = Oracle::new(job.net);
        let (n, mut left) = (self.examples.len(), self.overall().count);
        let mut rows: Vec<AttackRow> = Vec::new();
        for (block, points) in open.chunks(BLOCK).enumerate() {
            let examples: Vec<usize> = points.iter().map(|b| b.example).collect();
            let mut batch = batch_of(job.data, &examples)?;
            let first = block * BLOCK;
            batch.index = (first..first + points.len()).map(|i| i as u64).collect();
            let found = run_black_box(&Handed(&open), &judge, &batch, job.threat, job.seed)?;
            let values = found.adversarial.to_f32();
            let size = values.len() / points.len();
            for (j, breach) in points.iter().enumerate() {
                let example = &mut self.examples[breach.example];
                if !example.robust {
                    // An earlier point of the list has it.
                    continue;
                }
                let at = rows.iter().position(|r| r.name == breach.finder);
                let at = at.unwrap_or_else(|| {
                    rows.push(row(&breach.finder));
                    rows.len() - 1
                });
                rows[at].attempted += 1;
                if found.success[j] {
                    rows[at].broken += 1;
                    example.fall(&breach.finder, found.distance[j]);
                    let point = values[j * size..][..size].to_vec();
                    self.found.put(breach.example, Place::Held(point));
                }
            }
        }
        for found in rows.into_iter().filter(|r| r.broken > 0) {
            left -= found.broken;
            self.rows.push(standing(found, left, n));
        }
        Ok(())
    }

    /// Adversarial images that the network still misclassifies once their numbers are rounded to
    /// multiples of 1/255, as a file of 8 bits a channel holds them; of all that were found. A
    /// rounded image may lie outside the ball by up to half a step. Images from 0 to 1.
    pub fn in_8_bits(&self, job: &SuiteJob<'_>) -> Result<Proportion> {
        let ask = |x: &Tensor| Ok(job.net.logits(x)?);
        self.rounded(job.data, job.cap, &ask)
    }

    /// [`Self::in_8_bits`] of whatever answers.
    pub(crate) fn rounded(
        &self,
        data: &Dataset,
        cap: usize,
        ask: &dyn Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Proportion> {
        let broken: Vec<usize> = (0..self.examples.len())
            .filter(|&i| self.examples[i].broken_by.is_some())
            .collect();
        let mut wrong = 0;
        for rows in broken.chunks(BLOCK.min(cap.max(1))) {
            let mut batch = batch_of(data, rows)?;
            let mut points = Vec::with_capacity(batch.x.shape().iter().product());
            for &i in rows {
                let image = self.found.get(i)?.ok_or_else(|| {
                    Error::mismatch("read adversarial images", "one an example broken", "none")
                })?;
                points.extend(image.iter().map(|v| (v * 255.0).round() / 255.0));
            }
            batch.x = Tensor::new::<f32>(batch.x.shape(), points);
            let missed = misclassified(&ask(&batch.x)?, &batch.labels);
            wrong += missed.into_iter().filter(|m| *m).count();
        }
        Ok(Proportion::new(wrong, broken.len()))
    }

    /// Writes the adversarial images of a run, in the order of the examples; see
    /// [`write_adversarial`].
    pub fn save_adversarial(&self, job: &SuiteJob<'_>, path: &Path) -> Result<()> {
        let n = self.examples.len();
        write_adversarial(path, &job.origin(), job.data, n, |i| self.found.get(i))
    }
}

/// Runs a suite over a data set. `state` names the file that keeps what was done; `watch` hears
/// (examples done, all, standing so far), where an example that has gone through some of the
/// attacks counts in part.
pub fn run_suite(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize, usize),
) -> Result<SuiteOutcome> {
    run_suite_until(entries, job, state, None, watch)
}

/// [`run_suite`] that asks only whether robust accuracy is `threshold` or more, and stops after the
/// block that answers it: when those that stand for good are enough, or those that may still stand
/// are too few. The outcome then covers the examples done.
pub fn run_suite_until(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    state: Option<&Path>,
    threshold: Option<f64>,
    watch: &mut dyn FnMut(usize, usize, usize),
) -> Result<SuiteOutcome> {
    let all = search_all(entries, job, state, threshold, watch)?;
    let (verdict, breaches) = verdict(entries, job, &all)?;
    let mut outcome = SuiteOutcome::of(entries, job, all, &verdict);
    outcome.admit(job, &breaches)?;
    Ok(outcome)
}

/// The attacks of [`run_suite_until`], without verdict.
pub(crate) fn search_all(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    state: Option<&Path>,
    threshold: Option<f64>,
    watch: &mut dyn FnMut(usize, usize, usize),
) -> Result<Searched> {
    let mut log = state
        .map(|path| StateFile::open(path, &header(entries, job), job.data.shape()))
        .transpose()?;
    let total = job.data.len();
    let indices: Vec<usize> = (0..total).collect();
    let (mut parts, mut examples) = (Vec::new(), Vec::new());
    let size = job.data.shape().iter().product::<usize>();
    let mut images = FoundImages::new(size);
    let mut undecided = Vec::new();
    let mut guides = Guides::default();
    for rows in indices.chunks(BLOCK) {
        let standing = examples
            .iter()
            .filter(|e: &&ExampleRecord| e.robust)
            .count();
        let mut block = Block::new(job, rows)?;
        for (number, entry) in entries.iter().enumerate() {
            let (part, places) = match log.as_mut().and_then(|l| l.take(rows[0], number)) {
                Some((part, begin)) => {
                    let places = stored(begin, size, part.broken.len());
                    (part, places)
                }
                None => {
                    let (part, found) = block.attack(entry, number, job, &mut guides)?;
                    let places = match &mut log {
                        Some(log) => stored(log.append(&part, &found)?, size, part.broken.len()),
                        None => held(&found, size),
                    };
                    (part, places)
                }
            };
            for (broken, place) in part.broken.iter().zip(places) {
                let example = &mut block.examples[broken.row];
                example.fall(&entry.name, broken.distance);
                images.put(example.index, place);
            }
            parts.push(part);
            let share = |n: usize| n * (number + 1) / entries.len();
            watch(
                examples.len() + share(rows.len()),
                total,
                standing + share(block.standing().len()),
            );
        }
        undecided.extend(block.undecided);
        examples.extend(block.examples);
        let safe = examples.iter().filter(|e| e.robust).count();
        let open = total - examples.len();
        let enough = |n: usize, threshold: f64| n as f64 >= threshold * total as f64;
        if threshold.is_some_and(|t| enough(safe, t) || !enough(safe + open, t)) {
            break;
        }
    }
    if let Some(log) = log {
        images.stored_in(log.into_images());
    }
    Ok(Searched {
        parts,
        examples,
        undecided,
        found: images,
    })
}

/// The searches of some examples once more, each as in the run of all: the image that broke it, or
/// `None` where every attack leaves it standing. An example's search is the same in any batch.
pub(crate) fn search_again(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    rows: &[usize],
) -> Result<Vec<Option<Vec<f32>>>> {
    let size = job.data.shape().iter().product::<usize>();
    let mut images = vec![None; rows.len()];
    let mut guides = Guides::default();
    for (start, rows) in (0..).step_by(BLOCK).zip(rows.chunks(BLOCK)) {
        let mut block = Block::new(job, rows)?;
        for (number, entry) in entries.iter().enumerate() {
            let (part, found) = block.attack(entry, number, job, &mut guides)?;
            for (broken, image) in part.broken.iter().zip(found.chunks_exact(size)) {
                block.examples[broken.row].fall(&entry.name, broken.distance);
                images[start + broken.row] = Some(image.to_vec());
            }
        }
    }
    Ok(images)
}

/// The places of so many images in the state, the first of which begins at byte `begin`.
fn stored(begin: u64, size: usize, count: usize) -> Vec<Place> {
    let at = |i: usize| Place::Stored(begin + (4 * size * i) as u64);
    (0..count).map(at).collect()
}

/// Images one after another, each in a place of its own.
pub(crate) fn held(images: &[f32], size: usize) -> Vec<Place> {
    let images = images.chunks_exact(size);
    images.map(|image| Place::Held(image.to_vec())).collect()
}

fn describe(entry: &Entry) -> serde_json::Value {
    serde_json::json!({ "mask": entry.knowledge, "settings": entry.attack.parameters() })
}

fn header(entries: &[Entry], job: &SuiteJob<'_>) -> SuiteHeader {
    SuiteHeader {
        model_sha256: job.model_sha256.into(),
        data_sha256: job.data.sha256(),
        threat: job.threat.record(),
        seed: job.seed,
        version: env!("CARGO_PKG_VERSION").into(),
        build: build(),
        block: BLOCK,
        suite: entries
            .iter()
            .map(|e| (e.name.clone(), describe(e)))
            .collect(),
    }
}

/// Examples that are attacked together.
struct Block {
    batch: Batch,
    examples: Vec<ExampleRecord>,
    /// Of its examples, by index, those for which the model names no class.
    undecided: Vec<u64>,
}

impl Block {
    fn new(job: &SuiteJob<'_>, rows: &[usize]) -> Result<Self> {
        let batch = batch_of(job.data, rows)?;
        let logits = job.net.logits(&batch.x)?;
        let (clean, wrong) = (predictions(&logits), misclassified(&logits, &batch.labels));
        let example = |i: usize| ExampleRecord {
            index: rows[i],
            label: batch.labels[i],
            clean_prediction: clean[i],
            robust: !wrong[i],
            broken_by: None,
            distance: None,
        };
        let nameless = undecided(&logits).into_iter().zip(rows);
        Ok(Self {
            examples: (0..rows.len()).map(example).collect(),
            undecided: nameless
                .filter(|(u, _)| *u)
                .map(|(_, &i)| i as u64)
                .collect(),
            batch,
        })
    }

    /// Positions in the block of the examples that stand.
    fn standing(&self) -> Vec<usize> {
        (0..self.examples.len())
            .filter(|&i| self.examples[i].robust)
            .collect()
    }

    /// Runs an attack on what stands: what it did, and the adversarial images it found.
    fn attack(
        &self,
        entry: &Entry,
        number: usize,
        job: &SuiteJob<'_>,
        guides: &mut Guides,
    ) -> Result<(Part, Vec<f32>)> {
        let started = Instant::now();
        let rows = self.standing();
        let mut part = Part {
            block: self.examples[0].index,
            entry: number,
            attempted: rows.len(),
            ..Part::default()
        };
        let mut found = Vec::new();
        let oracle = Oracle::with_rules(job.net, attacker_rules(job.net, entry.knowledge));
        let guide = if rows.is_empty() {
            None
        } else {
            guides.of(entry.knowledge, job)?
        };
        let guided = guide.map(|g| Guided::new(&oracle, g));
        let model = guided.as_ref().map_or(&oracle as &dyn Gradients, |g| g);
        for rows in rows.chunks(job.cap.max(1)) {
            let batch = self.batch.select(rows);
            let outcome = run_attack(&entry.attack, model, &batch, job.threat, job.seed)?;
            let points = outcome.adversarial.values::<f32>();
            let points = points.chunks_exact(points.len() / rows.len());
            for ((j, &i), point) in rows.iter().enumerate().zip(points) {
                match outcome.endings[j] {
                    Ending::ZeroGradient => part.flat.push(i),
                    Ending::NonFinite => part.non_finite.push(i),
                    _ => {}
                }
                if outcome.success[j] {
                    part.broken.push(Broken {
                        row: i,
                        distance: outcome.distance[j],
                    });
                    found.extend_from_slice(point);
                }
            }
            part.passes += outcome.passes;
        }
        part.seconds = started.elapsed().as_secs_f64();
        Ok((part, found))
    }
}

/// A row that nothing is known of yet.
fn row(name: &str) -> AttackRow {
    AttackRow {
        name: name.into(),
        robust_accuracy: 0.0,
        interval: [0.0; 2],
        attempted: 0,
        broken: 0,
        passes: Passes::default(),
        seconds: 0.0,
        params: serde_json::json!({}),
    }
}

/// The row where `left` of `n` examples stand after it.
fn standing(row: AttackRow, left: usize, n: usize) -> AttackRow {
    let share = Proportion::new(left, n);
    AttackRow {
        robust_accuracy: share.value,
        interval: share.interval,
        ..row
    }
}

pub(crate) fn summarise(
    entries: &[Entry],
    parts: &[Part],
    examples: &[ExampleRecord],
) -> Vec<AttackRow> {
    let n = examples.len();
    let mut left = examples.iter().filter(|e| e.right_before()).count();
    let mut rows = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        let mut found = row(&entry.name);
        found.params = describe(entry);
        for part in parts.iter().filter(|p| p.entry == number) {
            found.attempted += part.attempted;
            found.broken += part.broken.len();
            found.passes += part.passes;
            found.seconds += part.seconds;
        }
        left -= found.broken;
        rows.push(standing(found, left, n));
    }
    rows
}
