//! Which attacks the suites hold, with which settings.

use crate::attack::apgd::method::ApgdParams;
use crate::attack::base::{Attack, BlackBox, WhiteBox};
use crate::attack::cw::CarliniWagnerParams;
use crate::attack::ddn::DdnParams;
use crate::attack::deepfool::DeepFoolParams;
use crate::attack::eot::Eot;
use crate::attack::evolution::EvolutionParams;
use crate::attack::fab::method::FabParams;
use crate::attack::fmn::FmnParams;
use crate::attack::hop_skip_jump::HopSkipJumpParams;
use crate::attack::loss::AttackLoss;
use crate::attack::mi_fgsm::MiFgsmParams;
use crate::attack::nes::NesParams;
use crate::attack::pgd::PgdParams;
use crate::attack::random::RandomSearchParams;
use crate::attack::smooth::SmoothParams;
use crate::attack::spsa::SpsaParams;
use crate::attack::square::method::SquareParams;
use crate::attack::transfer::Transfer;
use crate::defend::knowledge::{MaskKnowledge, bypass_rules, is_rough, soft_rules};
use crate::defend::sgam::has_mask;
use crate::error::{Error, Result};
use crate::study::entry::Entry;
use crate::threat::Norm;
use fgmf_net::{Network, Session};

/// Names of the suites.
pub const SUITES: [&str; 5] = ["quick", "standard", "adaptive", "plus", "rand"];

/// Passes averaged by the attacks of `rand`.
const EOT_SAMPLES: usize = 20;

/// Names that a list of attacks may hold, besides those with the endings that [`suite`] explains.
pub const ATTACKS: [&str; 22] = [
    "fgsm",
    "pgd-20",
    "mi-fgsm",
    "apgd-ce",
    "apgd-dlr",
    "apgd-t",
    "fab-t",
    "square",
    "apgd-ce-5",
    "apgd-dlr-5",
    "fab-5",
    "apgd-ce-eot",
    "apgd-dlr-eot",
    "carlini-wagner",
    "deepfool",
    "ddn",
    "fmn",
    "nes",
    "spsa",
    "evolution",
    "hop-skip-jump",
    "random-search",
];

/// Attacks that a suite of that name has for this network.
fn names(name: &str, net: &Network) -> Option<Vec<&'static str>> {
    const STANDARD: [&str; 4] = ["apgd-ce", "apgd-t", "fab-t", "square"];
    Some(match name {
        "quick" => vec!["fgsm", "pgd-20"],
        "standard" => STANDARD.to_vec(),
        "adaptive" => {
            let mut all = Vec::new();
            let (rounds, rough) = (bypass_rules(net).is_some(), is_rough(net));
            if rounds {
                all.extend(["apgd-ce-bypass", "apgd-t-bypass"]);
            }
            if soft_rules(net).is_some() {
                all.extend(["apgd-ce-soft", "apgd-t-soft"]);
            }
            if rough {
                all.extend(if rounds {
                    ["apgd-ce-smooth-bypass", "apgd-dlr-smooth-bypass"]
                } else {
                    ["apgd-ce-smooth", "apgd-dlr-smooth"]
                });
            }
            all.extend(&STANDARD[..2]);
            if has_mask(net) {
                all.extend([
                    "apgd-ce-frozen-mask",
                    "apgd-t-frozen-mask",
                    "apgd-ce-straight-through",
                    "apgd-t-straight-through",
                ]);
            }
            all.extend(&STANDARD[2..]);
            all
        }
        "plus" => vec![
            "apgd-ce-5",
            "apgd-dlr-5",
            "fab-5",
            "apgd-t",
            "fab-t",
            "square",
        ],
        "rand" => vec!["apgd-ce-eot", "apgd-dlr-eot"],
        _ => return None,
    })
}

/// A suite by name, for this network and norm.
///
/// - `quick`: FGSM, PGD-20.
/// - `standard`: AutoAttack (Croce & Hein 2020): Auto-PGD on the cross-entropy, targeted Auto-PGD
///   on the difference of logits ratio, FAB-T, Square. For L1 5 restarts of the first and 5 targets
///   of the second, otherwise 1 and 9.
/// - `adaptive`: `standard`, and where the network has an SGAM mask both forms of Auto-PGD again
///   with the mask frozen at each step and with the layer taken for the identity; where it rounds
///   or serves lies, both forms again with that taken for the identity; where it rounds, both again
///   with the slope of a soft rounding; where it rounds or picks its largest activations,
///   untargeted Auto-PGD on both losses with gradients averaged over small noise.
/// - `plus`: Auto-PGD on both losses with 5 restarts, FAB with 5 restarts, the targeted attacks of
///   `standard`, Square (last, so that it sees what all gradients leave; AutoAttack has it before
///   the targeted ones, which leaves the same examples standing).
/// - `rand`: Auto-PGD on both losses with gradients averaged over 20 passes, for networks that draw
///   random numbers.
/// - Names of attacks, separated by commas: those. An ending tells what is known of the defence:
///   `-smooth` averages gradients over small noise, and after it `-bypass`, `-soft`, `-frozen-mask`
///   and `-straight-through` are [`MaskKnowledge`].
///
/// Networks with fewer classes than a loss or a number of targets needs get the plain margin, and
/// as many targets as there are; the settings recorded say so.
pub fn suite(name: &str, net: &Network, norm: Norm) -> Result<Vec<Entry>> {
    let listed = || name.split(',').map(str::trim).collect();
    let names: Vec<&str> = names(name, net).unwrap_or_else(listed);
    let entry = |name: &&str| {
        let tags = [
            ("-frozen-mask", MaskKnowledge::FrozenMask),
            ("-straight-through", MaskKnowledge::StraightThrough),
            ("-bypass", MaskKnowledge::Bypass),
            ("-soft", MaskKnowledge::SoftRounding),
        ];
        let tagged = tags
            .into_iter()
            .find_map(|(tag, knowledge)| Some((name.strip_suffix(tag)?, knowledge)));
        let (plain, knowledge) = tagged.unwrap_or((name, MaskKnowledge::EndToEnd));
        Ok(Entry {
            name: (*name).into(),
            attack: lone(plain, norm, net.classes())?,
            knowledge,
        })
    };
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::parameter("suite", "every attack once", twice[0]));
    }
    names.iter().map(entry).collect()
}

