//! Suites: attacks in a fixed order, each on the examples that still stand, worst case per example; with a state file, so
//! that a run that was killed goes on where it was, to the same result.

use super::{Attack, Batch, Ending, PgdParams, RandomSearchParams, Start, StepLoss, predictions, run_attack};
use crate::data::Dataset;
use crate::defend::{MaskKnowledge, attacker_rules, has_mask};
use crate::error::{Error, Result};
use crate::oracle::{Oracle, Passes};
use crate::record::{AttackRow, ExampleRecord, FlagRecord, Proportion, VerdictRecord};
use crate::threat::ThreatModel;
use crate::train::batch_of;
use fgmf_net::Network;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Examples that go through the whole suite together, and are saved together.
const BLOCK: usize = 64;

/// An attack with its name in the suite and what it assumes of the mask layer.
pub struct Entry {
    /// Unique in the suite.
    pub name: String,
    /// The attack.
    pub attack: Attack,
    /// What stands in for the derivative of the mask layer.
    pub knowledge: MaskKnowledge,
}

/// Names of the suites.
pub const SUITES: [&str; 3] = ["quick", "standard", "adaptive"];

/// A suite by name, for this network.
///
/// - `quick`: FGSM, PGD-20.
/// - `standard`: those, PGD-100 on the margin with 5 restarts, random search (100 draws).
/// - `adaptive`: `standard`, and where the network has an SGAM mask both PGD attacks again with the mask frozen at each step
///   and with the layer taken for the identity.
pub fn suite(name: &str, net: &Network) -> Result<Vec<Entry>> {
    if !SUITES.contains(&name) {
        return Err(Error::parameter("suite", SUITES.join(", "), name));
    }
    let pgd = || PgdParams::default();
    let margin = || PgdParams { steps: 100, restarts: 5, loss: StepLoss::Margin, ..PgdParams::default() };
    let white = |name: &str, p: PgdParams, knowledge| -> Result<Entry> {
        Ok(Entry { name: name.into(), attack: Attack::White(Box::new(p.check()?)), knowledge })
    };
    let exact = MaskKnowledge::EndToEnd;
    let mut out = vec![white("fgsm", PgdParams::fgsm(), exact)?, white("pgd-20", pgd(), exact)?];
    if name == "quick" {
        return Ok(out);
    }
    out.push(white("pgd-100-margin", margin(), exact)?);
    if name == "adaptive" && has_mask(net) {
        for (tag, knowledge) in [("frozen-mask", MaskKnowledge::FrozenMask), ("straight-through", MaskKnowledge::StraightThrough)] {
            out.push(white(&format!("pgd-20-{tag}"), PgdParams { start: Start::Random, ..pgd() }, knowledge)?);
            out.push(white(&format!("pgd-100-margin-{tag}"), margin(), knowledge)?);
        }
    }
    out.push(Entry {
        name: "random-search".into(),
        attack: Attack::Black(Box::new(RandomSearchParams::default().check()?)),
        knowledge: exact,
    });
    Ok(out)
}

/// What one attack did to one block.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    attempted: usize,
    broken: usize,
    zero_gradients: usize,
    non_finite: usize,
    passes: Passes,
    seconds: f64,
}

/// A finished block: one line of the state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Block {
    start: usize,
    parts: Vec<Part>,
    examples: Vec<ExampleRecord>,
}

/// First line of the state file: what the blocks belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    model_sha256: String,
    data_sha256: String,
    threat: crate::record::ThreatRecord,
    seed: u64,
    version: String,
    suite: Vec<(String, serde_json::Value)>,
}

/// Outcome of a suite.
#[derive(Clone, Debug)]
pub struct SuiteOutcome {
    /// One row an attack.
    pub rows: Vec<AttackRow>,
    /// One row an example.
    pub examples: Vec<ExampleRecord>,
    /// Verdict.
    pub verdict: VerdictRecord,
}

impl SuiteOutcome {
    /// Examples that were right before any attack.
    pub fn clean(&self) -> Proportion {
        Proportion::new(self.examples.iter().filter(|e| e.clean_prediction == e.label).count(), self.examples.len())
    }

    /// Examples that stand after every attack.
    pub fn overall(&self) -> Proportion {
        Proportion::new(self.examples.iter().filter(|e| e.robust).count(), self.examples.len())
    }
}

