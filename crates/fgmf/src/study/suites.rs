//! Which attacks the suites hold, with which settings.

use crate::attack::base::Attack;
use crate::attack::list::{by_name, names as known_names, with_surrogate};
use crate::defend::knowledge::{MaskKnowledge, bypass_rules, is_delicate, is_rough, soft_rules};
use crate::defend::readout::cuts;
use crate::defend::sgam::has_mask;
use crate::error::{Error, Result};
use crate::study::entry::Entry;
use crate::threat::Norm;
use fgmf_net::{Network, Session};

/// Names of the suites.
pub const SUITES: [&str; 5] = ["quick", "standard", "adaptive", "plus", "rand"];

/// Attacks that a suite of that name has for this network.
fn names(name: &str, net: &Network) -> Option<Vec<&'static str>> {
    const STANDARD: [&str; 4] = ["apgd-ce", "apgd-t", "fab-t", "square"];
    const READOUT: [&str; 3] = ["apgd-ce-readout", "apgd-t-readout", "apgd-ce-deep-readout"];
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
            all.extend(&STANDARD[..2]);
            if has_mask(net) {
                all.extend([
                    "apgd-ce-frozen-mask",
                    "apgd-t-frozen-mask",
                    "apgd-ce-straight-through",
                    "apgd-t-straight-through",
                ]);
            }
            all.extend(["pgd-down", STANDARD[2]]);
            if is_delicate(net) {
                all.push("apgd-ce-double");
            }
            all.extend(&READOUT[..[0, 2, 3][cuts(net).len()]]);
            // Dear, so they see what the others leave.
            if rough {
                all.extend(if rounds {
                    ["apgd-ce-smooth-bypass", "apgd-dlr-smooth-bypass"]
                } else {
                    ["apgd-ce-smooth", "apgd-dlr-smooth"]
                });
            }
            all.extend([STANDARD[3], "hop-skip-jump"]);
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
///   untargeted Auto-PGD on both losses with gradients averaged over small noise; where it squashes
///   its scores or takes their logarithm, Auto-PGD along slopes in double precision. It also has
///   PGD down the served loss, Auto-PGD along scores that are read from inner values and fitted to
///   the classes that the model names, and a search by labels alone (HopSkipJump): scores that are
///   turned round mislead none of them.
/// - `plus`: Auto-PGD on both losses with 5 restarts, FAB with 5 restarts, the targeted attacks of
///   `standard`, Square (last, so that it sees what all gradients leave; AutoAttack has it before
///   the targeted ones, which leaves the same examples standing).
/// - `rand`: Auto-PGD on both losses with gradients averaged over 20 passes, for networks that draw
///   random numbers.
/// - Names of attacks, separated by commas: those. An ending tells what is known of the defence:
///   `-smooth` averages gradients over small noise, and after it `-bypass`, `-soft`,
///   `-frozen-mask`, `-straight-through`, `-readout`, `-deep-readout` and `-double` are
///   [`MaskKnowledge`].
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
            ("-deep-readout", MaskKnowledge::DeepReadout),
            ("-readout", MaskKnowledge::Readout),
            ("-double", MaskKnowledge::Double),
        ];
        let tagged = tags
            .into_iter()
            .find_map(|(tag, knowledge)| Some((name.strip_suffix(tag)?, knowledge)));
        let (plain, knowledge) = tagged.unwrap_or((name, MaskKnowledge::EndToEnd));
        if let Some(cut) = knowledge.cut().filter(|cut| *cut >= cuts(net).len()) {
            let expected = "a network with inner values that a decision can be read from";
            return Err(Error::mismatch(
                "suite",
                expected,
                format!("{name}: no cut {cut}"),
            ));
        }
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
pub fn transfer(surrogate: &Session) -> Result<Entry> {
    let settings = serde_json::json!({ "attack": "mi-fgsm", "settings": { "steps": 20 } });
    Ok(Entry {
        name: "transfer".into(),
        attack: with_surrogate("transfer", settings, surrogate)?,
        knowledge: MaskKnowledge::EndToEnd,
    })
}

/// An attack by its name in a suite, with the settings it has there.
pub fn lone(name: &str, norm: Norm, classes: usize) -> Result<Attack> {
    let unknown = || {
        let known = format!(
            "{}, or attacks separated by commas: {}",
            SUITES.join(", "),
            known_names().join(", ")
        );
        Error::parameter("suite", known, name)
    };
    by_name(name, norm, classes).ok_or_else(unknown)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_others_are_refused() {
        for name in known_names() {
            assert!(lone(&name, Norm::L2, 10).is_ok(), "{name}");
        }
        for name in [
            "",
            "apgd",
            "apgd-x",
            "apgd-ce-",
            "standard-5",
            "fab",
            "fgsm-eot",
        ] {
            assert!(lone(name, Norm::L2, 10).is_err(), "{name}");
        }
    }

    /// AutoAttack's settings: in L1 five restarts and five targets. Inside a wrapper one restart.
    #[test]
    fn names_stand_for_the_settings_of_autoattack() {
        let of = |name: &str, norm, classes| lone(name, norm, classes).unwrap().parameters();
        let apgd = |loss: &str, restarts, targets| {
            serde_json::json!({
                "steps": 100, "restarts": restarts, "loss": loss, "targets": targets,
                "rho": 0.75, "start": "random",
            })
        };
        let cases = [
            ("apgd-ce", Norm::Linf, 10, apgd("cross-entropy", 1, 9)),
            ("apgd-ce", Norm::L1, 10, apgd("cross-entropy", 5, 5)),
            ("apgd-ce-5", Norm::L2, 10, apgd("cross-entropy", 5, 9)),
            ("apgd-dlr", Norm::L1, 10, apgd("dlr", 5, 5)),
            ("apgd-dlr", Norm::L2, 2, apgd("margin", 1, 1)),
            ("apgd-t", Norm::L1, 10, apgd("targeted-dlr", 1, 5)),
            ("apgd-t", Norm::Linf, 5, apgd("targeted-dlr", 1, 4)),
        ];
        for (name, norm, classes, expected) in cases {
            assert_eq!(
                of(name, norm, classes),
                expected,
                "{name} {norm:?} {classes}"
            );
        }
        let averaged = of("apgd-ce-eot", Norm::L1, 10);
        let expected = apgd("cross-entropy", 1, 5);
        assert_eq!(averaged["eot_samples"], 20);
        assert_eq!(averaged["attack"], expected);
        let smoothed = of("apgd-ce-smooth", Norm::L1, 10);
        assert_eq!(
            smoothed["smoothed"],
            serde_json::json!({ "deviation": 0.03, "samples": 10 })
        );
        assert_eq!(smoothed["attack"], expected);
        let fab = |name, classes| {
            let p = of(name, Norm::L2, classes);
            (p["targets"].clone(), p["restarts"].clone())
        };
        assert_eq!(fab("fab-t", 4), (3.into(), 1.into()));
        assert_eq!(fab("fab-5", 4), (serde_json::Value::Null, 5.into()));
        assert_eq!(of("fgsm", Norm::L2, 4)["steps"], 1);
        assert_eq!(of("pgd-20", Norm::L2, 4)["steps"], 20);
    }
}
