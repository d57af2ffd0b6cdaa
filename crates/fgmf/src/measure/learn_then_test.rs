//! Learn then Test (Angelopoulos et al. 2021): a threshold on a score above which the share of bad
//! items is at most α, with probability 1 − δ over the draw of the calibration.
//!
//! Thresholds t are tested from strict to lax. Of n calibration items, m have a score above t, and
//! k of these are bad. If the share of bad items above t were more than α, then k would be at least
//! as large as a binomial(m, α) count, and p = P(Bin(m, α) ≤ k) is a valid p-value. Testing stops
//! at the first p > δ, so that no correction for their number is needed (fixed sequence testing).
//! The threshold of the last p ≤ δ is the result.
//!
//! The promise is for items that are exchangeable with those of the calibration, and for nothing
//! else.
//!
//! Decisions of ours: (1) the thresholds are the distinct scores of the calibration, and what is
//! shown is *above* one. Given the threshold, the items above it are independent draws from there;
//! the item at the threshold is not, and is not counted. The last threshold is below every score.
//! (2) The sequence begins where a stated share of the items is shown, or where enough are that
//! none bad gives p ≤ δ. With fewer no count can pass, and a sequence that began there would always
//! end there.

use crate::error::{Error, Result};
use crate::measure::probability::binomial_at_most;

/// What is promised, and how sure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskLevels {
    /// Largest share of bad items among those shown, in (0, 1).
    pub alpha: f64,
    /// Probability that the promise does not hold, in (0, 1).
    pub delta: f64,
    /// Share of the calibration that the strictest threshold shows, in (0, 1].
    pub start: f64,
}

/// A threshold with a promise, and what it was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskThreshold {
    /// Items with a score above this are shown. [`f64::MIN`] shows all.
    pub threshold: f64,
    /// m: items of the calibration that are shown.
    pub shown: usize,
    /// k: bad ones among them.
    pub bad: usize,
    /// P(Bin(m, α) ≤ k), at most δ.
    pub p: f64,
}

impl RiskThreshold {
    /// Share of a calibration of `n` items that is shown.
    pub fn share(&self, n: usize) -> f64 {
        self.shown as f64 / n.max(1) as f64
    }
}

