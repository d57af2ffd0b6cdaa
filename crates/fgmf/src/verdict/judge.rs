//! The masking verdict: what the signs of gradient masking add up to.
//!
//! [`judge`] is a pure function of [`Evidence`]: each [`Sign`] has a trigger, a number with a
//! source, and is raised as a flag where its evidence reaches it. A flag is *conclusive* if its
//! evidence shows that following the model's gradients misses adversarial examples that exist, and
//! not just a few of them (2% of the images, with 95% certainty). The others say that the
//! evaluation may be doing so.
//!
//! | level | rule |
//! | --- | --- |
//! | `masked` | at least one conclusive flag |
//! | `suspicious` | flags, none of them conclusive |
//! | `trustworthy` | no flag among the checks that were made |
//!
//! A verdict speaks of the checks that were made, which it lists, and of nothing else. References:
//! `athalye2018`, `carlini2019`, `pintor2022` (indicators of attack failure), `croce2020`
//! (AutoAttack's own checks).

use crate::record::{FlagRecord, VerdictRecord};
use crate::verdict::evidence::Evidence;
use crate::verdict::sign::Sign;

pub use crate::record::Level;

/// A sign whose trigger was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Which.
    pub sign: Sign,
    /// Whether it shows by itself that gradients miss what exists.
    pub conclusive: bool,
    /// Numbers behind it, and which examples.
    pub evidence: serde_json::Value,
}

/// Level, checks made, flags raised.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Level by the rule of this module.
    pub level: Level,
    /// Checks that were made.
    pub checks: Vec<Sign>,
    /// Flags, in the order of the checks.
    pub flags: Vec<Flag>,
}

impl Verdict {
    /// Whether this flag was raised.
    pub fn has(&self, sign: Sign) -> bool {
        self.flags.iter().any(|f| f.sign == sign)
    }

    /// For `attack.json`.
    pub fn record(&self) -> VerdictRecord {
        let flag = |f: &Flag| FlagRecord {
            id: f.sign.id().into(),
            conclusive: f.conclusive,
            evidence: f.evidence.clone(),
            advice: f.sign.advice().into(),
        };
        VerdictRecord {
            level: self.level,
            checks: self.checks.iter().map(|s| s.id().into()).collect(),
            flags: self.flags.iter().map(flag).collect(),
        }
    }
}

