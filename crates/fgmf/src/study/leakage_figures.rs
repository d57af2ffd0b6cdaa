//! Figures of served maps, from what was done to each image.

use crate::error::Result;
use crate::measure::bootstrap::paired_ratio;
use crate::record::{
    BlindRow, GuidedRow, LeakageForm, LeakageImage, Proportion, QueryRatio, mean_interval,
};
use crate::study::leakage::LeakageJob;

/// Queries of each image; the budget where it stands.
fn asked(found: &[Option<u64>], budget: u64) -> Vec<f64> {
    let one = |q: &Option<u64>| q.map_or(budget, |q| q.min(budget)) as f64;
    found.iter().map(one).collect()
}

fn mean(values: &[f64]) -> f64 {
    mean_interval(values).0
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return 0.0;
    }
    0.5 * (sorted[(n - 1) / 2] + sorted[n / 2])
}

fn success(found: &[Option<u64>]) -> Proportion {
    Proportion::new(found.iter().flatten().count(), found.len())
}

/// One row an attack without maps.
pub fn blind_rows(job: &LeakageJob<'_>, images: &[LeakageImage]) -> Vec<BlindRow> {
    let row = |(a, id): (usize, &str)| {
        let found: Vec<Option<u64>> = images.iter().map(|i| i.blind[a]).collect();
        let asked = asked(&found, job.budget);
        BlindRow {
            attack: id.into(),
            success: success(&found),
            mean: mean(&asked),
            median: median(&asked),
        }
    };
    job.attacks
        .iter()
        .map(|a| a.id())
        .enumerate()
        .map(row)
        .collect()
}

/// Mean faithfulness of the maps as they are made, with its interval.
pub fn whole_faithfulness(images: &[LeakageImage]) -> Option<(f64, [f64; 2])> {
    let figures: Vec<f64> = images
        .iter()
        .filter_map(|i| i.faithfulness.first().copied())
        .collect();
    (!figures.is_empty()).then(|| mean_interval(&figures))
}

/// One a form: how faithful its maps are, and what they give to attackers.
///
/// # Errors
/// None for images of [`leakage`](crate::study::leakage).
pub fn leakage_forms(job: &LeakageJob<'_>, images: &[LeakageImage]) -> Result<Vec<LeakageForm>> {
    let [_, h, w] = job.data.shape();
    let mut out = Vec::new();
    for (f, form) in job.forms.iter().enumerate() {
        let mut rows = Vec::new();
        // By image, over all attacks: queries with maps and without.
        let mut sums = vec![(0.0, 0.0); images.len()];
        let mut pairs = 0;
        for (a, attack) in job.attacks.iter().enumerate() {
            let of = |i: &LeakageImage| (i.guided[f][a], i.blind[a]);
            let (with, without): (Vec<_>, Vec<_>) = images.iter().map(of).unzip();
            let (guided, blind) = (asked(&with, job.budget), asked(&without, job.budget));
            let fell: Vec<usize> = (0..images.len())
                .filter(|&i| with[i].is_some() || without[i].is_some())
                .collect();
            for &i in &fell {
                sums[i].0 += guided[i];
                sums[i].1 += blind[i];
            }
            pairs += fell.len();
            let at = |all: &[f64]| fell.iter().map(|&i| all[i]).collect::<Vec<f64>>();
            rows.push(GuidedRow {
                attack: attack.id().into(),
                success: success(&with),
                mean: mean(&guided),
                median: median(&guided),
                ratio: QueryRatio {
                    n: fell.len(),
                    ratio: paired_ratio(&at(&guided), &at(&blind), job.seed)?,
                },
            });
        }
        sums.retain(|s| s.1 > 0.0);
        let (guided, blind): (Vec<f64>, Vec<f64>) = sums.into_iter().unzip();
        let figures = |at: usize| {
            images
                .iter()
                .map(|i| i.faithfulness[at])
                .collect::<Vec<f64>>()
        };
        let (whole, reduced) = (figures(0), figures(f + 1));
        out.push(LeakageForm {
            bits_served: form.settings().bits_served([h, w]),
            faithfulness: mean_interval(&reduced),
            kept: paired_ratio(&reduced, &whole, job.seed)?,
            rows,
            all: QueryRatio {
                n: pairs,
                ratio: paired_ratio(&guided, &blind, job.seed)?,
            },
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_counts_with_the_budget() {
        let found = [Some(3), None, Some(9)];
        let asked = asked(&found, 10);
        assert_eq!(
            asked.iter().map(|v| *v as u64).collect::<Vec<_>>(),
            [3, 10, 9]
        );
        assert_eq!(success(&found).count, 2);
        assert!((median(&asked) - 9.0).abs() < 1e-12 && (median(&asked[..2]) - 6.5).abs() < 1e-12);
        assert!(median(&[]).abs() < 1e-12);
    }
}
