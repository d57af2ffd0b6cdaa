//! The ascent that searches along gradients share: ask, judge, drop who is done, step.
//!
//! A search gives a [`Source`] of losses and slopes, starts, and a [`Rule`]. [`ascend`] keeps the
//! examples that are still searched, and their points, in one array. At each step it asks for all
//! of them at once. The rule judges each answer: it keeps what it wants of the point, and says
//! whether the example goes on. Then it moves the points of those that do. After the last step
//! points are judged and not moved.
//!
//! Searches for the nearest adversarial point (DDN, FMN, DeepFool, Carlini-Wagner) walk without a
//! last judgement, and a success does not end them. They share [`Best`] and [`or_budget`] only.

use crate::attack::base::{Candidate, Ending, images};
use crate::attack::loss::AttackLoss;
use crate::data::batch::Batch;
use crate::error::{Error, Result};
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use fgmf_net::Tensor;
use fgmf_net::head::Head;
use rayon::prelude::*;

/// What a source says of points.
pub(crate) struct Look {
    /// One an example.
    pub(crate) losses: Vec<f64>,
    /// Whether the point is misclassified.
    pub(crate) broken: Vec<bool>,
    /// Slopes of the losses, if they came with them.
    pub(crate) slopes: Option<Vec<f32>>,
}

/// Where losses and their slopes come from.
pub(crate) trait Source {
    /// Losses at points `[rows, …]` of these rows of the batch; slopes are of no use if `last`.
    fn look(&self, x: &Tensor, rows: &[usize], last: bool) -> Result<Look>;

    /// Slopes at points of which [`Self::look`] gave none.
    fn slopes(&self, x: &Tensor, rows: &[usize], step: usize) -> Result<Vec<f32>>;
}

/// A model's own gradients.
pub(crate) struct OwnGradients<'a> {
    pub(crate) model: &'a dyn Gradients,
    /// What is increased.
    pub(crate) loss: AttackLoss,
    /// Of the batch.
    pub(crate) labels: &'a [usize],
    /// Of the batch, if the loss has a target; otherwise empty.
    pub(crate) targets: &'a [usize],
}

impl OwnGradients<'_> {
    /// The loss of these rows of the batch, and their labels.
    fn loss_of(&self, rows: &[usize]) -> (Box<dyn Head>, Vec<usize>) {
        let of = |all: &[usize]| rows.iter().map(|&i| all[i]).collect::<Vec<usize>>();
        let labels = of(self.labels);
        let targets = if self.targets.is_empty() {
            Vec::new()
        } else {
            of(self.targets)
        };
        (self.loss.head(&labels, &targets), labels)
    }
}

impl Source for OwnGradients<'_> {
    fn look(&self, x: &Tensor, rows: &[usize], last: bool) -> Result<Look> {
        let (head, labels) = self.loss_of(rows);
        if last {
            let logits = self.model.logits(x)?;
            let broken = misclassified(&logits, &labels);
            let (losses, _) = head.evaluate(&logits.into(), 0..rows.len());
            return Ok(Look {
                losses,
                broken,
                slopes: None,
            });
        }
        let at = self.model.loss_gradient(x, head.as_ref())?;
        Ok(Look {
            broken: misclassified(&at.logits, &labels),
            losses: at.losses,
            slopes: Some(at.gradient.into_f32()),
        })
    }

    fn slopes(&self, x: &Tensor, rows: &[usize], _: usize) -> Result<Vec<f32>> {
        let at = self.model.loss_gradient(x, self.loss_of(rows).0.as_ref())?;
        Ok(at.gradient.into_f32())
    }
}

/// What was found at the point of an example.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// From 0; the start.
    pub(crate) step: usize,
    /// Whether nothing follows.
    pub(crate) last: bool,
    pub(crate) loss: f64,
    pub(crate) broken: bool,
}

/// How one example is searched, with what is kept of it. Both answers say whether it goes on.
pub(crate) trait Rule<S>: Sync {
    /// Takes in what was found at the point.
    fn judge(&self, state: &mut S, point: &[f32], seen: Seen) -> bool;

