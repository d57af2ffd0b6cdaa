//! The masking verdict: what the signs of gradient masking add up to.
//!
//! [`judge`] is a pure function of [`Evidence`]: each [`Sign`] has a trigger, a number with a source, and is raised as a flag
//! where its evidence reaches it. A sign is *conclusive* if it shows that following the model's gradients misses adversarial
//! examples that exist; the others say that the evaluation may be doing so.
//!
//! | level | rule |
//! | --- | --- |
//! | `masked` | at least one conclusive flag |
//! | `suspicious` | flags, none of them conclusive |
//! | `trustworthy` | no flag among the checks that were made |
//!
//! A verdict speaks of the checks that were made, which it lists, and of nothing else. References: `athalye2018`,
//! `carlini2019`, `pintor2022` (indicators of attack failure), `croce2020` (AutoAttack's own checks).

use crate::record::{FlagRecord, VerdictRecord};
use serde::{Deserialize, Serialize};

/// Largest relative difference of two answers to one query that rounding explains (AutoAttack's 10⁻⁴).
pub const RANDOM_GAP: f64 = 1e-4;

/// Share of examples, beyond what the reference broke, from which one search beats another (AutoAttack's 0.2 points).
pub const WIN_SHARE: f64 = 0.002;

/// Least number of examples for that: one is an accident of a random start (ours).
pub const WIN_LEAST: usize = 2;

/// Share of examples whose gradient contradicts differences of the loss (ours; honest models show none but at kinks).
pub const CONTRADICTED_SHARE: f64 = 0.1;

/// Share of standing examples whose search is unfinished (ours; what counts as unfinished is the 5% of Pintor et al.).
pub const UNFINISHED_SHARE: f64 = 0.25;

/// Mean relative change of the margin under small random noise (Pintor et al.'s 10%).
pub const UNSTABLE_MEAN: f64 = 0.1;

/// Share of examples whose cross-entropy gradient is lost to rounding (ours).
pub const SATURATED_SHARE: f64 = 0.05;

/// Examples in which something was found, and how many were looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Positions in the data set.
    pub examples: Vec<u64>,
    /// Number looked at.
    pub of: usize,
}

impl Found {
    /// Share of examples, 0 of none.
    pub fn share(&self) -> f64 {
        self.examples.len() as f64 / self.of.max(1) as f64
    }

    fn any(&self) -> bool {
        !self.examples.is_empty()
    }
}

/// What two searches in the same ball broke.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// The search that should do no better, positions in the data set.
    pub challenger: Vec<u64>,
    /// The search by the model's own gradients.
    pub reference: Vec<u64>,
    /// Examples that both were run on.
    pub of: usize,
}

impl Versus {
    /// Examples that only the challenger broke.
    pub fn wins(&self) -> Vec<u64> {
        self.challenger.iter().copied().filter(|i| !self.reference.contains(i)).collect()
    }

    fn beaten(&self) -> bool {
        let wins = self.wins().len();
        wins >= WIN_LEAST && wins as f64 > WIN_SHARE * self.of as f64
    }
}

/// What was seen; `None` where nobody looked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Classes of the model.
    pub classes: usize,
    /// Examples answered differently when asked again, beyond [`RANDOM_GAP`].
    pub randomised: Option<Found>,
    /// Examples whose outputs lie in `[0, 1]` and sum to 1.
    pub probabilities: Option<Found>,
    /// Examples with a gradient of exactly 0.
    pub zero_gradients: Option<Found>,
    /// Examples with a loss or gradient that is not finite.
    pub non_finite: Option<Found>,
    /// Examples whose margin rises by less than half of what the gradient promises.
    pub contradicted: Option<Found>,
    /// One step against many.
    pub one_step: Option<Versus>,
    /// Scores alone against gradients.
    pub black_box: Option<Versus>,
    /// Broken at twice the radius, against those at the radius.
    pub wider: Option<Versus>,
    /// Examples that stand when every pixel may take any value.
    pub unbounded: Option<Found>,
    /// Examples called robust although an adversarial example within the threat was seen.
    pub missed: Option<Found>,
    /// Standing examples whose loss still rose at the end of the search.
    pub unfinished: Option<Found>,
    /// Adversarial examples of another model against the model's own gradients.
    pub transfer: Option<Versus>,
    /// Backward rules that go around a defence, or a mean over its draws, against the gradients that are served.
    pub bypass: Option<Versus>,
    /// Mean relative change of the margin of standing examples under small random noise, each capped at 1.
    pub instability: Option<f64>,
    /// Examples whose cross-entropy gradient is lost to rounding: 0 where the margin has one, or apart from that in `f64`.
    pub saturated: Option<Found>,
}

