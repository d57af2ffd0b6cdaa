//! The verdict of a suite: what its attacks met, and probes.

use crate::attack::base::Attack;
use crate::attack::transfer;
use crate::data::batch::batch_of;
use crate::defend::knowledge::{MaskKnowledge, attacker_rules, bypass_rules, served_rules};
use crate::defend::sgam::has_mask;
use crate::error::Result;
use crate::model::access::Gradients;
use crate::model::oracle::Oracle;
use crate::record::ExampleRecord;
use crate::study::breach::Breach;
use crate::study::entry::{Entry, SuiteJob};
use crate::study::suite_state::{Part, Searched};
use crate::verdict::evidence::{Found, Versus};
use crate::verdict::judge::{Verdict, judge};
use crate::verdict::probes::{ProbeParams, ProbePoint, Probes, Target, gather};
use fgmf_net::op::{Op, Unary};
use fgmf_net::{Node, Precision};

/// Examples that the probes of the verdict look at.
const PROBED: usize = 128;

/// The verdict: what the suite saw of its own attacks, and probes on the first [`PROBED`] examples.
/// With it come the adversarial points that the probes found.
pub(crate) fn verdict(
    entries: &[Entry],
    job: &SuiteJob<'_>,
    searched: &Searched,
) -> Result<(Verdict, Vec<Breach>)> {
    let Searched {
        parts,
        examples,
        undecided,
        ..
    } = searched;
    let SuiteJob {
        net,
        data,
        threat,
        seed,
        ..
    } = *job;
    let served = Oracle::with_rules(net, served_rules(net)?);
    let cast = net.cast(Precision::F64);
    let double = Oracle::with_rules(&cast, served_rules(&cast)?);
    let masked = has_mask(net).then(|| attacker_rules(net, MaskKnowledge::FrozenMask));
    let around = bypass_rules(net)
        .or(masked)
        .map(|rules| Oracle::with_rules(net, rules));
    let bypass = around.as_ref().map(|o| o as &dyn Gradients);
    let target = Target {
        bypass,
        double: Some(&double),
        ..Target::new(&served)
    };
    let rows: Vec<usize> = (0..examples.len().min(PROBED)).collect();
    let Probes {
        mut evidence,
        broken,
    } = gather(
        &target,
        &batch_of(data, &rows)?,
        threat,
        &ProbeParams::default(),
        seed,
    )?;
    let missed: Vec<u64> = broken
        .iter()
        .map(|b| b.index)
        .filter(|&i| examples[i as usize].robust)
        .collect();
    evidence.missed = Some(Found {
        examples: missed,
        of: rows.len(),
    });
    evidence.undecided = Some(Found {
        examples: undecided.clone(),
        of: examples.len(),
    });
    evidence.wrong = nothing_right(examples);
    let quantised = |n: &Node| matches!(n.op, Op::Unary(Unary::Quantize { .. }));
    evidence.straight_through = net.nodes().iter().any(quantised).then(|| Found {
        examples: (0..examples.len() as u64).collect(),
        of: examples.len(),
    });
    let transferred = |e: &Entry| e.attack.id() == transfer::ID;
    let reads = |e: &Entry| e.knowledge.cut().is_some();
    // A search by scores that stands before one by gradients has beaten nothing.
    let last = entries.iter().rposition(by_gradients);
    let late = |i: usize| last.is_some_and(|l| i > l) && !reads(&entries[i]);
    let versus = |such: &dyn Fn(usize) -> bool| against(entries, examples, such);
    evidence.black_box = versus(&|i| late(i) && !transferred(&entries[i]));
    evidence.transfer = versus(&|i| late(i) && transferred(&entries[i]));
    evidence.readout = versus(&|i| reads(&entries[i]));
    let own = |e: &Entry| e.knowledge == MaskKnowledge::EndToEnd;
    let seen = |rows: fn(&Part) -> &[usize]| -> Vec<u64> {
        let of = parts.iter().filter(|p| own(&entries[p.entry]));
        of.flat_map(|p| rows(p).iter().map(|r| (p.block + r) as u64))
            .collect()
    };
    add(
        &mut evidence.zero_gradients,
        seen(|p| &p.flat),
        examples.len(),
    );
    add(
        &mut evidence.non_finite,
        seen(|p| &p.non_finite),
        examples.len(),
    );
    let breach = |b: ProbePoint| Breach {
        example: b.index as usize,
        finder: format!("probe:{}", b.probe),
        point: b.point,
    };
    let breaches = broken.into_iter().map(breach).collect();
    Ok((judge(&evidence), breaches))
}

/// All examples, where none of them is right before an attack.
pub(crate) fn nothing_right(examples: &[ExampleRecord]) -> Option<Found> {
    let none = !examples.iter().any(ExampleRecord::right_before);
    none.then(|| Found {
        examples: examples.iter().map(|e| e.index as u64).collect(),
        of: examples.len(),
    })
}

/// Adds what attacks on all examples met to what the probes found on the first of them.
fn add(found: &mut Option<Found>, more: Vec<u64>, of: usize) {
    let found = found.get_or_insert_default();
    found.examples.extend(more);
    found.examples.sort_unstable();
    found.examples.dedup();
    found.of = of;
}

/// What such attacks broke after those by gradients that stand before the first of them, against
/// what these broke. `None` where that was not tried.
fn against(
    entries: &[Entry],
    examples: &[ExampleRecord],
    such: &dyn Fn(usize) -> bool,
) -> Option<Versus> {
    let first = (0..entries.len()).find(|&i| such(i))?;
    let reference = |i: usize| i < first && by_gradients(&entries[i]);
    if !(0..entries.len()).any(reference) {
        return None;
    }
    let broken = |by: &dyn Fn(usize) -> bool| {
        let position = |e: &ExampleRecord| {
            entries
                .iter()
                .position(|entry| Some(&entry.name) == e.broken_by.as_ref())
        };
        examples
            .iter()
            .filter(|e| position(e).is_some_and(by))
            .map(|e| e.index as u64)
            .collect()
    };
    Some(Versus {
        challenger: broken(such),
        reference: broken(&reference),
        of: examples.len(),
    })
}

/// Whether an attack follows slopes, of the model or of what goes around its defence.
fn by_gradients(entry: &Entry) -> bool {
    matches!(entry.attack, Attack::White(_)) && entry.knowledge.cut().is_none()
}