    /// Moves the point along the slope, which may be overwritten.
    fn advance(&self, state: &mut S, point: &mut [f32], slope: &mut [f32], step: usize) -> bool;
}

/// ActiveRows of equal length, one an example that is searched.
struct ActiveRows {
    values: Vec<f32>,
    size: usize,
}

impl ActiveRows {
    fn keep(&mut self, left: &[usize]) {
        let size = self.size;
        for (to, &from) in left.iter().enumerate().filter(|(to, from)| to != *from) {
            self.values
                .copy_within(from * size..(from + 1) * size, to * size);
        }
        self.values.truncate(left.len() * size);
    }
}

/// Makes `steps` steps from `starts`, one of the `rows` of the batch each; `states` are theirs.
/// `shape` is that of the batch's images.
pub(crate) fn ascend<S: Send>(
    source: &dyn Source,
    rule: &impl Rule<S>,
    shape: &[usize],
    steps: usize,
    rows: &[usize],
    starts: Vec<f32>,
    states: &mut [S],
) -> Result<()> {
    let size = starts.len() / rows.len().max(1);
    let mut points = ActiveRows {
        values: starts,
        size,
    };
    // Positions in `rows` and `states`.
    let mut active: Vec<usize> = (0..rows.len()).collect();
    for step in 0..=steps {
        if active.is_empty() {
            break;
        }
        let last = step == steps;
        let of = |active: &[usize]| active.iter().map(|&k| rows[k]).collect::<Vec<usize>>();
        let x = tensor(shape, active.len(), &mut points.values);
        let look = source.look(&x, &of(&active), last)?;
        points.values = x.into_f32();
        let judge = |(j, (state, point)): (usize, (&mut S, &[f32]))| {
            let seen = Seen {
                step,
                last,
                loss: look.losses[j],
                broken: look.broken[j],
            };
            rule.judge(state, point, seen)
        };
        let judged: Vec<_> = standing(states, &active)
            .into_iter()
            .zip(points.values.chunks_exact(size))
            .collect();
        let goes_on: Vec<bool> = judged.into_par_iter().enumerate().map(judge).collect();
        let left = positions(&goes_on);
        points.keep(&left);
        active = left.iter().map(|&j| active[j]).collect();
        if last || active.is_empty() {
            break;
        }
        let mut slopes = ActiveRows {
            values: match look.slopes {
                Some(values) => values,
                None => {
                    let x = tensor(shape, active.len(), &mut points.values);
                    let slopes = source.slopes(&x, &of(&active), step)?;
                    points.values = x.into_f32();
                    slopes
                }
            },
            size,
        };
        if slopes.values.len() > points.values.len() {
            slopes.keep(&left);
        }
        let moved: Vec<_> = standing(states, &active)
            .into_iter()
            .zip(points.values.chunks_exact_mut(size))
            .zip(slopes.values.chunks_exact_mut(size))
            .collect();
        let goes_on: Vec<bool> = moved
            .into_par_iter()
            .map(|((state, point), slope)| rule.advance(state, point, slope, step))
            .collect();
        let left = positions(&goes_on);
        points.keep(&left);
        active = left.iter().map(|&j| active[j]).collect();
    }
    Ok(())
}

fn tensor(shape: &[usize], n: usize, values: &mut Vec<f32>) -> Tensor {
    let mut shape = shape.to_vec();
    shape[0] = n;
    Tensor::new(&shape, std::mem::take(values))
}

fn positions(goes_on: &[bool]) -> Vec<usize> {
    (0..goes_on.len()).filter(|&j| goes_on[j]).collect()
}

/// The states at these positions, in order.
fn standing<'s, S>(states: &'s mut [S], active: &[usize]) -> Vec<&'s mut S> {
    let mut next = active.iter().copied().peekable();
    let all = states.iter_mut().enumerate();
    all.filter_map(|(k, s)| next.next_if_eq(&k).map(|_| s))
        .collect()
}

/// The best point of one example: misclassified before not, then the larger loss.
pub(crate) struct Best {
    pub(crate) x: Vec<f32>,
    worth: (bool, f64),
    pub(crate) ending: Ending,
}