/// A sign of gradient masking, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented by its trigger")]
pub enum Sign {
    RandomisedOutput,
    ProbabilitiesAsLogits,
    ZeroGradient,
    NonFiniteGradient,
    GradientContradicted,
    OneStepBeatsMany,
    BlackBoxBeatsWhiteBox,
    LargerEpsDoesNotHelp,
    UnboundedAttackFails,
    SilentSuccess,
    UnfinishedOptimisation,
    TransferBeatsWhiteBox,
    BypassBeatsPlain,
    UnstablePredictions,
    #[serde(rename = "f32-saturation")]
    Saturation,
}

impl Sign {
    /// All, in order.
    pub const ALL: [Self; 15] = [
        Self::RandomisedOutput,
        Self::ProbabilitiesAsLogits,
        Self::ZeroGradient,
        Self::NonFiniteGradient,
        Self::GradientContradicted,
        Self::OneStepBeatsMany,
        Self::BlackBoxBeatsWhiteBox,
        Self::LargerEpsDoesNotHelp,
        Self::UnboundedAttackFails,
        Self::SilentSuccess,
        Self::UnfinishedOptimisation,
        Self::TransferBeatsWhiteBox,
        Self::BypassBeatsPlain,
        Self::UnstablePredictions,
        Self::Saturation,
    ];

