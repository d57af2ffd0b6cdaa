//! Amortised explanation (Covert et al. 2024): the maps that a network draws of its own answers
//! learn those of a teacher. Nothing else of the network changes.
//!
//! A step asks the teacher twice for the map of each clean image x, with draws of their own, and
//! takes the means over cells: φ₁, φ₂. The network draws its maps s at x′, an attacked image or x
//! itself, so that an attacker of the map is learned against. With c cells and
//! p = E ⟨φ₁, φ₂⟩ / c, a running mean,
//!
//! L = ‖s − (φ₁ + φ₂) / 2‖² / (2 c p) + (d − e)² / 2, e = ⟨s − φ₁, s − φ₂⟩ / (c p),
//!
//! where d is the error that the network expects of its map, and e is held fixed. As the draws are
//! independent, e has the mean ‖s − E φ‖² / (c p): noise of the teacher counts neither in e nor in
//! p.
//!
//! | field | default | range |
//! | --- | --- | --- |
//! | `teacher` | `gradient-shap` with 2 samples | id and parameters of an explainer |
//! | `attacked` | 0.5 | share of the images that are attacked, 0 to 1 |
//! | `others` | 0.25 | share explained for a class drawn at random, else for x's answer, 0 to 1 |
//! | `steps` | 2 | steps of the attack, 1 to 1,000 |
//! | `step_size` | 0.75 | radii, above 0 |
//!
//! The attack ascends the cross-entropy of x's answer from a random point of the ball. Cost: twice
//! the teacher's, 3 `steps` + 1 passes, and the branch forward and backward.
//!
//! Difference from the paper: labels come with two halves, so that the error of the map is learned
//! beside it. Only the abstract was read. Reference: `covert2024`.

use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::explain::base::{Context, Explainer, Inner};
use crate::explain::list::make;
use crate::explain::sealed::explain;
use crate::explain::sgam::branch::branch_of;
use crate::model::answer::predictions;
use crate::model::oracle::Oracle;
use crate::rng::{Purpose, Stream};
use crate::settings::{complete, read};
use crate::train::base::{Objective, ObjectiveBuild, ObjectiveMethod, Step, StepContext, finish};
use crate::train::parts::search::{Search, starts};
use fgmf_net::head::{CrossEntropy, Head};
use fgmf_net::{Dim, Dual, Mode, Session, Tensor, ValueId};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

pub(crate) const METHODS: &[ObjectiveMethod] = &[ObjectiveMethod {
    id: "amortised-explanation",
    line: "Teaches the maps that a network draws of its answers, and nothing else of it.",
    revision: 1,
    reference: "covert2024",
    example: r#"{"teacher": {"id": "gradient-x-input"}, "attacked": 0.25}"#,
    build: ObjectiveBuild {
        complete: complete::<AmortisedExplanationParams>,
        make: |settings| Ok(Box::new(AmortisedExplanation::new(read(settings)?)?)),
    },
}];

/// Share of a new batch in the running mean of the teacher's squares.
const NEW: f64 = 0.05;

/// Settings of [`AmortisedExplanation`]; the table is at the top of the method's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmortisedExplanationParams {
    /// Whose maps are learned.
    pub teacher: Inner,
    /// Share of attacked images.
    pub attacked: f64,
    /// Share of classes drawn at random.
    pub others: f64,
    /// Steps of the attack.
    pub steps: usize,
    /// Their length in radii.
    pub step_size: f64,
}

impl Default for AmortisedExplanationParams {
    fn default() -> Self {
        let teacher = Inner {
            id: "gradient-shap".into(),
            parameters: serde_json::json!({ "samples": 2 }),
        };
        Self {
            teacher,
            attacked: 0.5,
            others: 0.25,
            steps: 2,
            step_size: 0.75,
        }
    }
}

/// Checked amortised explanation.
pub struct AmortisedExplanation {
    params: AmortisedExplanationParams,
    teacher: Box<dyn Explainer>,
    search: Search,
}

/// What is asked of each image of a batch.
struct MapRequest {
    /// Class explained.
    class: usize,
    attacked: bool,
}

