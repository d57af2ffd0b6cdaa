//! The signs of gradient masking: trigger, source, weight and advice of each.

use crate::verdict::evidence::{Evidence, Found, Versus};
use crate::verdict::threshold::{
    CONTRADICTED_SHARE, MISSED_SHARE, SATURATED_SHARE, STUCK_SHARE, UNFINISHED_SHARE,
    UNSTABLE_MEAN, WIN_LEAST, WIN_SHARE,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A sign of gradient masking, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is documented by its trigger")]
pub enum Sign {
    #[serde(rename = "black-box")]
    NoGradients,
    NothingRight,
    StraightThrough,
    RandomisedOutput,
    ProbabilitiesAsLogits,
    UndecidedOutput,
    ZeroGradient,
    NonFiniteGradient,
    GradientContradicted,
    DescentBeatsAscent,
    OneStepBeatsMany,
    BlackBoxBeatsWhiteBox,
    LargerEpsDoesNotHelp,
    UnboundedAttackFails,
    SilentSuccess,
    UnfinishedOptimisation,
    TransferBeatsWhiteBox,
    BypassBeatsPlain,
    ReadoutBeatsPlain,
    UnstablePredictions,
    #[serde(rename = "f32-saturation")]
    Saturation,
}

impl Sign {
    /// All, in order.
    pub const ALL: [Self; 21] = [
        Self::NoGradients,
        Self::NothingRight,
        Self::StraightThrough,
        Self::RandomisedOutput,
        Self::ProbabilitiesAsLogits,
        Self::UndecidedOutput,
        Self::ZeroGradient,
        Self::NonFiniteGradient,
        Self::GradientContradicted,
        Self::DescentBeatsAscent,
        Self::OneStepBeatsMany,
        Self::BlackBoxBeatsWhiteBox,
        Self::LargerEpsDoesNotHelp,
        Self::UnboundedAttackFails,
        Self::SilentSuccess,
        Self::UnfinishedOptimisation,
        Self::TransferBeatsWhiteBox,
        Self::BypassBeatsPlain,
        Self::ReadoutBeatsPlain,
        Self::UnstablePredictions,
        Self::Saturation,
    ];

    /// Id in kebab case.
    pub fn id(self) -> &'static str {
        match self {
            Self::NoGradients => "black-box",
            Self::NothingRight => "nothing-right",
            Self::StraightThrough => "straight-through",
            Self::RandomisedOutput => "randomised-output",
            Self::ProbabilitiesAsLogits => "probabilities-as-logits",
            Self::UndecidedOutput => "undecided-output",
            Self::ZeroGradient => "zero-gradient",
            Self::NonFiniteGradient => "non-finite-gradient",
            Self::GradientContradicted => "gradient-contradicted",
            Self::DescentBeatsAscent => "descent-beats-ascent",
            Self::OneStepBeatsMany => "one-step-beats-many",
            Self::BlackBoxBeatsWhiteBox => "black-box-beats-white-box",
            Self::LargerEpsDoesNotHelp => "larger-eps-does-not-help",
            Self::UnboundedAttackFails => "unbounded-attack-fails",
            Self::SilentSuccess => "silent-success",
            Self::UnfinishedOptimisation => "unfinished-optimisation",
            Self::TransferBeatsWhiteBox => "transfer-beats-white-box",
            Self::BypassBeatsPlain => "bypass-beats-plain",
            Self::ReadoutBeatsPlain => "readout-beats-plain",
            Self::UnstablePredictions => "unstable-predictions",
            Self::Saturation => "f32-saturation",
        }
    }

    /// When the flag is raised, with its source.
    pub fn trigger(self) -> &'static str {
        match self {
            Self::NoGradients => {
                "the model gives scores or labels and no gradients, so nothing shows how tight \
                    the figures are"
            }
            Self::NothingRight => "no image is classified rightly before an attack (ours)",
            Self::StraightThrough => {
                "the network holds quantised values, whose derivative is that of the network \
                    without rounding (athalye2018)"
            }
            Self::RandomisedOutput => {
                "logits of one image differ by more than 1e-4 of their length between \
                    two queries (croce2020)"
            }
            Self::ProbabilitiesAsLogits => {
                "every output lies in [0, 1] and rows sum to 1 within 1e-5 (croce2020)"
            }
            Self::UndecidedOutput => {
                "for 2 images or more, above 0.2%, no class is named: the largest logits \
                    are equal, or one is not finite (ours)"
            }
            Self::ZeroGradient => "the loss gradient of any image is exactly 0 (croce2020)",
            Self::NonFiniteGradient => {
                "a loss or its gradient is infinite or not a number for any image"
            }
            Self::GradientContradicted => {
                "for more than 10% of images the margin rises by less than half of what its \
                    gradient promises, at one of two random points beside the image (ours)"
            }
            Self::DescentBeatsAscent => {
                "steps down the served loss break examples that steps up leave: 2 or \
                    more, above 0.2 points (ours)"
            }
            Self::OneStepBeatsMany => {
                "one step breaks examples that many steps leave: 2 or more, above 0.2 \
                    points (athalye2018)"
            }
            Self::BlackBoxBeatsWhiteBox => {
                "scores alone break examples that gradients leave: 2 or more, above 0.2 \
                    points (croce2020)"
            }
            Self::LargerEpsDoesNotHelp => {
                "twice the radius breaks no more examples, and for more than half of \
                    those that stand, with 95% certainty, the loss is no larger (athalye2018)"
            }
            Self::UnboundedAttackFails => {
                "more than one in k examples stands when any image is allowed, k the \
                    number of classes, with 95% certainty (athalye2018)"
            }
            Self::SilentSuccess => {
                "the probes break more than 2% of the images beyond what the suite's attacks \
                    broke, with 95% certainty (pintor2022)"
            }
            Self::UnfinishedOptimisation => {
                "for more than a quarter of standing examples the last tenth of the search adds \
                    over 5% of the rise (pintor2022), and four times the steps break over 2% of \
                    the images more (ours); both with 95% certainty"
            }
            Self::TransferBeatsWhiteBox => {
                "another model's examples break what gradients leave: 2 or more, above \
                    0.2 points (pintor2022)"
            }
            Self::BypassBeatsPlain => {
                "going around the defence breaks what served gradients leave: 2 or more, \
                    above 0.2 points (athalye2018)"
            }
            Self::ReadoutBeatsPlain => {
                "scores read from inner values and fitted to the classes named lead to examples \
                    that served gradients leave: 2 or more, above 0.2 points (ours)"
            }
            Self::UnstablePredictions => {
                "small random noise changes the margin of standing examples by more than \
                    10% in the mean (pintor2022)"
            }
            Self::Saturation => {
                "for more than 5% of images, with 95% certainty, the cross-entropy gradient \
                    is 0 and the margin's is not, or its cosine with f64 is below 0.5 (ours)"
            }
        }
    }

    /// Whether this evidence, once it raised the flag, shows by itself that gradients miss what
    /// exists. The strength of a flag follows from the gap it can show: a search that beats the
    /// gradients by what may be 2% of the images or less gives a doubt, and no proof.
    pub fn conclusive(self, e: &Evidence) -> bool {
        let gap = |v: &Option<Versus>| v.as_ref().is_some_and(|v| v.surely_beaten_by(MISSED_SHARE));
        let contradicted = |f: &Found| f.surely_above(CONTRADICTED_SHARE);
        match self {
            Self::GradientContradicted => e.contradicted.as_ref().is_some_and(contradicted),
            Self::DescentBeatsAscent => gap(&e.descent),
            Self::OneStepBeatsMany => gap(&e.one_step),
            Self::BlackBoxBeatsWhiteBox => gap(&e.black_box),
            Self::TransferBeatsWhiteBox => gap(&e.transfer),
            Self::BypassBeatsPlain => gap(&e.bypass),
            Self::ReadoutBeatsPlain => gap(&e.readout),
            Self::LargerEpsDoesNotHelp | Self::UnboundedAttackFails => true,
            _ => false,
        }
    }

    /// What to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoGradients => {
                "no gradients were available: robust accuracy is an upper bound; attack the \
                    model's file, or a surrogate, to see how much lower it is"
            }
            Self::NothingRight => {
                "there is nothing to judge: look at how images are prepared, at the order of the \
                    classes, and at the labels"
            }
            Self::StraightThrough => {
                "gradients go straight through the rounding, so they are not those of the loss: \
                    attack by scores and by labels, too, and count the lower figure"
            }
            Self::RandomisedOutput => {
                "attack the expectation over the model's draws (EOT), and judge success \
                    over many draws"
            }
            Self::ProbabilitiesAsLogits => {
                "remove the softmax at the end: losses on logits saturate behind it"
            }
            Self::UndecidedOutput => {
                "such images count as wrong: look for saturated or overflowing outputs"
            }
            Self::ZeroGradient => {
                "the loss is flat at these images: attack the margin, another precision \
                    or a smooth surrogate"
            }
            Self::NonFiniteGradient => "gradients overflow: run in f64 or with a smooth surrogate",
            Self::GradientContradicted => {
                "served gradients are not those of the loss: replace the backward rule, \
                    or estimate gradients from scores"
            }
            Self::DescentBeatsAscent => {
                "served scores are turned round: attack down the loss, and by labels alone"
            }
            Self::OneStepBeatsMany => {
                "the loss surface misleads iterative attacks: use more restarts, other \
                    losses and gradient-free attacks"
            }
            Self::BlackBoxBeatsWhiteBox => {
                "gradients mislead: treat the figure as an upper bound that is not tight"
            }
            Self::LargerEpsDoesNotHelp => {
                "the attack does not use its room: look for flat or false gradients"
            }
            Self::UnboundedAttackFails => {
                "an attack that may show any image must win: the search itself is broken"
            }
            Self::SilentSuccess => {
                "the suite is too weak for this model: run `standard` or `adaptive`"
            }
            Self::UnfinishedOptimisation => {
                "use more steps or a larger step size until the loss levels off"
            }
            Self::TransferBeatsWhiteBox => {
                "start from the other model's examples, and go around the part that differs"
            }
            Self::BypassBeatsPlain => {
                "report the attack that goes around the defence; the plain figure is masking"
            }
            Self::ReadoutBeatsPlain => {
                "the scores hide what the classes show: report the attack that reads inner values"
            }
            Self::UnstablePredictions => {
                "the surface is rough: average gradients over small noise, and use \
                    gradient-free attacks"
            }
            Self::Saturation => {
                "attack in f64, on the margin, or with logits divided by their size"
            }
        }
    }

    /// The evidence if somebody looked, and whether it reaches the trigger.
    pub(crate) fn weigh(self, e: &Evidence) -> Option<(bool, serde_json::Value)> {
        let found = |f: &Option<Found>, raised: &dyn Fn(&Found) -> bool| {
            f.as_ref().map(|f| {
                let n = f.examples.len();
                let counts = json!({ "examples": n, "n": f.of, "which": f.examples });
                (raised(f), counts)
            })
        };
        let versus = |v: &Option<Versus>| {
            v.as_ref().map(|v| {
                let wins = v.wins();
                let counts = json!({ "examples": wins.len(), "n": v.of,
                    "broken": v.challenger.len(), "broken_by_gradients": v.reference.len(),
                    "which": wins });
                (v.beaten(), counts)
            })
        };
        match self {
            Self::NoGradients => found(&e.no_gradients, &Found::any),
            Self::NothingRight => found(&e.wrong, &|f| f.any() && f.examples.len() == f.of),
            Self::StraightThrough => found(&e.straight_through, &Found::any),
            Self::RandomisedOutput => found(&e.randomised, &Found::any),
            Self::ProbabilitiesAsLogits => {
                found(&e.probabilities, &|f| f.any() && f.examples.len() == f.of)
            }
            Self::UndecidedOutput => found(&e.undecided, &|f| {
                f.examples.len() >= WIN_LEAST && f.share() > WIN_SHARE
            }),
            Self::ZeroGradient => found(&e.zero_gradients, &Found::any),
            Self::NonFiniteGradient => found(&e.non_finite, &Found::any),
            Self::GradientContradicted => found(&e.contradicted, &|f| {
                f.examples.len() >= WIN_LEAST && f.share() > CONTRADICTED_SHARE
            }),
            Self::DescentBeatsAscent => versus(&e.descent),
            Self::OneStepBeatsMany => versus(&e.one_step),
            Self::BlackBoxBeatsWhiteBox => versus(&e.black_box),
            Self::LargerEpsDoesNotHelp => e.wider.as_ref().map(|w| {
                let raised = w.broken_at_twice <= w.broken && w.stuck.surely_above(STUCK_SHARE);
                let counts = json!({
                    "broken_at_twice_eps": w.broken_at_twice, "broken": w.broken,
                    "examples": w.stuck.examples.len(), "n": w.stuck.of,
                    "which": w.stuck.examples,
                });
                (raised, counts)
            }),
            Self::UnboundedAttackFails => found(&e.unbounded, &|f| {
                f.surely_above(1.0 / e.classes.max(2) as f64)
            }),
            Self::SilentSuccess => found(&e.missed, &|f| f.surely_above(MISSED_SHARE)),
            Self::UnfinishedOptimisation => {
                let more = e.longer.as_ref();
                let more = more.is_some_and(|v| v.surely_beaten_by(MISSED_SHARE));
                found(&e.unfinished, &|f| more && f.surely_above(UNFINISHED_SHARE))
            }
            Self::TransferBeatsWhiteBox => versus(&e.transfer),
            Self::BypassBeatsPlain => versus(&e.bypass),
            Self::ReadoutBeatsPlain => versus(&e.readout),
            Self::UnstablePredictions => {
                // Written so that a NaN raises the flag.
                let calm = |v: f64| v <= UNSTABLE_MEAN;
                e.instability
                    .map(|v| (!calm(v), json!({ "mean_relative_change": v })))
            }
            Self::Saturation => found(&e.saturated, &|f| f.surely_above(SATURATED_SHARE)),
        }
    }
}