/// The laxest threshold that keeps the promise, from a score an item and whether the item is bad.
/// `None`: nothing can be promised.
///
/// # Errors
/// [`Error::Parameter`] for a level out of its range, [`Error::Mismatch`] for lists of different
/// lengths or a score that is not finite.
pub fn learn_then_test(
    scores: &[f64],
    bad: &[bool],
    levels: &RiskLevels,
) -> Result<Option<RiskThreshold>> {
    const NAME: &str = "learn a threshold";
    let RiskLevels {
        alpha,
        delta,
        start,
    } = *levels;
    for (name, value) in [("alpha", alpha), ("delta", delta)] {
        // NaN is in no range.
        if !(value > 0.0 && value < 1.0) {
            return Err(Error::parameter(name, "above 0 and below 1", value));
        }
    }
    if !(start > 0.0 && start <= 1.0) {
        return Err(Error::parameter("start", "above 0 and at most 1", start));
    }
    if scores.len() != bad.len() {
        let expected = format!("{} losses, one a score", scores.len());
        return Err(Error::mismatch(NAME, expected, bad.len()));
    }
    if let Some(score) = scores.iter().find(|s| !s.is_finite()) {
        return Err(Error::mismatch(NAME, "finite scores", score));
    }
    let n = scores.len();
    let mut items: Vec<(f64, bool)> = scores.iter().copied().zip(bad.iter().copied()).collect();
    items.sort_by(|a, b| b.0.total_cmp(&a.0));
    // (1 − α)^m ≤ δ: the fewest of which none bad is enough.
    let fewest = (delta.ln() / (-alpha).ln_1p()).ceil();
    let first = (start * n as f64).ceil().max(fewest);
    let (mut shown, mut k, mut found) = (0, 0, None);
    loop {
        let threshold = items.get(shown).map_or(f64::MIN, |item| item.0);
        if shown as f64 >= first {
            let p = binomial_at_most(k, shown, alpha);
            if p > delta {
                break;
            }
            found = Some(RiskThreshold {
                threshold,
                shown,
                bad: k,
                p,
            });
        }
        if shown == n {
            break;
        }
        // −0 and 0 are one score.
        let equal = items[shown..].iter().take_while(|i| i.0 >= threshold);
        let (count, more) = equal.fold((0, 0), |(n, k), i| (n + 1, k + usize::from(i.1)));
        (shown, k) = (shown + count, k + more);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};

    const LEVELS: RiskLevels = RiskLevels {
        alpha: 0.2,
        delta: 0.1,
        start: 0.2,
    };

    /// (1 − 0.1)^m ≤ 0.05 from m = 29 on: 28 good items promise nothing, 29 do.
    #[test]
    fn the_fewest_good_items_in_closed_form() {
        let levels = RiskLevels {
            alpha: 0.1,
            delta: 0.05,
            start: 0.2,
        };
        let of = |n: u32| {
            let scores: Vec<f64> = (0..n).map(f64::from).collect();
            learn_then_test(&scores, &vec![false; n as usize], &levels).unwrap()
        };
        assert_eq!(of(28), None);
        let all = of(29).unwrap();
        assert_eq!((all.shown, all.bad), (29, 0));
        assert!((all.p - 0.9f64.powi(29)).abs() < 1e-12 && all.threshold <= f64::MIN);
        assert!((all.share(29) - 1.0).abs() < 1e-12);
    }

    /// The best 60 of 100 are good and the rest bad. p(60 + k of which k bad) ≤ 0.1 up to some k:
    /// that many are let in, and the threshold is the next score.
    #[test]
    fn testing_stops_at_the_first_that_fails() {
        let scores: Vec<f64> = (0..100).map(|i| 1.0 - f64::from(i) / 100.0).collect();
        let bad: Vec<bool> = (0..100).map(|i| i >= 60).collect();
        let found = learn_then_test(&scores, &bad, &LEVELS).unwrap().unwrap();
        let k = (0..40)
            .take_while(|k| binomial_at_most(*k, 60 + k, 0.2) <= 0.1)
            .last()
            .unwrap();
        assert_eq!((found.shown, found.bad), (60 + k, k));
        assert!((found.threshold - scores[60 + k]).abs() < 1e-12);
        assert!((1..15).contains(&k), "{k}");
    }

    /// Scores are uniform, and an item is bad with probability 1 − s: above t, (1 − t) / 2 are. The
    /// share is above α in at most δ of the calibrations, also where scores are tied.
    #[test]
    fn the_promise_holds_as_often_as_it_says() {
        let rounds = 600;
        for step in [0.0, 0.05] {
            let (mut broken, mut promised) = (0, 0);
            for round in 0..rounds {
                let mut draw = Stream::new(round, Purpose::Evaluation, 7, 0);
                let item = |_| {
                    let s = f64::from(draw.unit());
                    let bad = f64::from(draw.unit()) < 1.0 - s;
                    let s = if step > 0.0 {
                        (s / step).floor() * step
                    } else {
                        s
                    };
                    (s, bad)
                };
                let (scores, bad): (Vec<f64>, Vec<bool>) = (0..250).map(item).unzip();
                if let Some(found) = learn_then_test(&scores, &bad, &LEVELS).unwrap() {
                    promised += 1;
                    // Tied scores are the lower ends of steps: above one begins the next.
                    let from = if found.threshold < 0.0 {
                        0.0
                    } else {
                        found.threshold + step
                    };
                    broken += usize::from((1.0 - from) / 2.0 > LEVELS.alpha + 1e-9);
                }
            }
            let slack = 3.0 * (0.1f64 * 0.9 / rounds as f64).sqrt();
            let share = f64::from(broken as u32) / rounds as f64;
            assert!(share <= LEVELS.delta + slack, "{step}: {share}");
            // Of the first 50, a tenth is bad: up to 5 of these pass, in three cases of five.
            assert!(promised > rounds / 2, "{step}: {promised}");
        }
    }

    /// A score that knows nothing, with slightly more bad items than α anywhere: a promise is made
    /// in at most δ of the calibrations.
    #[test]
    fn a_score_that_knows_nothing_promises_nothing() {
        let rounds = 600;
        let promised = (0..rounds)
            .filter(|&round| {
                let mut draw = Stream::new(round, Purpose::Evaluation, 8, 0);
                let item = |_| (f64::from(draw.unit()), f64::from(draw.unit()) < 0.21);
                let (scores, bad): (Vec<f64>, Vec<bool>) = (0..250).map(item).unzip();
                learn_then_test(&scores, &bad, &LEVELS).unwrap().is_some()
            })
            .count();
        let slack = 3.0 * (0.1f64 * 0.9 / rounds as f64).sqrt();
        assert!(promised as f64 / rounds as f64 <= LEVELS.delta + slack);
    }

    /// One more bad item never shows more, and a laxer promise never less.
    #[test]
    fn more_bad_items_show_fewer_and_laxer_promises_more() {
        for seed in 0..40 {
            let mut draw = Stream::new(seed, Purpose::Evaluation, 9, 0);
            let scores: Vec<f64> = (0..200).map(|_| f64::from(draw.unit())).collect();
            let mut bad: Vec<bool> = scores
                .iter()
                .map(|s| f64::from(draw.unit()) > s + 0.2)
                .collect();
            let shown = |bad: &[bool], levels: RiskLevels| {
                let found = learn_then_test(&scores, bad, &levels).unwrap();
                found.map_or(0, |f| f.shown)
            };
            let lax = |alpha, delta| RiskLevels {
                alpha,
                delta,
                ..LEVELS
            };
            let own = shown(&bad, LEVELS);
            assert!(shown(&bad, lax(0.25, 0.1)) >= own && shown(&bad, lax(0.2, 0.2)) >= own);
            let good = bad.iter().position(|b| !b).unwrap();
            bad[good] = true;
            assert!(shown(&bad, LEVELS) <= own);
        }
    }

    #[test]
    fn ties_and_few_items_are_answered() {
        let of = |scores: &[f64], bad: &[bool]| learn_then_test(scores, bad, &LEVELS).unwrap();
        assert_eq!(of(&[], &[]), None);
        assert_eq!(of(&[0.5], &[false]), None);
        // All equal: all or nothing.
        let all = of(&[0.5; 50], &[false; 50]).unwrap();
        assert!(all.shown == 50 && all.threshold <= f64::MIN);
        assert_eq!(of(&[0.5; 50], &[true; 50]), None);
        assert_eq!(of(&[0.0, -0.0].repeat(25), &[false; 50]).unwrap().shown, 50);
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused_by_name() {
        let says = |scores: &[f64], bad: &[bool], levels: RiskLevels, text: &str| {
            let error = learn_then_test(scores, bad, &levels)
                .unwrap_err()
                .to_string();
            assert!(error.contains(text), "{error}");
        };
        says(&[f64::NAN], &[true], LEVELS, "finite scores");
        says(&[f64::INFINITY], &[true], LEVELS, "finite scores");
        says(&[1.0], &[], LEVELS, "1 losses, one a score");
        for alpha in [0.0, 1.0, f64::NAN] {
            says(&[1.0], &[true], RiskLevels { alpha, ..LEVELS }, "`alpha`");
        }
        says(
            &[1.0],
            &[true],
            RiskLevels {
                delta: 0.0,
                ..LEVELS
            },
            "`delta`",
        );
        says(
            &[1.0],
            &[true],
            RiskLevels {
                start: 0.0,
                ..LEVELS
            },
            "`start`",
        );
    }
}
