//! Figures of served maps, from what was done to each image.

use crate::error::Result;
use crate::explain::parts::map::quantile;
use crate::measure::bootstrap::paired_ratio;
use crate::record::{
    BlindRow, GuidedRow, LeakageForm, LeakageImage, Proportion, QueryRatio, mean_interval,
};
use crate::study::leakage::LeakageJob;

/// Queries of an image; the budget where it stands.
fn counted(queries: Option<u64>, budget: u64) -> f64 {
    queries.map_or(budget, |q| q.min(budget)) as f64
}

/// Queries of each image.
fn asked(found: &[Option<u64>], budget: u64) -> Vec<f64> {
    found.iter().map(|&q| counted(q, budget)).collect()
}

fn mean(values: &[f64]) -> f64 {
    mean_interval(values).0
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn success(found: &[Option<u64>]) -> Proportion {
    Proportion::new(found.iter().flatten().count(), found.len())
}

/// One row an attack without served maps: by scores alone, and with the image for its map.
pub fn blind_rows(job: &LeakageJob<'_>, images: &[LeakageImage]) -> [Vec<BlindRow>; 2] {
    let row = |attack: &str, found: Vec<Option<u64>>| {
        let asked = asked(&found, job.budget);
        BlindRow {
            attack: attack.into(),
            success: success(&found),
            mean: mean(&asked),
            median: median(&asked),
        }
    };
    let all = |of: &dyn Fn(&LeakageImage, usize) -> Option<u64>| {
        let ids = job.attacks.iter().map(|a| a.id()).enumerate();
        ids.map(|(a, id)| row(id, images.iter().map(|i| of(i, a)).collect()))
            .collect()
    };
    [all(&|i, a| i.blind[a]), all(&|i, a| i.by_image[a])]
}

/// Queries of an image in each of some attacks; `None` for those that it stands.
type Asked<'a> = &'a dyn Fn(&LeakageImage, usize) -> Option<u64>;

/// Queries of searches over queries of others, for these attacks together, of the pairs of which at
/// least one ended in success.
fn ratio(
    job: &LeakageJob<'_>,
    images: &[LeakageImage],
    attacks: std::ops::Range<usize>,
    (with, without): (Asked<'_>, Asked<'_>),
) -> Result<QueryRatio> {
    let (mut n, mut up, mut down) = (0, Vec::new(), Vec::new());
    for image in images {
        let (mut one, mut other) = (0.0, 0.0);
        for a in attacks.clone() {
            let (with, without) = (with(image, a), without(image, a));
            if with.is_some() || without.is_some() {
                n += 1;
                one += counted(with, job.budget);
                other += counted(without, job.budget);
            }
        }
        if other > 0.0 {
            up.push(one);
            down.push(other);
        }
    }
    let ratio = paired_ratio(&up, &down, job.seed)?;
    Ok(QueryRatio { n, ratio })
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
        let guided: Asked<'_> = &|i, a| i.guided[f][a];
        let over_blind: (Asked<'_>, Asked<'_>) = (guided, &|i, a| i.blind[a]);
        let over_image: (Asked<'_>, Asked<'_>) = (guided, &|i, a| i.by_image[a]);
        let mut rows = Vec::new();
        for (a, attack) in job.attacks.iter().enumerate() {
            let found: Vec<Option<u64>> = images.iter().map(|i| guided(i, a)).collect();
            let asked = asked(&found, job.budget);
            rows.push(GuidedRow {
                attack: attack.id().into(),
                success: success(&found),
                mean: mean(&asked),
                median: median(&asked),
                ratio: ratio(job, images, a..a + 1, over_blind)?,
                over_image: ratio(job, images, a..a + 1, over_image)?,
            });
        }
        let figures = |at: usize| {
            let of = images.iter().map(|i| i.faithfulness[at]);
            of.collect::<Vec<f64>>()
        };
        let (whole, reduced) = (figures(0), figures(f + 1));
        out.push(LeakageForm {
            bits_served: form.settings().bits_served([h, w]),
            faithfulness: mean_interval(&reduced),
            kept: paired_ratio(&reduced, &whole, job.seed)?,
            rows,
            all: ratio(job, images, 0..job.attacks.len(), over_blind)?,
            all_over_image: ratio(job, images, 0..job.attacks.len(), over_image)?,
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
