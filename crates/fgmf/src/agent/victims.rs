//! Which agents an attack should choose: the ones whose views, once changed, cost the team most.

use crate::agent::base::MakeEnvironment;
use crate::agent::interfere::base::Interference;
use crate::agent::interfere::budget::{AttackBudget, Reach};
use crate::agent::play::{Interfered, PlaySettings, play};
use crate::error::{Error, Result};
use crate::model::Scores;

/// Most sets of victims that are all tried.
const ALL: usize = 56;

/// Whom an attack takes.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenVictims {
    /// The agents, ascending where all sets were tried.
    pub victims: Vec<usize>,
    /// Mean return under attack on each set that was tried.
    pub tried: Vec<(Vec<usize>, f64)>,
}

/// All sets of `k` of `n`, ascending.
fn sets(n: usize, k: usize) -> Vec<Vec<usize>> {
    if k == 0 {
        return vec![Vec::new()];
    }
    let shorter = sets(n, k - 1).into_iter();
    let longer = |s: Vec<usize>| {
        let first = s.last().map_or(0, |l| l + 1);
        (first..n).map(move |i| [&s[..], &[i]].concat())
    };
    shorter.flat_map(longer).collect()
}

fn choose(n: usize, k: usize) -> usize {
    (0..k).fold(1usize, |c, i| c.saturating_mul(n - i) / (i + 1))
}

/// The `k` victims at whom an attack costs the team most.
///
/// All sets are tried if there are 56 or fewer; else victims are added one by one, the costliest
/// first. The episodes should be others than those that are reported, because a choice flatters the
/// attacker on the episodes that it was made on.
///
/// # Errors
/// [`Error::Parameter`] unless `k` is 1 to the number of agents; those of [`play`].
pub fn worst_victims(
    make: &MakeEnvironment<'_>,
    policy: &dyn Scores,
    with: &dyn Interference,
    reach: Reach,
    k: usize,
    settings: &PlaySettings,
) -> Result<ChosenVictims> {
    let n = make()?.spec().agents;
    if !(1..=n).contains(&k) {
        return Err(Error::parameter("agents", format!("1 to {n}"), k));
    }
    let mut tried: Vec<(Vec<usize>, f64)> = Vec::new();
    let mut best_of = |sets: Vec<Vec<usize>>| -> Result<Vec<usize>> {
        let mut best: Option<(Vec<usize>, f64)> = None;
        for victims in sets {
            let budget = AttackBudget {
                reach,
                victims: victims.clone(),
            };
            let interfered = Interfered {
                with,
                budget: &budget,
            };
            let played = play(make, policy, Some(interfered), settings)?;
            let mean = played.iter().map(|e| e.value).sum::<f64>() / played.len() as f64;
            tried.push((victims.clone(), mean));
            if best.as_ref().is_none_or(|b| mean < b.1) {
                best = Some((victims, mean));
            }
        }
        Ok(best.map(|b| b.0).unwrap_or_default())
    };
    let chosen = if choose(n, k) <= ALL {
        best_of(sets(n, k))?
    } else {
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..k {
            let others = (0..n).filter(|i| !chosen.contains(i));
            chosen = best_of(others.map(|i| [&chosen[..], &[i]].concat()).collect())?;
        }
        chosen
    };
    Ok(ChosenVictims {
        victims: chosen,
        tried,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_all_of_them() {
        assert_eq!(sets(4, 2).len(), 6);
        assert_eq!(sets(4, 2)[5], [2, 3]);
        assert_eq!(
            (sets(3, 3), sets(8, 3).len()),
            (vec![vec![0, 1, 2]], choose(8, 3))
        );
    }
}