/// Weighs evidence. Pure: the same evidence gives the same verdict.
pub fn judge(evidence: &Evidence) -> Verdict {
    let (mut checks, mut flags) = (Vec::new(), Vec::new());
    for sign in Sign::ALL {
        let Some((raised, numbers)) = sign.weigh(evidence) else {
            continue;
        };
        checks.push(sign);
        if raised {
            flags.push(Flag {
                sign,
                conclusive: sign.conclusive(evidence),
                evidence: numbers,
            });
        }
    }
    let level = if flags.iter().any(|f| f.conclusive) {
        Level::Masked
    } else if flags.is_empty() {
        Level::Trustworthy
    } else {
        Level::Suspicious
    };
    Verdict {
        level,
        checks,
        flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::evidence::{Found, Versus, Wider};

    fn found(n: usize, of: usize) -> Option<Found> {
        Some(Found {
            examples: (0..n as u64).collect(),
            of,
        })
    }

    /// `wins` examples that only the challenger broke, beside 3 that both did.
    fn versus(wins: u64, of: usize) -> Option<Versus> {
        Some(Versus {
            challenger: (0..3 + wins).collect(),
            reference: (0..3).collect(),
            of,
        })
    }

    /// 3 of 100 broken at the radius, `more` beyond them at twice; the loss of `stuck` of those
    /// that stand does not grow.
    fn wider(more: usize, stuck: usize) -> Option<Wider> {
        Some(Wider {
            broken: 3,
            broken_at_twice: 3 + more,
            stuck: found(stuck, 97).unwrap(),
        })
    }

    /// Evidence that everything was looked at and all is well.
    fn clean() -> Evidence {
        Evidence {
            classes: 10,
            no_gradients: found(0, 100),
            wrong: found(0, 100),
            straight_through: found(0, 100),
            randomised: found(0, 100),
            probabilities: found(0, 100),
            zero_gradients: found(0, 100),
            non_finite: found(0, 100),
            undecided: found(0, 100),
            contradicted: found(0, 100),
            descent: versus(0, 100),
            one_step: versus(0, 100),
            black_box: versus(0, 100),
            wider: wider(40, 10),
            unbounded: found(0, 100),
            missed: found(0, 100),
            unfinished: found(0, 50),
            longer: versus(0, 100),
            transfer: versus(0, 100),
            bypass: versus(0, 100),
            readout: versus(0, 100),
            instability: Some(0.03),
            saturated: found(0, 100),
        }
    }

    /// For every sign: evidence just below its trigger, which raises nothing, and at it, which
    /// raises that flag alone.
    #[test]
    fn every_sign_has_a_trigger_and_keeps_still_below_it() {
        type Case = (Sign, Evidence, Evidence);
        let case = |sign, below: &dyn Fn(&mut Evidence), at: &dyn Fn(&mut Evidence)| -> Case {
            let (mut a, mut b) = (clean(), clean());
            below(&mut a);
            at(&mut b);
            (sign, a, b)
        };
        let cases: Vec<Case> = vec![
            case(Sign::NoGradients, &|e| e.no_gradients = found(0, 1), &|e| {
                e.no_gradients = found(1, 100)
            }),
            case(Sign::NothingRight, &|e| e.wrong = found(99, 100), &|e| {
                e.wrong = found(100, 100)
            }),
            case(
                Sign::StraightThrough,
                &|e| e.straight_through = found(0, 100),
                &|e| e.straight_through = found(100, 100),
            ),
            case(
                Sign::RandomisedOutput,
                &|e| e.randomised = found(0, 5),
                &|e| e.randomised = found(1, 100),
            ),
            case(
                Sign::ProbabilitiesAsLogits,
                &|e| e.probabilities = found(99, 100),
                &|e| e.probabilities = found(100, 100),
            ),
            case(
                Sign::UndecidedOutput,
                &|e| e.undecided = found(2, 1000),
                &|e| e.undecided = found(3, 1000),
            ),
            case(
                Sign::ZeroGradient,
                &|e| e.zero_gradients = found(0, 1),
                &|e| e.zero_gradients = found(1, 100),
            ),
            case(
                Sign::NonFiniteGradient,
                &|e| e.non_finite = found(0, 1),
                &|e| e.non_finite = found(1, 100),
            ),
            case(
                Sign::GradientContradicted,
                &|e| e.contradicted = found(10, 100),
                &|e| e.contradicted = found(11, 100),
            ),
            case(
                Sign::DescentBeatsAscent,
                &|e| e.descent = versus(1, 100),
                &|e| e.descent = versus(2, 100),
            ),
            case(
                Sign::OneStepBeatsMany,
                &|e| e.one_step = versus(1, 100),
                &|e| e.one_step = versus(2, 100),
            ),
            case(
                Sign::BlackBoxBeatsWhiteBox,
                &|e| e.black_box = versus(2, 1000),
                &|e| e.black_box = versus(3, 1000),
            ),
            case(
                Sign::LargerEpsDoesNotHelp,
                &|e| e.wider = wider(0, 58),
                &|e| e.wider = wider(0, 59),
            ),
            case(
                Sign::UnboundedAttackFails,
                &|e| e.unbounded = found(15, 100),
                &|e| e.unbounded = found(16, 100),
            ),
            case(Sign::SilentSuccess, &|e| e.missed = found(4, 100), &|e| {
                e.missed = found(5, 100)
            }),
            case(
                Sign::UnfinishedOptimisation,
                &|e| {
                    e.unfinished = found(19, 50);
                    e.longer = versus(4, 100);
                },
                &|e| {
                    e.unfinished = found(19, 50);
                    e.longer = versus(5, 100);
                },
            ),
            case(
                Sign::TransferBeatsWhiteBox,
                &|e| e.transfer = versus(1, 100),
                &|e| e.transfer = versus(2, 100),
            ),
            case(
                Sign::BypassBeatsPlain,
                &|e| e.bypass = versus(1, 100),
                &|e| e.bypass = versus(2, 100),
            ),
            case(
                Sign::ReadoutBeatsPlain,
                &|e| e.readout = versus(1, 100),
                &|e| e.readout = versus(2, 100),
            ),
            case(
                Sign::UnstablePredictions,
                &|e| e.instability = Some(0.1),
                &|e| e.instability = Some(f64::NAN),
            ),
            case(Sign::Saturation, &|e| e.saturated = found(9, 100), &|e| {
                e.saturated = found(10, 100)
            }),
        ];
        assert_eq!(cases.iter().map(|c| c.0).collect::<Vec<_>>(), Sign::ALL);
        for (sign, below, at) in cases {
            let (quiet, loud) = (judge(&below), judge(&at));
            assert_eq!(
                (quiet.level, quiet.flags.len()),
                (Level::Trustworthy, 0),
                "{sign:?}"
            );
            assert_eq!(
                loud.flags.iter().map(|f| f.sign).collect::<Vec<_>>(),
                [sign]
            );
            assert_eq!(
                loud.level,
                if sign.conclusive(&at) {
                    Level::Masked
                } else {
                    Level::Suspicious
                },
                "{sign:?}"
            );
            assert_eq!(loud.checks, Sign::ALL);
        }
    }

    /// What a search shows beyond gradients makes its flag a doubt at first, and a proof once the
    /// gap is surely above 2% of the images; so for contradicted gradients, above 10% of them.
    #[test]
    fn the_strength_of_a_flag_follows_from_the_gap_it_shows() {
        type Set = fn(&mut Evidence, u64);
        let searches: [(Sign, Set); 6] = [
            (Sign::DescentBeatsAscent, |e, n| e.descent = versus(n, 100)),
            (Sign::OneStepBeatsMany, |e, n| e.one_step = versus(n, 100)),
            (Sign::BlackBoxBeatsWhiteBox, |e, n| {
                e.black_box = versus(n, 100)
            }),
            (Sign::TransferBeatsWhiteBox, |e, n| {
                e.transfer = versus(n, 100)
            }),
            (Sign::BypassBeatsPlain, |e, n| e.bypass = versus(n, 100)),
            (Sign::ReadoutBeatsPlain, |e, n| e.readout = versus(n, 100)),
        ];
        let contradicted: (Sign, Set) = (Sign::GradientContradicted, |e, n| {
            e.contradicted = found(n as usize, 100)
        });
        let level = |(sign, set): (Sign, Set), n| {
            let mut evidence = clean();
            set(&mut evidence, n);
            let verdict = judge(&evidence);
            assert!(verdict.has(sign), "{sign:?}");
            verdict.level
        };
        for search in searches {
            assert_eq!(level(search, 4), Level::Suspicious, "{:?}", search.0);
            assert_eq!(level(search, 6), Level::Masked, "{:?}", search.0);
        }
        assert_eq!(level(contradicted, 15), Level::Suspicious);
        assert_eq!(level(contradicted, 16), Level::Masked);
    }

    /// Nothing broken at any radius is no sign where nothing stands, and a win needs two examples.
    #[test]
    fn edges_of_the_rules() {
        let all = Some(Wider {
            broken: 5,
            broken_at_twice: 5,
            stuck: Found::default(),
        });
        assert_eq!(
            judge(&Evidence {
                wider: all,
                ..clean()
            })
            .level,
            Level::Trustworthy
        );
        // A radius too small to break anything, twice: the loss grows all the same.
        let tiny = Some(Wider {
            broken: 0,
            broken_at_twice: 0,
            stuck: Found {
                examples: vec![7],
                of: 100,
            },
        });
        assert_eq!(
            judge(&Evidence {
                wider: tiny,
                ..clean()
            })
            .level,
            Level::Trustworthy
        );
        assert_eq!(versus(2, 100).unwrap().wins(), [3, 4]);
        let mut both = clean();
        (both.zero_gradients, both.bypass) = (found(3, 100), versus(9, 100));
        let v = judge(&both);
        assert!(
            v.level == Level::Masked
                && v.has(Sign::ZeroGradient)
                && v.has(Sign::BypassBeatsPlain)
                && !v.has(Sign::Saturation)
        );
    }

    /// What nobody looked at is not listed as checked, and the record says in words what the
    /// verdict says in types.
    #[test]
    fn records_hold_checks_flags_and_advice() {
        let v = judge(&Evidence {
            zero_gradients: found(2, 9),
            ..Evidence::default()
        });
        assert_eq!(v.checks, [Sign::ZeroGradient]);
        let r = v.record();
        assert_eq!(
            (r.level, r.checks.as_slice()),
            (Level::Suspicious, ["zero-gradient".to_owned()].as_slice())
        );
        assert_eq!(r.flags[0].evidence["examples"], 2);
        assert_eq!(r.flags[0].evidence["which"], serde_json::json!([0, 1]));
        assert_eq!(r.flags[0].advice, Sign::ZeroGradient.advice());
        assert_eq!(judge(&Evidence::default()).level, Level::Trustworthy);
        for sign in Sign::ALL {
            assert_eq!(serde_json::json!(sign), sign.id());
            assert!(!sign.trigger().is_empty() && !sign.advice().is_empty());
        }
    }
}
