//! Accuracy against the radius.
//!
//! Balls are nested: an image that falls at a radius has fallen at every larger one, because the
//! point that broke it lies in the larger ball, too. So a curve never rises.

use crate::error::Result;
use crate::record::{CurvePoint, ExampleRecord, Proportion, VerdictRecord};
use crate::study::breach::Breach;
use crate::study::entry::{Entry, SuiteJob};
use crate::study::suite::{SuiteOutcome, search_all};
use crate::study::suite_state::remove;
use crate::study::suite_verdict::verdict;
use std::path::{Path, PathBuf};

/// What [`curve`] measured.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Examples that are right before any attack; none measured where there is no radius.
    pub clean: Proportion,
    /// A point a radius, in the order asked for.
    pub points: Vec<CurvePoint>,
    /// The verdict at the radius of the job, if it is among the radii and was asked for.
    pub verdict: Option<VerdictRecord>,
    /// Adversarial points in balls that are no larger than the job's, the first of each example
    /// that is not known to have fallen.
    pub breaches: Vec<Breach>,
}

fn state_of(state: &Path, number: usize) -> PathBuf {
    let mut name = state.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".radius-{number}.jsonl"));
    state.with_file_name(name)
}

/// Removes what [`curve`] kept beside `state`.
pub fn remove_curve_state(state: &Path, radii: &[f64]) -> Result<()> {
    (0..radii.len()).try_for_each(|i| remove(&state_of(state, i)))
}