/// The attack that tries adversarial examples of another network of the same task: momentum steps
/// carry over best.
pub fn transfer(surrogate: Session) -> Result<Entry> {
    let steps = MiFgsmParams {
        steps: 20,
        ..MiFgsmParams::default()
    }
    .check()?;
    let attack = Attack::Black(Box::new(Transfer::new(surrogate, Box::new(steps))));
    Ok(Entry {
        name: "transfer".into(),
        attack,
        knowledge: MaskKnowledge::EndToEnd,
    })
}

/// An attack by its name in a suite, with the settings it has there.
pub fn lone(name: &str, norm: Norm, classes: usize) -> Result<Attack> {
    let l1 = norm == Norm::L1;
    let apgd = |loss: AttackLoss, restarts: usize| {
        let targets = if l1 { 5 } else { 9 }.min(classes.saturating_sub(1)).max(1);
        ApgdParams {
            loss: loss.for_classes(classes),
            restarts,
            targets,
            ..ApgdParams::default()
        }
        .check()
    };
    let fab = |targets: Option<usize>, restarts: usize| {
        let targets = targets.map(|t| t.min(classes.saturating_sub(1)).max(1));
        FabParams {
            targets,
            restarts,
            ..FabParams::default()
        }
        .check()
    };
    let restarts = if l1 { 5 } else { 1 };
    let losses = [("ce", AttackLoss::CrossEntropy), ("dlr", AttackLoss::Dlr)];
    let by_loss = name.strip_prefix("apgd-").and_then(|rest| {
        losses
            .into_iter()
            .find_map(|(l, loss)| Some((loss, rest.strip_prefix(l)?)))
    });
    let white: Box<dyn WhiteBox> = match (name, by_loss) {
        (_, Some((loss, ""))) => Box::new(apgd(loss, restarts)?),
        (_, Some((loss, "-5"))) => Box::new(apgd(loss, 5)?),
        (_, Some((loss, "-eot"))) => Box::new(Eot::new(apgd(loss, 1)?, EOT_SAMPLES)?),
        (_, Some((loss, "-smooth"))) => Box::new(SmoothParams::default().check(apgd(loss, 1)?)?),
        ("apgd-t", _) => Box::new(apgd(AttackLoss::TargetedDlr, 1)?),
        ("fab-t", _) => Box::new(fab(Some(9), 1)?),
        ("fab-5", _) => Box::new(fab(None, 5)?),
        ("fgsm", _) => Box::new(PgdParams::fgsm().check()?),
        ("pgd-20", _) => Box::new(PgdParams::default().check()?),
        ("mi-fgsm", _) => Box::new(MiFgsmParams::default().check()?),
        ("carlini-wagner", _) => Box::new(CarliniWagnerParams::default().check()?),
        ("deepfool", _) => Box::new(DeepFoolParams::default().check()?),
        ("ddn", _) => Box::new(DdnParams::default().check()?),
        ("fmn", _) => Box::new(FmnParams::default().check()?),
        _ => return black(name),
    };
    Ok(Attack::White(white))
}

fn black(name: &str) -> Result<Attack> {
    let black: Box<dyn BlackBox> = match name {
        "square" => Box::new(SquareParams::default().check()?),
        "nes" => Box::new(NesParams::default().check()?),
        "spsa" => Box::new(SpsaParams::default().check()?),
        "evolution" => Box::new(EvolutionParams::default().check()?),
        "hop-skip-jump" => Box::new(HopSkipJumpParams::default().check()?),
        "random-search" => Box::new(RandomSearchParams::default().check()?),
        _ => {
            let known = format!(
                "{}, or attacks separated by commas: {}",
                SUITES.join(", "),
                ATTACKS.join(", ")
            );
            return Err(Error::parameter("suite", known, name));
        }
    };
    Ok(Attack::Black(black))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_others_are_refused() {
        for name in ATTACKS.iter().chain(&["apgd-ce-smooth", "apgd-dlr-smooth"]) {
            assert!(lone(name, Norm::L2, 10).is_ok(), "{name}");
        }
        for name in ["", "apgd", "apgd-x", "apgd-ce-", "standard-5", "fab"] {
            assert!(lone(name, Norm::L2, 10).is_err(), "{name}");
        }
    }
}
