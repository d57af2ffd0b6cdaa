//! What clauses ask for, and what an audit gives to each. Drafts are named with a date; none of
//! them is cited in the Official Journal.

/// Who gives what a clause asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Measured,
    Person,
    NotCovered,
}

/// A clause: what it asks for, who gives it, where it stands here or what a person must add.
pub(crate) struct Clause {
    pub(crate) clause: &'static str,
    pub(crate) asks: &'static str,
    pub(crate) state: State,
    pub(crate) here: &'static str,
}

const fn clause(
    clause: &'static str,
    asks: &'static str,
    state: State,
    here: &'static str,
) -> Clause {
    Clause {
        clause,
        asks,
        state,
        here,
    }
}

use State::{Measured, NotCovered, Person};

/// Regulation (EU) 2024/1689, as amended by Regulation (EU) 2026/1744.
pub(crate) const CLAUSES: [Clause; 22] = [
    clause(
        "Art. 9(8)",
        "testing against metrics and probabilistic thresholds defined beforehand",
        Measured,
        "policy.toml, whose hash was written before anything ran; each threshold with its \
         interval",
    ),
    clause(
        "Art. 9(8)",
        "that these metrics and thresholds are appropriate",
        Person,
        "why these thresholds fit the intended purpose",
    ),
    clause(
        "Art. 9(2)(b), 9(6)",
        "risks under foreseeable misuse",
        Person,
        "which misuse is foreseeable; the attacks found here are one part of it",
    ),
    clause(
        "Art. 10(2)(f)",
        "examination of data for bias",
        Person,
        "accuracy of each class is here; whether the data stand for the people and places \
         concerned is not",
    ),
    clause(
        "Art. 11, Annex IV 2(g)",
        "test procedures, data and main characteristics, metrics, logs and reports",
        Measured,
        "policy, hashes and counts of the data, every setting of every attack, one row an image",
    ),
    clause(
        "Annex IV 2(g)",
        "reports dated and signed by the responsible persons",
        Person,
        "name, role and date; fgmf sign signs the files and not a person's judgement",
    ),
    clause(
        "Annex IV 2(b), 2(c)",
        "architecture and computing resources",
        Person,
        "image size, classes and stored numbers are here; design choices and training are not",
    ),
    clause(
        "Annex IV 2(h)",
        "cybersecurity measures",
        Person,
        "what was put in place; here is only what attacks achieved",
    ),
    clause(
        "Annex IV 3",
        "capabilities and limits, accuracy for groups, measures that help interpret outputs",
        Measured,
        "accuracy of each class, explainers with their figures; groups of persons are not known \
         here",
    ),
    clause(
        "Annex IV 4",
        "why the metrics are appropriate",
        Person,
        "the limits of each figure stand beside it in audit.json",
    ),
    clause(
        "Art. 12",
        "automatic event log over the life of the system",
        NotCovered,
        "a file was audited, not a system in use",
    ),
    clause(
        "Art. 13(3)(b)(ii)",
        "accuracy, robustness and cybersecurity tested, and circumstances that change them",
        Measured,
        "accuracy at each eps, changed images, each with interval",
    ),
    clause(
        "Art. 13(3)(b)(iv), (vii)",
        "information that explains and helps interpret outputs",
        Measured,
        "explainers with figures, and how often a map is withheld, if the policy asked for it",
    ),
    clause(
        "Art. 14(4)",
        "that persons understand limits, notice anomalies and resist automation bias",
        Person,
        "staffing and training; the first page of this report is a start",
    ),
    clause(
        "Art. 15(1), 15(3)",
        "an appropriate level, declared in the instructions",
        Person,
        "whether the level is appropriate; the figures to declare are in card.yaml",
    ),
    clause(
        "Art. 15(4)",
        "resilience to errors, faults and inconsistencies",
        Measured,
        "changed images, rounded numbers, values that are no numbers",
    ),
    clause(
        "Art. 15(5)",
        "model evasion",
        Measured,
        "the attacks of the suite, worst case for each image; every image found is kept",
    ),
    clause(
        "Art. 15(5)",
        "data poisoning, model poisoning",
        NotCovered,
        "training and its data were not looked at",
    ),
    clause(
        "Art. 15(5)",
        "confidentiality attacks",
        NotCovered,
        "what answers give away was not measured",
    ),
    clause(
        "Art. 17",
        "quality management system",
        NotCovered,
        "an organisation's work; this record can be one of its inputs",
    ),
    clause(
        "ISO/IEC 24029-2:2023",
        "robustness by formal methods",
        NotCovered,
        "figures here are from searches: upper bounds, not proofs",
    ),
    clause(
        "ISO/IEC TS 4213:2022",
        "classification metrics with counts, confusion matrix, intervals",
        Measured,
        "confusion matrix, recall of each class, Wilson intervals, McNemar's test",
    ),
];

/// A standard that is not final or not cited: id, state, date on which that was looked up.
pub(crate) const DRAFTS: [[&str; 3]; 9] = [
    [
        "prEN 18229-4 (accuracy), prEN 18229-5 (robustness)",
        "draft, being written",
        "24 June 2026",
    ],
    [
        "prEN 18229-1 (logging)",
        "draft, enquiry closed",
        "20 August 2026",
    ],
    [
        "prEN 18229-2 (transparency)",
        "draft, being written",
        "24 September 2026",
    ],
    [
        "prEN 18229-3 (human oversight)",
        "draft, enquiry begun",
        "30 July 2026",
    ],
    [
        "prEN 18282 (cybersecurity)",
        "draft, enquiry closed",
        "30 July 2026",
    ],
    [
        "prEN 18281 (evaluation of computer vision)",
        "draft, enquiry closed",
        "11 June 2026",
    ],
    ["prEN 18228 (risk)", "draft, enquiry closed", "30 July 2026"],
    [
        "ISO/IEC DIS 24029-3 (statistical methods)",
        "draft",
        "27 November 2026",
    ],
    ["ISO/IEC DIS 4213, second edition", "draft", "30 May 2026"],
];