    /// Id in kebab case.
    pub fn id(self) -> &'static str {
        match self {
            Self::RandomisedOutput => "randomised-output",
            Self::ProbabilitiesAsLogits => "probabilities-as-logits",
            Self::ZeroGradient => "zero-gradient",
            Self::NonFiniteGradient => "non-finite-gradient",
            Self::GradientContradicted => "gradient-contradicted",
            Self::OneStepBeatsMany => "one-step-beats-many",
            Self::BlackBoxBeatsWhiteBox => "black-box-beats-white-box",
            Self::LargerEpsDoesNotHelp => "larger-eps-does-not-help",
            Self::UnboundedAttackFails => "unbounded-attack-fails",
            Self::SilentSuccess => "silent-success",
            Self::UnfinishedOptimisation => "unfinished-optimisation",
            Self::TransferBeatsWhiteBox => "transfer-beats-white-box",
            Self::BypassBeatsPlain => "bypass-beats-plain",
            Self::UnstablePredictions => "unstable-predictions",
            Self::Saturation => "f32-saturation",
        }
    }

    /// When the flag is raised, with its source.
    pub fn trigger(self) -> &'static str {
        match self {
            Self::RandomisedOutput => "logits of one image differ by more than 1e-4 of their length between two queries (croce2020)",
            Self::ProbabilitiesAsLogits => "every output lies in [0, 1] and rows sum to 1 within 1e-5 (croce2020)",
            Self::ZeroGradient => "the loss gradient of any image is exactly 0 (croce2020)",
            Self::NonFiniteGradient => "a loss or its gradient is infinite or not a number for any image",
            Self::GradientContradicted => {
                "for more than 10% of images the margin rises by less than half of what its gradient promises (ours)"
            }
            Self::OneStepBeatsMany => "one step breaks examples that many steps leave: 2 or more, above 0.2 points (athalye2018)",
            Self::BlackBoxBeatsWhiteBox => "scores alone break examples that gradients leave: 2 or more, above 0.2 points (croce2020)",
            Self::LargerEpsDoesNotHelp => "twice the radius breaks no more examples, while some stand (athalye2018)",
            Self::UnboundedAttackFails => {
                "more than one in k examples stands when any image is allowed, k the number of classes (athalye2018)"
            }
            Self::SilentSuccess => {
                "examples are called robust although adversarial ones were seen: 2 or more, above 0.2 points (pintor2022)"
            }
            Self::UnfinishedOptimisation => {
                "for more than a quarter of standing examples the last tenth of the search adds over 5% of the rise (pintor2022)"
            }
            Self::TransferBeatsWhiteBox => "another model's examples break what gradients leave: 2 or more, above 0.2 points (pintor2022)",
            Self::BypassBeatsPlain => {
                "going around the defence breaks what served gradients leave: 2 or more, above 0.2 points (athalye2018)"
            }
            Self::UnstablePredictions => {
                "small random noise changes the margin of standing examples by more than 10% in the mean (pintor2022)"
            }
            Self::Saturation => {
                "for more than 5% of images the cross-entropy gradient is 0 and the margin's is not, or its cosine with f64 is below 0.5 (ours)"
            }
        }
    }

    /// Whether it shows by itself that gradients miss what exists.
    pub fn conclusive(self) -> bool {
        matches!(
            self,
            Self::GradientContradicted
                | Self::OneStepBeatsMany
                | Self::BlackBoxBeatsWhiteBox
                | Self::LargerEpsDoesNotHelp
                | Self::UnboundedAttackFails
                | Self::TransferBeatsWhiteBox
                | Self::BypassBeatsPlain
        )
    }

    /// What to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::RandomisedOutput => "attack the expectation over the model's draws (EOT), and judge success over many draws",
            Self::ProbabilitiesAsLogits => "remove the softmax at the end: losses on logits saturate behind it",
            Self::ZeroGradient => "the loss is flat at these images: attack the margin, another precision or a smooth surrogate",
            Self::NonFiniteGradient => "gradients overflow: run in f64 or with a smooth surrogate",
            Self::GradientContradicted => {
                "served gradients are not those of the loss: replace the backward rule, or estimate gradients from scores"
            }
            Self::OneStepBeatsMany => {
                "the loss surface misleads iterative attacks: use more restarts, other losses and gradient-free attacks"
            }
            Self::BlackBoxBeatsWhiteBox => "gradients mislead: treat the figure as an upper bound that is not tight",
            Self::LargerEpsDoesNotHelp => "the attack does not use its room: look for flat or false gradients",
            Self::UnboundedAttackFails => "an attack that may show any image must win: the search itself is broken",
            Self::SilentSuccess => "keep the best point of the path, and count these examples as broken",
            Self::UnfinishedOptimisation => "use more steps or a larger step size until the loss levels off",
            Self::TransferBeatsWhiteBox => "start from the other model's examples, and go around the part that differs",
            Self::BypassBeatsPlain => "report the attack that goes around the defence; the plain figure is masking",
            Self::UnstablePredictions => "the surface is rough: average gradients over small noise, and use gradient-free attacks",
            Self::Saturation => "attack in f64, on the margin, or with logits divided by their size",
        }
    }

    /// The evidence if somebody looked, and whether it reaches the trigger.
    fn weigh(self, e: &Evidence) -> Option<(bool, serde_json::Value)> {
        let found = |f: &Option<Found>, raised: &dyn Fn(&Found) -> bool| {
            f.as_ref().map(|f| (raised(f), serde_json::json!({ "examples": f.examples.len(), "n": f.of, "which": f.examples })))
        };
        let versus = |v: &Option<Versus>| {
            v.as_ref().map(|v| {
                let wins = v.wins();
                let counts = serde_json::json!({ "examples": wins.len(), "n": v.of, "broken": v.challenger.len(), "broken_by_gradients": v.reference.len(), "which": wins });
                (v.beaten(), counts)
            })
        };
        match self {
            Self::RandomisedOutput => found(&e.randomised, &Found::any),
            Self::ProbabilitiesAsLogits => found(&e.probabilities, &|f| f.any() && f.examples.len() == f.of),
            Self::ZeroGradient => found(&e.zero_gradients, &Found::any),
            Self::NonFiniteGradient => found(&e.non_finite, &Found::any),
            Self::GradientContradicted => found(&e.contradicted, &|f| f.share() > CONTRADICTED_SHARE),
            Self::OneStepBeatsMany => versus(&e.one_step),
            Self::BlackBoxBeatsWhiteBox => versus(&e.black_box),
            Self::LargerEpsDoesNotHelp => e.wider.as_ref().map(|v| {
                let stuck = v.challenger.len() <= v.reference.len() && v.reference.len() < v.of;
                (stuck, serde_json::json!({ "broken_at_twice_eps": v.challenger.len(), "broken": v.reference.len(), "n": v.of }))
            }),
            Self::UnboundedAttackFails => found(&e.unbounded, &|f| f.share() > 1.0 / e.classes.max(2) as f64),
            Self::SilentSuccess => found(&e.missed, &|f| f.examples.len() >= WIN_LEAST && f.share() > WIN_SHARE),
            Self::UnfinishedOptimisation => found(&e.unfinished, &|f| f.examples.len() >= WIN_LEAST && f.share() > UNFINISHED_SHARE),
            Self::TransferBeatsWhiteBox => versus(&e.transfer),
            Self::BypassBeatsPlain => versus(&e.bypass),
            Self::UnstablePredictions => {
                // Written so that a NaN raises the flag.
                let calm = |v: f64| v <= UNSTABLE_MEAN;
                e.instability.map(|v| (!calm(v), serde_json::json!({ "mean_relative_change": v })))
            }
            Self::Saturation => found(&e.saturated, &|f| f.share() > SATURATED_SHARE),
        }
    }
}

