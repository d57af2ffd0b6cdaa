//! Returns as figures: normalised, with intervals, over episodes that share their random numbers.

use crate::error::{Error, Result};
use crate::record::{EpisodePlayed, ReturnFigure};
use crate::rng::{Purpose, Stream};

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// A figure of the mean returns of samples, and its 95% percentile interval over resampled
/// episodes. The samples have the same episodes in the same order, and are resampled together.
fn bootstrapped(
    samples: &[&[f64]],
    figure: impl Fn(&[f64]) -> Option<f64>,
) -> Option<ReturnFigure> {
    let n = samples.first().map_or(0, |s| s.len());
    let means = |rows: &mut dyn Iterator<Item = usize>| {
        let rows: Vec<usize> = rows.collect();
        let mean = |s: &&[f64]| rows.iter().map(|&i| s[i]).sum::<f64>() / n as f64;
        samples.iter().map(mean).collect::<Vec<f64>>()
    };
    let value = figure(&means(&mut (0..n)))?;
    let mut found: Vec<f64> = (0..RESAMPLES as u64)
        .filter_map(|i| {
            let mut draws = Stream::new(0, Purpose::Evaluation, u64::MAX, i);
            figure(&means(&mut (0..n).map(|_| draws.below(n as u64) as usize)))
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |q: f64| {
        found
            .get((q * (found.len() - 1) as f64).round() as usize)
            .copied()
    };
    if found.is_empty() {
        return None;
    }
    Some(ReturnFigure {
        value,
        interval: [at(0.025)?, at(0.975)?],
    })
}

fn returns(episodes: &[EpisodePlayed]) -> Vec<f64> {
    episodes.iter().map(|e| e.value).collect()
}

/// Mean return.
///
/// Units of the rewards. The interval is a bootstrap over episodes (Efron 1979), 2,000 resamples.
pub fn mean_return(episodes: &[EpisodePlayed]) -> ReturnFigure {
    let values = returns(episodes);
    bootstrapped(&[&values], |m| Some(m[0])).unwrap_or(ReturnFigure {
        value: 0.0,
        interval: [0.0; 2],
    })
}

/// R̂ = (R − R_random) / (R_clean − R_random): 1 for what clean play earns, 0 for what random play
/// does.
///
/// None where clean play is no better than random. The interval resamples episodes, the same ones
/// of all three.
///
/// # Errors
/// [`Error::Mismatch`] unless all three played the same episodes.
pub fn normalised_return(
    attacked: &[EpisodePlayed],
    clean: &[EpisodePlayed],
    random: &[EpisodePlayed],
) -> Result<Option<ReturnFigure>> {
    let seeds = |e: &[EpisodePlayed]| e.iter().map(|e| e.seed).collect::<Vec<_>>();
    if seeds(attacked) != seeds(clean) || seeds(random) != seeds(clean) {
        let found = format!("{}, {} and {}", attacked.len(), clean.len(), random.len());
        return Err(Error::mismatch(
            "normalise a return",
            "the same episodes of all",
            found,
        ));
    }
    let [a, c, r] = [returns(attacked), returns(clean), returns(random)];
    Ok(bootstrapped(&[&a, &c, &r], |m| {
        let range = m[1] - m[2];
        (range > 0.0).then(|| (m[0] - m[2]) / range)
    }))
}

/// Mean over points of the difference of two normalised returns, as one figure: `least` and `most`
/// have the episodes of each point.
///
/// # Errors
/// [`Error::Mismatch`] for points of other episodes.
pub fn area_between(
    least: &[Vec<EpisodePlayed>],
    most: &[Vec<EpisodePlayed>],
    clean: &[EpisodePlayed],
    random: &[EpisodePlayed],
) -> Result<Option<ReturnFigure>> {
    let points = least.len();
    let all = least.iter().chain(most);
    if points != most.len() || all.clone().any(|p| p.len() != clean.len()) {
        return Err(Error::mismatch(
            "area between returns",
            "the same episodes",
            points,
        ));
    }
    let samples: Vec<Vec<f64>> = all.map(|p| returns(p)).collect();
    let [c, r] = [returns(clean), returns(random)];
    let mut views: Vec<&[f64]> = samples.iter().map(Vec::as_slice).collect();
    views.extend([&c[..], &r[..]]);
    Ok(bootstrapped(&views, |m| {
        let range = m[2 * points] - m[2 * points + 1];
        let apart: f64 = (0..points).map(|i| m[i] - m[points + i]).sum();
        (range > 0.0).then(|| apart / points as f64 / range)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(values: &[f64]) -> Vec<EpisodePlayed> {
        let episode = |(seed, &value): (usize, &f64)| EpisodePlayed {
            value,
            ..EpisodePlayed::new(seed as u64)
        };
        values.iter().enumerate().map(episode).collect()
    }

    #[test]
    fn ends_of_the_scale_and_its_middle() {
        let clean = played(&[10.0, 12.0, 8.0, 10.0]);
        let random = played(&[2.0; 4]);
        let of = |a: &[f64]| {
            normalised_return(&played(a), &clean, &random)
                .unwrap()
                .unwrap()
        };
        let whole = of(&[10.0, 12.0, 8.0, 10.0]);
        // The very episodes: no resample differs.
        assert!((whole.value - 1.0).abs() < 1e-12);
        assert!(whole.interval.iter().all(|v| (v - 1.0).abs() < 1e-12));
        assert!(of(&[2.0; 4]).value.abs() < 1e-12);
        let half = of(&[6.0, 6.0, 6.0, 6.0]);
        assert!((half.value - 0.5).abs() < 1e-12);
        assert!(half.interval[0] < 0.5 && half.interval[1] > 0.5);
        assert!(
            normalised_return(&clean, &random, &clean)
                .unwrap()
                .is_none()
        );
        assert!(normalised_return(&played(&[1.0]), &clean, &random).is_err());
    }

    #[test]
    fn the_interval_of_a_mean_has_the_width_of_its_error() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let figure = mean_return(&played(&values));
        assert!((figure.value - 49.5).abs() < 1e-12);
        // 1.96 standard errors, 28.87 / 10.
        let half = (figure.interval[1] - figure.interval[0]) / 2.0;
        assert!((half - 1.96 * 2.887).abs() < 0.5, "{half}");
    }

    #[test]
    fn an_area_is_the_mean_gap() {
        let clean = played(&[10.0, 10.0]);
        let random = played(&[0.0, 0.0]);
        let points = |v: &[f64]| v.iter().map(|v| played(&[*v, *v])).collect::<Vec<_>>();
        let area = area_between(&points(&[10.0, 8.0]), &points(&[4.0, 2.0]), &clean, &random);
        assert!((area.unwrap().unwrap().value - 0.6).abs() < 1e-12);
    }
}