/// What a suite runs on.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The network.
    pub net: &'a Network,
    /// Hash of its file, which ties the state to it.
    pub model_sha256: &'a str,
    /// The images.
    pub data: &'a Dataset,
    /// What the attacker may do.
    pub threat: &'a ThreatModel,
    /// Seed of every attack.
    pub seed: u64,
}

/// Runs a suite over a data set. `state` names the file that keeps finished blocks; `watch` hears (examples done, all,
/// standing so far).
pub fn run_suite(
    entries: &[Entry],
    job: &Job<'_>,
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize, usize),
) -> Result<SuiteOutcome> {
    let Job { net, model_sha256, data, threat, seed } = *job;
    let describe = |e: &Entry| (e.name.clone(), serde_json::json!({ "mask": e.knowledge, "settings": e.attack.parameters() }));
    let header = Header {
        model_sha256: model_sha256.into(),
        data_sha256: data.sha256(),
        threat: threat.record(),
        seed,
        version: env!("CARGO_PKG_VERSION").into(),
        suite: entries.iter().map(describe).collect(),
    };
    let mut log = state.map(|path| StateFile::open(path, &header)).transpose()?;
    let mut blocks: Vec<Block> = log.as_mut().map(|l| std::mem::take(&mut l.blocks)).unwrap_or_default();
    let total = data.len();
    let indices: Vec<usize> = (0..total).collect();
    let standing = |blocks: &[Block]| blocks.iter().flat_map(|b| &b.examples).filter(|e| e.robust).count();
    for rows in indices.chunks(BLOCK) {
        if blocks.iter().any(|b| b.start == rows[0]) {
            continue;
        }
        let block = run_block(entries, net, &batch_of(data, rows), threat, seed)?;
        if let Some(log) = &mut log {
            log.append(&block)?;
        }
        blocks.push(block);
        watch(blocks.iter().map(|b| b.examples.len()).sum(), total, standing(&blocks));
    }
    blocks.sort_by_key(|b| b.start);
    Ok(summarise(entries, &blocks, total))
}

fn run_block(entries: &[Entry], net: &Network, batch: &Batch, threat: &ThreatModel, seed: u64) -> Result<Block> {
    let clean = predictions(&net.logits(&batch.x)?);
    let mut examples: Vec<ExampleRecord> = (0..batch.len())
        .map(|i| ExampleRecord {
            index: batch.index[i] as usize,
            label: batch.labels[i],
            clean_prediction: clean[i],
            robust: clean[i] == batch.labels[i],
            broken_by: None,
            distance: None,
        })
        .collect();
    let mut parts = Vec::with_capacity(entries.len());
    for entry in entries {
        let started = Instant::now();
        let rows: Vec<usize> = (0..batch.len()).filter(|&i| examples[i].robust).collect();
        let mut part = Part { attempted: rows.len(), broken: 0, zero_gradients: 0, non_finite: 0, passes: Passes::default(), seconds: 0.0 };
        if !rows.is_empty() {
            let oracle = Oracle::with_rules(net, attacker_rules(net, entry.knowledge));
            let outcome = run_attack(&entry.attack, &oracle, &batch.select(&rows), threat, seed)?;
            for (j, &i) in rows.iter().enumerate() {
                part.zero_gradients += usize::from(outcome.endings[j] == Ending::ZeroGradient);
                part.non_finite += usize::from(outcome.endings[j] == Ending::NonFinite);
                if outcome.success[j] {
                    part.broken += 1;
                    examples[i].robust = false;
                    examples[i].broken_by = Some(entry.name.clone());
                    examples[i].distance = Some(outcome.distance[j]);
                }
            }
            part.passes = outcome.passes;
        }
        part.seconds = started.elapsed().as_secs_f64();
        parts.push(part);
    }
    Ok(Block { start: batch.index[0] as usize, parts, examples })
}