/// What the flags add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// No flag.
    Trustworthy,
    /// Flags, none conclusive.
    Suspicious,
    /// A conclusive flag.
    Masked,
}

impl Level {
    /// Name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trustworthy => "trustworthy",
            Self::Suspicious => "suspicious",
            Self::Masked => "masked",
        }
    }
}

/// A sign whose trigger was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Which.
    pub sign: Sign,
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
        let flag = |f: &Flag| FlagRecord { id: f.sign.id().into(), evidence: f.evidence.clone(), advice: f.sign.advice().into() };
        VerdictRecord {
            level: self.level.name().into(),
            checks: self.checks.iter().map(|s| s.id().into()).collect(),
            flags: self.flags.iter().map(flag).collect(),
        }
    }
}

/// Weighs evidence. Pure: the same evidence gives the same verdict.
pub fn judge(evidence: &Evidence) -> Verdict {
    let (mut checks, mut flags) = (Vec::new(), Vec::new());
    for sign in Sign::ALL {
        let Some((raised, evidence)) = sign.weigh(evidence) else { continue };
        checks.push(sign);
        if raised {
            flags.push(Flag { sign, evidence });
        }
    }
    let level = if flags.iter().any(|f| f.sign.conclusive()) {
        Level::Masked
    } else if flags.is_empty() {
        Level::Trustworthy
    } else {
        Level::Suspicious
    };
    Verdict { level, checks, flags }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: usize, of: usize) -> Option<Found> {
        Some(Found { examples: (0..n as u64).collect(), of })
    }

    /// `wins` examples that only the challenger broke, beside 3 that both did.
    fn versus(wins: u64, of: usize) -> Option<Versus> {
        Some(Versus { challenger: (0..3 + wins).collect(), reference: (0..3).collect(), of })
    }

    /// Evidence that everything was looked at and all is well.
    fn clean() -> Evidence {
        Evidence {
            classes: 10,
            randomised: found(0, 100),
            probabilities: found(0, 100),
            zero_gradients: found(0, 100),
            non_finite: found(0, 100),
            contradicted: found(0, 100),
            one_step: versus(0, 100),
            black_box: versus(0, 100),
            wider: versus(40, 100),
            unbounded: found(0, 100),
            missed: found(0, 100),
            unfinished: found(0, 50),
            transfer: versus(0, 100),
            bypass: versus(0, 100),
            instability: Some(0.03),
            saturated: found(0, 100),
        }
    }

    /// For every sign: evidence just below its trigger, which raises nothing, and at it, which raises that flag alone.
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
            case(Sign::RandomisedOutput, &|e| e.randomised = found(0, 5), &|e| e.randomised = found(1, 100)),
            case(Sign::ProbabilitiesAsLogits, &|e| e.probabilities = found(99, 100), &|e| e.probabilities = found(100, 100)),
            case(Sign::ZeroGradient, &|e| e.zero_gradients = found(0, 1), &|e| e.zero_gradients = found(1, 100)),
            case(Sign::NonFiniteGradient, &|e| e.non_finite = found(0, 1), &|e| e.non_finite = found(1, 100)),
            case(Sign::GradientContradicted, &|e| e.contradicted = found(10, 100), &|e| e.contradicted = found(11, 100)),
            case(Sign::OneStepBeatsMany, &|e| e.one_step = versus(1, 100), &|e| e.one_step = versus(2, 100)),
            case(Sign::BlackBoxBeatsWhiteBox, &|e| e.black_box = versus(2, 1000), &|e| e.black_box = versus(3, 1000)),
            case(Sign::LargerEpsDoesNotHelp, &|e| e.wider = versus(1, 100), &|e| e.wider = versus(0, 100)),
            case(Sign::UnboundedAttackFails, &|e| e.unbounded = found(10, 100), &|e| e.unbounded = found(11, 100)),
            case(Sign::SilentSuccess, &|e| e.missed = found(1, 100), &|e| e.missed = found(2, 100)),
            case(Sign::UnfinishedOptimisation, &|e| e.unfinished = found(12, 50), &|e| e.unfinished = found(13, 50)),
            case(Sign::TransferBeatsWhiteBox, &|e| e.transfer = versus(1, 100), &|e| e.transfer = versus(2, 100)),
            case(Sign::BypassBeatsPlain, &|e| e.bypass = versus(1, 100), &|e| e.bypass = versus(2, 100)),
            case(Sign::UnstablePredictions, &|e| e.instability = Some(0.1), &|e| e.instability = Some(f64::NAN)),
            case(Sign::Saturation, &|e| e.saturated = found(5, 100), &|e| e.saturated = found(6, 100)),
        ];
        assert_eq!(cases.iter().map(|c| c.0).collect::<Vec<_>>(), Sign::ALL);
        for (sign, below, at) in cases {
            let (quiet, loud) = (judge(&below), judge(&at));
            assert_eq!((quiet.level, quiet.flags.len()), (Level::Trustworthy, 0), "{sign:?}");
            assert_eq!(loud.flags.iter().map(|f| f.sign).collect::<Vec<_>>(), [sign]);
            assert_eq!(loud.level, if sign.conclusive() { Level::Masked } else { Level::Suspicious }, "{sign:?}");
            assert_eq!(loud.checks, Sign::ALL);
        }
    }

    /// Nothing broken at any radius is no sign where nothing stands, and a win needs two examples.
    #[test]
    fn edges_of_the_rules() {
        let all = Some(Versus { challenger: (0..5).collect(), reference: (0..5).collect(), of: 5 });
        assert_eq!(judge(&Evidence { wider: all, ..clean() }).level, Level::Trustworthy);
        assert_eq!(versus(2, 100).unwrap().wins(), [3, 4]);
        let mut both = clean();
        (both.zero_gradients, both.bypass) = (found(3, 100), versus(9, 100));
        let v = judge(&both);
        assert!(v.level == Level::Masked && v.has(Sign::ZeroGradient) && v.has(Sign::BypassBeatsPlain) && !v.has(Sign::Saturation));
    }

    /// What nobody looked at is not listed as checked, and the record says in words what the verdict says in types.
    #[test]
    fn records_hold_checks_flags_and_advice() {
        let v = judge(&Evidence { zero_gradients: found(2, 9), ..Evidence::default() });
        assert_eq!(v.checks, [Sign::ZeroGradient]);
        let r = v.record();
        assert_eq!((r.level.as_str(), r.checks.as_slice()), ("suspicious", ["zero-gradient".to_owned()].as_slice()));
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