impl Best {
    /// One an example of the batch: its image, of no worth.
    pub(crate) fn of(batch: &Batch) -> Vec<Self> {
        let clean = batch.x.to_f32();
        let fresh = |x: &[f32]| Self {
            x: x.to_vec(),
            worth: (false, f64::NEG_INFINITY),
            ending: Ending::StepsExhausted,
        };
        let size = (clean.len() / batch.len().max(1)).max(1);
        clean.chunks_exact(size).map(fresh).collect()
    }

    /// Takes in a point; whether the example goes on. It does not where the point is misclassified
    /// and one such answer settles it.
    pub(crate) fn judge(&mut self, point: &[f32], seen: Seen, settles: bool) -> bool {
        let worth = (seen.broken, seen.loss);
        if worth > self.worth {
            self.worth = worth;
            self.x.copy_from_slice(point);
        }
        if seen.broken && settles {
            self.ending = Ending::Converged;
        }
        !(seen.broken && settles)
    }

    /// Takes in a slope; whether it can be followed.
    pub(crate) fn follows(&mut self, slope: &[f32], step: usize) -> bool {
        if !slope.iter().fold(true, |all, v| all & v.is_finite()) {
            self.ending = Ending::NonFinite;
            return false;
        }
        if step == 0 && slope.iter().all(|v| *v == 0.0) {
            self.ending = Ending::ZeroGradient;
        }
        true
    }

    /// What the searches found, for the sealed entry.
    pub(crate) fn candidate(batch: &Batch, best: &[Self]) -> Candidate {
        let ending = |b: &Self| {
            if b.worth.0 {
                Ending::Converged
            } else {
                b.ending
            }
        };
        Candidate {
            x: images(batch, best.iter().map(|b| b.x.as_slice())),
            endings: best.iter().map(ending).collect(),
        }
    }
}

