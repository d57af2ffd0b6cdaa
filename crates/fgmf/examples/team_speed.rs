//! What a batch of a team's views costs: forward pass and training step, microseconds a view.
//!
//! `cargo run --release -p fgmf --example team_speed`
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use fgmf::Result;
use fgmf::agent::{Lanes, PolicyKind, PpoHead, PpoSample, actor_critic, environment};
use fgmf_net::op::Mode;
use fgmf_net::{Session, Tensor};
use std::time::Instant;

/// Seconds of one call, the best of several.
fn best(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..7 {
        let started = Instant::now();
        call()?;
        least = least.min(started.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn main() -> Result<()> {
    println!(
        "env, network, MFLOP a view, batch, forward us a view, GFLOP/s, step us a view, GFLOP/s"
    );
    for env in ["overcooked:cramped_room", "pursuit"] {
        let make = || environment(env);
        let spec = make()?.spec().clone();
        let lanes = Lanes::new(&make, 2048_usize.div_ceil(spec.agents))?;
        let every: Vec<usize> = (0..lanes.len()).collect();
        let raw = lanes.observe(&every);
        for kind in [PolicyKind::Dense, PolicyKind::Conv] {
            let net = Session::new(actor_critic(&spec, kind, 0)?);
            let work = net.flops() as f64;
            for n in [64, 256, 1024, 2048] {
                let x: Tensor = spec.scaled(&raw[..n * spec.size()]);
                let sample = PpoSample {
                    action: 1,
                    log_probability: -1.6,
                    advantage: 0.5,
                    target: 1.0,
                    value: 0.0,
                };
                let head = PpoHead {
                    samples: vec![sample; n],
                    clip: 0.2,
                    entropy: 0.01,
                    value: 0.5,
                };
                let forward = best(|| net.logits(&x).map(drop).map_err(Into::into))?;
                let step = best(|| {
                    let found = net.parameter_gradients(&x, &head, Mode::Train);
                    found.map(drop).map_err(Into::into)
                })?;
                let each = n as f64;
                println!(
                    "{env}, {kind:?}, {:.3}, {n}, {:.2}, {:.1}, {:.2}, {:.1}",
                    work / 1e6,
                    1e6 * forward / each,
                    work * each / forward / 1e9,
                    1e6 * step / each,
                    3.0 * work * each / step / 1e9,
                );
            }
        }
        let mut lanes = Lanes::new(&make, 64)?;
        let every: Vec<usize> = (0..64).collect();
        let started = Instant::now();
        let mut steps = 0;
        for t in 0..2000 {
            let actions: Vec<usize> = (0..64 * spec.agents)
                .map(|i| (i * 7 + t * 3) % spec.actions.len())
                .collect();
            let came = lanes.step(&every, &actions)?;
            let over = came.iter().enumerate().filter(|(_, c)| c.over());
            let over: Vec<usize> = over.map(|(i, _)| i).collect();
            over.into_iter().for_each(|lane| lanes.reset(lane, None));
            std::hint::black_box(lanes.observe(&every));
            steps += 64;
        }
        let rate = f64::from(steps) / started.elapsed().as_secs_f64();
        println!("{env}: {rate:.0} steps/s with all views, 64 side by side");
    }
    Ok(())
}
