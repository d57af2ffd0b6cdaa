//! What an interference may do. Every change of a view is checked here, and nowhere else.

use crate::agent::base::AgentSpec;
use crate::error::{Error, Result};
use crate::threat::ThreatModel;

/// How far a view may be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// Values of entity planes within a norm ball and its bounds.
    Ball(ThreatModel),
    /// Objects of a view may be erased: at most this share of them, in `[0, 1]`, rounded up.
    Erase(f64),
}

/// What may be done, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackBudget {
    /// How far.
    pub reach: Reach,
    /// Agents whose views may be changed, in every step of every episode.
    pub victims: Vec<usize>,
}

/// Slack of comparisons: rounding of `f32` in `[0, 1]`.
const SLACK: f32 = 1e-6;

impl AttackBudget {
    /// An error unless the budget makes sense for these agents.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a victim that does not exist or is named twice, or for a share out
    /// of its range.
    pub fn check(&self, spec: &AgentSpec) -> Result<()> {
        let n = spec.agents;
        let twice = |i: usize| self.victims[..i].contains(&self.victims[i]);
        if (0..self.victims.len()).any(|i| self.victims[i] >= n || twice(i)) {
            let expected = format!("different agents below {n}");
            return Err(Error::parameter(
                "victims",
                expected,
                format!("{:?}", self.victims),
            ));
        }
        match self.reach {
            Reach::Erase(share) if !(0.0..=1.0).contains(&share) => {
                Err(Error::parameter("share", "0 to 1", share))
            }
            _ => Ok(()),
        }
    }

    /// An error unless a view was changed within the budget: finite values, closed ones untouched,
    /// and the rest within reach. Returns whether anything was changed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] that names what was done.
    pub(crate) fn allows(&self, open: &[bool], clean: &[f32], changed: &[f32]) -> Result<bool> {
        let refuse = |expected: String, found: String| {
            Err(Error::mismatch("interference with a view", expected, found))
        };
        if let Some(v) = changed.iter().find(|v| !v.is_finite()) {
            return refuse("finite values".into(), v.to_string());
        }
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits();
        let mut pairs = clean.iter().zip(changed).zip(open);
        if let Some(((a, b), _)) = pairs.find(|((a, b), open)| !**open && !same(**a, **b)) {
            return refuse(
                "planes that are fixed left alone".into(),
                format!("{a} made {b}"),
            );
        }
        match &self.reach {
            Reach::Ball(threat) if !threat.contains(clean, changed) => {
                let distance = threat.distance(clean, changed);
                let expected = format!("values in bounds, and a distance up to {}", threat.eps());
                return refuse(expected, format!("a distance of {distance}"));
            }
            Reach::Ball(_) => {}
            Reach::Erase(share) => {
                let objects = clean
                    .iter()
                    .zip(open)
                    .filter(|(v, o)| **o && **v > 0.0)
                    .count();
                let most = (share * objects as f64).ceil() as usize;
                let moved = || clean.iter().zip(changed).filter(|(a, b)| !same(**a, **b));
                if let Some((a, b)) = moved().find(|(_, b)| b.abs() > SLACK) {
                    return refuse("objects erased".into(), format!("{a} made {b}"));
                }
                let erased = moved().count();
                if erased > most {
                    return refuse(format!("up to {most} objects erased"), erased.to_string());
                }
            }
        }
        Ok(clean.iter().zip(changed).any(|(a, b)| !same(*a, *b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::Norm;

    #[test]
    fn what_goes_beyond_the_budget_is_refused() {
        let open = [false, true, true, true];
        let clean = [1.0, 0.0, 1.0, 1.0];
        let ball = |eps| AttackBudget {
            reach: Reach::Ball(ThreatModel::new(Norm::Linf, eps, [0.0, 1.0]).unwrap()),
            victims: vec![0],
        };
        let said = |b: &AttackBudget, x: [f32; 4]| b.allows(&open, &clean, &x);
        assert!(said(&ball(0.1), [1.0, 0.1, 0.9, 1.0]).unwrap());
        assert!(!said(&ball(0.1), clean).unwrap());
        for wrong in [
            [0.95, 0.0, 1.0, 1.0],
            [1.0, 0.2, 1.0, 1.0],
            [1.0, 0.0, 1.0, 1.05],
            [1.0, f32::NAN, 1.0, 1.0],
        ] {
            assert!(said(&ball(0.1), wrong).is_err(), "{wrong:?}");
        }
        let erase = |share| AttackBudget {
            reach: Reach::Erase(share),
            victims: vec![0],
        };
        assert!(said(&erase(0.5), [1.0, 0.0, 0.0, 1.0]).unwrap());
        assert!(
            said(&erase(0.5), [1.0, 0.0, 0.0, 0.0]).is_err(),
            "two of two at half"
        );
        assert!(
            said(&erase(1.0), [1.0, 0.0, 0.5, 1.0]).is_err(),
            "no erasure"
        );
        assert!(
            said(&erase(1.0), [1.0, 1.0, 1.0, 1.0]).is_err(),
            "an insertion"
        );
        assert!(said(&erase(1.0), [0.0, 0.0, 1.0, 1.0]).is_err(), "a wall");
    }
}
