//! Maps of a network that forgets, stage by stage, beside its own.

use crate::error::{Error, Result};
use crate::explain::subject::Subject;
use crate::measure::similarity::spearman;
use crate::measure::structure::ssim;
use crate::metric::base::MetricValues;
use crate::metric::parts::randomise::forgotten;
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
    let nets = forgotten(subject, stages)?;
    let mut out = vec![vec![Some(0.0); subject.len()]; 2];
    for net in &nets {
        for (i, map) in explained(&Oracle::new(net))?.iter().enumerate() {
            let figures = [spearman(&own[i], map)?.abs(), ssim(&own[i], map, [h, w])?];
            out.iter_mut()
                .zip(figures)
                .for_each(|(o, f)| o[i] = o[i].map(|v| v + f / nets.len() as f64));
        }
    }
    Ok(out)
}
