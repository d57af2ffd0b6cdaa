//! Map shift: how much of a map is left after an attack on the *prediction*: the maps of an example
//! on two inputs, side by side.
//!
//! Overlap of the top tenth of the pixels, rank correlation, structural similarity, and overlap of
//! the top tenth where a neighbour counts, each of the map on the first input (clean) and on
//! another (attacked), both for the class that is explained there.
//!
//! No parameters. `shift-top-k`, `shift-tolerant-top-k` in `[0, 1]`, `shift-spearman`, `shift-ssim`
//! in `[-1, 1]`; higher is more stable. Cost: none beyond the maps. A map may well have to move
//! when the attack has put other evidence into the image: this says how much it did,
//! `attacked-stability` what an attacker can do without touching the prediction. Part of every
//! evaluation with two inputs. No other library has it as a metric. Reference: `ghorbani2019`.

use crate::error::Result;
use crate::explain::base::Attribution;
use crate::metric::base::{MetricBuild, MetricMethod, MetricValues};
use crate::metric::parts::info::{CORRELATION, Family, Info, SHARE, higher};
use crate::metric::parts::likeness::likeness;

/// The metric as data.
pub(crate) const INFO: Info = Info {
    id: "map-shift",
    family: Family::Stability,
    figures: &[
        higher("shift-top-k", SHARE),
        higher("shift-spearman", CORRELATION),
        higher("shift-ssim", CORRELATION),
        higher("shift-tolerant-top-k", SHARE),
    ],
    needs: &[],
    reference: "ghorbani2019",
};

pub(crate) const METHODS: &[MetricMethod] = &[MetricMethod {
    id: INFO.id,
    line: "Measures how much of a map is left after an attack on the prediction.",
    revision: 1,
    reference: INFO.reference,
    example: "{}",
    build: MetricBuild {
        info: &INFO,
        make: None,
    },
}];

/// The four figures for each pair of maps.
pub(crate) fn score(before: &[Attribution], after: &[Attribution]) -> Result<MetricValues> {
    let mut out: Vec<Vec<Option<f64>>> = (0..4).map(|_| Vec::with_capacity(before.len())).collect();
    for (a, b) in before.iter().zip(after) {
        let [a_values, b_values] = [a, b].map(|m| {
            m.values
                .values
                .iter()
                .map(|&v| f64::from(v))
                .collect::<Vec<f64>>()
        });
        let figures = likeness(
            &a_values,
            &b_values,
            [a.values.height, a.values.width],
            0.1,
            1,
        )?;
        out.iter_mut()
            .zip(figures)
            .for_each(|(o, f)| o.push(Some(f)));
    }
    Ok(out)
}
