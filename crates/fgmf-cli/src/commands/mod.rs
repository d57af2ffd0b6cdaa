//! One file a command.

mod attack;
mod attacked;
mod chosen;
mod demo;
mod evaluate;
mod explain;
mod info;
mod train;

use crate::Outcome;
use crate::arguments::{Arguments, Command, Memory};
use anyhow::Result;
use fgmf::data::Dataset;
use fgmf::explain::Calls;
use fgmf::metric::Metric;
use fgmf::model::{Gradients, Oracle};
use fgmf_net::head::Logit;
use fgmf_net::{Network, Precision, Session, Tensor};
use fgmf_record::{DataRecord, MachineRecord};
use std::path::Path;

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    match &arguments.command {
        Command::Demo(a) => demo::run(arguments, a),
        Command::Train(a) => train::run(arguments, a),
        Command::Attack(a) => attack::run(arguments, a),
        Command::Explain(a) => explain::run(arguments, a),
        Command::Evaluate(a) => evaluate::run(arguments, a),
        Command::Info(a) => info::run(arguments, a),
    }
}

/// A model file and its hash.
fn read_model(path: &Path) -> Result<(Session, String)> {
    let net = fgmf_net::onnx::read(path).map_err(fgmf::Error::from)?;
    let bytes = std::fs::read(path).map_err(fgmf::Error::io(path))?;
    Ok((Session::new(net), fgmf_record::hash::sha256(&bytes)))
}

/// An error unless the data is what the model takes.
fn check_fit(net: &Network, data: &Dataset) -> Result<()> {
    if net.image_shape() != data.shape() {
        return Err(fgmf::Error::mismatch(
            "match model and data",
            format!("images of {:?} (c, h, w)", net.image_shape()),
            format!("{:?}", data.shape()),
        )
        .into());
    }
    if data.classes().len() > net.classes() {
        return Err(fgmf::Error::mismatch(
            "match model and data",
            format!("at most {} classes", net.classes()),
            data.classes().len(),
        )
        .into());
    }
    Ok(())
}

fn data_record(data: &Dataset) -> DataRecord {
    DataRecord {
        name: data.name().into(),
        split: data.split(),
        n: data.len(),
        sha256: data.sha256(),
        classes: data.classes().to_vec(),
    }
}

fn machine() -> MachineRecord {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|l| l.trim_start_matches([' ', '\t', ':']).to_owned());
    MachineRecord {
        cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        threads: rayon::current_num_threads(),
    }
}

/// Images in a model call; with a limit on memory, chunks of the network are cut to it, too. `held`
/// numbers will be kept besides.
fn images_at_once(
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

/// Writes a file, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(fgmf::Error::io(path))?;
    Ok(())
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(fgmf::Error::io(folder))?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}
