//! `--memory`: how much is done at once.

use anyhow::Result;
use fgmf::explain::{Calls, Work};
use fgmf::metric::{Metric, Need};
use fgmf::model::{Gradients, Oracle};
use fgmf_net::head::Logit;
use fgmf_net::{Precision, Session, Tensor};

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

/// Images in a model call: `cap`, or fewer so that the process keeps to `mib`. The chunks of the
/// networks are cut to the limit, too; `held` numbers will be kept besides. With a limit, the
/// networks are asked for a gradient.
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
    let Some(mib) = mib else {
        return Ok(cap);
    };
    // One image, so that weights are packed, which is in use from then on.
    for net in nets.iter() {
        let [c, h, w] = net.image_shape();
        Oracle::new(net).loss_gradient(
            &Tensor::full(&[1, c, h, w], 0.0, Precision::F32),
            &Logit::new(&[0]),
        )?;
    }
    let taken = resident() + 4 * held as u64;
    let threads = rayon::current_num_threads();
    let all: Vec<&Session> = nets.iter().map(|net| &**net).collect();
    let free = mib.saturating_mul(1 << 20).saturating_sub(taken);
    let calls = Calls::within(&all, free, threads, work)
        .ok_or_else(|| too_little(mib, taken + Calls::least(&all, threads, work)))?;
    for net in nets {
        net.limit_chunks(calls.chunk);
    }
    Ok(calls.cap)
}

/// The error of a limit that does not do, where so many bytes would.
pub(super) fn too_little(mib: u64, least: u64) -> fgmf::Error {
    let (least, threads) = (least.div_ceil(1 << 20), rayon::current_num_threads());
    let expected = format!("at least {least} MiB for this model and data on {threads} threads");
    fgmf::Error::parameter("memory", expected, mib)
}

/// Bytes of the process in memory; where the system does not say, what it usually is.
pub(super) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(32 << 20, |kib| kib << 10)
}
