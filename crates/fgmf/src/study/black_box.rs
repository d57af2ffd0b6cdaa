//! Suites against a model behind an address: searches by scores or by labels, in a fixed order,
//! each on the examples that still stand.
//!
//! The state of such a run is the journal of the model's answers: each search is the same again
//! with the same answers. A run without a limit for each image searches all examples together, so
//! that a budget is spread evenly over them; one with a limit searches one after another.

use crate::attack::base::{Attack, Ending};
use crate::attack::sealed::run_black_box_through;
use crate::data::batch::batch_of;
use crate::data::dataset::Dataset;
use crate::defend::knowledge::MaskKnowledge;
use crate::error::{Error, Result};
use crate::model::access::Scores;
use crate::model::answer::{misclassified, predictions, undecided};
use crate::record::{ExampleRecord, Proportion};
use crate::remote::remote_model::{RemoteModel, like_probabilities};
use crate::remote::search::RemoteSearch;
use crate::remote::transport::ScoreKind;
use crate::study::adversarial::{AdversarialOrigin, write_adversarial};
use crate::study::entry::Entry;
use crate::study::found::FoundImages;
use crate::study::suite::{SuiteOutcome, held, summarise};
use crate::study::suite_state::{Broken, Part};
use crate::study::suite_verdict::nothing_right;
use crate::study::suites::{SUITES, lone};
use crate::threat::ThreatModel;
use crate::verdict::evidence::{Evidence, Found};
use crate::verdict::judge::judge;
use std::path::Path;
use std::time::Instant;

/// Examples that are asked about together where nothing is searched.
const CALL: usize = 256;

/// What a suite runs on.
#[derive(Clone, Copy)]
pub struct RemoteJob<'a> {
    /// The model.
    pub model: &'a RemoteModel,
    /// The images.
    pub data: &'a Dataset,
    /// What the attacker may do.
    pub threat: &'a ThreatModel,
    /// Seed of every attack.
    pub seed: u64,
    /// Most images that all attacks together may ask about for one example, besides its own.
    pub per_image: Option<u64>,
}

/// Outcome of a suite against a model behind an address.
#[derive(Debug)]
pub struct RemoteOutcome {
    /// Rows, examples, verdict and adversarial images.
    pub suite: SuiteOutcome,
    /// Examples that stand and whose last search ended because no image was left to ask.
    pub cut_short: usize,
    /// Whether every answer to a clean image looks like probabilities although logits were
    /// announced.
    pub like_probabilities: bool,
}

/// The attacks of a name for a model that answers so: a list of attacks by scores, separated by
/// commas. Without a name: `square,nes,hop-skip-jump`, and `hop-skip-jump` where labels are all
/// there is.
///
/// # Errors
/// [`Error::Parameter`] for a suite or an attack that needs gradients, or scores where there are
/// labels only, and for an attack named twice.
pub fn black_box_suite(
    name: Option<&str>,
    threat: &ThreatModel,
    classes: usize,
    scores: ScoreKind,
) -> Result<Vec<Entry>> {
    let (able, usual) = match scores {
        ScoreKind::Label => ("hop-skip-jump: it needs labels only", "hop-skip-jump"),
        _ => (
            "attacks by scores: square, nes, spsa, random-search, evolution, hop-skip-jump",
            "square,nes,hop-skip-jump",
        ),
    };
    let names = name.unwrap_or(usual).split(',').map(str::trim);
    let mut out: Vec<Entry> = Vec::new();
    for name in names {
        if SUITES.contains(&name) {
            return Err(Error::parameter(
                "suite",
                able,
                format!("{name}, which needs gradients"),
            ));
        }
        if out.iter().any(|e| e.name == name) {
            return Err(Error::parameter("suite", "every attack once", name));
        }
        let attack = lone(name, threat.norm(), classes)?;
        if matches!(attack, Attack::White(_)) {
            return Err(Error::parameter(
                "suite",
                able,
                format!("{name}, which needs gradients"),
            ));
        }
        if scores == ScoreKind::Label && attack.id() != "hop-skip-jump" {
            return Err(Error::parameter(
                "suite",
                able,
                format!("{name}, which needs scores"),
            ));
        }
        out.push(Entry {
            name: name.into(),
            attack,
            knowledge: MaskKnowledge::EndToEnd,
        });
    }
    Ok(out)
}

