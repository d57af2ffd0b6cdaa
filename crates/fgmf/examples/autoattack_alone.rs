//! Runs each attack of AutoAttack alone on the first embedded test images, as
//! `parity/autoattack_reference.py` does with the reference, and writes what each breaks.
//!
//! Usage:
//! `cargo run --release -p fgmf --example autoattack_alone -- \
//!     MODEL.onnx OUT.json linf 0.1 500 [apgd-ce,square [SEED]]`
#![allow(clippy::print_stderr, reason = "a command for developers")]

use fgmf::attack::{Ending, run_attack};
use fgmf::data::Batch;
use fgmf::data::{Split, load};
use fgmf::model::Oracle;
use fgmf::study::lone;
use fgmf::threat::ThreatModel;
use fgmf_net::Tensor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, out, norm, eps, limit, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: autoattack_alone MODEL.onnx OUT.json NORM EPS LIMIT [ATTACK,... [SEED]]".into(),
        );
    };
    let names = rest
        .first()
        .map_or("apgd-ce,apgd-dlr,apgd-t,fab-t,square", String::as_str);
    let seed = rest.get(1).map_or(Ok(0), |s| s.parse())?;
    let net = fgmf_net::Session::new(fgmf_net::onnx::read(model.as_ref())?);
    let mut data = load("fashion-mnist-mini", Split::Test)?;
    data.truncate(limit.parse()?)?;
    let threat = ThreatModel::new(norm.parse()?, eps.parse()?, [0.0, 1.0])?;
    let [c, h, w] = data.shape();
    let rows: Vec<usize> = (0..data.len()).collect();
    let batch = Batch {
        x: Tensor::new(&[data.len(), c, h, w], data.images(&rows)?),
        labels: rows.iter().map(|&i| data.label(i)).collect(),
        index: rows.iter().map(|&i| i as u64).collect(),
    };
    let mut attacks = serde_json::Map::new();
    for name in names.split(',') {
        let (oracle, start) = (Oracle::new(&net), std::time::Instant::now());
        let outcome = run_attack(
            &lone(name, threat.norm(), net.classes())?,
            &oracle,
            &batch,
            &threat,
            seed,
        )?;
        let seconds = start.elapsed().as_secs_f64();
        let right: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|&i| outcome.endings[i] != Ending::AlreadyWrong)
            .collect();
        let broken: Vec<usize> = right
            .iter()
            .copied()
            .filter(|&i| outcome.success[i])
            .collect();
        eprintln!(
            "{norm} {eps} {name}, seed {seed}: {} of {} broken, {seconds:.1} s, {:?}",
            broken.len(),
            right.len(),
            outcome.passes
        );
        attacks.insert(name.into(), broken.into());
    }
    std::fs::write(
        out,
        serde_json::to_string(&serde_json::json!({ "attacks": attacks }))? + "\n",
    )?;
    Ok(())
}
