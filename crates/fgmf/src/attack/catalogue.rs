//! Which attacks the suites hold, with which settings.

use super::suite::Entry;
use super::{ApgdParams, Attack, AttackLoss, Eot, FabParams, PgdParams, SquareParams, WhiteBox};
use crate::defend::{MaskKnowledge, bypass_rules, has_mask};
use crate::error::{Error, Result};
use crate::threat::Norm;
use fgmf_net::Network;

/// Names of the suites.
pub const SUITES: [&str; 5] = ["quick", "standard", "adaptive", "plus", "rand"];

/// Passes averaged by the attacks of `rand`.
const EOT_SAMPLES: usize = 20;

/// A suite by name, for this network and norm.
///
/// - `quick`: FGSM, PGD-20.
/// - `standard`: AutoAttack (Croce & Hein 2020): Auto-PGD on the cross-entropy, targeted Auto-PGD on the difference of logits ratio,
///   FAB-T, Square. For L1 5 restarts of the first and 5 targets of the second, otherwise 1 and 9.
/// - `adaptive`: `standard`, and where the network has an SGAM mask both forms of Auto-PGD again with the mask frozen at each step
///   and with the layer taken for the identity; where it rounds or serves lies, both forms again with that taken for the identity.
/// - `plus`: Auto-PGD on both losses with 5 restarts, FAB with 5 restarts, Square, and the targeted attacks of `standard`.
/// - `rand`: Auto-PGD on both losses with gradients averaged over 20 passes, for networks that draw random numbers.
///
/// Networks with fewer classes than a loss or a number of targets needs get the plain margin, and as many targets as there are; the
/// settings recorded say so.
pub fn suite(name: &str, net: &Network, norm: Norm) -> Result<Vec<Entry>> {
    let masked = name == "adaptive" && has_mask(net);
    let around: &[&str] = if name == "adaptive" && bypass_rules(net).is_some() { &["apgd-ce-bypass", "apgd-t-bypass"] } else { &[] };
    let names: &[&str] = match name {
        "quick" => &["fgsm", "pgd-20"],
        "standard" => &["apgd-ce", "apgd-t", "fab-t", "square"],
        "adaptive" if !masked => &["apgd-ce", "apgd-t", "fab-t", "square"],
        "adaptive" => &[
            "apgd-ce",
            "apgd-t",
            "apgd-ce-frozen-mask",
            "apgd-t-frozen-mask",
            "apgd-ce-straight-through",
            "apgd-t-straight-through",
            "fab-t",
            "square",
        ],
        "plus" => &["apgd-ce-5", "apgd-dlr-5", "fab-5", "square", "apgd-t", "fab-t"],
        "rand" => &["apgd-ce-eot", "apgd-dlr-eot"],
        _ => return Err(Error::parameter("suite", SUITES.join(", "), name)),
    };
    let entry = |name: &&str| {
        let tags = [
            ("-frozen-mask", MaskKnowledge::FrozenMask),
            ("-straight-through", MaskKnowledge::StraightThrough),
            ("-bypass", MaskKnowledge::Bypass),
        ];
        let tagged = tags.into_iter().find_map(|(tag, knowledge)| Some((name.strip_suffix(tag)?, knowledge)));
        let (plain, knowledge) = tagged.unwrap_or((name, MaskKnowledge::EndToEnd));
        Ok(Entry { name: (*name).into(), attack: lone(plain, norm, net.classes())?, knowledge })
    };
    around.iter().chain(names).map(entry).collect()
}

/// An attack by its name in a suite, with the settings it has there.
pub fn lone(name: &str, norm: Norm, classes: usize) -> Result<Attack> {
    let l1 = norm == Norm::L1;
    let apgd = |loss: AttackLoss, restarts: usize| {
        let targets = if l1 { 5 } else { 9 }.min(classes.saturating_sub(1)).max(1);
        ApgdParams { loss: loss.for_classes(classes), restarts, targets, ..ApgdParams::default() }.check()
    };
    let fab = |targets: Option<usize>, restarts: usize| {
        let targets = targets.map(|t| t.min(classes.saturating_sub(1)).max(1));
        FabParams { targets, restarts, ..FabParams::default() }.check()
    };
    let restarts = if l1 { 5 } else { 1 };
    let white: Box<dyn WhiteBox> = match name {
        "square" => return Ok(Attack::Black(Box::new(SquareParams::default().check()?))),
        "fgsm" => Box::new(PgdParams::fgsm().check()?),
        "pgd-20" => Box::new(PgdParams::default().check()?),
        "apgd-ce" => Box::new(apgd(AttackLoss::CrossEntropy, restarts)?),
        "apgd-dlr" => Box::new(apgd(AttackLoss::Dlr, restarts)?),
        "apgd-t" => Box::new(apgd(AttackLoss::TargetedDlr, 1)?),
        "fab-t" => Box::new(fab(Some(9), 1)?),
        "apgd-ce-5" => Box::new(apgd(AttackLoss::CrossEntropy, 5)?),
        "apgd-dlr-5" => Box::new(apgd(AttackLoss::Dlr, 5)?),
        "fab-5" => Box::new(fab(None, 5)?),
        "apgd-ce-eot" => Box::new(Eot::new(apgd(AttackLoss::CrossEntropy, 1)?, EOT_SAMPLES)?),
        "apgd-dlr-eot" => Box::new(Eot::new(apgd(AttackLoss::Dlr, 1)?, EOT_SAMPLES)?),
        _ => return Err(Error::parameter("attack", "a name in one of the suites", name)),
    };
    Ok(Attack::White(white))
}
