//! Planted defences and honest models under the masking verdict: `planted STANDARD.onnx HONEST.onnx… > table.md`.
//!
//! For each planted defence on the standard network: clean accuracy, PGD-50 on served gradients as an unaware evaluator runs
//! it, the adaptive attack, the undefended twin under that attack, and the verdict; for each honest model the verdict. First
//! 200 test images of the embedded slice, Linf, eps 0.1, seed 0.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output")]

use fgmf::Result;
use fgmf::attack::probes::{ProbeParams, Target, gather};
use fgmf::attack::verdict::judge;
use fgmf::attack::{Batch, EotPgdParams, PgdParams, SquareParams, StepLoss, WhiteBox, misclassified};
use fgmf::data::{Split, load};
use fgmf::defend::{
    AdditiveNoiseParams, Averaged, BitDepthParams, JpegParams, Lie, LogitScalingParams, LyingGateParams, ResizePadParams, Served,
    ThermometerParams, Transform, bypass_rules, served_rules, with_bit_depth, with_jpeg, with_logit_scaling, with_lying_gate,
    with_thermometer,
};
use fgmf::oracle::{Gradients, Oracle, Scores};
use fgmf::threat::{Norm, ThreatModel};
use fgmf_net::{Network, Precision, Tensor, onnx};
use std::path::Path;

/// Answers that a random model's accuracy is the mean of.
const DRAWS: usize = 10;

struct Bench {
    batch: Batch,
    threat: ThreatModel,
}

/// Share of answers that are right, one an example.
fn right(model: &dyn Scores, x: &Tensor, labels: &[usize], draws: usize) -> Result<Vec<f64>> {
    let mut counts = vec![0.0; labels.len()];
    for _ in 0..draws {
        let wrong = misclassified(&model.logits(x)?, labels);
        counts.iter_mut().zip(wrong).for_each(|(c, w)| *c += f64::from(u8::from(!w)) / draws as f64);
    }
    Ok(counts)
}

fn percent(right: &[f64]) -> f64 {
    100.0 * right.iter().sum::<f64>() / right.len() as f64
}

/// An attack and the model that it follows.
type Adaptive<'a> = (Box<dyn WhiteBox>, &'a dyn Gradients);

impl Bench {
    /// Worst case per example over attacks, judged by the model as served.
    fn under(&self, attacks: &[Adaptive<'_>], judge: &dyn Scores, draws: usize) -> Result<f64> {
        let mut worst = vec![1.0f64; self.batch.len()];
        for (attack, model) in attacks {
            let found = attack.perturb(*model, &self.batch, &self.threat, 0)?;
            let right = right(judge, &found.x, &self.batch.labels, draws)?;
            worst.iter_mut().zip(right).for_each(|(w, r)| *w = w.min(r));
        }
        Ok(percent(&worst))
    }

    fn row(&self, name: &str, target: &Target<'_>, adaptive: &[Adaptive<'_>], twin: &dyn Gradients, draws: usize) -> Result<()> {
        let clean = percent(&right(target.model, &self.batch.x, &self.batch.labels, draws)?);
        let unaware = Box::new(PgdParams { steps: 50, ..PgdParams::default() }.check()?);
        let unaware = self.under(&[(unaware, target.model)], target.model, draws)?;
        let aware = self.under(adaptive, target.model, draws)?;
        let undefended = self.under(&[(strong()?, twin)], twin, 1)?;
        let verdict = judge(&gather(target, &self.batch, &self.threat, &ProbeParams::default(), 0)?.evidence);
        let flags: Vec<&str> = verdict.flags.iter().map(|f| f.sign.id()).collect();
        println!("| {name} | {clean:.1} | {unaware:.1} | {aware:.1} | {undefended:.1} | {} | {} |", verdict.level.name(), flags.join(", "));
        for f in &verdict.flags {
            eprintln!("{name}: {}: {}", f.sign.id(), f.evidence);
        }
        Ok(())
    }