/// Robust accuracy at several radii, each by all attacks of a suite: radius 0 gives the clean
/// accuracy. A curve that does not reach the chance level at a large radius is a sign of masking.
///
/// `known` is what a suite did at the radius of the job. What it broke has fallen at that radius
/// and at larger ones. It may be empty.
///
/// The probes of the verdict run once at most: at the radius of the job, if `judged`. `state` names
/// a file beside which each radius keeps what was done, so that the same call goes on after a kill;
/// [`remove_curve_state`] removes it. `watch` hears (radii done, examples done at this radius).
pub fn curve(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    radii: &[f64],
    judged: bool,
    known: &[ExampleRecord],
    state: Option<&Path>,
    watch: &mut dyn FnMut(usize, usize),
) -> Result<Curve> {
    let mut order: Vec<usize> = (0..radii.len()).collect();
    order.sort_by(|&a, &b| radii[a].total_cmp(&radii[b]));
    let mut fallen = vec![false; job.data.len()];
    let (mut clean, mut verdict_at) = (Proportion::new(0, 0), None);
    let mut breaches = Vec::new();
    let mut points: Vec<Option<CurvePoint>> = vec![None; radii.len()];
    for (done, i) in order.into_iter().enumerate() {
        let threat = job.threat.with_eps(radii[i])?;
        let job_at = SuiteJob {
            threat: &threat,
            ..*job
        };
        let kept = state.map(|s| state_of(s, i));
        let mut heard = |n: usize, _: usize, _: usize| watch(done, n);
        let all = search_all(entries, &job_at, kept.as_deref(), None, &mut heard)?;
        let at_the_job = (radii[i] - job.threat.eps()).abs() < 1e-12;
        let (examples, images) = if judged && verdict_at.is_none() && at_the_job {
            let (verdict, found) = verdict(entries, &job_at, &all)?;
            let mut outcome = SuiteOutcome::of(entries, &job_at, all, &verdict);
            outcome.admit(&job_at, &found)?;
            verdict_at = Some(verdict.record());
            (outcome.examples, outcome.found)
        } else {
            (all.examples, all.found)
        };
        let (inside, reached) = (radii[i] <= job.threat.eps(), radii[i] >= job.threat.eps());
        for (at, example) in examples.iter().enumerate() {
            let news = known.get(at).is_none_or(|e| e.robust);
            if inside
                && news
                && !fallen[at]
                && let Some(point) = images.get(at)?
            {
                breaches.push(Breach {
                    example: at,
                    finder: format!("eps {}", radii[i]),
                    point,
                });
            }
            let before = known.get(at).is_some_and(|e| reached && !e.robust);
            fallen[at] |= !example.robust || before;
        }
        let right = examples.iter().filter(|e| e.right_before());
        clean = Proportion::new(right.count(), examples.len());
        let standing = fallen.iter().filter(|f| !**f).count();
        points[i] = Some(CurvePoint {
            eps: radii[i],
            robust: Proportion::new(standing, examples.len()),
            proved: None,
        });
    }
    Ok(Curve {
        clean,
        points: points.into_iter().flatten().collect(),
        verdict: verdict_at,
        breaches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::{Attack, Candidate, Ending, PgdParams, Seed, WhiteBox};
    use crate::data::{Batch, Dataset};
    use crate::defend::MaskKnowledge;
    use crate::model::Gradients;
    use crate::record::{Norm, Split};
    use crate::threat::ThreatModel;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    fn entry(name: &str, attack: Attack) -> Entry {
        Entry {
            name: name.into(),
            attack,
            knowledge: MaskKnowledge::EndToEnd,
        }
    }

    fn small() -> (fgmf_net::Session, Dataset) {
        let net = build(&ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 8, 8],
            classes: 3,
            mean: vec![0.5],
            deviation: vec![0.5],
            seed: 1,
        });
        let pixels: Vec<u8> = (0..12 * 64).map(|i| (i * 7919 % 251) as u8).collect();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let labels = (0..12).map(|i| i % 3).collect();
        let data = Dataset::new("small", Split::Test, classes, [1, 8, 8], pixels, labels);
        (fgmf_net::Session::new(net.unwrap()), data.unwrap())
    }

    #[test]
    fn a_killed_curve_goes_on_to_the_same_points_and_cleans_up() {
        let (net, data) = small();
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let job = SuiteJob {
            net: &net,
            model_sha256: "of the net",
            data: &data,
            threat: &threat,
            seed: 3,
            cap: usize::MAX,
        };
        let pgd = || Attack::White(Box::new(PgdParams::default().check().unwrap()));
        let entries = [entry("pgd", pgd())];
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("run.state.jsonl");
        let radii = [0.3, 0.0, 0.05];
        let mut never = |_: usize, _: usize| {};
        let all = curve(&entries, &job, &radii, false, &[], None, &mut never).unwrap();
        // The radii that were done before the kill, in the order they are done.
        curve(&entries, &job, &radii, false, &[], Some(&state), &mut never).unwrap();
        std::fs::remove_file(state_of(&state, 0)).unwrap();
        let mut asked = 0;
        let mut count = |_: usize, _: usize| asked += 1;
        let again = curve(&entries, &job, &radii, false, &[], Some(&state), &mut count).unwrap();
        assert_eq!(again.points, all.points);
        assert_eq!(again.points[1].robust, all.clean);
        assert!(again.points[2].robust.count >= again.points[0].robust.count);
        remove_curve_state(&state, &radii).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Follows the gradient in small balls, and stays where it is in large ones.
    struct Misled;

    impl WhiteBox for Misled {
        fn id(&self) -> &'static str {
            "misled"
        }

        fn parameters(&self) -> serde_json::Value {
            serde_json::json!({})
        }

        fn perturb(
            &self,
            model: &dyn Gradients,
            batch: &Batch,
            threat: &ThreatModel,
            seed: Seed,
        ) -> Result<Candidate> {
            if threat.eps() < 0.2 {
                return PgdParams::default()
                    .check()?
                    .perturb(model, batch, threat, seed);
            }
            Ok(Candidate {
                x: batch.x.clone(),
                endings: vec![Ending::StepsExhausted; batch.len()],
            })
        }
    }

    #[test]
    fn what_falls_at_a_radius_has_fallen_at_larger_ones() {
        let (net, data) = small();
        let threat = ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0]).unwrap();
        let job = SuiteJob {
            net: &net,
            model_sha256: "of the net",
            data: &data,
            threat: &threat,
            seed: 3,
            cap: usize::MAX,
        };
        let entries = [entry("misled", Attack::White(Box::new(Misled)))];
        let mut never = |_: usize, _: usize| {};
        let found = curve(&entries, &job, &[0.1, 0.3], true, &[], None, &mut never).unwrap();
        assert!(
            found.clean.count > found.points[0].robust.count,
            "{found:?}"
        );
        assert_eq!(found.points[0].robust, found.points[1].robust);
        assert!(found.verdict.is_some());
    }
}