impl AmortisedExplanation {
    /// Checks every range, and makes the teacher.
    pub fn new(params: AmortisedExplanationParams) -> Result<Self> {
        for (name, share) in [("attacked", params.attacked), ("others", params.others)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::parameter(name, "0 to 1", share));
            }
        }
        let search = Search {
            steps: params.steps,
            step_size: params.step_size,
        };
        search.check()?;
        if params.teacher.id == "sgam" {
            let expected = "an explainer that is not the one that learns";
            return Err(Error::parameter("teacher", expected, "sgam"));
        }
        Ok(Self {
            teacher: make(&params.teacher)?,
            params,
            search,
        })
    }

    fn asked(
        &self,
        answers: &[usize],
        classes: usize,
        batch: &Batch,
        seen: &StepContext<'_>,
    ) -> Vec<MapRequest> {
        let one = |(&index, &answer): (&u64, &usize)| {
            // The stream of the attack's start is that of the image alone.
            let round = seen.epoch | 1 << 63;
            let mut rng = Stream::new(seen.seed, Purpose::Training, round, index);
            let attacked = f64::from(rng.unit()) < self.params.attacked;
            let class = match f64::from(rng.unit()) < self.params.others {
                true => rng.below(classes as u64) as usize,
                false => answer,
            };
            MapRequest { class, attacked }
        };
        batch.index.iter().zip(answers).map(one).collect()
    }

    /// Both halves of the teacher's maps, as means over cells, `[n, rows · columns]`.
    fn halves(
        &self,
        oracle: &Oracle<'_>,
        x: &Tensor,
        classes: &[usize],
        grid: [usize; 2],
        seen: &StepContext<'_>,
    ) -> Result<[Vec<f32>; 2]> {
        let half = |half: u64| -> Result<Vec<f32>> {
            let run = Context {
                seed: seen.seed,
                ..Context::default()
            };
            let context = run.redrawn(2 * seen.epoch + half);
            let maps = explain(self.teacher.as_ref(), oracle, x, classes, &context)?;
            let cells = maps.iter().flat_map(|map| map.cells(grid));
            Ok(cells.map(|v| v as f32).collect())
        };
        Ok([half(0)?, half(1)?])
    }

    /// The images at which maps are drawn.
    fn points(
        &self,
        net: &Session,
        batch: &Batch,
        asked: &[MapRequest],
        answers: &[usize],
        context: &StepContext<'_>,
    ) -> Result<Tensor> {
        let threat = context.threat;
        if threat.eps() <= 0.0 || !asked.iter().any(|a| a.attacked) {
            return Ok(batch.x.clone());
        }
        let start = starts(batch, context, |x, rng| threat.random_start(x, rng));
        let head = CrossEntropy::labels(answers);
        let found = self.search.ascend(net, &batch.x, start, &head, threat)?;
        let (clean, found) = (batch.x.to_f32(), found.to_f32());
        let size = clean.len() / batch.len().max(1);
        let pick = |(i, a): (usize, &MapRequest)| {
            let from = if a.attacked { &found } else { &clean };
            &from[i * size..(i + 1) * size]
        };
        let rows: Vec<f32> = asked.iter().enumerate().flat_map(pick).copied().collect();
        Ok(Tensor::new(batch.x.shape(), rows))
    }
}

impl Objective for AmortisedExplanation {
    fn step(&self, net: &Session, batch: &Batch, context: &StepContext<'_>) -> Result<Step> {
        let [map, doubt] = branch_of(net).ok_or_else(|| {
            let expected = "a network with maps of its own (`fgmf amortise` puts them beside it)";
            Error::mismatch("amortised-explanation", expected, "none")
        })?;
        let oracle = Oracle::new(net);
        let answers = predictions(&net.logits(&batch.x)?);
        let asked = self.asked(&answers, net.classes(), batch, context);
        let classes: Vec<usize> = asked.iter().map(|a| a.class).collect();
        let size = |axis: usize| match net.value(map).shape.get(axis) {
            Some(Dim::Fixed(size)) => *size,
            _ => 1,
        };
        let grid = [size(2), size(3)];
        let halves = self.halves(&oracle, &batch.x, &classes, grid, context)?;
        let points = self.points(net, batch, &asked, &answers, context)?;
        let power = running_power(&halves, context.carried.first().copied());
        let head = MapHead {
            ids: [map, doubt],
            classes: &classes,
            halves: &halves,
            cells: grid[0] * grid[1],
            power: power.used,
            seen: Mutex::new(vec![[0.0; 2]; batch.len()]),
        };
        // Normalisation keeps its statistics: the classifier is not to change.
        let mut run = net.parameter_gradients(&points, &head, Mode::Evaluate)?;
        run.statistics.clear();
        let seen = head
            .seen
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mean = |i: usize| seen.iter().map(|s| s[i]).sum::<f64>() / batch.len().max(1) as f64;
        let parts = vec![("map error", mean(0)), ("doubt error", mean(1))];
        let mut step = finish(run, &batch.labels, parts);
        step.carried = vec![power.kept];
        Ok(step)
    }

    fn teaches_map(&self) -> Option<&Inner> {
        Some(&self.params.teacher)
    }
}