/// Whether a search ran to its end. If the budget ended it, every example that is still `open`
/// learns so.
pub(crate) fn or_budget<'e>(
    search: Result<()>,
    endings: impl Iterator<Item = &'e mut Ending>,
    open: impl Fn(Ending) -> bool,
) -> Result<bool> {
    match search {
        Err(Error::Budget { .. }) => {
            let endings = endings.filter(|e| open(**e));
            endings.for_each(|e| *e = Ending::BudgetExhausted);
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// The loss of row i at a point is its value, and its slope `slopes[i]`; a value of 1 or more
    /// is misclassified.
    struct Scripted {
        slopes: Vec<f32>,
        /// Whether slopes are asked for apart.
        apart: bool,
        /// ActiveRows of each question.
        asked: Mutex<Vec<Vec<usize>>>,
        budget: usize,
    }

    impl Scripted {
        fn new(slopes: &[f32]) -> Self {
            Self {
                slopes: slopes.to_vec(),
                apart: false,
                asked: Mutex::default(),
                budget: usize::MAX,
            }
        }

        fn slopes_of(&self, rows: &[usize]) -> Vec<f32> {
            rows.iter().map(|&i| self.slopes[i]).collect()
        }
    }

    impl Source for Scripted {
        fn look(&self, x: &Tensor, rows: &[usize], last: bool) -> Result<Look> {
            let mut asked = self.asked.lock().unwrap();
            if asked.len() == self.budget {
                let limit = self.budget as u64;
                return Err(Error::Budget { limit });
            }
            asked.push(rows.to_vec());
            let values = x.to_f32();
            Ok(Look {
                losses: values.iter().map(|v| f64::from(*v)).collect(),
                broken: values.iter().map(|v| *v >= 1.0).collect(),
                slopes: (!last && !self.apart).then(|| self.slopes_of(rows)),
            })
        }

        fn slopes(&self, x: &Tensor, rows: &[usize], _: usize) -> Result<Vec<f32>> {
            assert_eq!(x.shape(), [rows.len(), 1, 1, 1]);
            Ok(self.slopes_of(rows))
        }
    }

    /// Adds the slope.
    struct Add {
        settles: bool,
    }

    impl Rule<Best> for Add {
        fn judge(&self, best: &mut Best, point: &[f32], seen: Seen) -> bool {
            best.judge(point, seen, self.settles)
        }

        fn advance(&self, best: &mut Best, point: &mut [f32], g: &mut [f32], step: usize) -> bool {
            if !best.follows(g, step) {
                return false;
            }
            point[0] += g[0];
            true
        }
    }

    fn batch(n: usize) -> Batch {
        Batch {
            x: Tensor::new(&[n, 1, 1, 1], vec![0.0f32; n]),
            labels: vec![0; n],
            index: (0..n as u64).collect(),
        }
    }

    /// Four steps from 0 with these slopes.
    fn search(source: &Scripted, settles: bool) -> (Result<()>, Vec<Best>) {
        let n = source.slopes.len();
        let batch = batch(n);
        let mut best = Best::of(&batch);
        let rows: Vec<usize> = (0..n).collect();
        let (rule, starts) = (Add { settles }, vec![0.0; n]);
        let run = ascend(source, &rule, &[n, 1, 1, 1], 4, &rows, starts, &mut best);
        (run, best)
    }

    #[test]
    fn who_is_broken_is_not_asked_again() {
        for apart in [false, true] {
            let mut source = Scripted::new(&[0.1, 0.5, 0.25, 1.0]);
            source.apart = apart;
            let (run, best) = search(&source, true);
            run.unwrap();
            let asked = source.asked.into_inner().unwrap();
            let expected: [&[usize]; 5] =
                [&[0, 1, 2, 3], &[0, 1, 2, 3], &[0, 1, 2], &[0, 2], &[0, 2]];
            assert_eq!(asked, expected, "slopes apart: {apart}");
            let found = Best::candidate(&batch(4), &best);
            assert_eq!(found.x.to_f32(), [0.4, 1.0, 1.0, 1.0]);
            assert_eq!(found.endings[0], Ending::StepsExhausted);
            assert!(found.endings[1..].iter().all(|e| *e == Ending::Converged));
        }
    }

    #[test]
    fn where_one_answer_settles_nothing_all_steps_are_made() {
        let source = Scripted::new(&[0.1, 1.0]);
        let (run, best) = search(&source, false);
        run.unwrap();
        assert!(
            source
                .asked
                .into_inner()
                .unwrap()
                .iter()
                .all(|rows| rows.len() == 2)
        );
        // The largest loss, not the first success.
        assert_eq!(best[1].x, [4.0]);
        assert_eq!(
            Best::candidate(&batch(2), &best).endings[1],
            Ending::Converged
        );
    }

    #[test]
    fn slopes_that_cannot_be_followed_are_named() {
        let source = Scripted::new(&[f32::NAN, 0.0, 0.1]);
        let (run, best) = search(&source, true);
        run.unwrap();
        let endings: Vec<Ending> = best.iter().map(|b| b.ending).collect();
        let expected = [
            Ending::NonFinite,
            Ending::ZeroGradient,
            Ending::StepsExhausted,
        ];
        assert_eq!(endings, expected);
        assert_eq!(best[0].x, [0.0]);
        assert_eq!(source.asked.into_inner().unwrap()[1..], vec![vec![1, 2]; 4]);
    }

    #[test]
    fn a_budget_ends_all_rows_with_what_was_found() {
        let mut source = Scripted::new(&[0.1, 0.5]);
        source.budget = 3;
        let (run, mut best) = search(&source, true);
        let endings = best.iter_mut().map(|b| &mut b.ending);
        assert!(!or_budget(run, endings, |e| e != Ending::Converged).unwrap());
        assert_eq!(best[0].x, [0.2]);
        assert_eq!(best[0].ending, Ending::BudgetExhausted);
        assert_eq!(best[1].ending, Ending::Converged);
    }

    #[test]
    fn a_loss_that_is_no_number_is_never_the_best() {
        let mut best = Best::of(&batch(1));
        let mut seen = Seen {
            step: 0,
            last: false,
            loss: f64::NAN,
            broken: false,
        };
        assert!(best[0].judge(&[0.7], seen, true));
        assert_eq!(best[0].x, [0.0]);
        seen.loss = 1.0;
        assert!(best[0].judge(&[0.3], seen, true));
        assert_eq!(best[0].x, [0.3]);
    }
}
