//! `--memory`: how much is done at once.

use crate::arguments::Memory;
use anyhow::Result;
use fgmf::explain::Calls;
use fgmf::metric::Metric;
use fgmf::model::{Gradients, Oracle};
use fgmf_net::head::Logit;
use fgmf_net::{Precision, Session, Tensor};

/// Images in a model call. With a limit on memory, the chunks of the network are cut to it, too;
/// `held` numbers will be kept besides.
pub(crate) fn images_at_once(
    net: &mut Session,
    a: &Memory,
    held: usize,
    metrics: &[Box<dyn Metric>],
) -> Result<usize> {
    if a.cap == 0 {
        return Err(fgmf::Error::parameter("cap", "1 or more", 0).into());
    }
    let Some(mib) = a.memory else {
        return Ok(a.cap);
    };
    // One image, so that weights are packed, which is in use from then on.
    let [c, h, w] = net.image_shape();
    Oracle::new(net).loss_gradient(
        &Tensor::full(&[1, c, h, w], 0.0, Precision::F32),
        &Logit::new(&[0]),
    )?;
    let taken = resident() + 4 * held as u64;
    let threads = rayon::current_num_threads();
    let curvature = metrics.iter().any(|m| m.info().id == "attacked-stability");
    let calls = Calls::within(
        net,
        mib.saturating_mul(1 << 20).saturating_sub(taken),
        threads,
        curvature,
    )
    .ok_or_else(|| {
        let least = (taken + Calls::least(net, threads, curvature)).div_ceil(1 << 20);
        fgmf::Error::parameter(
            "memory",
            format!("at least {least} MiB for this model and data on {threads} threads"),
            mib,
        )
    })?;
    net.limit_chunks(calls.chunk);
    Ok(calls.cap)
}

/// Bytes of the process in memory; where the system does not say, what it usually is.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(32 << 20, |kib| kib << 10)
}
