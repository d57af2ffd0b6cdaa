//! Maps of a network that forgets, stage by stage, beside its own.

use crate::error::{Error, Result};
use crate::explain::subject::Subject;
use crate::measure::similarity::spearman;
use crate::measure::structure::ssim;
use crate::metric::base::MetricValues;
use crate::metric::parts::randomise::forgetting;
use crate::model::oracle::Oracle;

/// An error unless there are 1 to 1,000 stages.
pub(crate) fn check_stages(stages: usize) -> Result<()> {
    if (1..=1000).contains(&stages) {
        Ok(())
    } else {
        Err(Error::parameter("stages", "1 to 1000", stages))
    }
}

/// Both figures, given how an image is explained by a model.
pub(crate) fn likenesses(
    subject: &Subject<'_>,
    stages: usize,
    explained: impl Fn(&Oracle<'_>) -> Result<Vec<Vec<f64>>>,
) -> Result<MetricValues> {
    let [_, h, w] = subject.shape();
    let own = explained(subject.oracle)?;
    let mut found: Vec<Vec<[f64; 2]>> = Vec::new();
    forgetting(subject, stages, |net| {
        let maps = explained(&Oracle::new(net))?;
        let pairs = own.iter().zip(&maps);
        let likeness = |(own, map): (&Vec<f64>, &Vec<f64>)| {
            Ok([spearman(own, map)?.abs(), ssim(own, map, [h, w])?])
        };
        found.push(pairs.map(likeness).collect::<Result<_>>()?);
        Ok(())
    })?;
    let mut out = vec![vec![Some(0.0); subject.len()]; 2];
    for stage in &found {
        for (i, figures) in stage.iter().enumerate() {
            out.iter_mut()
                .zip(figures)
                .for_each(|(o, f)| o[i] = o[i].map(|v| v + f / found.len() as f64));
        }
    }
    Ok(out)
}
