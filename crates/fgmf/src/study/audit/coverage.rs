//! What an audit looks at and what it does not, by ids of public vocabularies.
//!
//! MITRE ATLAS 5.6.1 (5 May 2026) and NIST AI 100-2 E2025. Names are ATLAS' own.

use crate::attack::base::Attack;
use crate::record::{Coverage, CoverageItem};
use crate::study::entry::Entry;

const VOCABULARIES: [&str; 2] = ["MITRE ATLAS 5.6.1", "NIST AI 100-2 E2025"];

/// Looked at by attacks that follow gradients.
const WHITE: [[&str; 2]; 4] = [
    ["AML.T0044", "Full AI Model Access"],
    ["AML.T0043.000", "White-Box Optimization"],
    ["AML.T0015", "Evade AI Model"],
    ["NISTAML.022", "Evasion"],
];

/// Looked at by attacks that ask for scores or labels alone.
const BLACK: [[&str; 2]; 3] = [
    ["AML.T0040", "AI Model Inference API Access"],
    ["AML.T0043.001", "Black-Box Optimization"],
    ["NISTAML.025", "Black-box Evasion"],
];

/// Nothing here looks at these, each with the reason.
const NEVER: [[&str; 3]; 16] = [
    ["AML.T0020", "Poison Training Data", POISON],
    ["AML.T0018", "Manipulate AI Model", POISON],
    [
        "AML.T0043.003",
        "Manual Modification",
        "only perturbations within a norm ball are searched",
    ],
    ["AML.T0043.004", "Insert Backdoor Trigger", POISON],
    ["AML.T0024.000", "Infer Training Data Membership", PRIVACY],
    ["AML.T0024.001", "Invert AI Model", PRIVACY],
    ["AML.T0024.002", "Extract AI Model", PRIVACY],
    ["AML.T0063", "Discover AI Model Outputs", SERVER],
    [
        "AML.T0041",
        "Physical Environment Access",
        "images are changed as numbers, not before a lens",
    ],
    [
        "AML.T0043.002",
        "Black-Box Transfer",
        "no second model was given",
    ],
    [
        "AML.T0005",
        "Create Proxy AI Model",
        "no second model was given",
    ],
    ["AML.T0029", "Denial of AI Service", SERVER],
    ["AML.T0034.000", "Excessive Queries", SERVER],
    ["AML.T0034.001", "Resource-Intensive Queries", SERVER],
    ["NISTAML.013, .021, .023, .024, .026", "Poisoning", POISON],
    ["NISTAML.031", "Model extraction", PRIVACY],
];

const POISON: &str = "the training data and the training were not looked at";
const PRIVACY: &str = "what answers give away was not measured";
const SERVER: &str = "a file was audited, not a service";

/// What a suite of these attacks covers.
pub(crate) fn coverage(entries: &[Entry]) -> Coverage {
    let named = |white: bool| {
        let of = |e: &&Entry| matches!(e.attack, Attack::White(_)) == white;
        let names = entries.iter().filter(of).map(|e| e.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let item = |id: &str, name: &str, by: &str| CoverageItem {
        id: id.into(),
        name: name.into(),
        by: by.into(),
    };
    let mut found = Coverage {
        vocabularies: VOCABULARIES.map(str::to_owned).to_vec(),
        tested: Vec::new(),
        not_tested: Vec::new(),
    };
    for (list, by, none) in [
        (
            &WHITE[..],
            named(true),
            "the suite has no attack that follows gradients",
        ),
        (
            &BLACK[..],
            named(false),
            "the suite has no attack by scores or labels alone",
        ),
    ] {
        for [id, name] in list {
            if by.is_empty() {
                found.not_tested.push(item(id, name, none));
            } else {
                found.tested.push(item(id, name, &by));
            }
        }
    }
    let never = NEVER.iter().map(|[id, name, why]| item(id, name, why));
    found.not_tested.extend(never);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::suites::suite;
    use crate::threat::Norm;
    use fgmf_net::zoo::{Activation, Architecture, ZooConfig, build};

    #[test]
    fn an_id_is_tested_or_not_and_never_both() {
        let config = ZooConfig {
            architecture: Architecture::CnnTiny,
            activation: Activation::Relu,
            image: [1, 8, 8],
            classes: 5,
            mean: vec![0.0],
            deviation: vec![1.0],
            seed: 1,
        };
        let net = build(&config).unwrap();
        for (name, white, black) in [("pgd-20", true, false), ("square", false, true)] {
            let found = coverage(&suite(name, &net, Norm::Linf).unwrap());
            let has = |id: &str| found.tested.iter().any(|i| i.id == id);
            assert_eq!(
                [has("AML.T0044"), has("AML.T0040")],
                [white, black],
                "{name}"
            );
            let ids = || found.tested.iter().chain(&found.not_tested).map(|i| &i.id);
            let mut sorted: Vec<_> = ids().collect();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), ids().count());
        }
    }
}
