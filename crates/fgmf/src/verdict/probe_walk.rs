//! The search of the probes: steepest ascent from the image, with its course kept.

use crate::attack::parts::kept::Kept;
use crate::data::batch::Batch;
use crate::error::Result;
use crate::model::access::Gradients;
use crate::model::answer::misclassified;
use crate::model::error_rate::{breaks, error_rate};
use crate::threat::ThreatModel;
use fgmf_net::Tensor;
use fgmf_net::head::{CrossEntropy, Head};

/// What a search along gradients did, one an example.
pub(crate) struct Walk {
    pub(crate) broken: Vec<bool>,
    /// Examples that stand, with a loss that still rose at the end.
    pub(crate) unfinished: Vec<bool>,
    /// Largest loss on the way.
    pub(crate) reached: Vec<f64>,
    pub(crate) points: Vec<Vec<f32>>,
}

/// Steps of steepest ascent of the cross-entropy from the image; an example ends at its first
/// adversarial point. Where one wrong answer settles nothing, all steps are made, and the point of
/// largest loss is judged anew.
pub(crate) fn walk(
    model: &dyn Gradients,
    batch: &Batch,
    threat: &ThreatModel,
    steps: usize,
) -> Result<Walk> {
    let clean = batch.x.to_f32();
    let size = clean.len() / batch.len();
    let mut points: Vec<Vec<f32>> = clean.chunks_exact(size).map(<[f32]>::to_vec).collect();
    let mut broken = vec![false; batch.len()];
    let mut curves: Vec<Vec<f64>> = vec![Vec::with_capacity(steps + 1); batch.len()];
    let alpha = if steps == 1 {
        threat.eps()
    } else {
        2.5 * threat.eps() / steps as f64
    } as f32;
    let settles = model.settles();
    let mut kept: Vec<Kept> = broken.iter().map(|_| Kept::new(model)).collect();
    let mut active: Vec<usize> = (0..batch.len()).collect();
    for step in 0..=steps {
        if active.is_empty() {
            break;
        }
        let part = batch.select(&active);
        let x = Tensor::new::<f32>(
            part.x.shape(),
            active.iter().flat_map(|&i| points[i].clone()).collect(),
        );
        let head = CrossEntropy::labels(&part.labels);
        let at = if step == steps {
            None
        } else {
            Some(model.loss_gradient(&x, &head)?)
        };
        let (losses, logits) = match &at {
            Some(at) => (at.losses.clone(), at.logits.clone()),
            None => {
                let logits = model.logits(&x)?;
                (
                    head.evaluate(&logits.clone().into(), 0..active.len()).0,
                    logits,
                )
            }
        };
        let over = misclassified(&logits, &part.labels);
        let gradient = at.map(|at| at.gradient.to_f32());
        for (j, &i) in active.iter().enumerate() {
            let best = curves[i].last().map_or(losses[j], |b| losses[j].max(*b));
            curves[i].push(best);
            let origin = &clean[i * size..(i + 1) * size];
            kept[i].offer(threat, origin, &points[i], (over[j], losses[j]));
            broken[i] = over[j] && settles;
            if let (false, Some(g)) = (broken[i], &gradient) {
                let mut g = g[j * size..(j + 1) * size].to_vec();
                g.iter_mut()
                    .filter(|v| !v.is_finite())
                    .for_each(|v| *v = 0.0);
                threat.drop_blocked(&points[i], &mut g);
                threat.steepest(&mut g);
                points[i]
                    .iter_mut()
                    .zip(&g)
                    .for_each(|(v, d)| *v += alpha * d);
                threat.project(&clean[i * size..(i + 1) * size], &mut points[i]);
            }
        }
        active.retain(|&i| !broken[i]);
    }
    if !settles {
        for (point, kept) in points.iter_mut().zip(kept) {
            if let Some(best) = kept.point() {
                *point = best;
            }
        }
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
