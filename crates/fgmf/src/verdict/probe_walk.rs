//! The search of the probes: steepest ascent from the image, or descent, with its course kept.

use crate::attack::ascent::{OwnGradients, Rule, Seen, ascend};
use crate::attack::loss::AttackLoss;
use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients;
use crate::model::error_rate::{breaks, error_rate};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;

/// What a search along gradients did, one an example.
pub(crate) struct Walk {
    pub(crate) broken: Vec<bool>,
    /// Examples that stand, with a loss that still rose at the end.
    pub(crate) unfinished: Vec<bool>,
    /// Largest loss on the way.
    pub(crate) reached: Vec<f64>,
    pub(crate) points: Vec<Vec<f32>>,
}

/// One example of the search.
struct Course<'a> {
    origin: &'a [f32],
    point: Vec<f32>,
    /// Largest loss so far, at each step.
    curve: Vec<f64>,
    kept: Kept,
    broken: bool,
}

struct Climb<'a> {
    threat: &'a ThreatModel,
    alpha: f32,
    settles: bool,
}

impl Rule<Course<'_>> for Climb<'_> {
    fn judge(&self, state: &mut Course<'_>, point: &[f32], seen: Seen) -> bool {
        let before = state.curve.last();
        let best = before.map_or(seen.loss, |b| seen.loss.max(*b));
        state.curve.push(best);
        let worth = (seen.broken, seen.loss);
        state.kept.offer(self.threat, state.origin, point, worth);
        state.broken = seen.broken && self.settles;
        !state.broken
    }

    fn advance(
        &self,
        state: &mut Course<'_>,
        point: &mut [f32],
        slope: &mut [f32],
        _: usize,
    ) -> bool {
        let lost = slope.iter_mut().filter(|v| !v.is_finite());
        lost.for_each(|v| *v = 0.0);
        self.threat.drop_blocked(point, slope);
        self.threat.steepest(slope);
        let moves = point.iter_mut().zip(&*slope);
        moves.for_each(|(v, d)| *v += self.alpha * d);
        self.threat.project(state.origin, point);
        state.point.copy_from_slice(point);
        true
    }
}

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Up the served loss, as attacks go.
    Up,
    /// Down the served loss: where a defence turns its margins round, that is the way out.
    Down,
}

/// Steps of steepest ascent of the cross-entropy from the image, or descent. An example ends at its
/// first adversarial point. Where one wrong answer settles nothing, all steps are made, and the
/// point of largest loss is judged anew.
pub(crate) fn walk(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    steps: usize,
    way: Way,
) -> Result<Walk> {
    let clean = batch.x.to_f32();
    let size = (clean.len() / batch.len().max(1)).max(1);
    let fresh = |origin| Course {
        origin,
        point: <[f32]>::to_vec(origin),
        curve: Vec::with_capacity(steps + 1),
        kept: Kept::new(model),
        broken: false,
    };
    let mut states: Vec<Course<'_>> = clean.chunks_exact(size).map(fresh).collect();
    let one = if steps == 1 {
        threat.eps()
    } else {
        2.5 * threat.eps() / steps as f64
    };
    let rule = Climb {
        threat,
        alpha: one as f32,
        settles: model.settles(),
    };
    let source = OwnGradients {
        model,
        loss: match way {
            Way::Up => AttackLoss::CrossEntropy,
            Way::Down => AttackLoss::NegativeCrossEntropy,
        },
        labels: &batch.labels,
        targets: &[],
    };
    let (rows, starts): (Vec<usize>, _) = ((0..batch.len()).collect(), clean.clone());
    ascend(
        &source,
        &rule,
        batch.x.shape(),
        steps,
        &rows,
        starts,
        &mut states,
    )?;
    let mut broken: Vec<bool> = states.iter().map(|s| s.broken).collect();
    let curves: Vec<Vec<f64>> = states
        .iter_mut()
        .map(|s| std::mem::take(&mut s.curve))
        .collect();
    let points: Vec<Vec<f32>> = states
        .into_iter()
        .map(|s| s.kept.point().unwrap_or(s.point))
        .collect();
    if !model.settles() {
        let x = Tensor::new::<f32>(batch.x.shape(), points.concat());
        let rates = error_rate(model, &x, &batch.labels)?;
        broken = rates.into_iter().map(breaks).collect();
    }
    let unfinished = curves
        .iter()
        .zip(&broken)
        .map(|(c, &b)| !b && still_rising(c))
        .collect();
    let reached = curves
        .iter()
        .map(|c| c.last().copied().unwrap_or(f64::NEG_INFINITY))
        .collect();
    Ok(Walk {
        broken,
        unfinished,
        reached,
        points,
    })
}

/// Whether the last tenth of a best-so-far curve makes more than 5% of its rise.
fn still_rising(curve: &[f64]) -> bool {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
        return false;
    };
    let before = curve[(curve.len() - 1) - (curve.len() - 1) / 10];
    last - before > 0.05 * (last - first)
}

#[cfg(test)]
mod tests {
    use crate::verdict::probe_walk::still_rising;

    #[test]
    fn curves_that_level_off_are_finished() {
        let rising: Vec<f64> = (0..=50).map(f64::from).collect();
        let level: Vec<f64> = rising.iter().map(|t| t.min(30.0)).collect();
        assert!(
            still_rising(&rising)
                && !still_rising(&level)
                && !still_rising(&[1.0; 51])
                && !still_rising(&[])
        );
    }
}