impl RemoteJob<'_> {
    /// What its adversarial images are made of.
    pub fn origin(&self) -> AdversarialOrigin {
        AdversarialOrigin {
            model_sha256: self.model.sha256(),
            data: self.data.name().into(),
            split: self.data.split(),
            data_sha256: self.data.sha256(),
            threat: self.threat.record(),
            seed: self.seed,
        }
    }
}

impl RemoteOutcome {
    /// Writes the adversarial images, as [`SuiteOutcome::save_adversarial`] does.
    pub fn save_adversarial(&self, job: &RemoteJob<'_>, path: &Path) -> Result<()> {
        let n = self.suite.examples.len();
        write_adversarial(path, &job.origin(), job.data, n, |i| {
            self.suite.found.get(i)
        })
    }

    /// [`SuiteOutcome::in_8_bits`]; `None` where the budget has no room for the question.
    pub fn in_8_bits(&self, job: &RemoteJob<'_>) -> Result<Option<Proportion>> {
        let ask = |x: &fgmf_net::Tensor| job.model.logits(x);
        match self.suite.rounded(job.data, CALL, &ask) {
            Err(Error::Budget { .. }) => Ok(None),
            kept => kept.map(Some),
        }
    }
}

/// Runs a suite over a data set. `watch` hears (attacks done in parts of examples, all).
///
/// # Errors
/// [`Error::Parameter`] when the budget has no room for the clean images; [`Error::Remote`] when
/// the model does not answer as it should. The journal of answers then has what was answered.
pub fn run_remote_suite(
    entries: &[Entry],
    job: &RemoteJob<'_>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<RemoteOutcome> {
    let n = job.data.len();
    job.model.check_budget(n)?;
    let (mut examples, mut nameless, mut probable) = (Vec::with_capacity(n), Vec::new(), true);
    for start in (0..n).step_by(CALL) {
        let rows: Vec<usize> = (start..(start + CALL).min(n)).collect();
        let batch = batch_of(job.data, &rows)?;
        let logits = job.model.logits(&batch.x)?;
        probable &= job.model.scores() == ScoreKind::Logits && like_probabilities(&logits);
        let (clean, wrong) = (predictions(&logits), misclassified(&logits, &batch.labels));
        examples.extend(rows.iter().enumerate().map(|(i, &index)| ExampleRecord {
            index,
            label: batch.labels[i],
            clean_prediction: clean[i],
            robust: !wrong[i],
            broken_by: None,
            distance: None,
        }));
        let none = undecided(&logits).into_iter().zip(rows);
        nameless.extend(none.filter(|(u, _)| *u).map(|(_, i)| i as u64));
    }
    let size = job.data.shape().iter().product();
    let mut run = RemoteRun {
        job,
        used: vec![0; n],
        cut: vec![false; n],
        examples,
        found: FoundImages::new(size),
    };
    let mut parts = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let all = entries.len() * n;
        parts.push(run.attack(entry, number, &mut |done| watch(number * n + done, all))?);
    }
    let verdict = judge(&Evidence {
        classes: job.model.classes(),
        no_gradients: Some(Found {
            examples: (0..n as u64).collect(),
            of: n,
        }),
        probabilities: Some(Found {
            examples: if probable {
                (0..n as u64).collect()
            } else {
                Vec::new()
            },
            of: n,
        }),
        undecided: Some(Found {
            examples: nameless,
            of: n,
        }),
        wrong: nothing_right(&run.examples),
        ..Evidence::default()
    });
    let stands = |i: &usize| run.examples[*i].robust && run.cut[*i];
    Ok(RemoteOutcome {
        cut_short: (0..n).filter(stands).count(),
        like_probabilities: probable,
        suite: SuiteOutcome {
            rows: summarise(entries, &parts, &run.examples),
            verdict: verdict.record(),
            found: run.found,
            stopped: false,
            examples: run.examples,
        },
    })
}