fn summarise(entries: &[Entry], blocks: &[Block], n: usize) -> SuiteOutcome {
    let examples: Vec<ExampleRecord> = blocks.iter().flat_map(|b| b.examples.clone()).collect();
    let mut left = examples.iter().filter(|e| e.clean_prediction == e.label).count();
    let mut rows = Vec::with_capacity(entries.len());
    let mut signs = Signs::default();
    for (i, entry) in entries.iter().enumerate() {
        let sum = |f: &dyn Fn(&Part) -> usize| blocks.iter().map(|b| f(&b.parts[i])).sum::<usize>();
        let broken = sum(&|p| p.broken);
        left -= broken;
        let standing = Proportion::new(left, n);
        let mut passes = Passes::default();
        blocks.iter().for_each(|b| passes += b.parts[i].passes);
        signs.zero_gradients += sum(&|p| p.zero_gradients);
        signs.non_finite += sum(&|p| p.non_finite);
        if matches!(entry.attack, Attack::Black(_)) {
            signs.black_box_wins += broken;
            signs.black_box = true;
        }
        rows.push(AttackRow {
            name: entry.name.clone(),
            robust_accuracy: standing.value,
            interval: standing.interval,
            attempted: sum(&|p| p.attempted),
            broken,
            passes,
            seconds: blocks.iter().map(|b| b.parts[i].seconds).sum(),
            params: serde_json::json!({ "mask": entry.knowledge, "settings": entry.attack.parameters() }),
        });
    }
    SuiteOutcome { rows, examples, verdict: signs.verdict(n) }
}

/// Signs of masking that this version looks for.
#[derive(Default)]
struct Signs {
    zero_gradients: usize,
    non_finite: usize,
    black_box_wins: usize,
    black_box: bool,
}

impl Signs {
    fn verdict(&self, n: usize) -> VerdictRecord {
        let mut flags = Vec::new();
        let mut flag = |id: &str, examples: usize, advice: &str| {
            flags.push(FlagRecord { id: id.into(), evidence: serde_json::json!({ "examples": examples, "n": n }), advice: advice.into() });
        };
        if self.zero_gradients > 0 {
            flag(
                "zero-gradient",
                self.zero_gradients,
                "the loss is flat at these images: attack the margin, another precision or a smooth surrogate",
            );
        }
        if self.non_finite > 0 {
            flag("non-finite-gradient", self.non_finite, "gradients overflow: run in f64 or with a smooth surrogate");
        }
        // AutoAttack's rule: more than 0.2 points of accuracy found without gradients after those with.
        if self.black_box_wins as f64 > 0.002 * n as f64 {
            flag(
                "black-box-beats-white-box",
                self.black_box_wins,
                "gradients mislead: treat the figure as an upper bound that is not tight",
            );
        }
        let mut checks = vec!["zero-gradient".to_owned(), "non-finite-gradient".to_owned()];
        if self.black_box {
            checks.push("black-box-beats-white-box".into());
        }
        let masked = flags.iter().any(|f| f.id == "black-box-beats-white-box");
        let level = if masked {
            "masked"
        } else if flags.is_empty() {
            "trustworthy"
        } else {
            "suspicious"
        };
        VerdictRecord { level: level.into(), checks, flags }
    }
}

/// Finished blocks on disk, one JSON line each behind a header line.
struct StateFile {
    file: std::fs::File,
    path: std::path::PathBuf,
    blocks: Vec<Block>,
}

impl StateFile {
    fn open(path: &Path, header: &Header) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(path)(e)),
        };
        // A kill can cut the last line short; what has no end of line was not finished.
        let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        let mut blocks = Vec::new();
        let mut kept = serde_json::to_string(header).map_err(|e| Error::record(path, e))? + "\n";
        if let Some(first) = lines.next() {
            let found: Header = serde_json::from_str(first)
                .map_err(|e| Error::record(path, format!("expected the state of an attack run, found {e}; delete it to start over")))?;
            if found != *header {
                return Err(Error::record(
                    path,
                    "expected the state of this run, found one with another model, data or settings; choose another folder or delete the file",
                ));
            }
            for line in lines {
                let block: Block = serde_json::from_str(line)
                    .map_err(|e| Error::record(path, format!("expected a finished block, found {e}; delete the file to start over")))?;
                kept.push_str(line);
                blocks.push(block);
            }
        }
        crate::train::write_atomically(path, kept.as_bytes())?;
        let file = std::fs::OpenOptions::new().append(true).open(path).map_err(Error::io(path))?;
        Ok(Self { file, path: path.into(), blocks })
    }

    fn append(&mut self, block: &Block) -> Result<()> {
        let line = serde_json::to_string(block).map_err(|e| Error::record(&self.path, e))? + "\n";
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()).map_err(Error::io(&self.path))
    }
}
