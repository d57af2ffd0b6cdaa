//! `--memory`: how much is done at once.

use crate::commands::limit::Limit;
use anyhow::Result;
use fgmf::explain::{Calls, Work};
use fgmf::metric::{Metric, Need};
use fgmf::model::{Gradients, Oracle};
use fgmf_net::chunks::usual_chunk;
use fgmf_net::head::Logit;
use fgmf_net::{Precision, Session, Tensor};

/// Bytes of packed weights, at most, for each number that a network stores.
const PACKED: u64 = 64;

/// What explaining by these methods takes, judged by these metrics.
pub(super) fn work_of(explainers: &[String], metrics: &[Box<dyn Metric>]) -> Work {
    let by_rules = |id: &String| id == "all" || id.starts_with("lrp-") || id.starts_with("deep-");
    let explaining = if explainers.iter().any(by_rules) {
        Work::RULES
    } else {
        Work::EXPLAIN
    };
    let judging = |m: &dyn Metric| {
        if m.info().id == "attacked-stability" {
            Work::CURVATURE
        } else if m.info().needs.contains(&Need::Parameters) {
            Work::RANDOMISE
        } else {
            Work::EXPLAIN
        }
    };
    metrics
        .iter()
        .map(|m| judging(m.as_ref()))
        .fold(explaining, Work::or)
}

/// Images in a model call: `cap`, or fewer so that the process keeps to `mib`, or to what is usual
/// if there is none. The chunks of the networks are cut to the limit, too; `held` numbers will be
/// kept besides. With a stated limit, or a usual one that is near, the networks are asked for a
/// gradient.
pub(super) fn images_at_once(
    nets: &mut [&mut Session],
    mib: Option<u64>,
    cap: usize,
    held: usize,
    work: Work,
) -> Result<usize> {
    if cap == 0 {
        return Err(fgmf::Error::parameter("cap", "1 or more", 0).into());
    }
    let Some(limit) = Limit::of(mib, resident()) else {
        return Ok(cap);
    };
    let threads = rayon::current_num_threads();
    let most = limit.mib.saturating_mul(1 << 20);
    let taken = || resident() + 4 * held as u64;
    let whole = Calls::within(&[], u64::MAX, threads, work).map_or(cap, |c| c.cap);
    if limit.usual {
        // Weights that are not packed yet: no form of them takes more than so much.
        let all: Vec<&Session> = nets.iter().map(|net| &**net).collect();
        let packed: u64 = all
            .iter()
            .map(|net| PACKED * net.stored_numbers() as u64)
            .sum();
        let free = most.saturating_sub(taken() + packed);
        let calls = Calls::within(&all, free, threads, work);
        let usual = all.iter().map(|net| usual_chunk(net)).max();
        if calls.is_some_and(|c| c.cap == whole && Some(c.chunk) == usual) {
            return Ok(cap);
        }
    }
    // One image, so that weights are packed, which is in use from then on.
    for net in nets.iter() {
        let [c, h, w] = net.image_shape();
        Oracle::new(net).loss_gradient(
            &Tensor::full(&[1, c, h, w], 0.0, Precision::F32),
            &Logit::new(&[0]),
        )?;
    }
    let taken = taken();
    let all: Vec<&Session> = nets.iter().map(|net| &**net).collect();
    let free = most.saturating_sub(taken);
    let calls = Calls::within(&all, free, threads, work)
        .ok_or_else(|| limit.too_little(taken + Calls::least(&all, threads, work)))?;
    for net in nets {
        net.limit_chunks(calls.chunk);
    }
    // A usual limit takes nothing from what was asked for.
    let uncut = limit.usual && calls.cap == whole;
    Ok(if uncut { cap } else { calls.cap.min(cap) })
}

/// Refuses training that takes `least` bytes besides what is in use, beyond the limit.
pub(super) fn check_training(mib: Option<u64>, least: impl FnOnce() -> Result<u64>) -> Result<()> {
    let Some(limit) = Limit::of(mib, resident()) else {
        return Ok(());
    };
    let least = least()?.saturating_add(resident());
    if limit.mib.saturating_mul(1 << 20) < least {
        return Err(limit.too_little(least).into());
    }
    Ok(())
}

/// Bytes of the process in memory; where the system does not say, what it usually is.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(32 << 20, |kib| kib << 10)
}