/// A suite on its way.
struct RemoteRun<'a> {
    job: &'a RemoteJob<'a>,
    /// Images that searches asked about, one an example.
    used: Vec<u64>,
    /// Whether the last search of an example had no image left to ask.
    cut: Vec<bool>,
    examples: Vec<ExampleRecord>,
    found: FoundImages,
}

impl RemoteRun<'_> {
    /// Runs an attack on what stands.
    fn attack(
        &mut self,
        entry: &Entry,
        number: usize,
        watch: &mut dyn FnMut(usize),
    ) -> Result<Part> {
        let Attack::Black(attack) = &entry.attack else {
            let expected = "an attack by scores";
            return Err(Error::mismatch("attack", expected, &entry.name));
        };
        let started = Instant::now();
        let RemoteJob {
            model,
            data,
            threat,
            seed,
            per_image,
        } = *self.job;
        let standing: Vec<usize> = (0..data.len())
            .filter(|&i| self.examples[i].robust)
            .collect();
        let mut part = Part {
            entry: number,
            attempted: standing.len(),
            ..Part::default()
        };
        let together = if per_image.is_some() {
            1
        } else {
            standing.len().max(1)
        };
        for rows in standing.chunks(together) {
            let batch = batch_of(data, rows)?;
            let left = per_image.map(|limit| limit.saturating_sub(self.used[rows[0]]));
            // Each point found may have to be asked about once more, to be judged.
            let reserve = rows.len() as u64;
            let seen = RemoteSearch::new(model, reserve, left.map(|l| l.saturating_sub(reserve)));
            let through = (model as &dyn Scores, &seen as &dyn Scores);
            let outcome = run_black_box_through(attack.as_ref(), through, &batch, threat, seed);
            let outcome = match outcome {
                // No image was left to judge with; nothing was found then.
                Err(Error::Budget { .. }) => {
                    rows.iter().for_each(|&i| self.cut[i] = true);
                    continue;
                }
                outcome => outcome?,
            };
            let points = outcome.adversarial.to_f32();
            let size = points.len() / rows.len();
            for (j, &i) in rows.iter().enumerate() {
                if per_image.is_some() {
                    self.used[i] += seen.used() + 1;
                }
                self.cut[i] = outcome.endings[j] == Ending::BudgetExhausted;
                if !outcome.success[j] {
                    continue;
                }
                let distance = outcome.distance[j];
                self.examples[i].fall(&entry.name, distance);
                part.broken.push(Broken { row: i, distance });
                let image = held(&points[j * size..][..size], size).into_iter().next();
                if let Some(place) = image {
                    self.found.put(i, place);
                }
            }
            part.passes += outcome.passes;
            watch(rows.last().map_or(0, |i| i + 1));
        }
        part.seconds = started.elapsed().as_secs_f64();
        watch(data.len());
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Norm;

    #[test]
    fn only_what_needs_no_more_than_there_is_may_be_named() {
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let names = |name: Option<&str>, scores| -> std::result::Result<Vec<String>, String> {
            let entries = black_box_suite(name, &threat, 10, scores);
            let entries = entries.map_err(|e| e.to_string())?;
            Ok(entries.into_iter().map(|e| e.name).collect())
        };
        let usual = names(None, ScoreKind::Logits).unwrap();
        assert_eq!(usual, ["square", "nes", "hop-skip-jump"]);
        assert_eq!(names(None, ScoreKind::Label).unwrap(), ["hop-skip-jump"]);
        let all = "square, spsa,random-search,evolution";
        assert_eq!(names(Some(all), ScoreKind::Probabilities).unwrap().len(), 4);
        for (name, scores, part) in [
            ("standard", ScoreKind::Logits, "needs gradients"),
            (
                "square,pgd-20",
                ScoreKind::Logits,
                "pgd-20, which needs gradients",
            ),
            ("square", ScoreKind::Label, "square, which needs scores"),
            ("square,square", ScoreKind::Logits, "every attack once"),
            ("squares", ScoreKind::Logits, "squares"),
        ] {
            let message = names(Some(name), scores).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