    /// A network as it is served, and what goes around it.
    fn network(&self, name: &str, net: &Network, twin: &Oracle<'_>) -> Result<()> {
        let cast = net.cast(Precision::F64);
        let (model, double) = (Oracle::with_rules(net, served_rules(net)?), Oracle::with_rules(&cast, served_rules(&cast)?));
        let around = bypass_rules(net).map(|rules| Oracle::with_rules(net, rules));
        let search = SquareParams { queries: 300, ..SquareParams::default() }.check()?;
        let target = Target {
            model: &model,
            bypass: around.as_ref().map(|o| o as &dyn Gradients),
            double: Some(&double),
            surrogate: None,
            black_box: Some(&search),
        };
        let aware = around.as_ref().unwrap_or(&model);
        let noise = AdditiveNoiseParams { deviation: 0.03 }.check()?;
        let smoothed = Served::new(aware, &noise, 2);
        let mut adaptive: Vec<Adaptive<'_>> = vec![(strong()?, aware)];
        if around.is_some() {
            // Small steps are lost in a rounding, and its jumps mislead: longer ones, and small noise that evens them out.
            adaptive.extend([(long(0.02)?, aware as &dyn Gradients), (long(0.05)?, aware), (mean(50, 10)?, &smoothed)]);
        }
        self.row(name, &target, &adaptive, twin, 1)
    }

    fn random(&self, name: &str, net: &Network, transform: &dyn Transform, twin: &Oracle<'_>) -> Result<()> {
        let oracle = Oracle::new(net);
        let served = Served::new(&oracle, transform, 1);
        let expected = Averaged::new(&served, 20)?;
        self.row(name, &Target { bypass: Some(&expected), ..Target::new(&served) }, &[(mean(100, 40)?, &served)], twin, DRAWS)
    }
}

/// PGD-100 on the margin, five restarts.
fn strong() -> Result<Box<dyn WhiteBox>> {
    Ok(Box::new(PgdParams { steps: 100, restarts: 5, loss: StepLoss::Margin, ..PgdParams::default() }.check()?))
}

/// The same with steps of this length.
fn long(step: f64) -> Result<Box<dyn WhiteBox>> {
    Ok(Box::new(PgdParams { steps: 100, restarts: 5, step_size: Some(step), loss: StepLoss::Margin, ..PgdParams::default() }.check()?))
}

/// PGD on the expectation.
fn mean(steps: usize, samples: usize) -> Result<Box<dyn WhiteBox>> {
    Ok(Box::new(EotPgdParams { steps, samples, step_size: None }.check()?))
}

fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let Some((standard, honest)) = paths.split_first() else {
        println!("usage: planted STANDARD.onnx HONEST.onnx…");
        return Ok(());
    };
    let data = load("fashion-mnist-mini", Split::Test)?;
    let n = 200.min(data.len());
    let rows: Vec<usize> = (0..n).collect();
    let [c, h, w] = data.shape();
    let x = Tensor::new::<f32>(&[n, c, h, w], data.images(&rows));
    let batch = Batch { x, labels: rows.iter().map(|&i| data.label(i)).collect(), index: (0..n as u64).collect() };
    let bench = Bench { batch, threat: ThreatModel::new(Norm::Linf, 0.1, [0.0, 1.0])? };
    println!(
        "| model | clean | PGD-50, served | adaptive | undefended twin | verdict | flags |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    let net = onnx::read(Path::new(standard))?;
    let twin = Oracle::new(&net);
    bench.network("standard, no defence", &net, &twin)?;
    bench.network("bit depth 3", &with_bit_depth(&net, &BitDepthParams { bits: 3 })?, &twin)?;
    bench.network("JPEG quality 50", &with_jpeg(&net, &JpegParams { quality: 50 })?, &twin)?;
    bench.network("thermometer 16", &with_thermometer(&net, &ThermometerParams { levels: 16 })?, &twin)?;
    bench.network("logits x 1000", &with_logit_scaling(&net, &LogitScalingParams { factor: 1000.0 })?, &twin)?;
    bench.network("logits x 100 (distillation)", &with_logit_scaling(&net, &LogitScalingParams { factor: 100.0 })?, &twin)?;
    bench.network("lying gate, signs", &with_lying_gate(&net, &LyingGateParams { lie: Lie::Signs, seed: 0 })?, &twin)?;
    bench.network("lying gate, reverse", &with_lying_gate(&net, &LyingGateParams { lie: Lie::Reverse, seed: 0 })?, &twin)?;
    bench.random("noise 0.1", &net, &AdditiveNoiseParams { deviation: 0.1 }.check()?, &twin)?;
    bench.random("resize and pad 0.8", &net, &ResizePadParams { least: 0.8 }.check()?, &twin)?;
    for path in honest {
        let net = onnx::read(Path::new(path))?;
        bench.network(&format!("honest: {path}"), &net, &Oracle::new(&net))?;
    }
    Ok(())
}
