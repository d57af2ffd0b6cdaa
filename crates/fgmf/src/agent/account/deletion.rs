//! Deletion to return: do the objects that a map names decide what the team earns?
//!
//! Whole episodes are played in which, at every step, a share of the objects of each view is
//! erased, in an order by the map of that very view. R̂ falls faster if the objects erased first
//! matter more. The area is the mean over shares of R̂ (least relevant first) − R̂ (most relevant
//! first). Random order is the control. All orders play the same episodes with the same draws.
//!
//! Costs `3 · shares · episodes` episodes with a map of every view.

use crate::agent::base::MakeEnvironment;
use crate::agent::figure::{area_between, normalised_return};
use crate::agent::interfere::budget::{AttackBudget, Reach};
use crate::agent::interfere::erase::{EraseObjects, ErasureOrder};
use crate::agent::play::{Interfered, PlaySettings, UniformPolicy, play};
use crate::error::{Error, Result};
use crate::model::Gradients;
use crate::record::{DeletionRecord, EpisodePlayed};

/// What is played.
#[derive(Clone, Debug)]
pub struct DeletionSettings {
    /// Shares of the objects that are erased, in (0, 1].
    pub shares: Vec<f64>,
    /// Episodes of each share and order.
    pub play: PlaySettings,
}

/// Plays all orders and shares.
///
/// # Errors
/// [`Error::Parameter`] without shares; [`Error::Mismatch`] if clean play earns no more than random
/// play, so that there is nothing to lose; those of [`play`].
pub fn deletion(
    make: &MakeEnvironment<'_>,
    policy: &dyn Gradients,
    settings: &DeletionSettings,
) -> Result<DeletionRecord> {
    if settings.shares.is_empty() {
        return Err(Error::parameter("shares", "one or more", "none"));
    }
    let spec = make()?.spec().clone();
    let clean = play(make, policy, None, &settings.play)?;
    let random = play(make, &UniformPolicy::new(&spec), None, &settings.play)?;
    let played = |order: ErasureOrder| -> Result<Vec<Vec<EpisodePlayed>>> {
        let one = |&share: &f64| {
            let with = EraseObjects::new(policy, order, share)?;
            let budget = AttackBudget {
                reach: Reach::Erase(share),
                victims: (0..spec.agents).collect(),
            };
            let interfered = Interfered {
                with: &with,
                budget: &budget,
            };
            play(make, policy, Some(interfered), &settings.play)
        };
        settings.shares.iter().map(one).collect()
    };
    let nothing = || {
        let found = "a team that earns no more than random play";
        Error::mismatch("deletion to return", "clean play above random play", found)
    };
    let mut orders = Vec::new();
    let mut points = Vec::new();
    for order in [
        ErasureOrder::MostFirst,
        ErasureOrder::LeastFirst,
        ErasureOrder::Random,
    ] {
        let found = played(order)?;
        let figures = found
            .iter()
            .map(|p| normalised_return(p, &clean, &random)?.ok_or_else(nothing));
        orders.push((order.name().to_owned(), figures.collect::<Result<_>>()?));
        points.push(found);
    }
    let area = area_between(&points[1], &points[0], &clean, &random)?;
    Ok(DeletionRecord {
        shares: settings.shares.clone(),
        orders,
        area: area.ok_or_else(nothing)?,
        episodes: settings.play.episodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::draws::ActionDraw;
    use crate::agent::toy::{Marks, best_policy};
    use crate::model::Oracle;

    /// The mark decides all and the stain nothing. With half of two objects erased, most relevant
    /// first leaves random play and least relevant first the best play.
    #[test]
    fn erasing_what_decides_costs_all_and_the_rest_nothing() {
        let net = best_policy(5.0);
        let settings = DeletionSettings {
            shares: vec![0.5],
            play: PlaySettings {
                episodes: 40,
                first_seed: 3,
                draw: ActionDraw::Greedy,
            },
        };
        let found = deletion(&Marks::make, &Oracle::new(&net), &settings).unwrap();
        let at = |i: usize| found.orders[i].1[0].value;
        assert!(
            (at(1) - 1.0).abs() < 1e-12,
            "least relevant first: {}",
            at(1)
        );
        // Without its mark an agent always names the first cell, which is right one time in four.
        assert!(at(0).abs() < 0.15, "most relevant first: {}", at(0));
        assert!(at(2) > 0.3 && at(2) < 0.7, "random order: {}", at(2));
        assert!((found.area.value - (at(1) - at(0))).abs() < 1e-12);
        assert!(found.area.interval[0] > 0.7);
        let none = DeletionSettings {
            shares: Vec::new(),
            ..settings
        };
        assert!(deletion(&Marks::make, &Oracle::new(&net), &none).is_err());
    }
}