/// Mean squares of the teacher's maps.
struct Power {
    /// Running mean, to be carried on; may be below 0 where the teacher says hardly anything.
    kept: f64,
    /// Above 0.
    used: f64,
}

/// The running mean of φ₁ φ₂ over images and cells, and a hundredth of the mean square of a half at
/// least, so that a teacher of noise alone gives steps of some size.
fn running_power([one, two]: &[Vec<f32>; 2], before: Option<f64>) -> Power {
    let mean = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum::<f64>() / a.len().max(1) as f64
    };
    let now = mean(one, two);
    let kept = before.map_or(now, |before| before + NEW * (now - before));
    let least = 0.005 * (mean(one, one) + mean(two, two));
    Power {
        kept,
        used: kept.max(least).max(f64::MIN_POSITIVE.sqrt()),
    }
}

/// The loss of the page on maps and doubts, and nothing on logits.
struct MapHead<'a> {
    ids: [ValueId; 2],
    classes: &'a [usize],
    halves: &'a [Vec<f32>; 2],
    cells: usize,
    power: f64,
    /// Error e, and (d − e)², of each example.
    seen: Mutex<Vec<[f64; 2]>>,
}

impl Head for MapHead<'_> {
    fn evaluate(&self, logits: &Dual, examples: Range<usize>) -> (Vec<f64>, Dual) {
        let nothing = Tensor::zeros_like(&logits.value);
        (vec![0.0; examples.len()], nothing.into())
    }

    fn auxiliary_values(&self) -> Vec<ValueId> {
        self.ids.to_vec()
    }

    fn auxiliary(&self, values: &[Tensor], examples: Range<usize>) -> Vec<Tensor> {
        let [maps, doubts] = values else {
            return Vec::new();
        };
        let classes = doubts.len() / examples.len().max(1);
        let (drawn, expected) = (maps.to_f32(), doubts.to_f32());
        let (mut at_maps, mut at_doubts) = (vec![0.0; drawn.len()], vec![0.0; expected.len()]);
        let scale = 1.0 / (self.cells as f64 * self.power);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, example) in examples.enumerate() {
            let place = row * classes + self.classes[example];
            let own = place * self.cells..(place + 1) * self.cells;
            let [one, two] = self
                .halves
                .each_ref()
                .map(|half| &half[example * self.cells..(example + 1) * self.cells]);
            let mut error = 0.0;
            let cells = drawn[own.clone()].iter().zip(one.iter().zip(two));
            for ((s, (a, b)), g) in cells.zip(&mut at_maps[own]) {
                let (s, a, b) = (f64::from(*s), f64::from(*a), f64::from(*b));
                error += (s - a) * (s - b) * scale;
                *g = ((s - (a + b) / 2.0) * scale) as f32;
            }
            let off = f64::from(expected[place]) - error;
            at_doubts[place] = off as f32;
            seen[example] = [error, off * off];
        }
        vec![
            Tensor::new(maps.shape(), at_maps),
            Tensor::new(doubts.shape(), at_doubts),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::sgam::branch::{SgamMapParams, drawn_at_random, train_map_alone, with_map};
    use crate::train::parts::checks::{batch, context, gradient_matches, net, threat};

    /// The network of these tests with a map of 3 x 3 cells, which alone trains.
    fn drawing() -> Session {
        let params = SgamMapParams {
            cells: Some(3),
            width: 6,
        };
        let mut net = with_map(net().network(), &params, 4).unwrap();
        drawn_at_random(&mut net);
        train_map_alone(&mut net);
        Session::new(net)
    }

    fn taught_by(parameters: serde_json::Value) -> AmortisedExplanation {
        let id = "gradient-shap".into();
        AmortisedExplanation::new(AmortisedExplanationParams {
            teacher: Inner { id, parameters },
            ..AmortisedExplanationParams::default()
        })
        .unwrap()
    }

    /// The gradient of a step against differences of the loss, worked out from the values of the
    /// branch, with halves, points and the errors inside the doubts' term held.
    #[test]
    fn gradients_are_those_of_the_loss() {
        let (net, batch, threat) = (drawing(), batch(6), threat());
        let objective = taught_by(serde_json::json!({ "samples": 2 }));
        // As if the teacher's maps were 0.2 large, so that the errors are of order 1.
        let context = StepContext {
            carried: &[0.04],
            ..context(&threat)
        };
        let answers = predictions(&net.logits(&batch.x).unwrap());
        let asked = objective.asked(&answers, 3, &batch, &context);
        assert!(asked.iter().any(|a| a.attacked) && asked.iter().any(|a| !a.attacked));
        let classes: Vec<usize> = asked.iter().map(|a| a.class).collect();
        let halves = objective.halves(&Oracle::new(&net), &batch.x, &classes, [3, 3], &context);
        let [one, two] = halves.unwrap();
        assert_ne!(one, two, "each half has draws of its own");
        let points = objective
            .points(&net, &batch, &asked, &answers, &context)
            .unwrap();
        let moved = points.to_f32() != batch.x.to_f32();
        assert!(moved, "some images are attacked");
        let power = running_power(&[one.clone(), two.clone()], Some(0.04)).used;
        let ids = branch_of(&net).unwrap();
        // Errors and doubts of each image, and the first term of the loss.
        let seen = |net: &Session| {
            let values = net.values_at(&points, &ids).unwrap();
            let (maps, doubts) = (values[0].to_f64(), values[1].to_f64());
            let mut first = 0.0;
            let mut each = Vec::new();
            for (i, &class) in classes.iter().enumerate() {
                let mut error = 0.0;
                for cell in 0..9 {
                    let s = maps[(i * 3 + class) * 9 + cell];
                    let (a, b) = (f64::from(one[i * 9 + cell]), f64::from(two[i * 9 + cell]));
                    error += (s - a) * (s - b) / (9.0 * power);
                    first += (s - (a + b) / 2.0).powi(2) / (2.0 * 9.0 * power) / 6.0;
                }
                each.push((error, doubts[i * 3 + class]));
            }
            (first, each)
        };
        let held = seen(&net).1;
        let step = objective.step(&net, &batch, &context).unwrap();
        let mean = held.iter().map(|(error, _)| error).sum::<f64>() / 6.0;
        assert!(
            (step.parts[0].1 - mean).abs() < 1e-4 * mean.abs(),
            "{} {mean}",
            step.parts[0].1
        );
        gradient_matches(&net, |other| {
            let (first, now) = seen(other);
            let doubts = now
                .iter()
                .zip(&held)
                .map(|((_, d), (e, _))| (d - e).powi(2) / 12.0);
            (step.clone(), first + doubts.sum::<f64>())
        });
    }

    /// A guess that is off by a known amount, halves that are off by noise: the mean error is that
    /// of the guess alone, and the mean square that of the truth alone.
    #[test]
    fn noise_of_the_teacher_counts_in_no_figure() {
        let mut rng = Stream::new(3, Purpose::Training, 0, 0);
        let n = 20_000;
        let mut half = || {
            (0..n)
                .map(|_| 2.0 + 3.0 * rng.normal())
                .collect::<Vec<f32>>()
        };
        let halves = [half(), half()];
        let power = running_power(&halves, None);
        // 4, with a deviation of √(2 · 4 · 9 + 81) / √n = 0.09.
        assert!((power.kept - 4.0).abs() < 0.4, "{}", power.kept);
        let moved = running_power(&halves, Some(0.0)).kept;
        assert!((moved - NEW * power.kept).abs() < 1e-9);
        let classes = [0];
        let head = MapHead {
            ids: branch_of(&drawing()).unwrap(),
            classes: &classes,
            halves: &halves,
            cells: n,
            power: 4.0,
            seen: Mutex::new(vec![[0.0; 2]]),
        };
        let maps = Tensor::new(&[1, 1, n, 1], vec![3.0f32; n]);
        head.auxiliary(&[maps, Tensor::new(&[1, 1], vec![0.5f32])], 0..1);
        let [error, off] = head.seen.into_inner().unwrap()[0];
        // (3 − 2)² / 4, with a deviation of some 0.02.
        assert!((error - 0.25).abs() < 0.09, "{error}");
        assert!((off - (0.5 - error).powi(2)).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_taught_is_refused() {
        let threat = threat();
        let objective = taught_by(serde_json::json!({}));
        let refused = objective
            .step(&net(), &batch(2), &context(&threat))
            .unwrap_err();
        assert!(refused.to_string().contains("fgmf amortise"), "{refused}");
        let with = |name: &str, value: serde_json::Value| {
            let settings = serde_json::json!({ name: value });
            let made = read(settings).and_then(AmortisedExplanation::new);
            made.map(|_| ()).unwrap_err().to_string()
        };
        for (name, value) in [
            ("attacked", serde_json::json!(1.5)),
            ("others", serde_json::json!(-0.1)),
            ("steps", serde_json::json!(0)),
            ("teacher", serde_json::json!({ "id": "sgam" })),
            ("teacher", serde_json::json!({ "id": "no-such" })),
        ] {
            let message = with(name, value.clone());
            assert!(
                message.contains(name) || message.contains("no-such"),
                "{message}"
            );
        }
    }
}
